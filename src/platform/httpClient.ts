/**
 * HTTP requests of destinations: keep-alive connections, TLS verified, three time limits, a bounded answer, proxies of
 * the environment, and faults with a kind. Retrying is the caller's. Nothing of a request is logged here.
 */
import { readFileSync } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { ColdtrailError } from '../core/errors.ts'

export interface HttpClientOptions {
  /** HTTPS_PROXY, HTTP_PROXY and NO_PROXY are read from it; loopback and link-local addresses never go by a proxy. */
  readonly environment: Readonly<Record<string, string | undefined>>
  /** PEM file of authorities that are trusted besides those of the system; read at once. */
  readonly caFile?: string
  /** Time until a connection stands, TLS included. */
  readonly connectMs: number
  /** Time in which nothing moves in either direction. */
  readonly idleMs: number
  /** Time from the start of a request to the end of its answer. */
  readonly wholeMs: number
  /** More of an answer's body is not read. Default 64 KiB. */
  readonly maxBodyBytes?: number
}

export interface HttpRequest {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
  readonly signal?: AbortSignal
}

export interface HttpResponse {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** The body was longer than is read, or ended early; the status holds all the same. */
  readonly cut: boolean
}

export type HttpFaultKind =
  | 'aborted'
  | 'dns'
  | 'proxy'
  | 'protocol'
  | 'refused'
  | 'reset'
  | 'timeout'
  | 'tls'
  | 'unreachable'

/** No answer came. The message names the host and what happened, nothing of the request's path, headers or body. */
export class HttpFault extends Error {
  readonly kind: HttpFaultKind
  /** Whether the whole request had been handed to the system; if not, the receiver cannot have taken all of it. */
  readonly sent: boolean
  constructor(kind: HttpFaultKind, message: string, sent: boolean, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'HttpFault'
    this.kind = kind
    this.sent = sent
  }
}

export interface HttpClient {
  /** Any status is an answer; redirects are not followed. Throws HttpFault and nothing else. */
  request(url: URL | string, request?: HttpRequest): Promise<HttpResponse>
  /** Ends the connections that are kept. */
  close(): void
}

/** Throws E_FILE_READ. */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const ca = options.caFile === undefined ? undefined : readAuthority(options.caFile)
  let connections: Promise<Connections> | undefined
  // What speaks HTTP and TLS is loaded by the first request: commands that send nothing do not wait for it.
  const open = async (): Promise<Connections> => (await import('./httpConnections.ts')).openConnections(options, ca)
  return {
    async request(url, request = {}) {
      connections ??= open()
      return (await connections).request(typeof url === 'string' ? new URL(url) : url, request)
    },
    close() {
      void connections?.then((opened) => opened.close())
      connections = undefined
    },
  }
}

/** This machine by name or address, as URLs have it. */
export function isLoopback(hostname: string): boolean {
  return /^(?:(?:.+\.)?localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/.test(hostname)
}

// --- internal ---

interface Connections {
  request(url: URL, request: HttpRequest): Promise<HttpResponse>
  close(): void
}

function readAuthority(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
}
