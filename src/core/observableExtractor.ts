/**
 * `obs/1` over bytes, for the hot path: the same observables as observables.ts (a property test holds them equal), as
 * keyed hashes. Most strings end after one look at their bytes; a string or token seen before costs its byte hash; only
 * what is new and looks like an observable becomes a JS string.
 */
import { Interner } from './interner.ts'
import { collectObservables, collectOfToken, type EmitObservable, normalize, OBSERVABLE_TYPES } from './observables.ts'
import { type SipKey, sipHash48 } from './sipHash.ts'

/** `type` is a number of OBSERVABLE_TYPES. The same pair may come again. */
export type AddObservable = (type: number, hash48: number) => void

export class ObservableExtractor {
  private readonly key: SipKey
  private readonly add: AddObservable
  private readonly seen = new Interner()
  private seenBytes = 0
  private readonly seenUsers = new Interner()
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
    let marks = 0
    for (let at = start; at < end; at++) marks |= MARK[bytes[at]!]!
    if (marks === 0) {
      if (end - start >= SHORTEST_WORD) this.words(bytes, start, end)
      return
    }
    if (marks === COLON && end - start === 20 && isIsoTime(bytes, start)) return
    if (end - start <= LONGEST_SEEN && !this.isNew(bytes, start, end)) return
    if (marks & (NON_ASCII | BACKSLASH) || opensJson(bytes, start, end)) this.whole(bytes, start, end)
    else this.tokens(bytes, start, end)
  }

  /** A user name: the value of an actor_user_* column or of a key that ends in userName. */
  user(bytes: Buffer, start: number, end: number): void {
    if (end - start <= LONGEST_SEEN) {
      if (this.seenUsers.count >= MOST_SEEN) this.seenUsers.clear()
      const before = this.seenUsers.count
      this.seenUsers.intern(bytes, start, end)
      if (this.seenUsers.count === before) return
    }
    const user = normalize('user', bytes.toString('utf8', start, end))
    if (user !== undefined) this.emit('user', user)
  }

  // --- internal ---

  private isNew(bytes: Buffer, start: number, end: number): boolean {
    const { seen } = this
    if (seen.count >= MOST_SEEN || this.seenBytes >= MOST_SEEN_BYTES) {
      seen.clear()
      this.seenBytes = 0
    }
    const before = seen.count
    seen.intern(bytes, start, end)
    if (seen.count === before) return false
    this.seenBytes += end - start
    return true
  }

  private whole(bytes: Buffer, start: number, end: number): void {
    collectObservables(bytes.toString('utf8', start, end), false, this.emit)
  }

  private tokens(bytes: Buffer, start: number, end: number): void {
    let at = start
    while (at < end) {
      while (at < end && !(MARK_TOKEN[bytes[at]!]! & TOKEN)) at++
      const from = at
      let marks = 0
      for (; at < end; at++) {
        const mark = MARK_TOKEN[bytes[at]!]!
        if (!(mark & TOKEN)) break
        marks |= mark
      }
      marks &= ~TOKEN
      if (marks === 0) {
        if (at - from >= SHORTEST_WORD) this.words(bytes, from, at)
        continue
      }
      const alone = from === start && at === end
      if (!alone && marks & COLON && hasLocator(bytes, from, at)) {
        // What a URL or ARN gives depends on what stands around it.
        this.whole(bytes, start, end)
        return
      }
      if (!alone && at - from <= LONGEST_SEEN && !this.isNew(bytes, from, at)) continue
      if (marks !== DOT || !this.quad(bytes, from, at)) collectOfToken(bytes.toString('latin1', from, at), this.emit)
    }
  }

  /** An IPv4 address is already in canonical form: no string is made. False when the token is not one. */
  private quad(bytes: Buffer, from: number, to: number): boolean {
    const dots = quadDots(bytes, from, to)
    if (dots < 0) return false
    const { key, scratch } = this
    this.add(OBSERVABLE_TYPES.ip, sipHash48(key, OBSERVABLE_TYPES.ip, bytes, from, to))
    const second = dots >> 4
    const third = dots & 15
    for (let i = 0; i < third; i++) scratch[i] = bytes[from + i]!
    TAIL_24.copy(scratch, third)
    this.add(OBSERVABLE_TYPES.ip24, sipHash48(key, OBSERVABLE_TYPES.ip24, scratch, 0, third + TAIL_24.length))
    TAIL_16.copy(scratch, second)
    this.add(OBSERVABLE_TYPES.ip16, sipHash48(key, OBSERVABLE_TYPES.ip16, scratch, 0, second + TAIL_16.length))
    return true
  }

  /** Hashes and access keys in text without dots and colons: a long word must cover one of every sixteen places. */
  private words(bytes: Buffer, start: number, end: number): void {
    for (let probe = start + SHORTEST_WORD - 1; probe < end; probe += SHORTEST_WORD) {
      if (!ALPHANUMERIC[bytes[probe]!]) continue
      let from = probe
      while (from > start && ALPHANUMERIC[bytes[from - 1]!]) from--
      let to = probe + 1
      while (to < end && ALPHANUMERIC[bytes[to]!]) to++
      const length = to - from
      if (length >= SHORTEST_WORD && length <= LONGEST_WORD && this.isNew(bytes, from, to)) {
        collectOfToken(bytes.toString('latin1', from, to), this.emit)
      }
      if (to > probe + SHORTEST_WORD) probe = to - 1
    }
  }
}

