/** Thrift's compact protocol, read back: page headers and footers. Source: thrift-compact-protocol.md. */

/** Values by field id; numbers, bytes, lists and structs. */
export type Struct = ReadonlyMap<number, ThriftValue>
export type ThriftValue = number | boolean | Buffer | readonly ThriftValue[] | Struct

/** Throws a RangeError at what is no such text: whoever reads a file says which. */
export class ThriftReader {
  private readonly bytes: Buffer
  /** Behind what was read. */
  at: number
  private depth = 0

  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes
    this.at = at
  }

  struct(): Struct {
    if (++this.depth > DEPTH) throw new RangeError('its metadata are nested too deeply')
    const fields = new Map<number, ThriftValue>()
    let id = 0
    for (;;) {
      const head = this.byte()
      if (head === 0) break
      id = head >> 4 === 0 ? this.zigzag() : id + (head >> 4)
      fields.set(id, this.value(head & 15))
    }
    this.depth--
    return fields
  }

  private value(type: number): ThriftValue {
    switch (type) {
      case 1:
        return true
      case 2:
        return false
      case 3:
        return this.byte()
      case 4:
      case 5:
      case 6:
        return this.zigzag()
      case 8: {
        const end = this.varint() + this.at
        if (end > this.bytes.length) throw new RangeError('its metadata end too soon')
        const found = this.bytes.subarray(this.at, end)
        this.at = end
        return found
      }
      case 9: {
        const head = this.byte()
        const length = head >> 4 === 15 ? this.varint() : head >> 4
        if (length > this.bytes.length - this.at) throw new RangeError('its metadata end too soon')
        return Array.from({ length }, () => this.value(head & 15))
      }
      case 12:
        return this.struct()
      default:
        throw new RangeError(`its metadata hold a value of type ${type}`)
    }
  }

  private byte(): number {
    const value = this.bytes[this.at++]
    if (value === undefined) throw new RangeError('its metadata end too soon')
    return value
  }

  /** A double: exact up to 2^53. */
  private varint(): number {
    let [value, factor] = [0, 1]
    for (;;) {
      const byte = this.byte()
      value += (byte & 127) * factor
      if (byte < 128) return value
      factor *= 128
      if (factor > 2 ** 63) throw new RangeError('its metadata hold a number of more than 64 bits')
    }
  }

  private zigzag(): number {
    const value = this.varint()
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
}

// --- internal ---

const DEPTH = 16
