/**
 * Deflate (RFC 1951) for rows of JSON, whose repeats are long: a match is looked for by the hash of eight bytes and by
 * that of four, at the last position of each alone; one that is one byte later and longer is preferred. What is written
 * ends with a sync flush, so that pieces one after another, each with the 32 KiB before it as dictionary, are one stream.
 */

const WINDOW: i32 = 32768
const LONGEST: i32 = 258
const LONG_BITS: i32 = 16
const SHORT_BITS: i32 = 15
/** Tokens of a block of the stream, each with codes of its own. */
const TOKENS: i32 = 24576
const LITERALS: i32 = 286
const DISTANCES: i32 = 30
const END: i32 = 256
const LIMIT: i32 = 15
/** A match this long is taken without a look at the next position. */
const GOOD: i32 = 64
/** Zeros behind the input. */
const SLACK: i32 = 64
/** Inside a match every so many positions are entered. */
const STEP: i32 = 4
/** Tokens that one match adds at most, with the literals before it. */
const MARGIN: i32 = 64
/** A match of four bytes from further away costs more than they do. */
const FAR: i32 = 2048

const longs = memory.data(4 << 16, 64)
const shorts = memory.data(4 << 15, 64)
/** A literal, or the length of a match with its distance above (<< 9). */
const tokens = memory.data(4 * 24576, 64)
/** Frequencies, lengths, and codes (value | bits << 24) of the three alphabets. */
const literalCounts = memory.data(288 * 4, 8)
const distanceCounts = memory.data(32 * 4, 8)
const runCounts = memory.data(20 * 4, 8)
const literalSizes = memory.data(288 + 32, 8)
const distanceSizes = memory.data(32, 8)
const runSizes = memory.data(20, 8)
const literalCodes = memory.data(288 * 4, 8)
const distanceCodes = memory.data(32 * 4, 8)
const runCodes = memory.data(20 * 4, 8)
/** Of each match length its symbol and extra bits: symbol | extra << 16 | bits << 24; and its code: value | bits << 24. */
const lengthParts = memory.data(259 * 4, 8)
const lengthCodes = memory.data(259 * 4, 8)
/** Sorted symbols with their frequencies while sizes are found. */
const keys = memory.data(288 * 4, 8)
const symbols = memory.data(288 * 4, 8)
const sizeCounts = memory.data(64 * 4, 8)
const nextCodes = memory.data(32 * 4, 8)
const runs = memory.data(320 * 2, 8)

let inputAt: i32 = 0
let capacity: i32 = 0
/** What to add to a place for its position: positions ascend over all calls, so that tables need no clearing. */
let bias: i32 = 0
let nextPosition: i32 = 0
let tokenEnd: usize = 0
let out: usize = 0
let bits: u64 = 0
let bitCount: i32 = 0

/** Room for `bytes` of dictionary and input; where they go. What `deflate` makes lies behind them. */
export function reserve(bytes: i32): i32 {
  if (inputAt == 0) {
    inputAt = (i32(__heap_base) + 63) & ~63
    prepareLengths()
  }
  if (bytes > capacity) {
    capacity = bytes
    const end = inputAt + bytes + SLACK + bytes * 2 + 2048
    const pages = ((end + 0xffff) >>> 16) - memory.size()
    if (pages > 0 && memory.grow(pages) < 0) unreachable()
  }
  return inputAt
}

/** Where the output begins. */
export function output(): i32 {
  return inputAt + capacity + SLACK
}

/** `[inputAt, +dictionary)` was written before, `[.., +length)` is to be written; the bytes made. */
export function deflate(dictionary: i32, length: i32): i32 {
  const start = inputAt + dictionary
  const end = start + length
  memory.fill(end, 0, SLACK)
  if (nextPosition > 0x40000000 || nextPosition == 0) {
    memory.fill(longs, 0, 4 << LONG_BITS)
    memory.fill(shorts, 0, 4 << SHORT_BITS)
    nextPosition = WINDOW + 1
  }
  bias = nextPosition - inputAt
  nextPosition += dictionary + length + WINDOW + 1
  out = output()
  bits = 0
  bitCount = 0
  tokenEnd = tokens
  for (let p = inputAt; p < start; p++) {
    const word = load<u64>(p)
    store<i32>(longAt(word), p + bias)
    store<i32>(shortAt(word), p + bias)
  }
  match(start, end)
  if (tokenEnd > tokens) writeBlock()
  // An empty stored block ends at a byte.
  put(0, 3)
  if (bitCount > 0) {
    store<u8>(out, u8(bits))
    out++
    bits = 0
    bitCount = 0
  }
  store<u32>(out, 0xffff0000)
  out += 4
  return i32(out) - output()
}

// --- matches ---

