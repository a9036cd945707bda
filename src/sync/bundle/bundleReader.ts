/**
 * Reads a bundle, as hostile input (S1–S3, S10): nothing is extracted by its own name, every byte of the file is either
 * one that the signed manifest vouches for by a digest or one that can only be what it is, and no more is ever made of an
 * entry than its signed size. Whether the keys that signed are trusted is asked elsewhere (trust.ts).
 */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { csvRecords } from '../../core/csv.ts'
import { ColdtrailError } from '../../core/errors.ts'
import { TAR_BLOCK, TAR_END, tarHeader, tarLength, tarSize } from '../../core/tarHeader.ts'
import { type ByteSource, sliceOf } from './byteSource.ts'
import { decrypted, isEncrypted } from './encryption.ts'
import {
  BUNDLE_LIMITS,
  type BundleEntry,
  type BundleManifest,
  epochOf,
  MANIFEST_DOMAIN,
  parseManifest,
  parseSignatures,
  type Signature,
  type SiteKey,
  sha256Hex,
  TOMBSTONE_COLUMNS,
} from './manifest.ts'
import {
  inflateMember,
  longestMember,
  PIECE_BYTES,
  STORED_START,
  storedContent,
  storedLength,
  storedMember,
} from './members.ts'
import { openParts, type PartsLabel } from './parts.ts'

export interface OpenBundleOptions {
  /** Files of age identities, tried in order. */
  readonly identities?: readonly string[]
  /** Directory for the plain bytes of an encrypted bundle: in a file without a name, gone with the process. */
  readonly scratch: string
}

export interface Bundle {
  /** As it was given. */
  readonly path: string
  readonly manifest: BundleManifest
  readonly manifestSha256: string
  /** At least one; each is that of a key of `manifest.keys` over this manifest. Trust in the keys is another matter. */
  readonly signatures: readonly Signature[]
  /** Files that it lies in. */
  readonly parts: number
  readonly encrypted: boolean
  /** Of all of it, plain, not joined with parts' lines. */
  readonly bytes: number
  /** Reads every byte; what it returns from is exactly what was signed. E_BUNDLE_DAMAGED names entry and offset. */
  verify(options?: VerifyBundleOptions): Promise<void>
  /** A whole dump file or report, checked. E_BUNDLE_DAMAGED. */
  read(entry: BundleEntry): Promise<Buffer>
  /** Content in pieces; only at its end is it known to be whole and right: E_BUNDLE_DAMAGED is thrown there at the latest. */
  stream(entry: BundleEntry): AsyncGenerator<Buffer, void, undefined>
  close(): Promise<void>
}

export interface VerifyBundleOptions {
  /** Also that dump files are CSV with the columns and as many records as the manifest says. E_CSV. */
  readonly records?: boolean
  readonly threads?: number
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: { readonly bytes: number; readonly totalBytes: number }) => void
}

/** Joins parts, decrypts, and reads manifest and signatures. E_BUNDLE_*, E_FILE_READ. */
export async function openBundle(path: string, { identities = [], scratch }: OpenBundleOptions): Promise<Bundle> {
  const { source, label, parts } = await openParts(path)
  let plain: ByteSource | undefined
  try {
    const isSecret = await isEncrypted(source)
    plain = isSecret ? await decrypted(path, source, identities, scratch) : source
    const bundle = await openSource(path, plain, label)
    return {
      ...bundle,
      parts,
      encrypted: isSecret,
      async close() {
        await plain!.close()
        if (isSecret) await source.close()
      },
    }
  } catch (error) {
    if (plain !== source) await plain?.close()
    await source.close()
    throw error
  }
}

