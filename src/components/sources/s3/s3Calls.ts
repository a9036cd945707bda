/**
 * The one place where requests to S3 are retried, paced and counted. An attempt gets the current client; a fault is
 * first given its row of the error table, and the row's retry class decides what happens next.
 */
import type { S3Client } from '@aws-sdk/client-s3'
import type { ColdtrailError } from '../../../core/errors.ts'
import type { SourceContext } from '../../component.ts'
import type { SourceStatistics } from '../../source.ts'
import { type S3Target, StalledRequest, s3Error } from './s3Error.ts'

export interface S3CallsOptions {
  readonly bucket: string
  readonly endpoint: string
  readonly region: string
  readonly maxAttempts: number
  readonly maxConnections: number
  readonly idleSeconds: number
  /** Whether asking for credentials again may help against an expired token. */
  readonly renewable: boolean
  readonly context: SourceContext
  connect(region: string): S3Client
}

const BASE_PAUSE_MS = 100
const THROTTLED_PAUSE_MS = 500
const MAX_PAUSE_MS = 20_000

export class S3Calls {
  readonly statistics: SourceStatistics = { requests: new Map(), errors: new Map(), retries: 0, throttles: 0 }
  readonly #options: S3CallsOptions
  readonly #gate: Gate
  readonly #retired: S3Client[] = []
  #client: S3Client
  #region: string

  constructor(options: S3CallsOptions) {
    this.#options = options
    this.#region = options.region
    this.#client = options.connect(options.region)
    this.#gate = new Gate(options.maxConnections)
  }

  get maxAttempts(): number {
    return this.#options.maxAttempts
  }

  /** Runs an attempt until it succeeds or its fault is one that repeating does not help. */
  async run<T>(
    operation: S3Target['operation'],
    key: string,
    attempt: (client: S3Client, guard: Guard) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    let reconnected = false
    for (let attempts = 1; ; attempts += 1) {
      await this.#gate.enter()
      const client = this.#client
      const guard = new Guard(this.#options.idleSeconds, signal)
      let error: ColdtrailError
      try {
        signal?.throwIfAborted()
        count(this.statistics.requests, operation)
        const result = await attempt(client, guard)
        this.#gate.succeeded()
        return result
      } catch (thrown) {
        signal?.throwIfAborted()
        error = this.fault(operation, key, guard.explain(thrown))
      } finally {
        guard.release()
        this.#gate.leave()
      }
      const mayReconnect = !reconnected && this.#reconnect(error, client)
      if (mayReconnect) reconnected = true
      else if (error.retry !== 'backoff' || attempts >= this.#options.maxAttempts) throw error
      else await this.pause(error, attempts, signal)
      this.statistics.retries += 1
    }
  }

  /** A watch over a body that outlives its call. */
  guard(signal?: AbortSignal): Guard {
    return new Guard(this.#options.idleSeconds, signal)
  }

  /** The fault with its row of the table, counted. */
  fault(operation: S3Target['operation'], key: string, thrown: unknown): ColdtrailError {
    const { bucket, endpoint } = this.#options
    const error = s3Error(thrown, { operation, bucket, key, endpoint })
    count(this.statistics.errors, error.code)
    if (error.code === 'E_S3_THROTTLED') {
      this.statistics.throttles += 1
      this.#gate.throttled()
    }
    return error
  }

  /** Exponential back-off with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog). */
  async pause(error: ColdtrailError, attempts: number, signal?: AbortSignal): Promise<void> {
    const base = error.code === 'E_S3_THROTTLED' ? THROTTLED_PAUSE_MS : BASE_PAUSE_MS
    await this.#options.context.pause(Math.random() * Math.min(MAX_PAUSE_MS, base * 2 ** (attempts - 1)), signal)
  }

  close(): void {
    for (const client of [...this.#retired, this.#client]) client.destroy()
  }

  /** Follows the bucket to its region, or asks for new credentials; other calls go on with the old client. */
  #reconnect(error: ColdtrailError, failed: S3Client): boolean {
    const { region } = error.values
    if (error.code === 'E_S3_REGION' && typeof region === 'string') {
      if (region === this.#region && failed === this.#client) return false
      if (failed !== this.#client) return true
      this.#options.context.warn('The bucket is in another region; using that one.', {
        region,
        instead_of: this.#region,
      })
      this.#region = region
    } else if (error.code !== 'E_S3_EXPIRED_TOKEN' || !this.#options.renewable) return false
    if (failed === this.#client) {
      this.#retired.push(failed)
      this.#client = this.#options.connect(this.#region)
    }
    return true
  }
}

/** Ends a request when nothing arrives for the idle time, or when the caller gives up. */
export class Guard {
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #outer: AbortSignal | undefined
  readonly #forward = () => this.#controller.abort(this.#outer?.reason)
  readonly #idleSeconds: number
  #paused = false
  #stalled = false

  constructor(idleSeconds: number, outer?: AbortSignal) {
    this.#outer = outer
    this.#idleSeconds = idleSeconds
    this.#timer = setTimeout(() => {
      if (this.#paused) return
      this.#stalled = true
      this.#controller.abort()
    }, idleSeconds * 1000)
    outer?.addEventListener('abort', this.#forward, { once: true })
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Something arrived. */
  touch(): void {
    this.#paused = false
    this.#timer.refresh()
  }

  /** The consumer is busy, so silence is not the server's. */
  pause(): void {
    this.#paused = true
  }

  /** What a fault was really: an abort by this guard is a stall. */
  explain(thrown: unknown): unknown {
    return this.#stalled ? new StalledRequest(this.#idleSeconds) : thrown
  }

  release(): void {
    clearTimeout(this.#timer)
    this.#outer?.removeEventListener('abort', this.#forward)
  }
}

// --- internal ---

/** Bounds requests in flight: halved when S3 asks to slow down, at most once a second, and slowly raised again. */
class Gate {
  readonly #most: number
  readonly #waiting: (() => void)[] = []
  #limit: number
  #active = 0
  #halvedAt = Number.NEGATIVE_INFINITY

  constructor(most: number) {
    this.#most = most
    this.#limit = most
  }

  enter(): Promise<void> | undefined {
    if (this.#active < Math.floor(this.#limit)) {
      this.#active += 1
      return undefined
    }
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  leave(): void {
    this.#active -= 1
    while (this.#active < Math.floor(this.#limit) && this.#waiting.length > 0) {
      this.#active += 1
      this.#waiting.shift()!()
    }
  }

  succeeded(): void {
    if (this.#limit < this.#most) this.#limit = Math.min(this.#most, this.#limit + 1 / this.#limit)
  }

  throttled(): void {
    const now = performance.now()
    if (now - this.#halvedAt < 1000) return
    this.#halvedAt = now
    this.#limit = Math.max(1, this.#limit / 2)
  }
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1)
}
