/**
 * A JSON format is a table: slots that name paths of a record, and columns that take the first slot that is present.
 * One scanner runs every table over the bytes; `JSON.parse` with the same table is its fall-back and its oracle.
 */
import type { ByteModule } from '../../core/byteModule.ts'
import { COLUMN_INDEX, type EventColumnName } from '../../core/columns.ts'
import type { EventSink } from '../../core/eventSink.ts'
import { isUserKey } from '../../core/observables.ts'
import type { ParseOptions } from '../component.ts'

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
  /**
   * What the table cannot say: constants and values computed from slots. Returns the reason to refuse the record, or
   * NO_RECORD.
   */
  finish(
    record: JsonRecord,
    sink: EventSink,
    options?: Pick<ParseOptions, 'formatters'>,
  ): string | undefined | typeof NO_RECORD
}

/** An object that stands between the records and is none: it says something of all of them. */
export const NO_RECORD = Symbol('no record')

/** assembly/json.ts knows these numbers too. */
export const KIND = { absent: 0, string: 1, escaped: 2, number: 3, true: 4, false: 5, other: 6 } as const

/** The slots of the record at hand: byte slices, valid during `finish`. */
export class JsonRecord {
  private readonly texts: Buffer[]
  starts: Int32Array
  ends: Int32Array
  kinds: Uint8Array
  /** Numbers of strings, the same for the same text until `stringGeneration` changes; 0: none. */
  ids: Int32Array
  private readonly slotOf: ReadonlyMap<string, number>
  private source: Buffer = EMPTY
  /** Slots whose text is not in `source`. */
  private elsewhere = false
  /** All of them are in `source`, and `texts` does not say so yet: not everybody asks for them. */
  private isBehind = false
  /** The record itself: `whole[from, to)`. */
  whole: Buffer = EMPTY
  from = 0
  to = 0

