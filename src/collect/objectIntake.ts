/** One object's way in a worker: fetch, decode, detect, parse, into a segment. */
import { createHash, hash } from 'node:crypto'
import type { Source } from '../components/source.ts'
import type { Formatters } from '../components/timeline/formatters.ts'
import { ColdtrailError } from '../core/errors.ts'
import type { SourceObject } from '../core/sourceObject.ts'
import type { SessionRow } from '../store/segment.ts'
import { type Codec, type DecodeLimits, decodeStream, decodeWhole, promisedCodec, WHOLE_BYTES } from './decode.ts'
import { detectFormat, PROBE_BYTES, partitionDay } from './detect.ts'
import type { OpenSegments } from './openSegments.ts'
import { type Item, NO_INPUT, type TaskCounts } from './tasks.ts'

/** What an object came to, when it did not come into a segment. */
export type Passed = { readonly skipped: string } | 'same' | undefined

export interface IntakeOptions {
  readonly segments: OpenSegments
  readonly limits: DecodeLimits
  /** Folder for scratch files. */
  readonly scratch?: string
  /** Of the user's own plaso. */
  readonly formatters?: Formatters
  /** Report every string of a record, for the keyset. */
  readonly observe: boolean
  /** Whether this local file's bytes were collected before. */
  isSame(item: Item, sha256: string): Promise<boolean>
  /** A sign of life from within a long object. */
  alive(): void
}

export class ObjectIntake {
  private readonly options: IntakeOptions

  constructor(options: IntakeOptions) {
    this.options = options
  }

  /** Throws typed errors of the source, E_OBJECT_*, faults of the store, and BrokenSegment. */
  async take(item: Item, source: Source, counts: TaskCounts, signal: AbortSignal): Promise<Passed> {
    try {
      return await this.taken(item, source, counts, signal)
    } catch (error) {
      if (/\.plaso$/i.test(item.object.key) && error instanceof ColdtrailError && error.values.codec === 'zip') {
        const cause = 'it is a zip archive, as plaso wrote before 2017; process its source again with a newer plaso'
        throw new ColdtrailError('E_OBJECT_SQLITE', { cause }, { cause: error })
      }
      throw error
    }
  }

  // --- internal ---

  private async taken(item: Item, source: Source, counts: TaskCounts, signal: AbortSignal): Promise<Passed> {
    const { object } = item
    const started = performance.now()
    if (object.size > WHOLE_BYTES) return this.takeStream(item, await source.open(object, signal), counts)
    if (object.size > 0) {
      const received = await source.read(object, signal)
      counts.fetchMilliseconds += performance.now() - started
      return this.takeWhole(item, received, counts)
    }
    // Standard input: its size shows only when it has been read.
    const bytes = (await source.open(object, signal))[Symbol.asyncIterator]()
    const first: Uint8Array[] = []
    let length = 0
    while (length <= WHOLE_BYTES) {
      const next = await bytes.next()
      if (next.done && length === 0) return { skipped: NO_INPUT }
      if (next.done) return this.takeWhole(item, Buffer.concat(first), counts)
      first.push(next.value)
      length += next.value.length
    }
    return this.takeStream(item, chain(first, bytes), counts)
  }

  private async takeWhole(item: Item, received: Buffer, counts: TaskCounts): Promise<Passed> {
    const { object, number } = item
    const { segments, limits, observe, formatters } = this.options
    const arrived = Date.now() * 1000
    let started = performance.now()
    const { codec, decoded } = decodeWhole(received, limits)
    if (decoded === undefined) return this.takeStream(item, chain([received]), counts)
    const detected = detectFormat(decoded, object.key)
    if ('noise' in detected) return { skipped: detected.noise }
    const sha256_received = hash('sha256', received)
    const sha256_decoded = decoded === received ? sha256_received : hash('sha256', decoded)
    counts.parseMilliseconds += performance.now() - started
    if (isLocal(object) && item.replaces && (await this.options.isSame(item, sha256_received))) return 'same'

    const { format } = detected
    const day = partitionDay(object.key, format, decoded, object.lastModified)
    await segments.write(format, day, number, (writer) => {
      started = performance.now()
      writer.beginSession(object, { received: arrived, codec })
      writer.appendReceived(received)
      const parser = format.open(writer.sink, { observe, formatters, lastModified: object.lastModified })
      parser.push(decoded)
      const { records, header } = parser.end()
      const session = writer.endSession({
        version: versionOf(object, sha256_received),
        size: received.length,
        sha256_received,
        sha256_decoded,
        decoded_size: decoded.length,
        records,
        header,
      })
      counts.parseMilliseconds += performance.now() - started
      count(counts, object, codec, session)
    })
  }