/** A bundle in plain bytes; `close` closes them. */
export async function openSource(path: string, source: ByteSource, label?: PartsLabel): Promise<Bundle> {
  const damaged = (entry: string, offset: number, reason: string) =>
    new ColdtrailError('E_BUNDLE_DAMAGED', { file: path, entry, offset, reason })

  const first = await readStored(source, 0, 'manifest.json', BUNDLE_LIMITS.manifestBytes)
  if (typeof first === 'string') throw damaged('manifest.json', 0, first)
  const manifest = parseManifest(first.content, path)
  if (typeof manifest === 'string') throw damaged('manifest.json', 0, manifest)
  const mtime = epochOf(manifest.bundle)
  const manifestSha256 = sha256Hex(first.content)
  if (!first.header.equals(tarHeader('manifest.json', first.content.length, mtime)))
    throw damaged('manifest.json', 0, 'its header is not the one that it must have')
  if (label && (label.bundle !== manifest.bundle || label.manifest_sha256 !== manifestSha256))
    throw new ColdtrailError('E_BUNDLE_PARTS', {
      file: path,
      reason: 'what the parts hold is another bundle than they say',
    })

  const second = await readStored(source, first.end, 'manifest.sig', BUNDLE_LIMITS.signatureBytes)
  if (typeof second === 'string') throw damaged('manifest.sig', first.end, second)
  if (!second.header.equals(tarHeader('manifest.sig', second.content.length, mtime)))
    throw damaged('manifest.sig', first.end, 'its header is not the one that it must have')
  const signatures = parseSignatures(second.content)
  if (typeof signatures === 'string') throw damaged('manifest.sig', first.end, signatures)
  requireSigned(path, manifest, Buffer.concat([Buffer.from(MANIFEST_DOMAIN), first.content]), signatures)

  const starts = new Map<BundleEntry, number>()
  let end = second.end
  for (const entry of manifest.entries) {
    starts.set(entry, end)
    end += entry.zbytes
  }
  const last = storedMember(TAR_END)
  const whole = end + last.length
  if (source.size !== whole) {
    const cut = manifest.entries.find((entry) => starts.get(entry)! + entry.zbytes > source.size)
    throw damaged(
      cut?.path ?? 'the end',
      Math.min(source.size, whole),
      source.size < whole
        ? `the file is cut off: it has ${source.size} of ${whole} bytes`
        : `${source.size - whole} bytes follow that belong to nothing`,
    )
  }

  /** Content of an entry, piece by piece; returns when all of it was right. */
  async function* content(entry: BundleEntry): AsyncGenerator<Buffer, void, undefined> {
    const start = starts.get(entry)
    if (start === undefined) throw new ColdtrailError('E_INTERNAL', { message: `${entry.path} is no entry of ${path}` })
    const fault = (at: number, reason: string) => damaged(entry.path, start + at, reason)
    const members = sliceOf(source, start, entry.zbytes)
    const length = tarLength(entry.bytes)
    const digest = createHash('sha256')
    const zdigest = createHash('sha256')
    let window: Buffer = Buffer.alloc(0)
    let windowEnd = 0
    let at = 0
    for (let done = 0; done < length; ) {
      const bytes = Math.min(PIECE_BYTES, length - done)
      if (window.length < longestMember(bytes) && windowEnd < entry.zbytes) {
        window = await members.read(at, WINDOW_BYTES)
        windowEnd = at + window.length
      }
      const member = await inflateMember(window, bytes)
      if (!member) throw fault(at, 'it cannot be inflated to what it must be')
      zdigest.update(window.subarray(0, member.length))
      window = window.subarray(member.length)
      const { piece } = member
      if (done === 0 && !piece.subarray(0, TAR_BLOCK).equals(tarHeader(entry.path, entry.bytes, mtime)))
        throw fault(at, 'its header is not the one that it must have')
      const from = done === 0 ? TAR_BLOCK : 0
      const to = Math.max(from, Math.min(bytes, TAR_BLOCK + entry.bytes - done))
      const part = piece.subarray(from, to)
      if (piece.subarray(to).some((byte) => byte !== 0)) throw fault(at, 'its padding is not empty')
      digest.update(part)
      done += bytes
      at += member.length
      if (done === length) {
        if (at !== entry.zbytes) throw fault(at, `it ends here, and must have ${entry.zbytes} bytes`)
        if (zdigest.digest('hex') !== entry.zsha256) throw fault(0, 'its bytes have not the SHA-256 of the manifest')
        if (digest.digest('hex') !== entry.sha256) throw fault(0, 'its content has not the SHA-256 of the manifest')
      }
      if (part.length > 0) yield part
    }
  }

  async function read(entry: BundleEntry): Promise<Buffer> {
    if (entry.op === 'blob') throw new ColdtrailError('E_INTERNAL', { message: 'a blob is streamed' })
    const bytes = Buffer.allocUnsafe(entry.bytes)
    let at = 0
    for await (const piece of content(entry)) at += piece.copy(bytes, at)
    return bytes
  }

  return {
    path,
    manifest,
    manifestSha256,
    signatures,
    parts: 1,
    encrypted: false,
    bytes: whole,
    async verify({ records = false, threads = availableParallelism(), signal, onProgress } = {}) {
      if (!(await source.read(end, last.length)).equals(last))
        throw damaged('the end', end, 'the archive does not end as it must')
      const totalBytes = manifest.totals.bytes
      let bytes = 0
      let failed = false
      const waiting = manifest.entries[Symbol.iterator]()
      const work = async (): Promise<void> => {
        for (const entry of waiting) {
          if (failed) return
          if (records && (entry.op === 'rows' || entry.op === 'deleted')) {
            requireRecords(path, manifest, entry, await read(entry))
            bytes += entry.bytes
            onProgress?.({ bytes, totalBytes })
          } else {
            for await (const piece of content(entry)) {
              signal?.throwIfAborted()
              bytes += piece.length
              onProgress?.({ bytes, totalBytes })
            }
          }
          signal?.throwIfAborted()
        }
      }
      const settled = await Promise.allSettled(
        Array.from({ length: threads }, () =>
          work().catch((error) => {
            failed = true
            throw error
          }),
        ),
      )
      const fault = settled.find((one) => one.status === 'rejected')
      if (fault) throw fault.reason
    },
    read,
    stream: content,
    close: () => source.close(),
  }
}