@inline
function longAt(word: u64): usize {
  return longs + (usize((word * 0x9e3779b97f4a7c15) >> (64 - LONG_BITS)) << 2)
}
@inline
function shortAt(word: u64): usize {
  return shorts + (usize((u32(word) * 0x9e3779b1) >> (32 - SHORT_BITS)) << 2)
}

let foundAt: i32 = 0

/** Length of the best match at `p`, 0 for none; `foundAt`. */
@inline
function find(p: i32, end: i32): i32 {
  const word = load<u64>(p)
  const l = longAt(word)
  const s = shortAt(word)
  const far = load<i32>(l) - bias
  const near = load<i32>(s) - bias
  store<i32>(l, p + bias)
  store<i32>(s, p + bias)
  const first = p - WINDOW
  if (far >= first && load<u64>(far) == word) {
    foundAt = far
    const n = 8 + same(far + 8, p + 8, end)
    if (near > far && near >= first && load<u32>(near) == u32(word)) {
      const m = 4 + same(near + 4, p + 4, end)
      if (m >= n) { foundAt = near; return m }
    }
    return n
  }
  if (near >= first && load<u32>(near) == u32(word)) {
    const length = 4 + same(near + 4, p + 4, end)
    if (length == 4 && p - near > FAR) return 0
    foundAt = near
    return length
  }
  return 0
}

/** Bytes that are alike from here. */
@inline
function same(a: i32, b: i32, end: i32): i32 {
  const start = b
  while (b < end) {
    const difference = load<u64>(a) ^ load<u64>(b)
    if (difference != 0) {
      b += i32(ctz(difference) >> 3)
      break
    }
    a += 8
    b += 8
  }
  return (b < end ? b : end) - start
}

function match(start: i32, end: i32): void {
  const last = end - 8
  let p = start
  let t = tokenEnd
  const full = tokens + TOKENS * 4 - MARGIN * 4
  while (p < last) {
    if (t >= full) {
      tokenEnd = t
      writeBlock()
      t = tokenEnd
    }
    let length = find(p, end)
    if (length == 0) {
      store<u32>(t, load<u8>(p))
      t += 4
      p++
      continue
    }
    let from = foundAt
    while (length < GOOD && p + 1 < last) {
      const next = find(p + 1, end)
      if (next <= length) break
      store<u32>(t, load<u8>(p))
      t += 4
      p++
      length = next
      from = foundAt
    }
    const stop = p + length
    while (t > tokens && from > inputAt && load<u32>(t - 4) < 256 && load<u8>(p - 1) == load<u8>(from - 1)) {
      p--
      from--
      t -= 4
    }
    length = stop - p
    const distance = p - from
    // The few positions that are entered find the rest again, for matches are widened to their left.
    for (let q = p + 1, some = min(stop, last); q < some; q += STEP) {
      const word = load<u64>(q)
      store<i32>(longAt(word), q + bias)
      store<i32>(shortAt(word), q + bias)
    }
    while (length > LONGEST) {
      const part = length >= LONGEST + 3 ? LONGEST : length - 3
      store<u32>(t, (distance << 9) | part)
      t += 4
      length -= part
      if (t >= full) {
        tokenEnd = t
        writeBlock()
        t = tokenEnd
      }
    }
    store<u32>(t, (distance << 9) | length)
    t += 4
    p = stop
  }
  for (; p < end; p++) {
    store<u32>(t, load<u8>(p))
    t += 4
  }
  tokenEnd = t
}

// --- codes ---

function prepareLengths(): void {
  let length = 3
  for (let symbol = 257; symbol < 285; symbol++) {
    const extra = symbol < 265 ? 0 : (symbol - 261) >> 2
    for (let i = 0; i < 1 << extra && length < 258; i++)
      store<u32>(lengthParts + (length++ << 2), symbol | (i << 16) | (extra << 24))
  }
  store<u32>(lengthParts + (258 << 2), 285)
}

@inline
function put(value: u64, count: i32): void {
  bits |= value << bitCount
  bitCount += count
  store<u64>(out, bits)
  out += bitCount >> 3
  bits >>= bitCount & 56
  bitCount &= 7
}

@inline
function distanceSymbol(d: i32): i32 {
  if (d < 4) return d
  const n = 31 - i32(clz(d))
  return (n << 1) | ((d >> (n - 1)) & 1)
}

