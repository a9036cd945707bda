/**
 * The values of one record that a table asks for, as slices of its bytes: places in its JSON, found by the scanner that
 * also collects, and fields by the names of its header line. A record that the scanner refuses goes through JSON.parse.
 */
import type { OutgoingEvent } from '../../core/outgoingEvent.ts'
import { JsonScanner, REFUSED } from '../json/jsonScanner.ts'
import { type CompiledTable, compileTable, JsonRecord, KIND } from '../json/jsonTable.ts'

/** How a value stands in its bytes: as in JSON, or as plain text, or not in bytes but as microseconds. */
export const VALUE = { ...KIND, text: 16, time: 17 } as const

export class RecordValues {
  /** The slots of the paths. Looked up anew after each `read`. */
  get record(): JsonRecord {
    return this.table.record
  }
  /** The slots of the fields. */
  readonly fields: JsonRecord
  /** Length of the record at hand. */
  recordBytes = 0
  private readonly table: CompiledTable
  readonly scanner: JsonScanner
  /** The slots are as the scanner has filled them. */
  isScanned = false
  private readonly scans: boolean
  private readonly fieldNames: readonly string[]
  private header: string | undefined
  /** Slot of the field at each position of the line; -1 when nobody asks for it. */
  private slots: readonly number[] = []

  /** With `scans` false every record goes through JSON.parse. */
  constructor(paths: readonly string[], fields: readonly string[], scans: boolean) {
    const slots = Object.fromEntries(paths.map((path, i) => [`slot${i}`, path]))
    this.table = compileTable({ slots, columns: [], finish: () => undefined })
    this.scanner = new JsonScanner(this.table, undefined)
    // The scanner cannot fill both an array and its first element.
    this.scans = scans && !paths.some((path) => paths.some((other) => other.startsWith(`${path}[0]`)))
    this.fieldNames = fields
    this.fields = new JsonRecord(fields)
  }

  /** Sets the slots; why that cannot be, when it cannot. */
  read({ data, session }: OutgoingEvent): string | undefined {
    this.recordBytes = data.length
    this.isScanned = false
    if (this.fieldNames.length > 0) this.fields.clear()
    if (data[0] === OPEN_BRACE) {
      if (this.table.paths.length > 0) this.readJson(data)
      return undefined
    }
    this.record.clear()
    if (this.fieldNames.length === 0) return undefined
    if (session.header === null) return NO_HEADER
    this.readFields(data, session.header)
    return undefined
  }

  private readJson(data: Buffer): void {
    this.scanner.look(data)
    const end = this.scanner.scan(0)
    if (end >= 0 && this.scans) {
      if (end < data.length && !isSpace(data, end)) this.record.clear()
      else this.isScanned = true
    } else if (end >= 0 || end === REFUSED) this.parse(data)
    else this.record.clear()
  }

  private parse(data: Buffer): void {
    const { record, paths } = this.table
    record.clear()
    const root = parseKeepingNumbers(data.toString())
    if (root === undefined) return
    paths.forEach((path, slot) => {
      let found: unknown = root
      for (const key of path) found = member(found, key)
      if (found === undefined || found === null) return
      const isNumber = isRawJson(found)
      const text = Buffer.from(JSON.stringify(found))
      const isString = typeof found === 'string'
      const kind = isString
        ? text.includes(BACKSLASH)
          ? VALUE.escaped
          : VALUE.string
        : isNumber
          ? VALUE.number
          : found === true
            ? VALUE.true
            : found === false
              ? VALUE.false
              : VALUE.other
      record.put(slot, kind, text, isString ? 1 : 0, text.length - (isString ? 1 : 0))
    })
  }

  private readFields(data: Buffer, header: string): void {
    if (header !== this.header) {
      this.header = header
      const names = header.trim().replaceAll('_', '-').split(/\s+/)
      // Of several fields with one name the first counts.
      this.slots = names.map((name, position) => (names.indexOf(name) < position ? -1 : this.fieldNames.indexOf(name)))
    }
    const { slots } = this
    const { kinds, starts, ends, buffers } = this.fields
    let at = 0
    for (let position = 0; position < slots.length && at <= data.length; position++) {
      let end = at
      while (end < data.length && data[end] !== SPACE) end++
      const slot = slots[position]!
      // `-` is no value.
      if (slot >= 0 && end > at && !(end === at + 1 && data[at] === DASH)) {
        kinds[slot] = VALUE.text
        starts[slot] = at
        ends[slot] = end
        buffers[slot] = data
      }
      at = end + 1
    }
  }
}

// --- internal ---

const OPEN_BRACE = 0x7b
const BACKSLASH = 0x5c
const SPACE = 0x20
const DASH = 0x2d
const NO_HEADER = 'its object has no header line, or several: the fields of the record have no names'

function isSpace(bytes: Buffer, from: number): boolean {
  for (let p = from; p < bytes.length; p++) {
    const c = bytes[p]
    if (c !== 32 && c !== 10 && c !== 13 && c !== 9) return false
  }
  return true
}

type Reviver = (key: string, value: unknown, context: { readonly source: string }) => unknown
const parseJson = JSON.parse as (text: string, reviver: Reviver) => unknown
const { rawJSON, isRawJSON: isRawJson } = JSON as unknown as {
  rawJSON(text: string): unknown
  isRawJSON(value: unknown): boolean
}

/** As JSON.parse makes it, but numbers keep the digits they are written with. */
function parseKeepingNumbers(text: string): unknown {
  try {
    return parseJson(text, (_, value, { source }) => (typeof value === 'number' ? rawJSON(source) : value))
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function member(value: unknown, key: string | 0): unknown {
  if (key === 0) return Array.isArray(value) ? value[0] : undefined
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value) && !isRawJson(value)
  return isObject && Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined
}
