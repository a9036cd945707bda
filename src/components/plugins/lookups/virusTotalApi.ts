/** What VirusTotal (API v3) says of a file: one GET a hash over one kept connection. The key is only in its header. */
import type { IncomingHttpHeaders } from 'node:http'
import { printable } from '../../../core/errors.ts'
import { type HttpClient, HttpFault, type HttpResponse } from '../../../platform/httpClient.ts'
import { LookupFault } from './lookUp.ts'

export interface VirusTotal {
  /** `not_present`, `no_detections`, `detections_<N>`, `analysis_pending`, `unknown_response_code_<status>`. Throws LookupFault. */
  file(hash: string): Promise<string>
}

/** `url` without a slash at its end. */
export function virusTotal(client: HttpClient, url: string, key: string, signal?: AbortSignal): VirusTotal {
  return {
    async file(hash) {
      let response: HttpResponse
      try {
        const headers = { 'x-apikey': key, Accept: 'application/json' }
        response = await client.request(`${url}/files/${encodeURIComponent(hash)}`, { headers, signal })
      } catch (error) {
        if (!(error instanceof HttpFault)) throw error
        const retry = ['reset', 'timeout', 'refused', 'dns', 'unreachable'].includes(error.kind)
        throw new LookupFault(error.message, { retry, cause: error })
      }
      return answerOf(response, new URL(url).host)
    },
  }
}

// --- internal ---

function answerOf({ status, headers, body, cut }: HttpResponse, host: string): string {
  if (status === 404) {
    // Whoever else answers on this address has no such error.
    if (codeOf(body) === 'NotFoundError') return 'not_present'
    throw new LookupFault(`${host} answered 404 without NotFoundError: it is no VirusTotal API v3`, { retry: false })
  }
  if (status === 200) {
    if (cut) throw new LookupFault(`${host}: the answer was cut off`, { retry: true })
    return verdictOf(body, host)
  }
  const code = codeOf(body)
  const what = `${host} answered ${status}${code === undefined ? '' : ` ${code}`}`
  if (status === 429) {
    const waitMs = retryAfterMs(headers)
    // Daily and monthly quotas have the same code as the minute's; without a time a minute is waited for.
    throw new LookupFault(what, { retry: true, waitMs: waitMs ?? 60_000 })
  }
  if (status >= 500 || status === 408) throw new LookupFault(what, { retry: true, waitMs: retryAfterMs(headers) })
  if (status === 401 || status === 403) throw new LookupFault(`${what}: the API key is not accepted`, { retry: false })
  if (status >= 300 && status < 400) throw new LookupFault(`${what}: a redirect is not followed`, { retry: false })
  return `unknown_response_code_${status}`
}

function verdictOf(body: Buffer, host: string): string {
  let stats: unknown
  try {
    const { data } = JSON.parse(body.toString('utf8')) as { data: { attributes: { last_analysis_stats?: unknown } } }
    stats = data.attributes.last_analysis_stats
  } catch (error) {
    throw new LookupFault(`${host} answered with something that is no file report`, { retry: false, cause: error })
  }
  const counts = Object.values((stats ?? {}) as Record<string, unknown>).filter((count) => Number.isSafeInteger(count))
  // Known, and no engine has looked at it yet.
  if (counts.length === 0 || counts.every((count) => count === 0)) return 'analysis_pending'
  const { malicious = 0, suspicious = 0 } = stats as Record<string, number>
  const detections = Number(malicious) + Number(suspicious)
  return detections > 0 ? `detections_${detections}` : 'no_detections'
}

function codeOf(body: Buffer): string | undefined {
  try {
    const { error } = JSON.parse(body.toString('utf8')) as { error?: { code?: unknown } }
    return typeof error?.code === 'string' ? printable(error.code).slice(0, 64) : undefined
  } catch {
    return undefined
  }
}

function retryAfterMs(headers: IncomingHttpHeaders): number | undefined {
  const given = headers['retry-after']
  if (given === undefined) return undefined
  if (/^\d{1,9}$/.test(given)) return Number(given) * 1_000
  const date = Date.parse(given)
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now())
}
