/** A growing byte buffer with the integer forms that Parquet uses. Numbers are safe integers; no BigInt on the hot path. */
export class ByteWriter {
  buffer: Buffer
  length = 0

  constructor(capacity = 4096) {
    this.buffer = Buffer.allocUnsafeSlow(capacity)
  }

  /** Makes room for `count` more bytes. */
  reserve(count: number): void {
    const needed = this.length + count
    if (needed <= this.buffer.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.buffer.length * 2))
    this.buffer.copy(grown, 0, 0, this.length)
    this.buffer = grown
  }
  byte(value: number): void {
    this.reserve(1)
    this.buffer[this.length++] = value
  }
  bytes(value: Uint8Array): void {
    this.reserve(value.length)
    this.buffer.set(value, this.length)
    this.length += value.length
  }
  slice(source: Buffer, start: number, end: number): void {
    const count = end - start
    this.reserve(count)
    const { buffer, length } = this
    if (count > 48) source.copy(buffer, length, start, end)
    else for (let i = 0; i < count; i++) buffer[length + i] = source[start + i]!
    this.length = length + count
  }
  uint32(value: number): void {
    this.reserve(4)
    this.length = this.buffer.writeUInt32LE(value >>> 0, this.length)
  }
  /** Two's complement, 64 bits. */
  int64(value: number): void {
    this.reserve(8)
    this.buffer.writeInt32LE(value | 0, this.length)
    this.buffer.writeInt32LE(Math.floor(value / 2 ** 32), this.length + 4)
    this.length += 8
  }
  /** Unsigned LEB128 of a non-negative integer below 2^63 that a double holds exactly. */
  varint(value: number): void {
    this.reserve(10)
    let rest = value
    while (rest >= 128) {
      this.buffer[this.length++] = (rest % 128) | 128
      rest = Math.floor(rest / 128)
    }
    this.buffer[this.length++] = rest
  }
  /** Zigzag LEB128; exact for values from -2^52 on. */
  zigzag(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value)
  }
  view(): Buffer {
    return this.buffer.subarray(0, this.length)
  }
  clear(): void {
    this.length = 0
  }
}
