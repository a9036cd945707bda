/** Makes bloom filters as DCSO's tools do, for tests. */
import { fingerprint } from '../../src/components/plugins/lookups/bloomFile.ts'

export function bloomFilter(values: readonly string[], capacity: number, falsePositives: number, extra = ''): Buffer {
  const bits = Math.abs(Math.ceil((capacity * Math.log(falsePositives)) / Math.LN2 ** 2))
  const hashFunctions = Math.ceil((Math.LN2 * bits) / capacity)
  const words = new BigUint64Array(Math.ceil(bits / 64))
  for (const value of values)
    for (const bit of fingerprint(value, { bits, hashFunctions }))
      words[Math.floor(bit / 64)]! |= 1n << BigInt(bit % 64)
  const header = Buffer.alloc(48)
  header.writeBigUInt64LE(1n, 0)
  header.writeBigUInt64LE(BigInt(capacity), 8)
  header.writeDoubleLE(falsePositives, 16)
  header.writeBigUInt64LE(BigInt(hashFunctions), 24)
  header.writeBigUInt64LE(BigInt(bits), 32)
  header.writeBigUInt64LE(BigInt(values.length), 40)
  return Buffer.concat([header, Buffer.from(words.buffer), Buffer.from(extra)])
}
