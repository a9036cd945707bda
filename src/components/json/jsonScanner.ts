/**
 * Runs a table over the bytes of one JSON record: checks the whole grammar, fills the table's slots with byte slices and
 * finds observables for the keyset, without making an object. What it cannot take exactly as `JSON.parse` would (duplicate
 * or escaped keys, malformed text) it refuses, and the caller goes the slow way. The work is done by the byte module
 * (assembly/json.ts) over a window of the caller's bytes.
 */
import { type ByteModule, byteModule, STATE, unescaped } from '../../core/byteModule.ts'
import type { ObservableExtractor } from '../../core/observableExtractor.ts'
import { type CompiledTable, type JsonRecord, tablePlace } from './jsonTable.ts'

/** The record goes on beyond the buffer. */
export const INCOMPLETE = -1
/** The record is for the slow way. */
export const REFUSED = -2
/** Nested more deeply than MAX_DEPTH. */
export const TOO_DEEP = -3
export const MAX_DEPTH = 500

export class JsonScanner {
  private readonly module: ByteModule = byteModule()
  private readonly record: JsonRecord
  private readonly observables: ObservableExtractor | undefined
  /** Of the table in the module's memory. */
  readonly place: number
  private readonly slots: number
  private bytes: Buffer = EMPTY
  /** The window: bytes[from, to) are in the module's memory. */
  private from = 0
  private to = 0
  /** What to add to a place in the module's memory to have the one in `bytes`. */
  bias = 0
  /** Where `skip` found what it refused. */
  refusedAt = 0

  /** `observables`: who takes what is found in strings; undefined when nobody wants it. */
  constructor(table: CompiledTable, observables: ObservableExtractor | undefined) {
    this.record = table.record
    this.observables = observables
    this.place = tablePlace(table, this.module)
    this.slots = table.paths.length
  }

  /** What follows is about these bytes. Their owner may have changed them since the last call. */
  look(bytes: Buffer): void {
    this.bytes = bytes
    this.to = 0
    this.record.lookAt(bytes)
    this.observables?.listen()
  }

  /** Scans the object at this place; its end, INCOMPLETE, REFUSED or TOO_DEEP. Slots are set only on success. */
  scan(at: number): number {
    const { module, observables } = this
    this.see(at)
    for (;;) {
      const { bias } = this
      const end = module.exports.scanRecord(
        at - bias,
        this.to - bias,
        this.place,
        this.slots,
        bias,
        observables !== undefined,
      )
      observables?.takeSoon()
      if (end >= 0) {
        this.record.fill(module, this.place)
        return end + bias
      }
      if (end !== INCOMPLETE || !this.widen(at)) return end
    }
  }

  /** Checks any value and reports its strings; for records that take the slow way, and for what surrounds records. */
  skip(at: number): number {
    const { module, observables } = this
    this.see(at)
    for (;;) {
      const { bias } = this
      const end = module.exports.skipValue(at - bias, this.to - bias, observables !== undefined)
      observables?.takeSoon()
      this.refusedAt = module.state[STATE.refusedAt]! + bias
      // A number may go on behind the window.
      const isWhole = end >= 0 && (end + bias < this.to || this.to === this.bytes.length)
      if (isWhole) return end + bias
      if ((end < 0 && end !== INCOMPLETE) || !this.widen(at)) return end
    }
  }

  // --- internal ---

  /** Brings the window to where `at` is. */
  private see(at: number): void {
    if (this.module.inputOf !== this || at < this.from || at >= this.to) this.move(at, WINDOW_BYTES)
  }

  /** False when the window reaches the end of the bytes already. */
  private widen(at: number): boolean {
    if (this.to === this.bytes.length) return false
    this.move(at, at === this.from ? (this.to - this.from) * 4 : WINDOW_BYTES)
    return true
  }

  private move(at: number, length: number): void {
    const { module, bytes } = this
    this.from = at
    this.to = Math.min(bytes.length, at + length)
    this.bias = at - module.load(bytes, at, this.to)
    module.inputOf = this
  }
}

/** The UTF-8 bytes of a JSON string's content; a lone surrogate becomes U+FFFD, as everywhere in UTF-8. */
export function unescapeString(bytes: Buffer, start: number, end: number): Buffer {
  return Buffer.from(unescaped(bytes, start, end))
}

/** Decimal digits without leading zero, at most 15, with an optional minus: text and number are interchangeable. */
export function plainInteger(bytes: Buffer, start: number, end: number): boolean {
  if (end - start > 15) return false
  let p = start
  if (bytes[p] === MINUS) p++
  if (p === end) return false
  if (bytes[p] === ZERO) return end - start === 1
  for (; p < end; p++) if (bytes[p]! < ZERO || bytes[p]! > NINE) return false
  return true
}

// --- internal ---

const EMPTY = Buffer.alloc(0)
/** Small enough for the processor's cache; a longer record widens it. */
const WINDOW_BYTES = 256 * 1024
const MINUS = 0x2d
const ZERO = 0x30
const NINE = 0x39
