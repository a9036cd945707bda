/**
 * What two sites compute alike for the same thing, in JavaScript and in the SQL of both databases: natural keys, uids,
 * and the hash columns that ThreatQ has (docs/design.md §11).
 */
import { hash, randomFillSync } from 'node:crypto'
import type { DialectName } from '../platform/database/database.ts'
import { type Column, columnsOf, type Table } from './model.ts'

/**
 * SHA-256 over the table's name and the parts, each behind its length in bytes (u32 big-endian), NULL as `ff ff ff ff`.
 * A part is the text form of a column (`textFormSql`), or the natural key of a referenced row.
 */
export function naturalKey(table: string, parts: readonly (string | Uint8Array | null)[]): Buffer {
  let at = put(table, 0)
  for (const part of parts) at = put(part, at)
  return digest(at)
}

/**
 * The same in SQL. `expression` gives for each column of the table's natural key (for `uid` where it is empty) SQL of
 * its text form, and for a reference SQL of the referenced row's natural key.
 */
export const naturalKeySql = (dialect: DialectName, table: Table, expression: (column: Column) => string): string =>
  keyOfPartsSql(
    dialect,
    table.name,
    naturalKeyColumns(table).map((column) => ({ sql: expression(column), isBytes: isReference(column), isKey: true })),
  )

export interface KeyPart {
  readonly sql: string
  /** It gives bytes, not text. */
  readonly isBytes: boolean
  /** Its bytes, if such, are a natural key: PostgreSQL need not compute them twice to know their length. */
  readonly isKey?: boolean
}

/**
 * `naturalKey` of any parts, in SQL. SQLite keeps what it gives to registered functions until the statement ends (some
 * 200 bytes a row), so a statement should compute it for at most some 100,000 rows.
 */
export function keyOfPartsSql(dialect: DialectName, table: string, parts: readonly KeyPart[]): string {
  if (dialect === 'sqlite') return `unhex(nk(${sqliteKeyArguments(table, parts)}))`
  const encoded = parts.map(({ sql, isBytes, isKey }) => {
    const part =
      isBytes && isKey
        ? `'\\x00000020'::bytea || ${sql}`
        : isBytes
          ? `int4send(octet_length(${sql})) || ${sql}`
          : textPart(sql)
    return `coalesce(${part}, '\\xffffffff'::bytea)`
  })
  return `sha256(${[textPart(`'${table}'`), ...encoded].join(' || ')})`
}

/** Arguments of `nk` and `digest_sum`: `table/kinds`, then each part. Bytes go as hex, since a blob costs ten times that. */
export const sqliteKeyArguments = (table: string, parts: readonly KeyPart[]): string =>
  [
    `'${table}/${parts.map(({ isBytes }) => (isBytes ? 'b' : 't')).join('')}'`,
    ...parts.map(({ sql, isBytes }) => (isBytes ? `hex(${sql})` : sql)),
  ].join(', ')

/** What the registered function `nk` does with these arguments; hex. Absent bytes are '' there, which no key is. */
export function naturalKeyOfArguments(head: string, parts: readonly (string | null)[]): string {
  let shape = argumentShapes.get(head)
  if (!shape) {
    const [table, kinds] = head.split('/') as [string, string]
    shape = { table, isBytes: Array.from(kinds, (kind) => kind === 'b') }
    argumentShapes.set(head, shape)
  }
  let at = put(shape.table, 0)
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!
    if (!shape.isBytes[i]) at = put(part, at)
    else if (part === null || part === '') at = put(null, at)
    else {
      const length = scratchFor(at + 4 + part.length).write(part, at + 4, 'hex')
      scratch.writeUInt32BE(length, at)
      at += 4 + length
    }
  }
  return digestHex(at)
}

/** The columns that the natural key consists of, in its order. */
export function naturalKeyColumns(table: Table): readonly Column[] {
  let columns = keyColumns.get(table)
  if (columns) return columns
  const names = table.naturalKey.length === 0 ? ['uid'] : table.naturalKey
  columns = names.map((name) => columnsOf(table).find((column) => column.name === name)!)
  keyColumns.set(table, columns)
  return columns
}

export const isReference = ({ type }: Column): boolean => type === 'reference' || type === 'anyReference'

// --- forms of a column ---

/** SQL of a base column's text form, as dump files have it: digits, lower-case hex, a uid with hyphens. */
export function textFormSql(dialect: DialectName, { name, type }: Pick<Column, 'name' | 'type'>, expr: string): string {
  if (isUidColumn(name)) return uidTextSql(dialect, expr)
  if (type === 'hex') return dialect === 'sqlite' ? `lower(hex(${expr}))` : `encode(${expr}, 'hex')`
  return type === 'text' || type === 'flag' || type === 'json' ? expr : `cast(${expr} as text)`
}

