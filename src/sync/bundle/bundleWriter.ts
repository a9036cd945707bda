/**
 * Writes a bundle: entries are compressed once, in parallel, into a temporary file; at the end the manifest that lists
 * them is put before them. Bytes: docs/design.md §12.
 */
import { createHash, hash, randomBytes } from 'node:crypto'
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { ColdtrailError } from '../../core/errors.ts'
import { TAR_END, tarHeader, tarPadding } from '../../core/tarHeader.ts'
import type { Table } from '../../library/model.ts'
import { attempt, createDurableFile, makeDirectory } from '../../platform/files.ts'
import { type Bundle, openSource } from './bundleReader.ts'
import { type ByteSource, bytesSource, fileBytes, fileSource, joined, piecesOf } from './byteSource.ts'
import { encrypted, readRecipients, unnamedFile } from './encryption.ts'
import {
  BUNDLE_LIMITS,
  type BundleEntry,
  type BundleManifest,
  entryPath,
  epochOf,
  MANIFEST_DOMAIN,
  parseManifest,
  serializeManifest,
  serializeSignatures,
  sha256Hex,
} from './manifest.ts'
import { deflatedMember, PIECE_BYTES, storedMember } from './members.ts'
import { MIN_PART_BYTES, writeParts } from './parts.ts'

/** Who signs: a key of the site (siteKeys.ts), or one that was given. */
export interface Signer {
  readonly id: string
  /** Base64, Ed25519. */
  sign(bytes: Uint8Array): string
}

export interface BundleWriterOptions {
  /** For temporary files: as large as the bundle. Not the medium. */
  readonly directory: string
  /** `bundleName`. */
  readonly name: string
  /** Pieces compressed at once; by default one per core. */
  readonly threads?: number
}

/** One dump file: header line and whole records, at most BUNDLE_LIMITS.rows and dataBytes. */
export interface DumpFile {
  readonly bytes: Buffer
  readonly rows: number
}

export interface FinishOptions {
  /** Entries and totals are added. `keys` must have those of all signers. */
  readonly manifest: Omit<BundleManifest, 'entries' | 'totals'>
  readonly signers: readonly Signer[]
  /** Directory of the bundle; made when it is missing. */
  readonly target: string
  /** Largest size of a file in bytes; without it there is one file. */
  readonly splitSize?: number
  /** `age1…` or files of them; none: not encrypted. */
  readonly recipients?: readonly string[]
  /** Reads the finished bundle back, before it is encrypted and before it has a name. What it throws leaves no bundle. */
  inspect?(bundle: Bundle): Promise<void>
}

export interface WrittenBundle {
  /** One, or all parts. */
  readonly files: readonly string[]
  readonly manifest: BundleManifest
  readonly manifestSha256: string
  /** Of all files together. */
  readonly bytes: number
}

export interface BundleWriter {
  /** Entries so far. */
  readonly entries: readonly Omit<BundleEntry, 'zbytes' | 'zsha256'>[]
  /** Dump files of a table, numbered as they come. */
  addRows(table: Table, op: 'rows' | 'deleted', files: AsyncIterable<DumpFile> | Iterable<DumpFile>): Promise<void>
  /** E_BLOB_DIGEST when the file has not that digest. */
  addBlob(sha256: string, path: string): Promise<void>
  addReport(name: 'report.txt' | 'report.json', text: string): Promise<void>
  finish(options: FinishOptions): Promise<WrittenBundle>
  /** Ends without a bundle. After `finish` it does nothing. */
  discard(): void
}

