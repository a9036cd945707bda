/** The bytes of one object: at once for small ones, as a stream that resumes where it broke off for large ones. */
import type { Readable } from 'node:stream'
import { GetObjectCommand, type GetObjectCommandOutput } from '@aws-sdk/client-s3'
import type { SourceObject } from '../../../core/sourceObject.ts'
import type { Guard, S3Calls } from './s3Calls.ts'
import { TruncatedBody } from './s3Error.ts'

export interface FetchOptions {
  readonly requesterPays: boolean
}

/** The whole body; a broken one is fetched again from the start. */
export function readObject(
  calls: S3Calls,
  object: SourceObject,
  options: FetchOptions,
  signal?: AbortSignal,
): Promise<Buffer> {
  return calls.run(
    'GetObject',
    object.key,
    async (client, guard) => {
      const answer = await client.send(getCommand(object, options, 0), { abortSignal: guard.signal })
      requireObject(answer, object, 0)
      return collect(answer.Body as Readable, object.size, guard)
    },
    signal,
  )
}

/** The body as it arrives; after a break the rest is asked for by Range under the same ETag. */
export async function openObject(
  calls: S3Calls,
  object: SourceObject,
  options: FetchOptions,
  signal?: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const request = (offset: number) =>
    calls.run(
      'GetObject',
      object.key,
      async (client, guard) => {
        const answer = await client.send(getCommand(object, options, offset), { abortSignal: guard.signal })
        if (offset > 0 && !answer.ContentRange?.startsWith(`bytes ${offset}-`)) throw new Error('Range was ignored')
        requireObject(answer, object, offset)
        return answer
      },
      signal,
    )
  return resuming(calls, object, await request(0), request, signal)
}

// --- internal ---

/** Progress that makes the count of failed attempts start anew. */
const PROGRESS_BYTES = 1 << 20

function getCommand(object: SourceObject, { requesterPays }: FetchOptions, offset: number): GetObjectCommand {
  return new GetObjectCommand({
    Bucket: object.bucket,
    Key: object.key,
    IfMatch: `"${object.version}"`,
    ...(offset > 0 && { Range: `bytes=${offset}-` }),
    ...(requesterPays && { RequestPayer: 'requester' }),
  })
}

/** A proxy may answer 200 with a page of its own, and a server may not know If-Match: neither is the listed object. */
function requireObject(answer: GetObjectCommandOutput, { version, size }: SourceObject, offset: number): void {
  const { ETag, ContentLength } = answer
  const refuse = (code: string, message: string): never => {
    ;(answer.Body as Readable).destroy()
    throw Object.assign(new Error(message), { code })
  }
  const etag = ETag?.replace(/^(?:W\/)?"?|"$/g, '')
  if (etag !== undefined && etag !== version) refuse('PreconditionFailed', `the answer has the ETag ${etag}`)
  if (ContentLength !== undefined && ContentLength !== size - offset)
    refuse('WrongLength', `the answer has ${ContentLength} bytes instead of ${size - offset}`)
}

async function* resuming(
  calls: S3Calls,
  { key, size }: SourceObject,
  first: GetObjectCommandOutput,
  request: (offset: number) => Promise<GetObjectCommandOutput>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  let answer = first
  let offset = 0
  let failures = 0
  let failedAt = 0
  for (;;) {
    const guard = calls.guard(signal)
    const body = answer.Body as Readable
    const stop = () => body.destroy()
    guard.signal.addEventListener('abort', stop, { once: true })
    try {
      for await (const chunk of body as AsyncIterable<Uint8Array>) {
        offset += chunk.length
        if (offset > size) throw tooLong(size)
        guard.pause()
        yield chunk
        guard.touch()
      }
      if (offset !== size) throw new TruncatedBody(offset, size)
      return
    } catch (thrown) {
      signal?.throwIfAborted()
      const explained = guard.explain(thrown)
      const cut = offset < size && isReset(explained)
      const error = calls.fault('GetObject', key, cut ? new TruncatedBody(offset, size) : explained)
      if (offset - failedAt >= PROGRESS_BYTES) failures = 0
      failures += 1
      failedAt = offset
      // A whole body with a wrong checksum was already handed on: asking for the rest cannot mend it.
      const resumable = error.retry === 'backoff' && error.code !== 'E_S3_CHECKSUM'
      if (!resumable || failures >= calls.maxAttempts) throw error
      calls.statistics.retries += 1
      await calls.pause(error, failures, signal)
    } finally {
      guard.release()
      body.destroy()
    }
    answer = await request(offset)
  }
}

/** Node's event interface: an async iterator per small body would cost more than the body. */
function collect(body: Readable, expected: number, guard: Guard): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let received = 0
    const fail = (error: Error) => reject(isReset(error) ? new TruncatedBody(received, expected) : error)
    body.on('data', (chunk: Buffer) => {
      received += chunk.length
      if (received > expected) {
        reject(tooLong(expected))
        body.destroy()
        return
      }
      chunks.push(chunk)
      guard.touch()
    })
    body.on('end', () => {
      if (received !== expected) reject(new TruncatedBody(received, expected))
      else resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, received))
    })
    body.on('error', fail)
    // After `end` this is too late to matter; and an error with its stack is not made for every body.
    body.on('close', () => {
      if (received !== expected) reject(new TruncatedBody(received, expected))
    })
    guard.signal.addEventListener('abort', () => body.destroy(), { once: true })
  })
}

/** Without a Content-Length a body may go on for ever; one that is longer than listed is not the listed object. */
function tooLong(size: number): Error {
  return Object.assign(new Error(`the answer has more than ${size} bytes`), { code: 'WrongLength' })
}

function isReset(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  return code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'EPIPE'
}
