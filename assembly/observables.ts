/**
 * `obs/1` over bytes: what core/observables.ts finds in a string, as keyed hashes. Strings that it takes a closer look to
 * read (other than ASCII, escapes, JSON, URLs, e-mail addresses, IPv6) are handed over as they are.
 */
import { allocate, HANDED, HASHES, SLACK, state } from './memory'
import { sip48 } from './sip'
import { intern, isFirst, LONGEST, makeRoom, OBSERVED, setVerdict, SUFFIX, USER, verdictOf, WORD } from './strings'

/** Takes what the two lists hold, when one of them is full. */
@external('env', 'drain')
declare function drain(): void
/** 1: the label at `at` is a known suffix of domains, 2: it is not. */
@external('env', 'suffixVerdict')
declare function suffixVerdict(at: i32, length: i32): i32

export const LIST: i32 = 1024
/** Hashes found: 48 bits, and the type's number above them. */
export const hashes = allocate(LIST * 8)
/** Strings to be looked at elsewhere: start, end, flags. */
export const handed = allocate(LIST * 12)

export const FLAG_TEXT: i32 = 1
export const FLAG_USER: i32 = 2
export const FLAG_ESCAPED: i32 = 4

/** Number of the reader whose key is set: what was reported to it is not reported again. */
let reader: i32 = 0

export function setReader(number: i32): void {
  reader = number
}

/** Room for a string that is not JSON's, at most LONGEST; a longer one goes where the input does. */
export const short = allocate(LONGEST + SLACK)

export function handOver(start: i32, end: i32, flags: i32): void {
  if (load<i32>(state, HANDED) == LIST) drain()
  const count = load<i32>(state, HANDED)
  const at = handed + count * 12
  store<i32>(at, start)
  store<i32>(at, end, 4)
  store<i32>(at, flags, 8)
  store<i32>(state, count + 1, HANDED)
}

/**
 * A string of a record; `escaped` with escapes still in it, `marked` when `. : @` or a byte beyond ASCII is in it. Its
 * entry, if `wanted`.
 */
export function observe(start: i32, end: i32, isUser: bool, escaped: bool, marked: bool, wanted: bool): i32 {
  const length = end - start
  if (escaped) {
    const own = length <= LONGEST ? intern(start, length) : 0
    const isNew = isFirst(own, OBSERVED, reader)
    const isNewUser = isUser && isFirst(own, USER, reader)
    if (isNew || isNewUser) handOver(start, end, FLAG_ESCAPED | FLAG_TEXT | (isNewUser ? FLAG_USER : 0))
    return 0
  }
  const entry = wanted && length <= LONGEST ? intern(start, length) : 0
  if (isUser) {
    const own = entry == 0 && length <= LONGEST ? intern(start, length) : entry
    if (isFirst(own, USER, reader)) handOver(start, end, FLAG_USER)
  }
  if (!marked) {
    if (length >= SHORTEST_WORD && isFirst(entry, OBSERVED, reader)) words(start, end)
    return entry
  }
  if (length == 20 && isIsoTime(start)) return entry
  const own = entry == 0 && length <= LONGEST ? intern(start, length) : entry
  if (isFirst(own, OBSERVED, reader)) marks(start, end)
  return entry
}

/** A string that is not JSON's: unescaped, but with whatever bytes. */
export function extract(start: i32, end: i32): void {
  makeRoom()
  let marked = false
  for (let p = start; p < end; p++) {
    const c = load<u8>(p)
    if (c == BACKSLASH) {
      const entry = end - start <= LONGEST ? intern(start, end - start) : 0
      // An escaped string of a record may have the same bytes.
      if (isFirst(entry, WORD, reader)) handOver(start, end, FLAG_TEXT)
      return
    }
    marked = marked || c == DOT || c == COLON || c == AT || c >= 0x80
  }
  observe(start, end, false, false, marked, false)
}

export function user(start: i32, end: i32): void {
  makeRoom()
  const entry = end - start <= LONGEST ? intern(start, end - start) : 0
  if (isFirst(entry, USER, reader)) handOver(start, end, FLAG_USER)
}

// --- internal ---