  /** An object of any size in bounded memory, into a segment of its own, which is dropped whole when the object fails. */
  private async takeStream(item: Item, bytes: AsyncIterable<Uint8Array>, counts: TaskCounts): Promise<Passed> {
    const { object, number } = item
    const { segments, limits, scratch, observe, formatters } = this.options
    const arrived = Date.now() * 1000
    const started = performance.now()
    const receivedHash = createHash('sha256')
    const decodedHash = createHash('sha256')
    let size = 0
    let decodedSize = 0
    // The pack takes the bytes as they arrive; until the format is known they wait here.
    let early: Uint8Array[] = []
    let append = (chunk: Uint8Array): void => void early.push(chunk)
    const tapped = tap(bytes, (chunk) => {
      receivedHash.update(chunk)
      size += chunk.length
      append(chunk)
      this.options.alive()
    })
    const { codec, decoded, beginning } = await decodeStream(tapped, object.size, limits, scratch)
    // Of a container nothing comes before all of it was received, and that is not for memory.
    const { head, rest } = beginning ? { head: beginning, rest: decoded } : await headOf(decoded)
    const detected = detectFormat(head, object.key)
    if ('noise' in detected) return { skipped: detected.noise }

    const { format } = detected
    const day = partitionDay(object.key, format, head, object.lastModified)
    const segment = await segments.openLarge(format, day, number)
    const { writer } = segment
    try {
      writer.beginSession(object, { received: arrived, codec })
      append = (chunk) => segment.attempt(() => writer.appendReceived(chunk))
      for (const chunk of early) append(chunk)
      early = []
      const parser = format.open(writer.sink, { observe, formatters, lastModified: object.lastModified })
      for await (const chunk of rest) {
        decodedHash.update(chunk)
        decodedSize += chunk.length
        segment.attempt(() => parser.push(chunk))
        this.options.alive()
      }
      const sha256_received = receivedHash.digest('hex')
      if (isLocal(object) && item.replaces && (await this.options.isSame(item, sha256_received))) {
        segment.drop()
        return 'same'
      }
      segment.attempt(() => {
        const session = writer.endSession({
          version: versionOf(object, sha256_received),
          size,
          sha256_received,
          sha256_decoded: decodedHash.digest('hex'),
          decoded_size: decodedSize,
          ...parser.end(),
        })
        counts.parseMilliseconds += performance.now() - started
        count(counts, object, codec, session)
      })
    } catch (error) {
      segment.drop()
      throw error
    }
    segment.commit()
  }
}

/** Files are told by stat until their bytes were read; then the digest is their version. */
function isLocal(object: SourceObject): boolean {
  return object.source.startsWith('file:')
}

function versionOf(object: SourceObject, sha256: string): string {
  return isLocal(object) ? `sha256:${sha256}` : object.version
}

function count(counts: TaskCounts, object: SourceObject, codec: Codec, session: SessionRow): void {
  counts.objects += 1
  counts.received += session.size
  counts.decoded += session.decoded_size
  counts.events += session.events
  counts.rejects += session.rejects
  const promised = promisedCodec(object.key) ?? 'plain'
  if (promised !== codec) counts.mislabelled += 1
}

async function* tap<T>(items: AsyncIterable<T>, see: (item: T) => void): AsyncGenerator<T> {
  for await (const item of items) {
    see(item)
    yield item
  }
}

async function* chain(first: readonly Uint8Array[], rest?: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* first
  if (!rest) return
  try {
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value
  } finally {
    await rest.return?.()
  }
}

/** The first PROBE_BYTES or what there is, and the whole. */
async function headOf(bytes: AsyncIterable<Buffer>): Promise<{ head: Buffer; rest: AsyncIterable<Buffer> }> {
  const iterator = bytes[Symbol.asyncIterator]()
  const first: Buffer[] = []
  let length = 0
  while (length < PROBE_BYTES) {
    const next = await iterator.next()
    if (next.done) break
    first.push(next.value)
    length += next.value.length
  }
  const head = Buffer.concat(first)
  const whole = async function* () {
    try {
      if (head.length > 0) yield head
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value
    } finally {
      await iterator.return?.()
    }
  }
  return { head, rest: whole() }
}