/** SQL that turns the text form, whose form was checked, into what the base column holds. */
export function fromTextSql(dialect: DialectName, { name, type }: Pick<Column, 'name' | 'type'>, expr: string): string {
  if (isUidColumn(name)) return uidSql(dialect, expr)
  if (type === 'hex') return dialect === 'sqlite' ? `unhex(${expr})` : `decode(${expr}, 'hex')`
  if (type === 'text' || type === 'flag' || type === 'json') return expr
  return `cast(${expr} as ${dialect === 'sqlite' ? 'integer' : 'bigint'})`
}

/** Uids are written with hyphens; other bytes without. */
export const isUidColumn = (name: string): boolean => name === 'uid' || name === 'reference_uid'

// --- uids ---

/** `count` consecutive UUIDv7, above all that this process drew before. */
export function uidRange(count: number): { at(index: number): Buffer } {
  const base = Buffer.allocUnsafe(16)
  const now = Date.now()
  if (now > last.ms || last.low + count > MAX_LOW) {
    last.ms = Math.max(now, last.ms + 1)
    randomFillSync(last.random)
    last.low = last.random.readUIntBE(0, 6) & 0x7fff_ffff
    last.low += (last.random.readUInt16BE(6) & 0x7fff) * 2 ** 32
  }
  base.writeUIntBE(last.ms, 0, 6)
  base.writeUInt16BE(0x7000 | (last.random.readUInt16BE(8) & 0xfff), 6)
  base.writeUInt16BE(0x8000 | (last.random.readUInt16BE(10) & 0x3fff), 8)
  const low = last.low
  last.low += count
  return {
    at(index) {
      if (index >= count) throw new RangeError(`uid ${index} of a range of ${count}`)
      const uid = Buffer.allocUnsafe(16)
      base.copy(uid, 0, 0, 10)
      uid.writeUIntBE(low + index, 10, 6)
      return uid
    },
  }
}

/** Of a row that is the same everywhere: UUIDv8 of its natural key. */
export function uidOfNaturalKey(nk: Buffer): Buffer {
  const uid = Buffer.from(nk.subarray(0, 16))
  uid[6] = (uid[6]! & 0x0f) | 0x80
  uid[8] = (uid[8]! & 0x3f) | 0x80
  return uid
}

