/** Headers of a request that depend on its batch: templates filled in, and the signature. */
import { createHash, createHmac } from 'node:crypto'
import type { OutgoingBatch } from '../../destination.ts'

/** Names that a template knows, in double braces. */
export const TEMPLATE_NAMES = ['destination', 'batch', 'records', 'request_id'] as const

/** A header value with no other name in double braces. */
export const isTemplate = (text: string): boolean =>
  [...text.matchAll(TEMPLATE)].every(([, name]) => (TEMPLATE_NAMES as readonly string[]).includes(name!))

/** `batch` is a digest of the body: the same whenever the same batch is sent again. */
export function filledHeaders(
  templates: Readonly<Record<string, string>>,
  destination: string,
  { body, records, requestId }: OutgoingBatch,
): Record<string, string> {
  const values: Readonly<Record<string, () => string>> = {
    destination: () => destination,
    batch: () => createHash('sha256').update(body).digest('hex').slice(0, 32),
    records: () => String(records),
    request_id: () => requestId,
  }
  return Object.fromEntries(
    Object.entries(templates).map(([name, template]) => [
      name,
      template.replace(TEMPLATE, (whole, key: string) => values[key]?.() ?? whole),
    ]),
  )
}

/** `sha256=` and HMAC-SHA256 in hex over the timestamp, a dot, and the body as it goes over the wire. */
export function signature(secret: string, timestamp: string, body: Uint8Array): string {
  return `sha256=${createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest('hex')}`
}

// --- internal ---

const TEMPLATE = /\{\{\s*([^{}]*?)\s*\}\}/g
