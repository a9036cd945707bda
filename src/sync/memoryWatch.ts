/** The budget of `--memory-limit`: a run that exceeds it ends by itself before the system ends something else. */
import { ColdtrailError } from '../core/errors.ts'
import { bytesText } from '../core/terminalText.ts'

export interface MemoryWatch {
  /** Aborted with E_SYNC_MEMORY. */
  readonly signal: AbortSignal
  stop(): void
}

/** `limit`: resident bytes of the process; undefined: none. */
export function watchMemory(limit: number | undefined): MemoryWatch {
  const controller = new AbortController()
  const look = (): void => {
    const used = process.memoryUsage.rss()
    if (used > limit!)
      controller.abort(new ColdtrailError('E_SYNC_MEMORY', { used: bytesText(used), limit: bytesText(limit!) }))
  }
  const timer = limit === undefined ? undefined : setInterval(look, WATCH_MS)
  timer?.unref()
  if (limit !== undefined) look()
  return { signal: controller.signal, stop: () => clearInterval(timer) }
}

// --- internal ---

const WATCH_MS = 250