const SCRATCH_BYTES = 32_768
const SHORTEST_WORD = 16
const LONGEST_WORD = 128
const LONGEST_SEEN = 4096
const MOST_SEEN = 16_384
const MOST_SEEN_BYTES = 4 << 20

const DOT = 1
const COLON = 2
const AT = 4
const NON_ASCII = 8
const BACKSLASH = 16
const TOKEN = 32

const MARK = new Uint8Array(256).fill(NON_ASCII, 128)
MARK[0x2e] = DOT
MARK[0x3a] = COLON
MARK[0x40] = AT
MARK[0x5c] = BACKSLASH
const ALPHANUMERIC = new Uint8Array(256)
const MARK_TOKEN = new Uint8Array(256)
for (let byte = 0; byte < 128; byte++) {
  const character = String.fromCharCode(byte)
  if (/[A-Za-z0-9]/.test(character)) ALPHANUMERIC[byte] = 1
  if (/[A-Za-z0-9._:/@%+=-]/.test(character)) MARK_TOKEN[byte] = TOKEN | MARK[byte]!
}

function isIsoTime(bytes: Buffer, start: number): boolean {
  for (let at = 0; at < 20; at++) {
    const byte = bytes[start + at]!
    const wanted = ISO_TIME[at]!
    if (wanted === DIGIT ? byte < 0x30 || byte > 0x39 : byte !== wanted) return false
  }
  return true
}
const DIGIT = 0x30
const TAIL_16 = Buffer.from('.0.0/16')
const TAIL_24 = Buffer.from('.0/24')

/** Of a strict dotted quad: where its second dot is, times 16, plus where its third is; else -1. */
function quadDots(bytes: Buffer, from: number, to: number): number {
  if (to - from > 15) return -1
  let dots = 0
  let second = 0
  let third = 0
  let octet = -1
  for (let at = from; at < to; at++) {
    const byte = bytes[at]!
    if (byte === 0x2e) {
      if (octet < 0) return -1
      octet = -1
      dots++
      if (dots === 2) second = at - from
      else if (dots === 3) third = at - from
    } else if (byte < 0x30 || byte > 0x39 || octet === 0) return -1
    else {
      octet = octet < 0 ? byte - 0x30 : octet * 10 + byte - 0x30
      if (octet > 255) return -1
    }
  }
  return dots === 3 && octet >= 0 ? (second << 4) | third : -1
}
const ISO_TIME = Buffer.from('0000-00-00T00:00:00Z')

function opensJson(bytes: Buffer, start: number, end: number): boolean {
  let at = start
  while (at < end && bytes[at]! <= 0x20) at++
  const byte = bytes[at]
  return byte === 0x7b || byte === 0x5b || byte === 0x22
}

/** Whether `://` or `arn:` stands in a token. */
function hasLocator(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    if (bytes[at] !== 0x3a) continue
    if (at + 2 < end && bytes[at + 1] === 0x2f && bytes[at + 2] === 0x2f) return true
    if (at - 3 >= start && bytes[at - 3] === 0x61 && bytes[at - 2] === 0x72 && bytes[at - 1] === 0x6e) return true
  }
  return false
}
