/** What an answer of the Logs Ingestion API means for the forwarder; docs/design.md §10 says what that does with it. */
import { ColdtrailError, type ErrorCode, printable } from '../../../core/errors.ts'
import type { HttpResponse } from '../../../platform/httpClient.ts'
import type { Outcome } from '../../destination.ts'
import { type Asking, excerpt, refusalOutcome, retryAfterMs } from '../http/answers.ts'

/** `values`: what every error names: destination, endpoint, rule, stream, table, tried, scope, request. */
export function outcomeOf(response: HttpResponse, asking: Asking, values: Readonly<Record<string, string>>): Outcome {
  const { status } = response
  const { code, message } = serviceError(response, asking.hide)
  const cause = [status, code].join(' ').trim() + message
  const denied = (error: ErrorCode, retryForMs?: number): Outcome => ({
    kind: 'denied',
    error: new ColdtrailError(error, { ...values, cause }),
    ...(retryForMs !== undefined && { retryForMs }),
  })
  const afterMs = retryAfterMs(response, asking.now() / 1000)
  if (status === 204) return { kind: 'accepted' }
  if (status >= 300 && status < 400) return refusalOutcome(response, asking)
  if (status >= 500 || status === 408) {
    return afterMs === undefined ? { kind: 'failed', reason: cause } : { kind: 'throttled', reason: cause, afterMs }
  }
  switch (status) {
    case 400:
      return { kind: 'refused', reason: cause }
    case 401:
      return denied('E_SENTINEL_TOKEN')
    case 403:
      return denied('E_SENTINEL_ROLE', ROLE_SPREADS_MS)
    case 404: {
      const error = missing(code, message)
      return denied(error, error === 'E_SENTINEL_ENDPOINT' ? undefined : RULE_SPREADS_MS)
    }
    case 413:
      return { kind: 'too_large', reason: cause }
    case 429:
      return { kind: 'throttled', reason: cause, ...(afterMs !== undefined && { afterMs }) }
    default:
      // Not 200 either: what has taken a batch says 204.
      return denied('E_SENTINEL_ENDPOINT')
  }
}

// --- internal ---

/** An assignment of a role takes up to 30 minutes to be in force. */
const ROLE_SPREADS_MS = 30 * 60_000
/** A rule that was just made or changed is known to every front end only after some minutes. */
const RULE_SPREADS_MS = 5 * 60_000

/** `{"error":{"code","message"}}`; an answer without a code is no service of Azure's. */
function serviceError(response: HttpResponse, hide: (text: string) => string): { code: string; message: string } {
  try {
    const { error } = JSON.parse(response.body.toString()) as { error?: { code?: unknown; message?: unknown } }
    if (typeof error?.code === 'string') {
      const message = typeof error.message === 'string' ? `: ${printable(hide(error.message))}` : ''
      return { code: printable(hide(error.code), 80), message }
    }
  } catch {
    // A proxy's page, or nothing.
  }
  return { code: '', message: excerpt(response, hide) }
}

/** The service says in words what it has not found. */
function missing(code: string, message: string): ErrorCode {
  if (code === '') return 'E_SENTINEL_ENDPOINT'
  if (/stream/i.test(code) || /stream/i.test(message)) return 'E_SENTINEL_STREAM'
  return /rule|immutable/i.test(message) ? 'E_SENTINEL_RULE' : 'E_SENTINEL_ENDPOINT'
}