/** Id of a public key: the first 32 hex digits of SHA-256 over its SPKI form. */
export const keyIdOf = (spki: Uint8Array): string => sha256Hex(spki).slice(0, 32)

/** The Ed25519 key of a record, or undefined when the record is none: another kind of key, or the id of another one. */
export function publicKeyOf({ id, public_key }: Pick<SiteKey, 'id' | 'public_key'>): KeyObject | undefined {
  const spki = Buffer.from(public_key, 'base64')
  if (spki.toString('base64') !== public_key || keyIdOf(spki) !== id) return undefined
  try {
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    return key.asymmetricKeyType === 'ed25519' ? key : undefined
  } catch {
    return undefined
  }
}

/** Whether a signature in base64 is that of the key over the bytes; one in another spelling is none. */
export function isSignature(key: KeyObject, bytes: Uint8Array, signature: string): boolean {
  const raw = Buffer.from(signature, 'base64')
  return raw.length === 64 && raw.toString('base64') === signature && verify(null, bytes, key, raw)
}

/**
 * Every signature must be right, and of one of the keys, whoever is trusted: one that nobody looks at could be anything.
 * E_BUNDLE_KEY.
 */
export function requireSigned(
  file: string,
  { site, keys: records }: Pick<BundleManifest, 'site' | 'keys'>,
  signed: Uint8Array,
  signatures: readonly Signature[],
): void {
  const refuse = (reason: string) => new ColdtrailError('E_BUNDLE_KEY', { file, site, reason })
  const keys = new Map<string, KeyObject>()
  for (const record of records) {
    const key = publicKeyOf(record)
    if (!key) throw refuse(`the key ${record.id} in its manifest is no Ed25519 key of that id`)
    keys.set(record.id, key)
  }
  for (const { key: id, signature } of signatures) {
    const key = keys.get(id)
    if (!key) throw refuse(`it is signed by ${id}, and its manifest does not have that key`)
    if (!isSignature(key, signed, signature)) throw refuse(`the signature of the key ${id} is not over this manifest`)
  }
}

// --- internal ---

/** Of compressed bytes, read at once: several members. */
const WINDOW_BYTES = 4 * longestMember(PIECE_BYTES)

/** A file that is stored in one member, or why there is none. */
async function readStored(
  source: ByteSource,
  offset: number,
  path: string,
  limit: number,
): Promise<{ readonly header: Buffer; readonly content: Buffer; readonly end: number } | string> {
  const start = await source.read(offset, STORED_START + TAR_BLOCK)
  const header = start.subarray(STORED_START)
  const size = start.length === STORED_START + TAR_BLOCK ? tarSize(header) : undefined
  // Looked at before its size is believed: any other file ends here.
  if (size === undefined || !header.subarray(0, path.length + 1).equals(Buffer.from(`${path}\0`)))
    return 'it is not there: this is no sync bundle, or it is damaged'
  if (size > limit) return `it is longer than ${limit} bytes`
  const length = storedLength(tarLength(size))
  if (source.size - offset < length) return 'the file is cut off inside it'
  const plain = storedContent(await source.read(offset, length), tarLength(size))
  if (!plain) return 'its bytes are not those of a stored gzip member'
  if (plain.subarray(TAR_BLOCK + size).some((byte) => byte !== 0)) return 'its padding is not empty'
  return { header, content: plain.subarray(TAR_BLOCK, TAR_BLOCK + size), end: offset + length }
}

function requireRecords(file: string, { columns }: BundleManifest, entry: BundleEntry, bytes: Buffer): void {
  const { path, op, table, rows } = entry
  const name = `${file}, ${path}`
  let found = 0
  const known = op === 'deleted' ? TOMBSTONE_COLUMNS : columns[table!]!
  for (const _ of csvRecords(bytes, { name, columns: known, maxRecords: rows })) found++
  if (found !== rows)
    throw new ColdtrailError('E_BUNDLE_DAMAGED', {
      file,
      entry: path,
      offset: 0,
      reason: `it has ${found} of ${rows} records`,
    })
}