const DOT: u32 = 0x2e
const COLON: u32 = 0x3a
const AT: u32 = 0x40
const BACKSLASH: u32 = 0x5c
const SHORTEST_WORD: i32 = 16
const LONGEST_WORD: i32 = 128

const IP: i32 = 1
const IP16: i32 = 2
const IP24: i32 = 3
const DOMAIN: i32 = 4
const MD5: i32 = 7
const SHA1: i32 = 8
const SHA256: i32 = 9
const SHA512: i32 = 10
const ACCESS_KEY: i32 = 11
const ARN: i32 = 12
const SUFFIX_TYPE: i32 = 14
const LONGEST_ARN: i32 = 2048

/** Classes of bytes. */
const TOKEN: u32 = 1
const ALPHANUMERIC: u32 = 2
const LABEL: u32 = 4
const HEX: u32 = 8
/** `. : / @ % + = -`: dropped at the end of an ARN. */
const TAIL: u32 = 16
/** `= / @ % +`: between the parts of a token. */
const SEPARATOR: u32 = 32
const CAPITAL_OR_DIGIT: u32 = 64
const ADDRESS: u32 = 128
const classes = allocate(256)

/** A gap before it is read by the hash. */
const scratch = allocate(LONGEST + 128) + 64

export function prepareClasses(): void {
  for (let c: u32 = 0; c < 128; c++) {
    const digit = c >= 48 && c <= 57
    const small = c >= 97 && c <= 122
    const capital = c >= 65 && c <= 90
    const hex = digit || (c >= 65 && c <= 70) || (c >= 97 && c <= 102)
    let is: u32 = 0
    if (digit || small || capital) is |= TOKEN | ALPHANUMERIC | LABEL
    if (hex) is |= HEX | ADDRESS
    if (digit || capital) is |= CAPITAL_OR_DIGIT
    if (c == 0x5f) is |= TOKEN | LABEL // _
    if (c == 0x2d) is |= TOKEN | LABEL | TAIL // -
    if (c == DOT || c == COLON) is |= TOKEN | TAIL | ADDRESS
    if (c == 0x3d || c == 0x2f || c == AT || c == 0x25 || c == 0x2b) is |= TOKEN | TAIL | SEPARATOR
    store<u8>(classes + c, is)
  }
}

@inline
function isOf(at: i32, kind: u32): bool {
  return (load<u8>(classes + load<u8>(at)) & kind) != 0
}

function emit(type: i32, at: i32, length: i32): void {
  if (load<i32>(state, HASHES) == LIST) drain()
  const count = load<i32>(state, HASHES)
  const key = sip48(type, at, length)
  store<f64>(hashes + (count << 3), f64(key | (u64(type) << 48)))
  store<i32>(state, count + 1, HASHES)
}

function isDigit(c: u32): bool {
  return c >= 48 && c <= 57
}

/** `0000-00-00T00:00:00Z` */
function isIsoTime(at: i32): bool {
  if (load<u8>(at, 19) != 0x5a || load<u8>(at, 10) != 0x54) return false
  if (load<u8>(at, 4) != 0x2d || load<u8>(at, 7) != 0x2d || load<u8>(at, 13) != COLON || load<u8>(at, 16) != COLON)
    return false
  for (let i = 0; i < 19; i++) {
    if (i == 4 || i == 7 || i == 10 || i == 13 || i == 16) continue
    if (!isDigit(load<u8>(at + i))) return false
  }
  return true
}

/** A string with a mark. */
function marks(start: i32, end: i32): void {
  let p = start
  while (p < end && load<u8>(p) <= 0x20) p++
  const first: u32 = p < end ? load<u8>(p) : 0
  let plain = first != 0x7b && first != 0x5b && first != 0x22
  for (let q = start; plain && q < end; q++) plain = load<u8>(q) < 0x80
  if (!plain || !tokens(start, end)) handOver(start, end, FLAG_TEXT)
}

