/**
 * Distinct things asked of a service: first the cache, then the service in batches, one after another, and every batch is
 * kept when it is answered. A service that fails ends the asking, not the run: what is known counts, and the rest is told.
 */
import { openLookupCache } from '../../../platform/lookupCache.ts'

/** A service that could not be asked, or answered with nothing that can be used. Never holds a secret. */
export class LookupFault extends Error {
  readonly retry: boolean
  /** Milliseconds that the service wants to be left alone. */
  readonly waitMs: number | undefined
  constructor(
    message: string,
    options: { readonly retry: boolean; readonly waitMs?: number; readonly cause?: unknown },
  ) {
    super(message, { cause: options.cause })
    this.name = 'LookupFault'
    this.retry = options.retry
    this.waitMs = options.waitMs
  }
}

export interface Lookups {
  /** By what was asked; without what could not be answered. */
  readonly answers: ReadonlyMap<string, string>
  readonly cached: number
  readonly asked: number
  /** What was left out and why. */
  readonly warnings: readonly string[]
}

export interface LookupOptions {
  readonly dataDir: string
  /** For messages. */
  readonly title: string
  /** In the cache: all that decides an answer. */
  readonly service: string
  /** Answers older than that are asked again. */
  readonly maxAgeDays: number
  readonly batch: number
  /** Answers for all of them, or some: the others have none yet. Throws LookupFault. */
  ask(batch: readonly string[]): Promise<ReadonlyMap<string, string>>
  /** Before a second attempt, doubled for each further one; default a second. */
  readonly pauseMs?: number
  /** Whether an answer may be kept; default all. */
  keeps?(answer: string): boolean
  /** Told how many are asked for, before the first is. */
  begin?(count: number): void
  readonly signal?: AbortSignal
  readonly clock?: Clock
}

export interface Clock {
  now(): number
  /** Ends early, with an error, when the signal is given. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>
}

export const CLOCK: Clock = {
  now: () => Date.now(),
  async sleep(milliseconds, signal) {
    const { setTimeout: pause } = await import('node:timers/promises')
    await pause(milliseconds, undefined, { signal })
  },
}

/** Attempts at a batch. */
const ATTEMPTS = 4
const FIRST_PAUSE_MS = 1_000
/** A service that wants to be left alone for longer is not waited for. */
const MAX_WAIT_MS = 120_000

export async function lookUp(wanted: readonly string[], options: LookupOptions): Promise<Lookups> {
  const { title, batch, maxAgeDays, keeps = () => true, signal, clock = CLOCK } = options
  if (wanted.length === 0) return { answers: new Map(), cached: 0, asked: 0, warnings: [] }
  const cache = openLookupCache(options.dataDir, options.service)
  try {
    const answers = cache.known(wanted, clock.now() - maxAgeDays * 86_400_000)
    const cached = answers.size
    const open = wanted.filter((one) => !answers.has(one))
    let asked = 0
    if (open.length > 0) options.begin?.(open.length)
    for (let at = 0; at < open.length; at += batch) {
      const part = open.slice(at, at + batch)
      let answered: ReadonlyMap<string, string>
      try {
        answered = await persistently(part, options, clock)
      } catch (error) {
        signal?.throwIfAborted()
        if (!(error instanceof LookupFault)) throw error
        const rest = open.length - at
        const warnings = [`${title}: ${rest} of ${wanted.length} were not looked up: ${error.message}`]
        return { answers, cached, asked, warnings }
      }
      for (const [one, answer] of answered) answers.set(one, answer)
      asked += part.length
      cache.keep(
        [...answered].filter(([, answer]) => keeps(answer)),
        clock.now(),
      )
    }
    const silent = wanted.length - answers.size
    return {
      ...{ answers, cached, asked },
      warnings: silent > 0 ? [`${title}: ${silent} of ${wanted.length} have no answer yet`] : [],
    }
  } finally {
    cache.close()
  }
}

// --- internal ---

async function persistently(
  part: readonly string[],
  { ask, signal, pauseMs = FIRST_PAUSE_MS }: LookupOptions,
  clock: Clock,
): Promise<ReadonlyMap<string, string>> {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    try {
      return await ask(part)
    } catch (error) {
      if (!(error instanceof LookupFault) || !error.retry || attempt === ATTEMPTS) throw error
      const wait = error.waitMs ?? pauseMs * 2 ** (attempt - 1)
      if (wait > MAX_WAIT_MS)
        throw new LookupFault(`${error.message}; it asks to wait ${Math.ceil(wait / 1000)} s`, { retry: false })
      await clock.sleep(wait, signal)
    }
  }
}