function writeBlock(): void {
  memory.fill(literalCounts, 0, 288 * 4)
  memory.fill(distanceCounts, 0, 32 * 4)
  for (let t: usize = tokens; t < tokenEnd; t += 4) {
    const token = load<u32>(t)
    const distance = i32(token >> 9)
    if (distance == 0) increment(literalCounts, i32(token))
    else {
      increment(literalCounts, i32(load<u32>(lengthParts + ((token & 511) << 2)) & 0xffff))
      increment(distanceCounts, distanceSymbol(distance - 1))
    }
  }
  store<u32>(literalCounts + END * 4, 1)
  sizesOf(literalCounts, literalSizes, LITERALS, LIMIT)
  sizesOf(distanceCounts, distanceSizes, DISTANCES, LIMIT)
  codesOf(literalSizes, literalCodes, LITERALS)
  codesOf(distanceSizes, distanceCodes, DISTANCES)
  let literals = LITERALS
  while (literals > 257 && load<u8>(literalSizes + literals - 1) == 0) literals--
  let distances = DISTANCES
  while (distances > 1 && load<u8>(distanceSizes + distances - 1) == 0) distances--
  put(4, 3)
  put(literals - 257, 5)
  put(distances - 1, 5)
  writeSizes(literals, distances)
  for (let length = 3; length <= 258; length++) {
    const part = load<u32>(lengthParts + (length << 2))
    const code = load<u32>(literalCodes + ((part & 0xffff) << 2))
    const size = code >> 24
    const value = (code & 0xffffff) | (((part >> 16) & 0xff) << size)
    store<u32>(lengthCodes + (length << 2), value | ((size + (part >> 24)) << 24))
  }
  let at = out
  let b = bits
  let n = bitCount
  for (let t: usize = tokens; t < tokenEnd; t += 4) {
    const token = load<u32>(t)
    if (token < 256) {
      const code = load<u32>(literalCodes + (token << 2))
      b |= u64(code & 0xffffff) << n
      n += code >> 24
    } else {
      const length = load<u32>(lengthCodes + ((token & 511) << 2))
      b |= u64(length & 0xffffff) << n
      n += length >> 24
      const d = i32(token >> 9) - 1
      const symbol = distanceSymbol(d)
      const code = load<u32>(distanceCodes + (symbol << 2))
      b |= u64(code & 0xffffff) << n
      n += code >> 24
      const extra = symbol < 4 ? 0 : (symbol >> 1) - 1
      b |= u64(d & ((1 << extra) - 1)) << n
      n += extra
    }
    store<u64>(at, b)
    at += n >> 3
    b >>= n & 56
    n &= 7
  }
  out = at
  bits = b
  bitCount = n
  const end = load<u32>(literalCodes + END * 4)
  put(end & 0xffffff, end >> 24)
  tokenEnd = tokens
}

@inline
function increment(counts: usize, symbol: i32): void {
  const at = counts + (symbol << 2)
  store<u32>(at, load<u32>(at) + 1)
}

/** Run-length coded sizes of both alphabets, RFC 1951 3.2.7. Those of distances come behind those in use of literals. */
function writeSizes(literals: i32, distances: i32): void {
  memory.copy(literalSizes + literals, distanceSizes, distances)
  const total = literals + distances
  memory.fill(runCounts, 0, 20 * 4)
  let count = 0
  for (let i = 0; i < total; ) {
    const size = load<u8>(literalSizes + i)
    let length = 1
    while (i + length < total && load<u8>(literalSizes + i + length) == size) length++
    i += length
    if (size == 0) {
      while (length >= 3) {
        const part = min(length, 138)
        count = addRun(count, part < 11 ? 17 : 18, part < 11 ? part - 3 : part - 11)
        length -= part
      }
    } else {
      count = addRun(count, size, 0)
      length--
      while (length >= 3) {
        const part = min(length, 6)
        count = addRun(count, 16, part - 3)
        length -= part
      }
    }
    while (length-- > 0) count = addRun(count, size, 0)
  }
  sizesOf(runCounts, runSizes, 19, 7)
  codesOf(runSizes, runCodes, 19)
  let used = 19
  while (used > 4 && load<u8>(runSizes + orderOf(used - 1)) == 0) used--
  put(used - 4, 4)
  for (let i = 0; i < used; i++) put(load<u8>(runSizes + orderOf(i)), 3)
  for (let i = 0; i < count; i++) {
    const run = load<u16>(runs + (i << 1))
    const symbol = run & 31
    const code = load<u32>(runCodes + (symbol << 2))
    put(code & 0xffffff, code >> 24)
    if (symbol == 16) put(run >> 5, 2)
    else if (symbol == 17) put(run >> 5, 3)
    else if (symbol == 18) put(run >> 5, 7)
  }
}

function addRun(count: i32, symbol: i32, extra: i32): i32 {
  store<u16>(runs + (count << 1), symbol | (extra << 5))
  increment(runCounts, symbol)
  return count + 1
}

const order = memory.data<u8>([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15])
@inline
function orderOf(i: i32): i32 {
  return load<u8>(order + i)
}

