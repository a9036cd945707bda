/** Progress bars, and the progress of a collect run: a bar on a terminal, a log line every few seconds elsewhere, nothing with --json. */
import { bytesText } from '../core/terminalText.ts'
import type { CollectProgress } from '../index.ts'
import type { Io } from './io.ts'

export interface ProgressDisplay {
  update(progress: CollectProgress): void
  stop(): void
}

export async function showProgress(io: Io): Promise<ProgressDisplay> {
  if (!process.stderr.isTTY || io.json) return logLines(io)
  const bar = await openBar('{objects} objects | {events} events | {rate} MB/s | {left}', {
    objects: '0',
    events: '0',
    rate: '0.0',
    left: 'listing …',
  })
  return {
    update(progress) {
      bar.update(progress.bytes, progress.totalBytes, {
        objects: `${progress.objects}/${progress.total}`,
        events: progress.events.toLocaleString('en-US'),
        rate: progress.mbPerSecond.toFixed(1),
        left: timeLeft(progress),
      })
    },
    stop: () => bar.stop(),
  }
}

/** A bar of bytes on standard error, with figures behind it; `figures` names them as `{name}`. */
export async function openBar(figures: string, values: Record<string, string | number>): Promise<Bar> {
  const { SingleBar } = await import('cli-progress')
  const bar = new SingleBar({
    format: `{bar} {percentage}% | ${figures}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
    stopOnComplete: false,
    fps: 4,
  })
  bar.start(1, 0, values)
  return {
    update(bytes, totalBytes, now) {
      bar.setTotal(Math.max(1, totalBytes))
      bar.update(Math.min(bytes, totalBytes), now)
    },
    stop: () => bar.stop(),
  }
}

/** How far work in steps is: of the library and its sync. */
export interface StepProgress {
  readonly step: string
  readonly table?: string
  readonly done: number
  readonly total: number
}

/** A bar on a terminal, a log line every few seconds elsewhere, nothing with --json. `doing`: importing, … */
export async function withSteps<T>(
  io: Io,
  doing: string,
  run: (onProgress: (progress: StepProgress) => void) => Promise<T>,
): Promise<T> {
  if (io.json) return run(() => undefined)
  if (!process.stderr.isTTY) {
    let last = performance.now()
    return run(({ step, table, done, total }) => {
      if (performance.now() - last < LOG_EVERY_MS) return
      last = performance.now()
      io.log('info', doing, { step, table, done, total })
    })
  }
  const bar = await openBar('{step} {table} | {count}', { step: doing, table: '', count: '' })
  try {
    return await run(({ step, table = '', done, total }) => {
      const count = `${done.toLocaleString('en-US')} of ${total.toLocaleString('en-US')}`
      bar.update(done, total, { step, table, count })
    })
  } finally {
    bar.stop()
  }
}

export interface Bar {
  update(bytes: number, totalBytes: number, values: Record<string, string | number>): void
  stop(): void
}

// --- internal ---

const LOG_EVERY_MS = 5_000

function logLines(io: Io): ProgressDisplay {
  let last = performance.now() - LOG_EVERY_MS + 1_000
  return {
    update({ objects, total, events, rejects, failed, mbPerSecond }) {
      if (performance.now() - last < LOG_EVERY_MS) return
      last = performance.now()
      const mb_per_s = Number(mbPerSecond.toFixed(1))
      io.log('info', 'collecting', { objects, total, events, rejects, failed, mb_per_s })
    },
    stop: () => undefined,
  }
}

function timeLeft({ listing, totalBytes, secondsLeft }: CollectProgress): string {
  if (listing) return `listing … ${bytesText(totalBytes)}`
  if (secondsLeft === undefined) return '…'
  const seconds = Math.round(secondsLeft)
  return seconds >= 60 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s left` : `${seconds} s left`
}
