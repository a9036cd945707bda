/**
 * The HTTP client that the identity library is given, so that its requests keep the same rules as all others: own
 * authorities, proxies of the environment but never for loopback and metadata services, time limits, bounded answers.
 */
import type { TokenCredentialOptions } from '@azure/identity'
import type { HttpClient, HttpFault } from '../../../platform/httpClient.ts'

type LibraryClient = NonNullable<TokenCredentialOptions['httpClient']>
type LibraryRequest = Parameters<LibraryClient['sendRequest']>[0]
type LibraryHeaders = LibraryRequest['headers']

/** What the last request came to: the library wraps faults in so many layers that their kind is lost. */
export interface LastExchange {
  fault: HttpFault | undefined
  status: number | undefined
}

export function identityHttp(http: HttpClient, last: LastExchange): LibraryClient {
  return {
    async sendRequest(request) {
      last.fault = undefined
      last.status = undefined
      try {
        const { status, headers, body } = await http.request(request.url, {
          method: request.method,
          headers: request.headers.toJSON(),
          ...(typeof request.body === 'string' && { body: request.body }),
          ...(request.abortSignal && { signal: request.abortSignal as AbortSignal }),
        })
        last.status = status
        const flat = Object.entries(headers).map(([name, value]): [string, string] => [name, String(value)])
        return { request, status, headers: new PlainHeaders(flat), bodyAsText: body.toString() }
      } catch (thrown) {
        last.fault = thrown as HttpFault
        throw thrown
      }
    },
  }
}

// --- internal ---

class PlainHeaders implements LibraryHeaders {
  readonly #values: Map<string, string>
  constructor(entries: Iterable<[string, string]>) {
    this.#values = new Map(entries)
  }
  get(name: string): string | undefined {
    return this.#values.get(name.toLowerCase())
  }
  has(name: string): boolean {
    return this.#values.has(name.toLowerCase())
  }
  set(name: string, value: string | number | boolean): void {
    this.#values.set(name.toLowerCase(), String(value))
  }
  delete(name: string): void {
    this.#values.delete(name.toLowerCase())
  }
  toJSON(): Record<string, string> {
    return Object.fromEntries(this.#values)
  }
  [Symbol.iterator](): IterableIterator<[string, string]> {
    return this.#values[Symbol.iterator]()
  }
}