/** False when a token of the string takes a closer look. */
function tokens(start: i32, end: i32): bool {
  let at = start
  while (at < end) {
    while (at < end && !isOf(at, TOKEN)) at++
    const from = at
    let dots = false
    let colons = false
    for (; at < end; at++) {
      const c = load<u8>(at)
      if (!(load<u8>(classes + c) & TOKEN)) break
      if (c == AT) return false
      if (c == DOT) dots = true
      else if (c == COLON) colons = true
    }
    if (colons) {
      if (hasLocator(from, at)) {
        // What a URL or ARN gives depends on what stands around it.
        if (from != start || at != end || !isOneArn(from, at)) return false
        arn(from, at)
      }
      if (mayBeAddress(from, at)) return false
    }
    if (dots) names(from, at)
    if (at - from >= SHORTEST_WORD) words(from, at)
  }
  return true
}

/** Whether `://` or `arn:` stands in a token. */
function hasLocator(from: i32, to: i32): bool {
  for (let p = from; p < to; p++) {
    if (load<u8>(p) != COLON) continue
    if (p + 2 < to && load<u16>(p + 1) == 0x2f2f) return true
    if (p - 3 >= from && load<u32>(p - 3) == 0x3a6e7261) return true
  }
  return false
}

/** Begins with `arn:`, and has neither another one nor `://`. */
function isOneArn(from: i32, to: i32): bool {
  return to - from > 4 && load<u32>(from) == 0x3a6e7261 && !hasLocator(from + 4, to)
}

/** Five parts of `[a-z0-9-]` (the last two may be empty), and a rest. */
function arn(from: i32, to: i32): void {
  while (to > from && isOf(to - 1, TAIL)) to--
  if (to - from > LONGEST_ARN) return
  let p = from + 4
  for (let part = 0; part < 4; part++) {
    const begin = p
    for (; p < to; p++) {
      const c = load<u8>(p)
      if (!((c >= 97 && c <= 122) || isDigit(c) || c == 0x2d)) break
    }
    if (p >= to || load<u8>(p) != COLON || (part < 2 && p == begin)) return
    p++
  }
  if (p < to) emit(ARN, from, to - from)
}

/** Whether a part of the token could be an IPv6 address, or an address with `.` or `:` behind it. */
function mayBeAddress(from: i32, to: i32): bool {
  let p = from
  while (p < to) {
    let colons = 0
    let doubled = false
    let address = true
    for (; p < to && !isOf(p, SEPARATOR); p++) {
      if (!isOf(p, ADDRESS)) address = false
      if (load<u8>(p) == COLON) {
        colons++
        if (p + 1 < to && load<u8>(p + 1) == COLON) doubled = true
      }
    }
    if (address && colons > 0) {
      const last = load<u8>(p - 1)
      if (doubled || colons >= 6 || last == DOT || last == COLON) return true
    }
    p++
  }
  return false
}

/** Names of a token: labels joined by single dots. */
function names(from: i32, to: i32): void {
  let p = from
  while (p < to) {
    if (!isOf(p, LABEL)) {
      p++
      continue
    }
    const begin = p
    let dots = 0
    while (true) {
      while (p < to && isOf(p, LABEL)) p++
      if (p + 1 < to && load<u8>(p) == DOT && isOf(p + 1, LABEL)) {
        dots++
        p++
      } else break
    }
    if (dots > 0) name(begin, p)
  }
}

function name(begin: i32, end: i32): void {
  while (end > begin) {
    const c = load<u8>(end - 1)
    if (c != 0x2d && c != 0x5f && c != DOT) break
    end--
  }
  while (begin < end) {
    const c = load<u8>(begin)
    if (c != 0x2d && c != DOT) break
    begin++
  }
  if (!quad(begin, end)) domain(begin, end)
}

