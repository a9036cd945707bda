/**
 * A JSON format is a table: slots that name paths of a record, and columns that take the first slot that is present.
 * One scanner runs every table over the bytes; `JSON.parse` with the same table is its fall-back and its oracle.
 */
import { COLUMN_INDEX, type EventColumnName } from '../../core/columns.ts'
import type { EventSink } from '../../core/eventSink.ts'
import type { Interner } from '../../core/interner.ts'

/** How a slot's text becomes a column value. A value that does not fit leaves the column absent. */
export type Transform = 'text' | 'ip' | 'time' | 'int' | 'port'

export interface JsonTableDeclaration {
  /** Key of a wrapping object whose array holds the records, such as `Records`. */
  readonly recordsKey?: string
  /** Slot name -> path: keys joined by dots, `[0]` for the first element of an array. */
  readonly slots: Readonly<Record<string, string>>
  /** Column -> slots in order of preference. */
  readonly columns: readonly {
    readonly column: EventColumnName
    readonly from: readonly string[]
    readonly as: Transform
  }[]
  /** What the table cannot say: constants and values computed from slots. Returns the reason to refuse the record. */
  finish(record: JsonRecord, sink: EventSink): string | undefined
}

export const KIND = { absent: 0, string: 1, escaped: 2, number: 3, true: 4, false: 5, other: 6 } as const

/** The slots of the record at hand: byte slices, valid during `finish`. */
export class JsonRecord {
  readonly buffers: Buffer[]
  readonly starts: Int32Array
  readonly ends: Int32Array
  readonly kinds: Uint8Array
  private readonly slotOf: ReadonlyMap<string, number>

  constructor(slotNames: readonly string[]) {
    this.buffers = slotNames.map(() => EMPTY)
    this.starts = new Int32Array(slotNames.length)
    this.ends = new Int32Array(slotNames.length)
    this.kinds = new Uint8Array(slotNames.length)
    this.slotOf = new Map(slotNames.map((name, index) => [name, index]))
  }
  /** Number of a slot, for use on the hot path. */
  slot(name: string): number {
    const slot = this.slotOf.get(name)
    if (slot === undefined) throw new Error(`no slot ${name}`)
    return slot
  }
  has(slot: number): boolean {
    return this.kinds[slot] !== KIND.absent
  }
  /** The text of a string, number or boolean slot. */
  text(slot: number): string | undefined {
    const kind = this.kinds[slot]!
    if (kind === KIND.absent || kind === KIND.other) return undefined
    return this.buffers[slot]!.toString('utf8', this.starts[slot], this.ends[slot])
  }
  equals(slot: number, value: Buffer): boolean {
    const start = this.starts[slot]!
    if (this.kinds[slot] !== KIND.string || this.ends[slot]! - start !== value.length) return false
    return this.buffers[slot]!.compare(value, 0, value.length, start, this.ends[slot]) === 0
  }
  /** A small number for the slot's text (0 when it has none), the same for the same text until the interner is cleared. */
  intern(slot: number, interner: Interner): number {
    const kind = this.kinds[slot]!
    if (kind === KIND.absent || kind === KIND.other) return 0
    return 1 + interner.intern(this.buffers[slot]!, this.starts[slot]!, this.ends[slot]!)
  }
  clear(): void {
    this.kinds.fill(0)
  }
}

/** A key of a known object. Keys that no slot wants are remembered too, so that the next record predicts them. */
export interface KeyEntry {
  readonly bytes: Buffer
  /** Slot to fill; negative for none. */
  readonly slot: number
  /** Known keys inside, when the value is an object. */
  readonly node: ObjectNode | undefined
  /** The slots of the first element, when the value is an array. */
  readonly first: KeyEntry | undefined
  /** Values are user names (`obs/1`). */
  readonly isUser: boolean
  /** The entry that followed last time. */
  next: KeyEntry | undefined
  /** The scan that last met the key, when something wants it: twice in one scan is a repeated key. */
  stamp: number
}

export interface ObjectNode {
  /** Known keys by `keyBucket`, so that a key that was not predicted is found soon. */
  readonly buckets: KeyEntry[][]
  remembered: number
  /** The entry that came first last time. */
  first: KeyEntry | undefined
}

export interface CompiledTable {
  readonly declaration: JsonTableDeclaration
  /** Records scanned so far, by any scanner: stamps the keys met. */
  scans: number
  readonly root: ObjectNode
  readonly record: JsonRecord
  readonly paths: readonly (readonly (string | 0)[])[]
  readonly program: readonly { readonly column: number; readonly slots: readonly number[]; readonly as: Transform }[]
}

export function compileTable(declaration: JsonTableDeclaration): CompiledTable {
  const names = Object.keys(declaration.slots)
  const record = new JsonRecord(names)
  const paths = names.map((name) => parsePath(declaration.slots[name]!))
  const root = buildNode(paths.map((path, slot) => ({ path, slot })))
  const program = declaration.columns.map(({ column, from, as }) => ({
    column: COLUMN_INDEX.get(column)!,
    slots: from.map((name) => record.slot(name)),
    as,
  }))
  return { declaration, scans: 0, root, record, paths, program }
}

/** `userName` at the end of a key: its string values are covered by the keyset's `user` type. */
export const isUserKey = (key: string): boolean => key.endsWith('userName')

export const KEY_BUCKETS = 64

export function keyBucket(bytes: Buffer, start: number, end: number): number {
  return ((end - start) * 11 + bytes[start]! * 3 + bytes[end - 1]!) & (KEY_BUCKETS - 1)
}

// --- internal ---

const EMPTY = Buffer.alloc(0)

function parsePath(path: string): (string | 0)[] {
  return path.split('.').flatMap((part) => (part.endsWith('[0]') ? [part.slice(0, -3), 0 as const] : [part]))
}

interface SlotPath {
  readonly path: readonly (string | 0)[]
  readonly slot: number
}

function buildNode(slots: readonly SlotPath[]): ObjectNode {
  const byKey = Map.groupBy(slots, ({ path }) => path[0] as string)
  const entries = [...byKey].map(([key, group]) =>
    buildEntry(
      key,
      group.map(({ path, slot }) => ({ path: path.slice(1), slot })),
    ),
  )
  const node: ObjectNode = { buckets: Array.from({ length: KEY_BUCKETS }, () => []), remembered: 0, first: undefined }
  for (const entry of entries) node.buckets[keyBucket(entry.bytes, 0, entry.bytes.length)]!.push(entry)
  return node
}

function buildEntry(key: string, slots: readonly SlotPath[]): KeyEntry {
  const own = slots.find(({ path }) => path.length === 0)
  const inFirst = slots.filter(({ path }) => path[0] === 0).map(({ path, slot }) => ({ path: path.slice(1), slot }))
  const inObject = slots.filter(({ path }) => typeof path[0] === 'string')
  return {
    bytes: Buffer.from(key),
    slot: own?.slot ?? -1,
    node: inObject.length > 0 ? buildNode(inObject) : undefined,
    first: inFirst.length > 0 ? buildEntry('', inFirst) : undefined,
    isUser: isUserKey(key),
    next: undefined,
    stamp: -1,
  }
}
