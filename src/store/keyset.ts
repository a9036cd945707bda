/**
 * `keyset.ks`: the sorted 48-bit keyed hashes of what a segment (or, merged, a month) holds: one section per observable
 * type of `obs/1` and one per indexed event column, so that hunts and `column == 'x'` are answered when the data have
 * left.
 * Integers are little-endian. docs/design.md repeats this table.
 *
 *     0  4  "CTKS"
 *     4  2  format version, 1
 *     6  2  number of sections S
 *     8  4  header length H: the first section's body begins there
 *    12  4  CRC-32 of the bytes [16, H)
 *    16     three texts, each 1 byte length and UTF-8: extractor (`obs/1`), key epoch, key id
 *           S section entries, in the order of their bodies; the observables by number, then the columns by name:
 *              1  observable type number; 0: a column
 *              1  flags: bit 0 complete
 *             1+  length and name: the type's name, or `=` and the column's name
 *             1+  length and reason why it is not complete; empty when it is
 *              4  number of keys N
 *              4  length of the body
 *              4  CRC-32 of the body
 *     H     the bodies, one after another, to the file's end. A body: keys ascending and distinct, in blocks of 256
 *              10 bytes a block: 6 its first key, 4 where its deltas begin, counted from the end of these entries
 *              the differences of the other keys to their predecessors as LEB128, block after block
 *
 * A key is SipHash-2-4 over the type number (0 in columns) and the value's UTF-8, its lower 48 bits.
 */
