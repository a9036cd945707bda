/**
 * SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) with a 128-bit key, in 32-bit halves:
 * neither BigInt nor allocation. Keysets hold its lower 48 bits, which a JS number carries exactly.
 */

/** The key as four little-endian words: k0 low, k0 high, k1 low, k1 high. */
export type SipKey = Int32Array

export const SIP_KEY_BYTES = 16
export const HASH48_LIMIT = 2 ** 48

/** `bytes`: 16 of them, as the reference implementation takes them. */
export function sipKey(bytes: Uint8Array): SipKey {
  if (bytes.length !== SIP_KEY_BYTES) throw new RangeError(`a SipHash key has ${SIP_KEY_BYTES} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Int32Array.from([0, 4, 8, 12], (at) => view.getInt32(at, true))
}

/** The lower 48 bits of SipHash-2-4 over the byte `typeByte` followed by `bytes[start, end)`: 0 … 2^48 - 1. */
export function sipHash48(key: SipKey, typeByte: number, bytes: Uint8Array, start: number, end: number): number {
  digest(key, typeByte, bytes, start, end)
  return (high & 0xffff) * 0x1_0000_0000 + (low >>> 0)
}

/** The whole 64 bits over `bytes[start, end)` alone, as unsigned halves. */
export function sipHash64(
  key: SipKey,
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
): { low: number; high: number } {
  digest(key, -1, bytes, start, end)
  return { low: low >>> 0, high: high >>> 0 }
}

// --- internal ---

/** The last digest: two halves cannot be returned without an allocation. */
let low = 0
let high = 0

function digest(key: SipKey, typeByte: number, bytes: Uint8Array, start: number, end: number): void {
  const k0l = key[0]!
  const k0h = key[1]!
  const k1l = key[2]!
  const k1h = key[3]!
  let v0l = k0l ^ 0x70736575
  let v0h = k0h ^ 0x736f6d65
  let v1l = k1l ^ 0x6e646f6d
  let v1h = k1h ^ 0x646f7261
  let v2l = k0l ^ 0x6e657261
  let v2h = k0h ^ 0x6c796765
  let v3l = k1l ^ 0x79746573
  let v3h = k1h ^ 0x74656462

  // With a type byte the message begins one place before `start`.
  let at = typeByte < 0 ? start : start - 1
  const length = end - at
  const wholeEnd = at + (length & ~7)
  let rounds = 2
  for (;;) {
    let ml = 0
    let mh = 0
    if (at < wholeEnd) {
      ml =
        (at < start ? typeByte : bytes[at]!) | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
      mh = bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24)
    } else if (at === wholeEnd) {
      mh = length << 24
      for (let p = at, shift = 0; p < end; p++, shift += 8) {
        const byte = p < start ? typeByte : bytes[p]!
        if (shift < 32) ml |= byte << shift
        else mh |= byte << (shift - 32)
      }
    } else {
      v2l ^= 0xff
      rounds = 4
    }
    v3l ^= ml
    v3h ^= mh
    for (let round = 0; round < rounds; round++) {
      let sum = (v0l + v1l) | 0
      v0h = (v0h + v1h + (sum >>> 0 < v0l >>> 0 ? 1 : 0)) | 0
      v0l = sum
      let turned = (v1l << 13) | (v1h >>> 19)
      v1h = ((v1h << 13) | (v1l >>> 19)) ^ v0h
      v1l = turned ^ v0l
      turned = v0l
      v0l = v0h
      v0h = turned

      sum = (v2l + v3l) | 0
      v2h = (v2h + v3h + (sum >>> 0 < v2l >>> 0 ? 1 : 0)) | 0
      v2l = sum
      turned = (v3l << 16) | (v3h >>> 16)
      v3h = ((v3h << 16) | (v3l >>> 16)) ^ v2h
      v3l = turned ^ v2l

      sum = (v0l + v3l) | 0
      v0h = (v0h + v3h + (sum >>> 0 < v0l >>> 0 ? 1 : 0)) | 0
      v0l = sum
      turned = (v3l << 21) | (v3h >>> 11)
      v3h = ((v3h << 21) | (v3l >>> 11)) ^ v0h
      v3l = turned ^ v0l

      sum = (v2l + v1l) | 0
      v2h = (v2h + v1h + (sum >>> 0 < v2l >>> 0 ? 1 : 0)) | 0
      v2l = sum
      turned = (v1l << 17) | (v1h >>> 15)
      v1h = ((v1h << 17) | (v1l >>> 15)) ^ v2h
      v1l = turned ^ v2l
      turned = v2l
      v2l = v2h
      v2h = turned
    }
    if (rounds === 4) break
    v0l ^= ml
    v0h ^= mh
    at += 8
  }
  low = v0l ^ v1l ^ v2l ^ v3l
  high = v0h ^ v1h ^ v2h ^ v3h
}
