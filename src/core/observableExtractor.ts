/**
 * `obs/1` over bytes, for the hot path: the same observables as observables.ts (a property test holds them equal), as
 * keyed hashes. The work is done by the byte module; it hands over what takes a closer look, and that once.
 */
import { type ByteModule, byteModule, HANDED, LIST, LONGEST_STRING, STATE, unescaped } from './byteModule.ts'
import { collectObservables, type EmitObservable, normalize, OBSERVABLE_TYPES } from './observables.ts'
import { HASH48_LIMIT, type SipKey, sipHash48 } from './sipHash.ts'

/** `type` is a number of OBSERVABLE_TYPES. The same pair may come again. */
export type AddObservable = (type: number, hash48: number) => void

export class ObservableExtractor {
  private readonly key: SipKey
  private readonly add: AddObservable
  private readonly module: ByteModule = byteModule()
  private readonly number = ++extractors
  private readonly scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  private readonly emit: EmitObservable

  constructor(key: SipKey, add: AddObservable) {
    this.key = key
    this.add = add
    this.emit = (type, value) => {
      const length = this.scratch.write(value)
      const number = OBSERVABLE_TYPES[type]
      this.add(number, sipHash48(this.key, number, this.scratch, 0, length))
    }
  }

  /** The observables of `bytes[start, end)`: one unescaped string of a record, as UTF-8. */
  extract(bytes: Buffer, start: number, end: number): void {
    this.listen()
    const at = this.module.loadString(bytes, start, end)
    this.module.exports.extract(at, at + end - start)
    this.take()
  }

  /** A user name: the value of an actor_user_* column or of a key that ends in userName. */
  user(bytes: Buffer, start: number, end: number): void {
    if (end - start > LONGEST_STRING) {
      this.look(bytes, start, end, HANDED.user)
      return
    }
    this.listen()
    const at = this.module.loadString(bytes, start, end)
    this.module.exports.user(at, at + end - start)
    this.take()
  }

  /** What the byte module finds in strings is this extractor's from now on. */
  listen(): void {
    this.module.hand(this, this.number, this.key)
  }

  /** After calls of the byte module: strings handed over must not wait, hashes may. */
  takeSoon(): void {
    const { state } = this.module
    if (state[STATE.handed]! > 0 || state[STATE.hashes]! > LIST / 2) this.take()
  }

  /** Takes everything that is found so far. */
  flush(): void {
    this.listen()
    this.take()
  }

  take(): void {
    const { state, hashes, handed, bytes } = this.module
    const found = state[STATE.hashes]!
    for (let i = 0; i < found; i++) {
      const type = Math.floor(hashes[i]! / HASH48_LIMIT)
      this.add(type, hashes[i]! - type * HASH48_LIMIT)
    }
    state[STATE.hashes] = 0
    const strings = state[STATE.handed]! * 3
    for (let i = 0; i < strings; i += 3) this.look(bytes, handed[i]!, handed[i + 1]!, handed[i + 2]!)
    state[STATE.handed] = 0
  }

  private look(bytes: Buffer, start: number, end: number, flags: number): void {
    const text =
      flags & HANDED.escaped ? unescaped(bytes, start, end).toWellFormed() : bytes.toString('utf8', start, end)
    if (flags & HANDED.text) collectObservables(text, false, this.emit)
    if (flags & HANDED.user) {
      const user = normalize('user', text)
      if (user !== undefined) this.emit('user', user)
    }
  }
}

// --- internal ---

/** Each has a number of its own in the byte module. */
let extractors = 0
const SCRATCH_BYTES = 32_768
