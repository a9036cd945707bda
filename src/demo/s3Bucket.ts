/**
 * The objects of one bucket of the embedded S3 server. A body is a Buffer or a function that gives it when asked, so
 * 100,000 objects cost an entry each and no bodies. Keys are listed in UTF-8 byte order, as S3 does.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

export interface StoredObject {
  readonly key: string
  readonly size: number
  /** With its quotes, as on the wire. */
  readonly etag: string
  /** Milliseconds since 1970; S3 shows whole seconds in headers. */
  readonly lastModified: number
  readonly storageClass?: string
  /** An archived object that can be read for the time being. */
  readonly restored?: boolean
  /** Base64 CRC-32 that a GET offers in checksum mode. */
  readonly checksumCrc32?: string
  body(): Buffer
}

export interface PutOptions {
  readonly lastModified?: number
  readonly storageClass?: string
  readonly restored?: boolean
  /** Keep a CRC-32 of the body beside it; a text is kept as given, even if wrong. */
  readonly checksum?: boolean | string
}

export interface ListQuery {
  readonly prefix: string
  readonly delimiter: string
  /** Keys (and common prefixes) at or below this one are left out. */
  readonly after: string
  readonly maxKeys: number
}

export interface ListPage {
  readonly objects: readonly StoredObject[]
  readonly commonPrefixes: readonly string[]
  /** The last key or common prefix of a page that has a successor. */
  readonly next?: string
}

export class Bucket {
  readonly name: string
  readonly region: string
  readonly requesterPays: boolean
  readonly #objects = new Map<string, StoredObject>()
  #sorted: string[] = []
  #stale = false

  constructor(name: string, options: { readonly region?: string; readonly requesterPays?: boolean } = {}) {
    this.name = name
    this.region = options.region ?? 'us-east-1'
    this.requesterPays = options.requesterPays ?? false
  }

  get size(): number {
    return this.#objects.size
  }

  put(key: string, body: Buffer | string, options: PutOptions = {}): StoredObject {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    const { checksum, ...rest } = options
    return this.putLazy(key, {
      size: bytes.length,
      etag: createHash('md5').update(bytes).digest('hex'),
      body: () => bytes,
      ...rest,
      ...(checksum === true && { checksumCrc32: crc32Text(bytes) }),
      ...(typeof checksum === 'string' && { checksumCrc32: checksum }),
    })
  }

  /** An object whose body is made when it is fetched; `size` and `etag` must be true of what `body` returns. */
  putLazy(
    key: string,
    object: Omit<StoredObject, 'key' | 'lastModified' | 'etag'> & {
      readonly etag: string
      readonly lastModified?: number
    },
  ): StoredObject {
    const stored = { ...object, key, etag: `"${object.etag}"`, lastModified: object.lastModified ?? Date.now() }
    if (!this.#objects.has(key)) {
      this.#sorted.push(key)
      this.#stale = true
    }
    this.#objects.set(key, stored)
    return stored
  }

  /** Every file below a folder under its relative path, read when fetched; the ETag is of size and mtime. */
  putDirectory(root: string, prefix = ''): void {
    for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      const path = join(entry.parentPath, entry.name)
      const relative = path.slice(root.length).replace(/^\/+/, '')
      const { size, mtimeMs } = statSync(path)
      this.putLazy(prefix + relative, {
        size,
        lastModified: mtimeMs,
        etag: createHash('md5').update(`${relative}\n${size}\n${mtimeMs}`).digest('hex'),
        body: () => readFileSync(path),
      })
    }
  }

  get(key: string): StoredObject | undefined {
    return this.#objects.get(key)
  }

  delete(key: string): void {
    if (this.#objects.delete(key)) this.#sorted = this.#sorted.filter((other) => other !== key)
  }

  list({ prefix, delimiter, after, maxKeys }: ListQuery): ListPage {
    const keys = this.#keys()
    const objects: StoredObject[] = []
    const commonPrefixes: string[] = []
    let last = ''
    let at = firstIndex(keys, (key) => compareKeys(key, prefix) >= 0)
    if (after !== '')
      at = Math.max(
        at,
        firstIndex(keys, (key) => compareKeys(key, after) > 0),
      )
    while (at < keys.length && keys[at]!.startsWith(prefix)) {
      const key = keys[at]!
      const cut = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
      const group = cut < 0 ? undefined : key.slice(0, cut + delimiter.length)
      if (group !== undefined && after !== '' && compareKeys(group, after) <= 0) {
        at = firstIndex(keys, (other) => !other.startsWith(group), at)
        continue
      }
      if (objects.length + commonPrefixes.length >= maxKeys) return { objects, commonPrefixes, next: last }
      if (group === undefined) {
        objects.push(this.#objects.get(key)!)
        at += 1
      } else {
        commonPrefixes.push(group)
        at = firstIndex(keys, (other) => !other.startsWith(group), at)
      }
      last = group ?? key
    }
    return { objects, commonPrefixes }
  }

  #keys(): readonly string[] {
    if (this.#stale) this.#sorted.sort(compareKeys)
    this.#stale = false
    return this.#sorted
  }
}

export function crc32Text(bytes: Buffer): string {
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE(crc32(bytes))
  return checksum.toString('base64')
}

/** UTF-8 byte order on JavaScript strings: surrogates sort above all other code units. */
export function compareKeys(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length)
  for (let at = 0; at < shorter; at += 1) {
    const left = a.charCodeAt(at)
    const right = b.charCodeAt(at)
    if (left !== right) return rank(left) - rank(right)
  }
  return a.length - b.length
}

// --- internal ---

function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit
}

/** The first index from `low` on whose key satisfies a test that stays true once it is true. */
function firstIndex(keys: readonly string[], test: (key: string) => boolean, low = 0): number {
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (test(keys[middle]!)) high = middle
    else low = middle + 1
  }
  return low
}