import { hash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { ColdtrailError } from '../core/errors.ts'
import {
  EXTRACTOR,
  endsAtCut,
  lastLabel,
  NON_ASCII_MARK,
  normalize,
  OBSERVABLE_TYPES,
  type ObservableType,
  stemOf,
} from '../core/observables.ts'
import { HASH48_LIMIT, type SipKey, sipHash48, sipKey } from '../core/sipHash.ts'
import type { KeysetKey } from './keysetKeys.ts'

export const KEYSET_FORMAT = 1

/** A section: an observable type or `=` and the name of an event column. */
export type SectionName = ObservableType | `=${string}`

/** `possible`: the key is there (1 in 2^48 per key by chance). `unknown`: no key, coverage or form to say anything. */
export type KeysetVerdict = 'absent' | 'possible' | 'unknown'

export interface KeysetSection {
  readonly name: SectionName
  readonly complete: boolean
  /** Why it is not complete; empty when it is. */
  readonly reason: string
  /** Ascending, distinct. */
  readonly keys: Float64Array
}

export interface KeysetContent {
  readonly extractor: string
  readonly epoch: string
  readonly keyId: string
  readonly sections: readonly KeysetSection[]
}

/** Collects keys while a segment is open. */
export class KeysetBuilder {
  private readonly key: Pick<KeysetKey, 'epoch' | 'id'>
  private readonly byType: SectionBuilder[] = []
  private readonly byColumn = new Map<string, SectionBuilder>()

  /** Sections exist from the start: an empty one that is complete proves absence. */
  constructor(options: {
    readonly key: Pick<KeysetKey, 'epoch' | 'id'>
    readonly columns: readonly string[]
    /** Distinct keys of one section; beyond, the section is not complete. */
    readonly maxKeys?: number
  }) {
    this.key = options.key
    const maxKeys = options.maxKeys ?? MAX_KEYS
    for (const [name, number] of Object.entries(OBSERVABLE_TYPES)) {
      this.byType[number] = new SectionBuilder(name as ObservableType, maxKeys)
    }
    for (const column of options.columns) this.byColumn.set(column, new SectionBuilder(`=${column}`, maxKeys))
  }

  /** `type`: a number of OBSERVABLE_TYPES. */
  add(type: number, hash48: number): void {
    this.byType[type]!.add(hash48)
  }
  addColumn(column: string, hash48: number): void {
    this.byColumn.get(column)!.add(hash48)
  }

  /** Something was not seen: no section (or this one) may claim absence any more. The first reason stays. */
  incomplete(reason: string, section?: SectionName): void {
    for (const builder of this.sections) if (section === undefined || builder.name === section) builder.spoil(reason)
  }

  finish(): KeysetContent {
    const { epoch, id } = this.key
    return { extractor: EXTRACTOR, epoch, keyId: id, sections: ordered(this.sections.map((s) => s.finish())) }
  }

  private get sections(): SectionBuilder[] {
    return [...this.byType.filter((builder) => builder !== undefined), ...this.byColumn.values()]
  }
}

/** The key of a column's exact value. */
export const columnHash = (key: SipKey, bytes: Uint8Array, start: number, end: number): number =>
  sipHash48(key, 0, bytes, start, end)

/** What a manifest says of a keyset. */
export function describeKeyset(content: KeysetContent): {
  bits: 48
  epoch: string
  key: string
  extractor: string
  n: Record<string, number>
  complete: boolean
  reason?: string
} {
  const lacking = content.sections.find((section) => !section.complete)
  return {
    bits: 48,
    epoch: content.epoch,
    key: content.keyId,
    extractor: content.extractor,
    n: Object.fromEntries(content.sections.map(({ name, keys }) => [name, keys.length])),
    complete: lacking === undefined,
    ...(lacking ? { reason: `${lacking.name}: ${lacking.reason}` } : {}),
  }
}

export function encodeKeyset(content: KeysetContent): Buffer {
  const bodies = content.sections.map((section) => encodeBody(section.keys))
  const head: Buffer[] = [shortText(content.extractor), shortText(content.epoch), shortText(content.keyId)]
  content.sections.forEach((section, i) => {
    const sizes = Buffer.alloc(12)
    sizes.writeUInt32LE(section.keys.length, 0)
    sizes.writeUInt32LE(bodies[i]!.length, 4)
    sizes.writeUInt32LE(crc32(bodies[i]!), 8)
    const flags = Buffer.from([typeNumber(section.name), section.complete ? COMPLETE : 0])
    head.push(flags, shortText(section.name), shortText(section.reason), sizes)
  })
  const described = Buffer.concat(head)
  const fixed = Buffer.alloc(FIXED_BYTES)
  fixed.write(MAGIC, 0, 'latin1')
  fixed.writeUInt16LE(KEYSET_FORMAT, 4)
  fixed.writeUInt16LE(content.sections.length, 6)
  fixed.writeUInt32LE(FIXED_BYTES + described.length, 8)
  fixed.writeUInt32LE(crc32(described), 12)
  return Buffer.concat([fixed, described, ...bodies])
}

/** An opened keyset; blocks are decoded only where a lookup lands. Methods throw E_KEYSET_CORRUPT. */
export class Keyset {
  readonly extractor: string
  readonly epoch: string
  readonly keyId: string
  private readonly where: string
  private readonly opened: ReadonlyMap<string, OpenSection>

  /** Use `openKeyset`. */
  constructor(where: string, header: Omit<KeysetContent, 'sections'>, sections: readonly OpenSection[]) {
    this.where = where
    this.extractor = header.extractor
    this.epoch = header.epoch
    this.keyId = header.keyId
    this.opened = new Map(sections.map((section) => [section.name, section]))
  }

  /** `reason`: why it is not complete; empty when it is. */
  get sections(): readonly (Omit<KeysetSection, 'keys'> & { readonly count: number })[] {
    return [...this.opened.values()]
  }

  /** Whether a section holds this hash; false for a section that is not there. */
  has(section: SectionName, hash48: number): boolean {
    const opened = this.opened.get(section)
    if (!opened || opened.count === 0 || hash48 < firstKey(opened, 0)) return false
    const block = blockOf(opened, hash48)
    return SCRATCH[decodeBlock(this.where, opened, block, SCRATCH, 0, hash48) - 1] === hash48
  }

  /**
   * Whether what the keyset covers can hold a value: of a column its exact text, of an observable type any spelling
   * that `normalize` takes. Never a false `absent`.
   */
  contains(section: SectionName, value: string, key: KeysetKey | undefined): KeysetVerdict {
    if (!key || key.id !== this.keyId) return 'unknown'
    const sip = schedule(key.key)
    if (section.startsWith('=')) return this.probe(section, value, sip)
    if (this.extractor !== EXTRACTOR) return 'unknown'
    const type = section as ObservableType
    const canonical = normalize(type, value)
    if (canonical === undefined) return 'unknown'
    const found = this.probe(type, canonical, sip)
    return found === 'absent' ? this.confirmAbsent(type, canonical, sip) : found
  }

  /** All keys of a section, ascending; undefined when there is no such section. */
  keys(section: SectionName): Float64Array | undefined {
    const opened = this.opened.get(section)
    if (!opened) return undefined
    const keys = new Float64Array(opened.count)
    for (let block = 0, at = 0; block < opened.blocks; block++) at += decodeBlock(this.where, opened, block, keys, at)
    return keys
  }

  /** Keys of a section from `first` up to `end`, ascending; only their blocks are decoded. Empty without such a section. */
  keysBetween(section: SectionName, first: number, end: number): Float64Array {
    const opened = this.opened.get(section)
    if (!opened || opened.count === 0) return new Float64Array(0)
    const from = blockOf(opened, first)
    let to = from
    while (to < opened.blocks && firstKey(opened, to) < end) to++
    const keys = new Float64Array(Math.min(opened.count, to * BLOCK_KEYS) - Math.min(opened.count, from * BLOCK_KEYS))
    for (let block = from, at = 0; block < to; block++) at += decodeBlock(this.where, opened, block, keys, at)
    let low = 0
    while (low < keys.length && keys[low]! < first) low++
    let high = keys.length
    while (high > low && keys[high - 1]! >= end) high--
    return keys.subarray(low, high)
  }

  content(): KeysetContent {
    const sections = [...this.opened.values()].map(({ name, complete, reason }) => {
      return { name, complete, reason, keys: this.keys(name)! }
    })
    return { extractor: this.extractor, epoch: this.epoch, keyId: this.keyId, sections }
  }

  private probe(section: SectionName, value: string, key: SipKey): KeysetVerdict {
    const opened = this.opened.get(section)
    if (!opened) return 'unknown'
    const bytes = Buffer.from(value)
    if (this.has(section, sipHash48(key, typeNumber(section), bytes, 0, bytes.length))) return 'possible'
    return opened.complete ? 'absent' : 'unknown'
  }

  /** What the extractor passed over without naming it may still be the value. */
  private confirmAbsent(type: ObservableType, value: string, key: SipKey): KeysetVerdict {
    const passedOver = (mark: string) => this.probe('suffix', mark, key) !== 'absent'
    if (value.includes('xn--') && passedOver(NON_ASCII_MARK)) return 'unknown'
    if (type === 'domain' || type === 'email') return passedOver(lastLabel(value)) ? 'unknown' : 'absent'
    if ((type !== 'url' && type !== 'arn') || /^[A-Za-z0-9._:/@%+=-]*$/.test(value)) return 'absent'
    const stem = stemOf(value)
    return stem !== undefined && endsAtCut(value) ? this.probe('stem', stem, key) : 'unknown'
  }
}

/**
 * Opens the bytes of a keyset. Hostile input: E_KEYSET_VERSION for another format version, E_KEYSET_CORRUPT for
 * anything that is not whole, or is not the one of `sha256`. `where` names the file in errors.
 */
export function openKeyset(bytes: Buffer, where: string, sha256?: string): Keyset {
  const corrupt = (reason: string) => new ColdtrailError('E_KEYSET_CORRUPT', { where, reason })
  if (sha256 !== undefined && hash('sha256', bytes) !== sha256)
    throw corrupt('its bytes are not those that were sealed')
  if (bytes.length < FIXED_BYTES || bytes.toString('latin1', 0, 4) !== MAGIC) throw corrupt('it does not begin as one')
  const version = bytes.readUInt16LE(4)
  if (version !== KEYSET_FORMAT) throw new ColdtrailError('E_KEYSET_VERSION', { where, version })
  const headerLength = bytes.readUInt32LE(8)
  if (headerLength < FIXED_BYTES || headerLength > bytes.length) throw corrupt('its header is cut off')
  if (crc32(bytes.subarray(FIXED_BYTES, headerLength)) !== bytes.readUInt32LE(12)) {
    throw corrupt('its header fails the checksum')
  }
  let at = FIXED_BYTES
  const take = (length: number) => {
    if (at + length > headerLength) throw corrupt('its header is cut off')
    at += length
    return at - length
  }
  const text = () => {
    const length = bytes[take(1)]!
    const start = take(length)
    return bytes.toString('utf8', start, start + length)
  }
  const header = { extractor: text(), epoch: text(), keyId: text() }
  const sections: OpenSection[] = []
  let bodyStart = headerLength
  for (let left = bytes.readUInt16LE(6); left > 0; left--) {
    const number = bytes[take(1)]!
    const flags = bytes[take(1)]!
    const name = text() as SectionName
    const reason = text()
    const sizes = take(12)
    const count = bytes.readUInt32LE(sizes)
    const length = bytes.readUInt32LE(sizes + 4)
    if (length > bytes.length - bodyStart) throw corrupt(`section ${name} is cut off`)
    const body = bytes.subarray(bodyStart, bodyStart + length)
    if (crc32(body) !== bytes.readUInt32LE(sizes + 8)) throw corrupt(`section ${name} fails the checksum`)
    if (number !== typeNumber(name)) throw corrupt(`section ${name} has another number`)
    if (sections.some((other) => other.name === name)) throw corrupt(`section ${name} is there twice`)
    const section = openSection(name, (flags & COMPLETE) !== 0, reason, count, body)
    if (!section) throw corrupt(`the blocks of section ${name} do not fit its length`)
    sections.push(section)
    bodyStart += length
  }
  if (at !== headerLength || bodyStart !== bytes.length) throw corrupt('its length is not that of its sections')
  return new Keyset(where, header, sections)
}

/**
 * The union of keysets of one key and extractor (E_KEYSET_MIXED else): for compaction, and for months, merged in groups
 * and the groups again. A section is complete only where every input is. Memory: 16 bytes a key of all inputs.
 */
export function mergeKeysets(inputs: readonly KeysetContent[]): KeysetContent {
  const first = inputs[0]
  if (!first) throw new RangeError('nothing to merge')
  for (const { extractor, epoch, keyId } of inputs) {
    if (extractor !== first.extractor || keyId !== first.keyId || epoch !== first.epoch) {
      const label = (of: Omit<KeysetContent, 'sections'>) => `${of.extractor} epoch ${of.epoch} key ${of.keyId}`
      throw new ColdtrailError('E_KEYSET_MIXED', { found: label({ extractor, epoch, keyId }), expected: label(first) })
    }
  }
  const names = new Set(inputs.flatMap((input) => input.sections.map((section) => section.name)))
  const sections = [...names].map((name): KeysetSection => {
    const parts = inputs.map((input) => input.sections.find((section) => section.name === name))
    const lacking = parts.find((part) => !part?.complete)
    const complete = parts.every((part) => part?.complete)
    const reason = complete ? '' : (lacking?.reason ?? 'a part has no such section')
    return { name, complete, reason, keys: union(parts.flatMap((part) => (part ? [part.keys] : []))) }
  })
  const { extractor, epoch, keyId } = first
  return { extractor, epoch, keyId, sections: ordered(sections) }
}

// --- internal ---

const MAGIC = 'CTKS'
const FIXED_BYTES = 16
const COMPLETE = 1
const BLOCK_KEYS = 256
const BLOCK_ENTRY_BYTES = 10
/** 32 MiB of memory for one section. */
const MAX_KEYS = 1 << 22

class SectionBuilder {
  readonly name: SectionName
  private readonly maxKeys: number
  private keys = new Float64Array(64)
  private used = 0
  private reason = ''

  constructor(name: SectionName, maxKeys: number) {
    this.name = name
    this.maxKeys = maxKeys
  }
  add(hash48: number): void {
    if (this.used === this.keys.length) this.makeRoom()
    if (this.used < this.keys.length) this.keys[this.used++] = hash48
  }
  spoil(reason: string): void {
    this.reason ||= reason
  }
  finish(): KeysetSection {
    this.used = sortDistinct(this.keys, this.used)
    if (this.used > this.maxKeys) this.spoil(`more than ${this.maxKeys} distinct values`)
    const keys = this.keys.slice(0, Math.min(this.used, this.maxKeys))
    return { name: this.name, complete: this.reason === '', reason: this.reason, keys }
  }

  /** Repeated keys make room first; only then does memory grow. */
  private makeRoom(): void {
    this.used = sortDistinct(this.keys, this.used)
    if (this.used > this.maxKeys) {
      this.spoil(`more than ${this.maxKeys} distinct values`)
      this.used = this.maxKeys
    }
    if (this.used * 2 > this.keys.length && this.keys.length < this.maxKeys * 2) {
      const grown = new Float64Array(this.keys.length * 2)
      grown.set(this.keys.subarray(0, this.used))
      this.keys = grown
    }
  }
}

/** Sorts the first `count` in place and drops repeats; how many remain. */
function sortDistinct(keys: Float64Array, count: number): number {
  if (count === 0) return 0
  // Doubles that are not negative sort as their bits do, and those V8 compares without a call.
  new BigUint64Array(keys.buffer, keys.byteOffset, count).sort()
  let kept = 1
  for (let i = 1; i < count; i++) if (keys[i] !== keys[i - 1]) keys[kept++] = keys[i]!
  return kept
}

/** Merges neighbours until one is left, so that repeats vanish early and every key moves only log(parts) times. */
export function union(parts: readonly Float64Array[]): Float64Array {
  let level: readonly Float64Array[] = parts.length === 0 ? [new Float64Array(0)] : parts
  while (level.length > 1) {
    const next: Float64Array[] = []
    for (let i = 0; i < level.length; i += 2) next.push(level[i + 1] ? unionOfTwo(level[i]!, level[i + 1]!) : level[i]!)
    level = next
  }
  return level[0]!
}

function unionOfTwo(a: Float64Array, b: Float64Array): Float64Array {
  const merged = new Float64Array(a.length + b.length)
  let kept = 0
  let i = 0
  let j = 0
  while (i < a.length && j < b.length) {
    const x = a[i]!
    const y = b[j]!
    merged[kept++] = x < y ? x : y
    if (x <= y) i++
    if (y <= x) j++
  }
  for (; i < a.length; i++) merged[kept++] = a[i]!
  for (; j < b.length; j++) merged[kept++] = b[j]!
  return merged.slice(0, kept)
}

/** A search asks the keyset of every segment with one key. */
const SCHEDULES = new WeakMap<Uint8Array, SipKey>()

function schedule(key: Uint8Array): SipKey {
  const known = SCHEDULES.get(key)
  if (known) return known
  const made = sipKey(key)
  SCHEDULES.set(key, made)
  return made
}

const typeNumber = (name: SectionName): number =>
  name.startsWith('=') ? 0 : (OBSERVABLE_TYPES[name as ObservableType] ?? -1)

const ordered = (sections: readonly KeysetSection[]): KeysetSection[] =>
  [...sections].sort((a, b) => {
    const rank = (name: SectionName) => typeNumber(name) || 256
    return rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
  })

/** A length byte and at most 255 bytes; reasons are cut. */
function shortText(text: string): Buffer {
  let bytes = Buffer.from(text)
  // Never half a character.
  for (let end = text.length; bytes.length > 255; ) bytes = Buffer.from(text.slice(0, --end))
  return Buffer.concat([Buffer.from([bytes.length]), bytes])
}

function encodeBody(keys: Float64Array): Buffer {
  const blocks = Math.ceil(keys.length / BLOCK_KEYS)
  const deltaStart = blocks * BLOCK_ENTRY_BYTES
  const body = Buffer.allocUnsafe(deltaStart + keys.length * 7)
  let at = deltaStart
  for (let block = 0; block < blocks; block++) {
    const entry = block * BLOCK_ENTRY_BYTES
    body.writeUIntLE(keys[block * BLOCK_KEYS]!, entry, 6)
    body.writeUInt32LE(at - deltaStart, entry + 6)
    at = encodeBlock(keys, block * BLOCK_KEYS, body, at)
  }
  return body.subarray(0, at)
}

/** The deltas of the block that begins with key `first`; where they end. */
function encodeBlock(keys: Float64Array, first: number, body: Buffer, start: number): number {
  const end = Math.min(first + BLOCK_KEYS, keys.length)
  let at = start
  for (let i = first + 1; i < end; i++) {
    let delta = keys[i]! - keys[i - 1]!
    while (delta >= 0x1000_0000) {
      body[at++] = (delta % 128) | 0x80
      delta = Math.floor(delta / 128)
    }
    while (delta >= 128) {
      body[at++] = (delta & 127) | 0x80
      delta >>>= 7
    }
    body[at++] = delta
  }
  return at
}

/** The block looked at last: a search looks into one of every segment. */
const SCRATCH = new Float64Array(BLOCK_KEYS)

interface OpenSection {
  readonly name: SectionName
  readonly complete: boolean
  readonly reason: string
  readonly count: number
  readonly blocks: number
  readonly body: Buffer
}

/** undefined when the block entries cannot be right: out of order, or pointing outside. */
function openSection(
  name: SectionName,
  complete: boolean,
  reason: string,
  count: number,
  body: Buffer,
): OpenSection | undefined {
  const blocks = Math.ceil(count / BLOCK_KEYS)
  const deltas = body.length - blocks * BLOCK_ENTRY_BYTES
  // Every key but a block's first takes a byte at least, so that memory follows the file's size.
  if (deltas < count - blocks) return undefined
  const section = { name, complete, reason, count, blocks, body }
  for (let block = 0; block < blocks; block++) {
    if (deltaOffset(section, block) > deltaOffset(section, block + 1)) return undefined
    if (block > 0 && firstKey(section, block) <= firstKey(section, block - 1)) return undefined
  }
  const startsAtZero = blocks === 0 ? deltas === 0 : body.readUInt32LE(6) === 0
  return startsAtZero ? section : undefined
}

const firstKey = (section: OpenSection, block: number): number => section.body.readUIntLE(block * BLOCK_ENTRY_BYTES, 6)

/** The last block that begins at a key or below it; the first when none does. */
function blockOf(section: OpenSection, key: number): number {
  let low = 0
  let high = section.blocks - 1
  while (low < high) {
    const middle = (low + high + 1) >>> 1
    if (firstKey(section, middle) <= key) low = middle
    else high = middle - 1
  }
  return low
}

/** Where a block's deltas begin in the body; the end of the body behind the last block. */
const deltaOffset = ({ body, blocks }: OpenSection, block: number): number =>
  block < blocks ? blocks * BLOCK_ENTRY_BYTES + body.readUInt32LE(block * BLOCK_ENTRY_BYTES + 6) : body.length

/** Writes a block's keys to `into` from `at` on, up to the first that is not below `enough`; how many they are. */
function decodeBlock(
  where: string,
  section: OpenSection,
  block: number,
  into: Float64Array,
  at: number,
  enough = Number.POSITIVE_INFINITY,
): number {
  const { body } = section
  const count = Math.min(BLOCK_KEYS, section.count - block * BLOCK_KEYS)
  const limit = block + 1 < section.blocks ? firstKey(section, block + 1) : HASH48_LIMIT
  const end = deltaOffset(section, block + 1)
  let p = deltaOffset(section, block)
  let key = firstKey(section, block)
  into[at] = key
  for (let i = 1; i < count; i++) {
    if (key >= enough) return i
    let delta = 0
    let scale = 1
    let byte = 0x80
    for (; byte & 0x80 && p < end; scale *= 128) {
      byte = body[p++]!
      delta += (byte & 127) * scale
    }
    key += delta
    if (byte & 0x80 || delta < 1 || key >= limit) throw blockFault(where, section, block)
    into[at + i] = key
  }
  if (p !== end) throw blockFault(where, section, block)
  return count
}

const blockFault = (where: string, section: OpenSection, block: number): ColdtrailError =>
  new ColdtrailError('E_KEYSET_CORRUPT', { where, reason: `block ${block} of section ${section.name} is damaged` })
