/**
 * The WebAssembly part of the hot path, written in AssemblyScript (assembly/, compiled by `npm run gen`): the scanner of
 * JSON records, the strings met before, what `obs/1` finds in a string, and rows of common forms. One instance a process, made when first
 * wanted. Its memory is 9 MiB of tables and, behind them, the input: a window of what is parsed.
 */
import { randomInt } from 'node:crypto'
import { MODULE } from './byteModule.wasm.ts'
import { isKnownSuffix, isUserKey } from './observables.ts'

/** Strings longer than this have no id. */
export const LONGEST_STRING = 4096

/** Takes what a call has found: at its end, and in between when a list is full. */
export interface Reader {
  take(): void
}

export class ByteModule {
  readonly exports: Exports
  /** The memory; another object when it has grown, and so are the arrays. */
  bytes!: Buffer
  /** By STATE. */
  state!: Int32Array
  /** Keyed hashes of observables: 48 bits, and the number of the type above them. */
  hashes!: Float64Array
  /** Strings for a closer look: start, end, flags of HANDED. */
  handed!: Int32Array
  /** Whose bytes are in the input. */
  inputOf: unknown
  private reader: Reader | undefined

  constructor() {
    const instance = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(MODULE, 'base64')), {
      env: {
        drain: () => this.reader!.take(),
        suffixVerdict: (at: number, length: number) => (isKnownSuffix(this.latin1(at, at + length)) ? 1 : 2),
        endsAsUser: (start: number, end: number) => isUserKey(unescaped(this.bytes, start, end)),
      },
    })
    this.exports = instance.exports as Exports
    this.exports.seedStrings(randomInt(2 ** 32), randomInt(2 ** 32))
    this.reserve(LEAST_INPUT)
  }

  /** Puts bytes into the input, zeros behind them; where they are. */
  load(bytes: Buffer, start: number, end: number): number {
    const at = this.reserve(end - start)
    bytes.copy(this.bytes, at, start, end)
    this.bytes.fill(0, at + end - start, at + end - start + SLACK)
    return at
  }

  /** The same for a string of at most LONGEST_STRING bytes that is not in the input; longer ones go there. */
  loadString(bytes: Buffer, start: number, end: number): number {
    if (end - start > LONGEST_STRING) {
      this.inputOf = undefined
      return this.load(bytes, start, end)
    }
    const at = this.exports.short.value
    bytes.copy(this.bytes, at, start, end)
    return at
  }

  /** From now on what is found is this reader's; what an earlier one has not taken, it takes. */
  hand(reader: Reader, number: number, key: Int32Array): void {
    if (this.reader === reader) return
    this.reader?.take()
    this.reader = reader
    this.exports.setSipKey(key[0]!, key[1]!, key[2]!, key[3]!)
    this.exports.setReader(number)
  }

  /** Before `newTable`, `newNode` and `newEntry`. */
  reserveTable(): void {
    this.inputOf = undefined
    this.exports.reservePool()
    this.refresh()
  }

  /** Zeroed memory for a plan of rows. */
  reservePlan(bytes: number): number {
    this.inputOf = undefined
    const at = this.exports.reservePlan(bytes)
    this.refresh()
    return at
  }

  private latin1(start: number, end: number): string {
    return this.bytes.toString('latin1', start, end)
  }

  private reserve(bytes: number): number {
    const { exports } = this
    const at = exports.reserveInput(bytes)
    this.refresh()
    return at
  }

  private refresh(): void {
    const { exports } = this
    const { buffer } = exports.memory
    if (this.bytes?.buffer === buffer) return
    this.bytes = Buffer.from(buffer)
    this.state = new Int32Array(buffer, exports.state.value, 4)
    this.hashes = new Float64Array(buffer, exports.hashes.value, LIST)
    this.handed = new Int32Array(buffer, exports.handed.value, LIST * 3)
  }
}

/** Places in ByteModule.state. */
export const STATE = { hashes: 0, handed: 1, generation: 2, refusedAt: 3 } as const
/** Why a string is handed over: for all its observables; as a user name; and with JSON escapes still in it. */
export const HANDED = { text: 1, user: 2, escaped: 4 } as const
/** Entries of each list. */
export const LIST = 1024

let module: ByteModule | undefined

export function byteModule(): ByteModule {
  module ??= new ByteModule()
  return module
}

/** Changes when ids of strings are given anew. */
export const stringGeneration = (): number => module?.state[STATE.generation] ?? 0

/** What a JSON string says whose content is `bytes[start, end)`, between its quotes; a lone surrogate may be in it. */
export function unescaped(bytes: Buffer, start: number, end: number): string {
  return JSON.parse(bytes.toString('utf8', start - 1, end + 1)) as string
}

// --- internal ---

/** Zeros behind the input, which reading on by a vector may touch. */
const SLACK = 64
const LEAST_INPUT = 256 * 1024

/** As far as it is used here: the library's types of it come with a browser's. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object, imports: object) => { readonly exports: object }
}

interface Place {
  readonly value: number
}
/** Places in memory are numbers. */
interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer }
  readonly state: Place
  readonly hashes: Place
  readonly handed: Place
  readonly short: Place
  reserveInput(bytes: number): number
  seedStrings(low: number, high: number): void
  setSipKey(k0low: number, k0high: number, k1low: number, k1high: number): void
  setReader(number: number): void
  extract(start: number, end: number): void
  user(start: number, end: number): void
  scanRecord(at: number, end: number, table: number, slots: number, toCaller: number, observing: boolean): number
  skipValue(at: number, end: number, observing: boolean): number
  reservePool(): void
  /** 0 when the pool is used up; so the two below. */
  newTable(node: number, slots: number): number
  newNode(): number
  newEntry(node: number, at: number, length: number, slot: number, isUser: boolean, wantsId: boolean): number
  linkEntry(entry: number, node: number, first: number): void
  reservePlan(bytes: number): number
  givenAt(): number
  rowAt(): number
  writeRow(plan: number, columns: number, table: number, slots: number, toCaller: number): number
}