/** Sizes of an optimal prefix code, none above `limit`: Moffat and Katajainen's, then the longest are levelled. */
function sizesOf(counts: usize, sizes: usize, count: i32, limit: i32): void {
  memory.fill(sizes, 0, count)
  let n = 0
  for (let symbol = 0; symbol < count; symbol++) {
    const frequency = load<u32>(counts + (symbol << 2))
    if (frequency > 0) n = insertKey(n, frequency, symbol)
  }
  // One symbol alone is no complete code: a second one that is never used.
  for (let symbol = 0; n < 2; symbol++) if (load<u32>(counts + (symbol << 2)) == 0) n = insertKey(n, 1, symbol)
  redundancy(n)
  memory.fill(sizeCounts, 0, 64 * 4)
  for (let i = 0; i < n; i++) increment(sizeCounts, min(key(i), 63))
  for (let i = limit + 1; i < 64; i++)
    store<u32>(sizeCounts + limit * 4, load<u32>(sizeCounts + limit * 4) + load<u32>(sizeCounts + i * 4))
  let total: u32 = 0
  for (let i = limit; i > 0; i--) total += load<u32>(sizeCounts + i * 4) << (limit - i)
  for (; total != u32(1) << limit; total--) {
    store<u32>(sizeCounts + limit * 4, load<u32>(sizeCounts + limit * 4) - 1)
    for (let i = limit - 1; i > 0; i--) {
      if (load<u32>(sizeCounts + i * 4) == 0) continue
      store<u32>(sizeCounts + i * 4, load<u32>(sizeCounts + i * 4) - 1)
      store<u32>(sizeCounts + i * 4 + 4, load<u32>(sizeCounts + i * 4 + 4) + 2)
      break
    }
  }
  let j = n
  for (let size = 1; size <= limit; size++)
    for (let left = load<u32>(sizeCounts + size * 4); left > 0; left--)
      store<u8>(sizes + load<u32>(symbols + (--j << 2)), size)
}

/** Keeps keys ascending. */
function insertKey(n: i32, frequency: u32, symbol: i32): i32 {
  let i = n
  for (; i > 0 && load<u32>(keys + ((i - 1) << 2)) > frequency; i--) {
    store<u32>(keys + (i << 2), load<u32>(keys + ((i - 1) << 2)))
    store<u32>(symbols + (i << 2), load<u32>(symbols + ((i - 1) << 2)))
  }
  store<u32>(keys + (i << 2), frequency)
  store<u32>(symbols + (i << 2), symbol)
  return n + 1
}

@inline
function key(i: i32): i32 {
  return load<i32>(keys + (i << 2))
}
@inline
function setKey(i: i32, value: i32): void {
  store<i32>(keys + (i << 2), value)
}

function redundancy(n: i32): void {
  setKey(0, key(0) + key(1))
  let root = 0
  let leaf = 2
  for (let next = 1; next < n - 1; next++) {
    if (leaf >= n || key(root) < key(leaf)) {
      setKey(next, key(root))
      setKey(root++, next)
    } else setKey(next, key(leaf++))
    if (leaf >= n || (root < next && key(root) < key(leaf))) {
      setKey(next, key(next) + key(root))
      setKey(root++, next)
    } else setKey(next, key(next) + key(leaf++))
  }
  setKey(n - 2, 0)
  for (let next = n - 3; next >= 0; next--) setKey(next, key(key(next)) + 1)
  let available = 1
  let used = 0
  let depth = 0
  let next = n - 1
  root = n - 2
  while (available > 0) {
    while (root >= 0 && key(root) == depth) {
      used++
      root--
    }
    while (available > used) {
      setKey(next--, depth)
      available--
    }
    available = used << 1
    depth++
    used = 0
  }
}

/** Canonical codes, their bits reversed. */
function codesOf(sizes: usize, codes: usize, count: i32): void {
  memory.fill(sizeCounts, 0, 16 * 4)
  for (let i = 0; i < count; i++) increment(sizeCounts, load<u8>(sizes + i))
  store<u32>(sizeCounts, 0)
  let code: u32 = 0
  for (let size = 1; size <= LIMIT; size++) {
    code = (code + load<u32>(sizeCounts + (size - 1) * 4)) << 1
    store<u32>(nextCodes + size * 4, code)
  }
  for (let i = 0; i < count; i++) {
    const size = u32(load<u8>(sizes + i))
    if (size == 0) {
      store<u32>(codes + (i << 2), 0)
      continue
    }
    let value = load<u32>(nextCodes + size * 4)
    store<u32>(nextCodes + size * 4, value + 1)
    let reversed: u32 = 0
    for (let left = size; left > 0; left--) {
      reversed = (reversed << 1) | (value & 1)
      value >>= 1
    }
    store<u32>(codes + (i << 2), reversed | (size << 24))
  }
}
