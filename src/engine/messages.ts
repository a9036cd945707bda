/** What foreman and workers say to each other. Plain data: a worker on another host could be told the same. */
import { asColdtrailError, ColdtrailError, ERRORS, type ErrorCode, type ErrorValues } from '../core/errors.ts'

export type ToWorker =
  | { readonly kind: 'start'; readonly init: unknown }
  | { readonly kind: 'task'; readonly id: number; readonly task: unknown }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'refusal'; readonly id: number; readonly error: PackedError }
  | { readonly kind: 'note'; readonly note: unknown }
  | { readonly kind: 'stop' }

export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'done'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly error: PackedError }
  | { readonly kind: 'ask'; readonly id: number; readonly question: unknown }
  | { readonly kind: 'report'; readonly report: unknown }
  /** The system refused it more memory. */
  | { readonly kind: 'exhausted'; readonly reason: string }
  /** Sent twice a second while the worker is not deep in work; `rss` in bytes, `cpu` in microseconds. */
  | { readonly kind: 'beat'; readonly rss: number; readonly cpu: number }

/** A ColdtrailError as plain data; an Error would lose its code and values on the way. */
export interface PackedError {
  readonly code: string
  readonly values: ErrorValues
}

export function packError(thrown: unknown): PackedError {
  const { code, values } = asColdtrailError(thrown)
  const plain = Object.entries(values).map(([name, value]) => [name, typeof value === 'object' ? String(value) : value])
  return { code, values: Object.fromEntries(plain) }
}

export function unpackError({ code, values }: PackedError): ColdtrailError {
  if (Object.hasOwn(ERRORS, code)) return new ColdtrailError(code as ErrorCode, values)
  return new ColdtrailError('E_INTERNAL', { message: code })
}
