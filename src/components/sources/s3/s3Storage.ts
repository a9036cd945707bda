/** A bucket as a place for files that are written once, never overwritten, and read back. */
import type { Readable } from 'node:stream'
import { DeleteObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { ColdtrailError } from '../../../core/errors.ts'
import type { SourceContext } from '../../component.ts'
import type { S3Config } from '../s3.ts'
import { openCalls } from './s3Client.ts'
import { openObject } from './s3Fetch.ts'

export interface S3Storage {
  /**
   * Puts an object where there is none; false where there is one. The service compares the digest before it keeps a
   * byte. `body` is asked for once an attempt.
   */
  put(
    key: string,
    body: () => Readable,
    digest: { readonly size: number; readonly sha256: string },
    signal?: AbortSignal,
  ): Promise<boolean>
  has(key: string, signal?: AbortSignal): Promise<boolean>
  /** The bytes, resumed where a connection breaks; undefined when there is no such object. E_S3_ARCHIVED and others. */
  read(key: string, signal?: AbortSignal): Promise<{ size: number; bytes: AsyncIterable<Uint8Array> } | undefined>
  remove(key: string, signal?: AbortSignal): Promise<void>
  close(): void
}

/** What S3 takes in one request. */
export const MOST_BYTES = 5 * 2 ** 30

export async function createS3Storage(options: S3Config, context: SourceContext): Promise<S3Storage> {
  const calls = await openCalls(options, context)
  const { bucket, requester_pays: requesterPays } = options
  const payer = requesterPays ? ({ RequestPayer: 'requester' } as const) : {}
  const head = async (key: string, signal?: AbortSignal) => {
    try {
      return await calls.run(
        'HeadObject',
        key,
        (client, guard) =>
          client.send(new HeadObjectCommand({ Bucket: bucket, Key: key, ...payer }), { abortSignal: guard.signal }),
        signal,
      )
    } catch (thrown) {
      if (thrown instanceof ColdtrailError && thrown.code === 'E_S3_NO_KEY') return undefined
      throw thrown
    }
  }
  return {
    async put(key, body, { size, sha256 }, signal) {
      if (size > MOST_BYTES)
        throw new ColdtrailError('E_TIER_TOO_LARGE', { path: `s3://${bucket}/${key}`, size, most: MOST_BYTES })
      try {
        await calls.run(
          'PutObject',
          key,
          async (client, guard) => {
            const stream = body()
            stream.on('data', () => guard.touch())
            stream.pause()
            try {
              await client.send(putCommand({ bucket, key, size, sha256, stream, payer }), { abortSignal: guard.signal })
            } finally {
              stream.destroy()
            }
          },
          signal,
        )
        return true
      } catch (thrown) {
        // Somebody, perhaps an attempt of ours whose answer was lost, has put it there.
        if (thrown instanceof ColdtrailError && thrown.code === 'E_S3_CHANGED') return false
        throw thrown
      }
    },
    has: async (key, signal) => (await head(key, signal)) !== undefined,
    async read(key, signal) {
      const found = await head(key, signal)
      if (!found) return undefined
      const size = found.ContentLength ?? 0
      const version = (found.ETag ?? '').replace(/^(?:W\/)?"?|"?$/g, '')
      const lastModified = (found.LastModified?.getTime() ?? 0) * 1000
      const object = { source: `s3://${bucket}`, bucket, key, version, size, lastModified }
      return { size, bytes: await openObject(calls, object, { requesterPays }, signal) }
    },
    async remove(key, signal) {
      await calls.run(
        'DeleteObject',
        key,
        (client, guard) =>
          client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key, ...payer }), { abortSignal: guard.signal }),
        signal,
      )
    },
    close: () => calls.close(),
  }
}

// --- internal ---

function putCommand(object: {
  readonly bucket: string
  readonly key: string
  readonly size: number
  readonly sha256: string
  readonly stream: Readable
  readonly payer: { readonly RequestPayer?: 'requester' }
}): PutObjectCommand {
  const { bucket, key, size, sha256, stream, payer } = object
  const command = new PutObjectCommand({
    ...{ Bucket: bucket, Key: key, Body: stream, ContentLength: size, IfNoneMatch: '*' },
    ChecksumSHA256: Buffer.from(sha256, 'hex').toString('base64'),
    ...payer,
  })
  // The digest is known: the stream need not be read twice to sign it, and the service refuses other bytes.
  command.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { headers: Record<string, string> }
      request.headers['x-amz-content-sha256'] = sha256
      return next(args)
    },
    { name: 'knownDigest', step: 'build', priority: 'low' },
  )
  return command
}
