/** SipHash-2-4, its lower 48 bits; core/sipHash.ts is the plain form. */

let k0: u64 = 0
let k1: u64 = 0

export function setSipKey(k0low: i32, k0high: i32, k1low: i32, k1high: i32): void {
  k0 = (u64(u32(k0high)) << 32) | u64(u32(k0low))
  k1 = (u64(u32(k1high)) << 32) | u64(u32(k1low))
}

let v0: u64 = 0
let v1: u64 = 0
let v2: u64 = 0
let v3: u64 = 0

@inline
function round(): void {
  v0 += v1
  v1 = rotl<u64>(v1, 13) ^ v0
  v0 = rotl<u64>(v0, 32)
  v2 += v3
  v3 = rotl<u64>(v3, 16) ^ v2
  v0 += v3
  v3 = rotl<u64>(v3, 21) ^ v0
  v2 += v1
  v1 = rotl<u64>(v1, 17) ^ v2
  v2 = rotl<u64>(v2, 32)
}

@inline
function mix(word: u64): void {
  v3 ^= word
  round()
  round()
  v0 ^= word
}

/** Over the byte `type` and `length` bytes at `at`; one byte before `at` is read and not looked at. */
export function sip48(type: i32, at: i32, length: i32): u64 {
  v0 = k0 ^ 0x736f6d6570736575
  v1 = k1 ^ 0x646f72616e646f6d
  v2 = k0 ^ 0x6c7967656e657261
  v3 = k1 ^ 0x7465646279746573
  const total = length + 1
  const from = at - 1
  const wordsEnd = from + (total & ~7)
  const rest = total & 7
  let p = from
  if (p < wordsEnd) {
    mix((load<u64>(p) & ~0xff) | u64(type))
    for (p += 8; p < wordsEnd; p += 8) mix(load<u64>(p))
  }
  let last = rest == 0 ? 0 : load<u64>(p) & ((u64(1) << (rest << 3)) - 1)
  if (p == from) last = (last & ~0xff) | u64(type)
  mix(last | (u64(total) << 56))
  v2 ^= 0xff
  round()
  round()
  round()
  round()
  return (v0 ^ v1 ^ v2 ^ v3) & 0xffffffffffff
}