export function createBundleWriter({ directory, name, threads }: BundleWriterOptions): BundleWriter {
  makeDirectory(directory)
  const temporary = join(directory, `.${name}-${randomBytes(4).toString('hex')}.entries`)
  const descriptor = attempt(temporary, () => openSync(temporary, 'wx', 0o600))
  const most = threads ?? availableParallelism()
  const mtime = epochOf(name)
  const entries: AddedEntry[] = []
  const numbers = new Map<string, number>()
  const queue: { readonly member: Promise<Buffer>; readonly of: Members }[] = []
  let isOpen = true
  /** What ended an entry in the middle: there can be no bundle any more. */
  let broken: unknown
  let turn: Promise<unknown> = Promise.resolve()

  /** Entries do not mix, whoever calls at once. */
  const inTurn = <T>(action: () => Promise<T>): Promise<T> => {
    const result = turn.then(() => {
      if (broken !== undefined) throw broken
      if (!isOpen) throw new ColdtrailError('E_INTERNAL', { message: 'the bundle is finished' })
      return action()
    })
    turn = result.catch((error) => {
      broken ??= error
    })
    return result
  }

  async function writeNext(): Promise<void> {
    const { member, of } = queue.shift()!
    const bytes = await member
    attempt(temporary, () => {
      for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at)
    })
    of.zbytes += bytes.length
    of.zdigest.update(bytes)
  }

  async function addPiece(piece: Buffer, of: Members): Promise<void> {
    const member = deflatedMember(piece)
    // Its fault is thrown when it is its turn.
    member.catch(() => undefined)
    queue.push({ member, of })
    while (queue.length > most * AHEAD) await writeNext()
  }

  /** `content` may come in pieces of any size; `sha256` is asked when it has come. */
  async function add(
    fields: Omit<AddedEntry, 'sha256' | 'members'>,
    content: AsyncIterable<Buffer> | Iterable<Buffer>,
    sha256: () => string,
  ): Promise<void> {
    if (entries.length >= BUNDLE_LIMITS.entries)
      throw new ColdtrailError('E_USAGE', {
        message: `A bundle holds at most ${BUNDLE_LIMITS.entries} files: choose a smaller window.`,
      })
    const members: Members = { zbytes: 0, zdigest: createHash('sha256') }
    let waiting: Buffer[] = [tarHeader(fields.path, fields.bytes, mtime)]
    let length = waiting[0]!.length
    const put = async (bytes: Buffer): Promise<void> => {
      for (let at = 0; at < bytes.length; ) {
        const part = bytes.subarray(at, at + PIECE_BYTES - length)
        waiting.push(part)
        length += part.length
        at += part.length
        if (length < PIECE_BYTES) continue
        await addPiece(waiting.length === 1 ? waiting[0]! : Buffer.concat(waiting), members)
        waiting = []
        length = 0
      }
    }
    for await (const bytes of content) await put(bytes)
    await put(Buffer.alloc(tarPadding(fields.bytes)))
    if (length > 0) await addPiece(Buffer.concat(waiting), members)
    entries.push({ ...fields, sha256: sha256(), members })
  }

  const discard = (): void => {
    if (isOpen) closeSync(descriptor)
    isOpen = false
    rmSync(temporary, { force: true })
  }

  return {
    entries,
    async addRows(table, op, files) {
      const key = `${op} ${table.name}`
      for await (const { bytes, rows } of files)
        await inTurn(() => {
          if (bytes.length > BUNDLE_LIMITS.dataBytes || rows > BUNDLE_LIMITS.rows)
            throw new ColdtrailError('E_INTERNAL', { message: `a dump file of ${table.name} is too large` })
          const number = (numbers.get(key) ?? 0) + 1
          numbers.set(key, number)
          const path = entryPath[op](table.name, number)
          return add({ path, op, table: table.name, rows, bytes: bytes.length }, [bytes], () => sha256Hex(bytes))
        })
    },
    addBlob: (sha256, path) =>
      inTurn(async () => {
        const source = await fileSource(path)
        const bytes = source.size
        await source.close()
        if (bytes > BUNDLE_LIMITS.blobBytes)
          throw new ColdtrailError('E_USAGE', {
            message: `The file ${sha256} has ${bytes} bytes, and one in a bundle at most ${BUNDLE_LIMITS.blobBytes}: leave its type out with --ignore-file-types.`,
          })
        const digest = createHash('sha256')
        let seen = 0
        async function* content() {
          for await (const piece of fileBytes(path, PIECE_BYTES)) {
            seen += piece.length
            // It grows: the header has said how long it is.
            if (seen > bytes) break
            digest.update(piece)
            yield piece
          }
          const found = seen === bytes ? digest.digest('hex') : `a file of ${seen} bytes that was ${bytes} before`
          if (found !== sha256) throw new ColdtrailError('E_BLOB_DIGEST', { expected: sha256, found })
        }
        await add({ path: entryPath.blob(sha256), op: 'blob', bytes }, content(), () => sha256)
      }),
    addReport: (path, text) =>
      inTurn(() => {
        const bytes = Buffer.from(text)
        return add({ path, op: 'report', bytes: bytes.length }, [bytes], () => sha256Hex(bytes))
      }),
    finish: ({ manifest: given, signers, target, splitSize, recipients = [], inspect }) =>
      inTurn(async () => {
        const ages = requireDeliverable({ splitSize, recipients })
        const opened: ByteSource[] = []
        try {
          while (queue.length > 0) await writeNext()
          const manifest = withEntries(given, entries)
          const bytes = serializeManifest(manifest)
          const checked = bytes.length > BUNDLE_LIMITS.manifestBytes ? 'it is too long' : parseManifest(bytes, name)
          if (typeof checked === 'string')
            throw new ColdtrailError('E_INTERNAL', { message: `the manifest of ${name} is refused: ${checked}` })
          const stranger = signers.find(({ id }) => !manifest.keys.some((key) => key.id === id))
          if (signers.length === 0 || stranger)
            throw new ColdtrailError('E_INTERNAL', { message: `the keys of ${name} lack that of its signer` })
          const signed = Buffer.concat([Buffer.from(MANIFEST_DOMAIN), bytes])
          const signatures = signers.map((signer) => ({ key: signer.id, signature: signer.sign(signed) }))
          const members = await fileSource(temporary)
          opened.push(members)
          const whole = joined([
            bytesSource(storedFile('manifest.json', bytes, mtime)),
            bytesSource(storedFile('manifest.sig', serializeSignatures(signatures), mtime)),
            members,
            bytesSource(storedMember(TAR_END)),
          ])
          if (inspect) {
            const bundle = await openSource(name, { ...whole, close: async () => undefined })
            await inspect(bundle)
          }
          const manifestSha256 = hash('sha256', bytes)
          makeDirectory(target)
          const path = join(target, `${name}.tar.gz${ages.length > 0 ? '.age' : ''}`)
          const label = { bundle: name, manifest_sha256: manifestSha256 }
          if (splitSize === undefined) {
            const size = await writeWhole(path, ages.length > 0 ? encrypted(whole, ages) : piecesOf(whole))
            return { files: [path], manifest, manifestSha256, bytes: size }
          }
          let content: ByteSource = whole
          if (ages.length > 0) {
            content = await unnamedFile(directory, encrypted(whole, ages), (_at, error) => error as Error)
            opened.push(content)
          }
          const files = await writeParts(path, content, splitSize, label)
          return { files, manifest, manifestSha256, bytes: await sizeOf(files) }
        } finally {
          for (const source of opened) await source.close()
          discard()
        }
      }),
    discard,
  }
}