  constructor(slotNames: readonly string[]) {
    const count = slotNames.length
    this.texts = slotNames.map(() => EMPTY)
    this.starts = new Int32Array(count)
    this.ends = new Int32Array(count)
    this.kinds = new Uint8Array(count)
    this.ids = new Int32Array(count)
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
  /** Whether `text` is there and not empty. */
  hasText(slot: number): boolean {
    const kind = this.kinds[slot]!
    return kind !== KIND.absent && kind !== KIND.other && this.ends[slot]! > this.starts[slot]!
  }
  /** The id of a string slot's text; 0 when it has none. */
  id(slot: number): number {
    return this.kinds[slot] === KIND.string ? this.ids[slot]! : 0
  }
  equals(slot: number, value: Buffer): boolean {
    const start = this.starts[slot]!
    if (this.kinds[slot] !== KIND.string || this.ends[slot]! - start !== value.length) return false
    return this.buffers[slot]!.compare(value, 0, value.length, start, this.ends[slot]) === 0
  }
  /** Where the record itself is, for who wants more of it than its slots. */
  isAt(bytes: Buffer, from: number, to: number): void {
    this.whole = bytes
    this.from = from
    this.to = to
  }
  /** The slots' texts are in these bytes from now on. */
  lookAt(source: Buffer): void {
    this.source = source
    this.elsewhere = true
  }
  /** Takes the slots that the module has filled; `place`: of the table. */
  fill({ bytes: { buffer } }: ByteModule, place: number): void {
    if (this.kinds.buffer !== buffer) {
      const count = this.texts.length
      this.starts = new Int32Array(buffer, place + 8, count)
      this.ends = new Int32Array(buffer, place + 8 + count * 4, count)
      this.ids = new Int32Array(buffer, place + 8 + count * 8, count)
      this.kinds = new Uint8Array(buffer, place + 8 + count * 12, count)
    }
    if (!this.elsewhere) return
    this.elsewhere = false
    this.isBehind = true
  }
  /** Of each slot the bytes that its text is in. */
  get buffers(): Buffer[] {
    if (this.isBehind) {
      this.isBehind = false
      this.texts.fill(this.source)
    }
    return this.texts
  }
  /** Sets a slot by hand: to the whole of a text, or to `text[start, end)`. */
  put(slot: number, kind: number, text: Buffer, start = 0, end = text.length): void {
    this.kinds[slot] = kind
    this.ids[slot] = 0
    this.starts[slot] = start
    this.ends[slot] = end
    this.buffers[slot] = text
    this.elsewhere = true
  }
  clear(): void {
    this.kinds.fill(0)
  }
}

export interface CompiledTable {
  readonly declaration: JsonTableDeclaration
  readonly record: JsonRecord
  readonly paths: readonly (readonly (string | 0)[])[]
  readonly program: readonly { readonly column: number; readonly slots: readonly number[]; readonly as: Transform }[]
}

export function compileTable(declaration: JsonTableDeclaration): CompiledTable {
  const names = Object.keys(declaration.slots)
  const record = new JsonRecord(names)
  const paths = names.map((name) => parsePath(declaration.slots[name]!))
  const program = declaration.columns.map(({ column, from, as }) => ({
    column: COLUMN_INDEX.get(column)!,
    slots: from.map((name) => record.slot(name)),
    as,
  }))
  return { declaration, record, paths, program }
}

/** Where the table is in the module's memory. */
export function tablePlace(table: CompiledTable, module: ByteModule): number {
  let place = places.get(table)
  if (place === undefined) {
    const { program, paths } = table
    const repeating = program.filter(({ as, column }) => (as === 'text' || as === 'ip') && column !== METADATA_UID)
    const wanted = new Set(repeating.flatMap(({ slots }) => slots))
    module.reserveTable()
    const root = buildNode(
      module,
      paths.map((path, slot) => ({ path, slot, wantsId: wanted.has(slot) })),
    )
    place = taken(module.exports.newTable(root, paths.length))
    places.set(table, place)
  }
  return place
}

// --- internal ---

const EMPTY = Buffer.alloc(0)
const places = new WeakMap<CompiledTable, number>()
/** Its values need no ids: no two are the same. */
const METADATA_UID = COLUMN_INDEX.get('metadata_uid')!

function parsePath(path: string): (string | 0)[] {
  return path.split('.').flatMap((part) => (part.endsWith('[0]') ? [part.slice(0, -3), 0 as const] : [part]))
}

interface SlotPath {
  readonly path: readonly (string | 0)[]
  readonly slot: number
  readonly wantsId: boolean
}

function buildNode(module: ByteModule, slots: readonly SlotPath[]): number {
  const node = taken(module.exports.newNode())
  for (const [key, group] of Map.groupBy(slots, ({ path }) => path[0] as string))
    buildEntry(module, node, key, inside(group))
  return node
}

/** An entry for a key of `node`, or for the first element of an array (node 0). */
function buildEntry(module: ByteModule, node: number, key: string, slots: readonly SlotPath[]): number {
  const own = slots.find(({ path }) => path.length === 0)
  const text = Buffer.from(key)
  const at = module.loadString(text, 0, text.length)
  const entry = taken(
    module.exports.newEntry(node, at, text.length, own?.slot ?? -1, isUserKey(key), own?.wantsId ?? false),
  )
  const inFirst = slots.filter(({ path }) => path[0] === 0)
  const inObject = slots.filter(({ path }) => typeof path[0] === 'string')
  module.exports.linkEntry(
    entry,
    inObject.length > 0 ? buildNode(module, inObject) : 0,
    inFirst.length > 0 ? buildEntry(module, 0, '', inside(inFirst)) : 0,
  )
  return entry
}

const inside = (slots: readonly SlotPath[]): SlotPath[] =>
  slots.map(({ path, ...slot }) => ({ ...slot, path: path.slice(1) }))

function taken(place: number): number {
  if (place === 0) throw new RangeError('no room for one more JSON table')
  return place
}