/** A strict dotted quad, which is in canonical form. */
function quad(from: i32, to: i32): bool {
  if (to - from > 15) return false
  let dots = 0
  let second = 0
  let third = 0
  let octet = -1
  for (let p = from; p < to; p++) {
    const c = <i32>load<u8>(p)
    if (c == DOT) {
      if (octet < 0) return false
      octet = -1
      dots++
      if (dots == 2) second = p - from
      else if (dots == 3) third = p - from
    } else {
      if (!isDigit(c) || octet == 0) return false
      octet = octet < 0 ? c - 48 : octet * 10 + c - 48
      if (octet > 255) return false
    }
  }
  if (dots != 3 || octet < 0) return false
  emit(IP, from, to - from)
  memory.copy(scratch, from, third)
  store<u8>(scratch + third, DOT)
  store<u32>(scratch + third, 0x34322f30, 1) // 0/24
  emit(IP24, scratch, third + 5)
  store<u8>(scratch + second, DOT)
  store<u16>(scratch + second, 0x2e30, 1) // 0.
  store<u32>(scratch + second, 0x36312f30, 3) // 0/16
  emit(IP16, scratch, second + 7)
  return true
}

/** Lower-case, two labels or more, the last alphabetic or punycode: the name and its parents, or its unknown suffix. */
function domain(from: i32, to: i32): void {
  const length = to - from
  if (length < 4 || length > 253) return
  let label = 0
  let labels = 1
  for (let i = 0; i < length; i++) {
    let c = <u32>load<u8>(from + i)
    if (c >= 65 && c <= 90) c += 32
    store<u8>(scratch + i, c)
    if (c == DOT) {
      if (i - label > 63) return
      label = i + 1
      labels++
    }
  }
  const last = length - label
  if (labels < 2 || last < 2 || last > 63) return
  if (last > 4 && load<u32>(scratch + label) == 0x2d2d6e78) {
    for (let i = label + 4; i < length; i++) if (load<u8>(scratch + i) == 0x5f) return
  } else {
    for (let i = label; i < length; i++) {
      const c = load<u8>(scratch + i)
      if (c < 97 || c > 122) return
    }
  }
  const entry = intern(scratch + label, last)
  let verdict = verdictOf(entry)
  if (verdict == 0) {
    verdict = suffixVerdict(scratch + label, last)
    setVerdict(entry, verdict)
  }
  if (verdict != 1) {
    if (isFirst(entry, SUFFIX, reader)) emit(SUFFIX_TYPE, scratch + label, last)
    return
  }
  for (let begin = 0; begin < label; begin++) {
    emit(DOMAIN, scratch + begin, length - begin)
    while (load<u8>(scratch + begin) != DOT) begin++
  }
}

/** Hashes and access keys: a run of letters and digits long enough must cover one of every sixteen places. */
function words(start: i32, end: i32): void {
  for (let probe = start + SHORTEST_WORD - 1; probe < end; probe += SHORTEST_WORD) {
    if (!isOf(probe, ALPHANUMERIC)) continue
    let from = probe
    while (from > start && isOf(from - 1, ALPHANUMERIC)) from--
    let to = probe + 1
    while (to < end && isOf(to, ALPHANUMERIC)) to++
    word(from, to - from)
    if (to > probe + SHORTEST_WORD) probe = to - 1
  }
}

function word(from: i32, length: i32): void {
  if (length < SHORTEST_WORD || length > LONGEST_WORD) return
  let type = 0
  if (length == 32) type = MD5
  else if (length == 40) type = SHA1
  else if (length == 64) type = SHA256
  else if (length == 128) type = SHA512
  if (type != 0) {
    let hex = true
    for (let i = 0; hex && i < length; i++) hex = isOf(from + i, HEX)
    if (!hex) type = 0
  }
  if (type == 0) {
    if (length > 32 || !isAccessKey(from, length)) return
    type = ACCESS_KEY
  }
  if (!isFirst(intern(from, length), WORD, reader)) return
  if (type == ACCESS_KEY) emit(type, from, length)
  else {
    for (let i = 0; i < length; i++) {
      const c = load<u8>(from + i)
      store<u8>(scratch + i, c >= 65 && c <= 70 ? c + 32 : c)
    }
    emit(type, scratch, length)
  }
}

function isAccessKey(from: i32, length: i32): bool {
  const head = load<u32>(from)
  // AKIA ASIA ABIA ACCA
  if (head != 0x41494b41 && head != 0x41495341 && head != 0x41494241 && head != 0x41434341) return false
  for (let i = 4; i < length; i++) if (!isOf(from + i, CAPITAL_OR_DIGIT)) return false
  return true
}