export function uidText(uid: Uint8Array): string {
  const hex = Buffer.from(uid.buffer, uid.byteOffset, uid.length).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** A uid with hyphens, any version; undefined for another text. */
export function parseUid(text: string): Buffer | undefined {
  return UID.test(text) ? Buffer.from(text.replaceAll('-', ''), 'hex') : undefined
}

/** Text of a uid to its bytes. */
export const uidSql = (dialect: DialectName, expr: string): string =>
  dialect === 'sqlite' ? `unhex(${expr}, '-')` : `uuid_send(${expr}::uuid)`

/** Bytes of a uid to its text. */
export function uidTextSql(dialect: DialectName, expr: string): string {
  if (dialect === 'postgres') return `(encode(${expr}, 'hex')::uuid)::text`
  const groups = ['1, 4', '5, 2', '7, 2', '9, 2', '11, 6'].map((place) => `hex(substr(${expr}, ${place}))`)
  return `lower(${groups.join(` || '-' || `)})`
}

// --- ThreatQ's hash columns: index keys, no security ---

/** `indicators.sync_hash`, hex; `typeId` is the local id. */
export const syncHash = (value: string, typeId: number): string => md5(`${value}-${typeId}`)

/** `events.hash`, hex. `happenedAt` in microseconds. */
export const eventHash = (happenedAt: number, title: string): string =>
  md5(`${Math.floor(happenedAt / 1_000_000)}${title}`)

export const md5 = (text: string): string => hash('md5', text)

/**
 * SQL of the bytes of a table's `sync_hash`: MD5 of its unique fields, joined by `-`. Only the form of indicators is
 * known of ThreatQ. `column` gives SQL of a base column. Undefined for a table without such a column.
 */
export function syncHashSql(dialect: DialectName, table: string, column: (name: string) => string): string | undefined {
  const parts = SYNC_HASH_FIELDS[table]
  return parts && md5Sql(dialect, parts.map((part) => textOf(dialect, part, column(part))).join(` || '-' || `))
}

/** SQL of the bytes of `events.hash`. */
export const eventHashSql = (dialect: DialectName, happenedAt: string, title: string): string =>
  md5Sql(dialect, `${textOf(dialect, 'happened_at', happenedAt)} || ${title}`)

/** `indicators.hash`: MurmurHash3 x86_128, seed 0, over UTF-8; h1 to h4 as 8 hex digits each. */
export function murmur3x86_128(text: string): string {
  const bytes = Buffer.from(text)
  const length = bytes.length
  const c1 = 0x239b961b
  const c2 = 0xab0e9789
  const c3 = 0x38b34ae5
  const c4 = 0xa1e38b93
  let h1 = 0
  let h2 = 0
  let h3 = 0
  let h4 = 0
  const mix = (k: number, a: number, turn: number, b: number): number => Math.imul(rotate(Math.imul(k, a), turn), b)
  let at = 0
  for (; at + 16 <= length; at += 16) {
    h1 ^= mix(bytes.readInt32LE(at), c1, 15, c2)
    h1 = (Math.imul((rotate(h1, 19) + h2) | 0, 5) + 0x561ccd1b) | 0
    h2 ^= mix(bytes.readInt32LE(at + 4), c2, 16, c3)
    h2 = (Math.imul((rotate(h2, 17) + h3) | 0, 5) + 0x0bcaa747) | 0
    h3 ^= mix(bytes.readInt32LE(at + 8), c3, 17, c4)
    h3 = (Math.imul((rotate(h3, 15) + h4) | 0, 5) + 0x96cd1c35) | 0
    h4 ^= mix(bytes.readInt32LE(at + 12), c4, 18, c1)
    h4 = (Math.imul((rotate(h4, 13) + h1) | 0, 5) + 0x32ac3b17) | 0
  }
  const tail = [0, 0, 0, 0]
  for (let i = at; i < length; i++) tail[(i - at) >> 2]! |= bytes[i]! << (((i - at) & 3) * 8)
  h4 ^= mix(tail[3]!, c4, 18, c1)
  h3 ^= mix(tail[2]!, c3, 17, c4)
  h2 ^= mix(tail[1]!, c2, 16, c3)
  h1 ^= mix(tail[0]!, c1, 15, c2)
  const sums = (): void => {
    h1 = (h1 + h2 + h3 + h4) | 0
    h2 = (h2 + h1) | 0
    h3 = (h3 + h1) | 0
    h4 = (h4 + h1) | 0
  }
  h1 ^= length
  h2 ^= length
  h3 ^= length
  h4 ^= length
  sums()
  h1 = finalMix(h1)
  h2 = finalMix(h2)
  h3 = finalMix(h3)
  h4 = finalMix(h4)
  sums()
  murmur.writeInt32BE(h1, 0)
  murmur.writeInt32BE(h2, 4)
  murmur.writeInt32BE(h3, 8)
  murmur.writeInt32BE(h4, 12)
  return murmur.toString('hex')
}

// --- internal ---

const keyColumns = new WeakMap<Table, readonly Column[]>()
const UID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Where the range drawn last ends; the lowest 48 bits count, so there is never a carry. */
const last = { ms: 0, low: 0, random: Buffer.alloc(12) }
const MAX_LOW = 2 ** 48

const SYNC_HASH_FIELDS: Readonly<Record<string, readonly string[]>> = {
  indicators: ['value', 'type_id'],
  events: ['happened_at', 'title'],
  object_links: ['src_type', 'src_object_id', 'dest_type', 'dest_object_id'],
}

/** ThreatQ's times are whole seconds. */
function textOf(dialect: DialectName, name: string, expr: string): string {
  if (name === 'happened_at') {
    // Rounded down also before 1970.
    const seconds =
      dialect === 'sqlite'
        ? `(${expr} - ((${expr} % 1000000) + 1000000) % 1000000) / 1000000`
        : `floor(${expr} / 1000000.0)::bigint`
    return `cast(${seconds} as text)`
  }
  return name.endsWith('_id') ? `cast(${expr} as text)` : expr
}

const md5Sql = (dialect: DialectName, text: string): string =>
  dialect === 'sqlite' ? `unhex(md5(${text}))` : `decode(md5(${text}), 'hex')`

const textPart = (sql: string): string => `int4send(octet_length(${sql})) || convert_to(${sql}, 'UTF8')`

/** The parts of the key that is being computed, behind one another. */
let scratch = Buffer.alloc(65_536)

function scratchFor(needed: number): Buffer {
  if (needed > scratch.length) {
    const larger = Buffer.alloc(needed * 2)
    scratch.copy(larger)
    scratch = larger
  }
  return scratch
}

function put(part: string | Uint8Array | null, at: number): number {
  scratchFor(at + 4 + (part === null ? 0 : part.length * 3))
  if (part === null) return scratch.writeUInt32BE(0xffff_ffff, at)
  let length = part.length
  if (typeof part === 'string') length = scratch.write(part, at + 4)
  else scratch.set(part, at + 4)
  scratch.writeUInt32BE(length, at)
  return at + 4 + length
}

const digestHex = (end: number): string => hash('sha256', scratch.subarray(0, end), 'hex')

/** By way of hex: three times as fast as asking for a buffer. */
const digest = (end: number): Buffer => Buffer.from(digestHex(end), 'hex')

const argumentShapes = new Map<string, { readonly table: string; readonly isBytes: readonly boolean[] }>()

/** By way of bytes: `toString(16)` of four numbers costs more than the hash. */
const murmur = Buffer.alloc(16)

const rotate = (value: number, by: number): number => (value << by) | (value >>> (32 - by))

function finalMix(value: number): number {
  let h = value
  h ^= h >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return h ^ (h >>> 16)
}
