/**
 * What HTTP receivers answer, as outcomes, and in words without secrets: receivers echo what was sent to them, headers
 * included, so that everything of theirs that is shown goes through `hide` first.
 */
import { ColdtrailError, printable } from '../../../core/errors.ts'
import type { HttpResponse } from '../../../platform/httpClient.ts'
import { HttpFault } from '../../../platform/httpClient.ts'
import type { Outcome } from '../../destination.ts'

/** Who asked whom. */
export interface Asking {
  /** Name in the configuration. */
  readonly destination: string
  /** Host and port; never a path or a query, which may be secret. */
  readonly host: string
  readonly hide: (text: string) => string
  /** Microseconds UTC. */
  now(): number
}

/** Puts `(hidden)` for these secrets, plainly or as JSON and URLs write them. Values below 4 characters are no secrets. */
export function hiding(secrets: readonly (string | undefined)[]): (text: string) => string {
  const forms = secrets
    .filter((secret) => secret !== undefined && secret.length >= 4)
    .flatMap((secret) => [secret!, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret!.toWellFormed())])
  // The longest first: one secret may hold another.
  const unique = [...new Set(forms)].sort((a, b) => b.length - a.length)
  return (text) => unique.reduce((shown, secret) => shown.replaceAll(secret, '(hidden)'), text)
}

/** The beginning of an answer's body, on one line; empty when it has none. */
export function excerpt({ body }: HttpResponse, hide: (text: string) => string): string {
  const text = body.toString().replace(/\s+/g, ' ').trim()
  // Hidden before it is cut: half a secret is still one.
  return text === '' ? '' : `: ${printable(hide(text), EXCERPT_LENGTH)}`
}

/** What Retry-After asks for, seconds or a date, at most an hour; undefined without one. */
export function retryAfterMs({ headers }: HttpResponse, nowMs: number): number | undefined {
  const text = headers['retry-after']?.trim()
  if (text === undefined || text === '') return undefined
  const asked = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs
  return Number.isNaN(asked) ? undefined : Math.min(Math.max(0, asked), MAX_PAUSE_MS)
}

/** An answer that is no success, by the usual meaning of its status. */
export function refusalOutcome(response: HttpResponse, asking: Asking): Outcome {
  const { status } = response
  const reason = `${asking.host} answered ${status}${excerpt(response, asking.hide)}`
  const afterMs = retryAfterMs(response, asking.now() / 1000)
  const throttled: Outcome = { kind: 'throttled', reason, ...(afterMs !== undefined && { afterMs }) }
  if (status === 429) return throttled
  if (status === 400 || status === 422) return { kind: 'refused', reason }
  if (status === 413) return { kind: 'too_large', reason }
  if (status === 503 && afterMs !== undefined) return throttled
  if (status === 408 || status === 425 || status >= 500) return { kind: 'failed', reason }
  if (status >= 300 && status < 400) return { kind: 'denied', error: redirectError(response, asking) }
  return { kind: 'denied', error: deniedError(response, asking) }
}

/** `advice`: what to do about it; by default by the status. */
export function deniedError(response: HttpResponse, asking: Asking, advice?: string): ColdtrailError {
  const { status } = response
  return new ColdtrailError('E_RECEIVER_DENIED', {
    destination: asking.destination,
    host: asking.host,
    status,
    detail: excerpt(response, asking.hide),
    advice:
      advice ?? ADVICE.get(status) ?? (status < 300 ? NO_SUCCESS : 'See what the receiver documents of this status.'),
  })
}

/** What no answer means; anything but a fault of HTTP is thrown on. */
export function faultOutcome(error: unknown, asking: Asking): Outcome {
  if (!(error instanceof HttpFault)) throw error
  if (error.kind !== 'tls') return { kind: 'failed', reason: error.message }
  const values = { destination: asking.destination, cause: error.message }
  return { kind: 'denied', error: new ColdtrailError('E_RECEIVER_TLS', values, { cause: error }) }
}

// --- internal ---

const EXCERPT_LENGTH = 200
const MAX_PAUSE_MS = 3_600_000

const NO_SUCCESS = 'Add the status to success when it means that the batch was taken.'

const ADVICE: ReadonlyMap<number, string> = new Map([
  [401, 'The credentials are missing or wrong: check headers of this destination, and the variables they come from.'],
  [
    403,
    'The receiver knows who asks and does not allow it: check the rights of these credentials, and its IP filters.',
  ],
  [404, 'There is nothing at the path of url: check it against what the receiver documents.'],
  [405, 'The path of url does not take POST: check it against what the receiver documents.'],
  [415, 'The receiver does not take this form: try another framing, compression or Content-Type header.'],
])

/** Of the target only the host: paths and queries of redirects carry tokens. */
function redirectError({ status, headers }: HttpResponse, { destination, host, hide }: Asking): ColdtrailError {
  const location = headers.location ?? ''
  const target = URL.canParse(location, `https://${host}`) ? new URL(location, `https://${host}`).host : 'nowhere'
  return new ColdtrailError('E_RECEIVER_REDIRECT', { destination, host, target: hide(target), status })
}