/** What can be known before anything is exported; returns the recipients as `age1…`. E_USAGE, E_SYNC_RECIPIENT. */
export function requireDeliverable({
  splitSize,
  recipients = [],
}: Pick<FinishOptions, 'splitSize' | 'recipients'>): string[] {
  if (splitSize !== undefined && splitSize < MIN_PART_BYTES)
    throw new ColdtrailError('E_USAGE', { message: `--split-size is at least ${MIN_PART_BYTES} bytes.` })
  return readRecipients(recipients)
}

// --- internal ---

/** Pieces a thread has before it: the threads go on while the next rows are read, which holds this thread up. */
const AHEAD = 8

/** Sums over the members of an entry: whole when all of them are written. */
interface Members {
  zbytes: number
  readonly zdigest: ReturnType<typeof createHash>
}

interface AddedEntry extends Omit<BundleEntry, 'zbytes' | 'zsha256'> {
  readonly members: Members
}

/** A tar header, a file and its padding as one stored member. */
function storedFile(path: string, bytes: Buffer, mtime: number): Buffer {
  return storedMember(
    Buffer.concat([tarHeader(path, bytes.length, mtime), bytes, Buffer.alloc(tarPadding(bytes.length))]),
  )
}

function withEntries(given: FinishOptions['manifest'], added: readonly AddedEntry[]): BundleManifest {
  const entries = added.map(({ members: { zbytes, zdigest }, ...entry }) => ({
    ...entry,
    zbytes,
    zsha256: zdigest.digest('hex'),
  }))
  const sum = (op: BundleEntry['op']) =>
    entries.reduce((all, entry) => all + (entry.op === op ? (entry.rows ?? 0) : 0), 0)
  const totals = {
    rows: sum('rows'),
    deleted: sum('deleted'),
    blobs: entries.filter(({ op }) => op === 'blob').length,
    bytes: entries.reduce((all, { bytes }) => all + bytes, 0),
  }
  return { ...given, entries, totals }
}

async function writeWhole(path: string, bytes: AsyncIterable<Uint8Array>): Promise<number> {
  const file = createDurableFile(path)
  try {
    for await (const piece of bytes) file.write(piece)
    file.publish()
    return file.size
  } catch (error) {
    file.discard()
    throw error
  }
}

async function sizeOf(paths: readonly string[]): Promise<number> {
  let size = 0
  for (const path of paths) {
    const source = await fileSource(path)
    size += source.size
    await source.close()
  }
  return size
}
