/** The part of Thrift's compact protocol that Parquet's page headers and footer need. Source: thrift-compact-protocol.md. */
import { ByteWriter } from './byteWriter.ts'

const TYPE = { true: 1, false: 2, i16: 4, i32: 5, i64: 6, binary: 8, list: 9, struct: 12 } as const

export class ThriftWriter {
  readonly out = new ByteWriter(1024)
  private lastId = 0
  private readonly stack: number[] = []

  bool(id: number, value: boolean): void {
    this.field(id, value ? TYPE.true : TYPE.false)
  }
  i16(id: number, value: number): void {
    this.field(id, TYPE.i16)
    this.out.zigzag(value)
  }
  i32(id: number, value: number): void {
    this.field(id, TYPE.i32)
    this.out.zigzag(value)
  }
  i64(id: number, value: number): void {
    this.field(id, TYPE.i64)
    this.out.zigzag(value)
  }
  binary(id: number, value: Uint8Array | string): void {
    this.field(id, TYPE.binary)
    this.bareBinary(value)
  }
  struct(id: number, body: () => void): void {
    this.field(id, TYPE.struct)
    this.bareStruct(body)
  }
  structs<T>(id: number, items: readonly T[], body: (item: T) => void): void {
    this.listHeader(id, TYPE.struct, items.length)
    for (const item of items) this.bareStruct(() => body(item))
  }
  i32s(id: number, items: readonly number[]): void {
    this.listHeader(id, TYPE.i32, items.length)
    for (const item of items) this.out.zigzag(item)
  }
  binaries(id: number, items: readonly string[]): void {
    this.listHeader(id, TYPE.binary, items.length)
    for (const item of items) this.bareBinary(item)
  }
  bareStruct(body: () => void): void {
    this.stack.push(this.lastId)
    this.lastId = 0
    body()
    this.out.byte(0)
    this.lastId = this.stack.pop()!
  }

  private bareBinary(value: Uint8Array | string): void {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value
    this.out.varint(bytes.length)
    this.out.bytes(bytes)
  }
  private listHeader(id: number, type: number, length: number): void {
    this.field(id, TYPE.list)
    if (length < 15) this.out.byte((length << 4) | type)
    else {
      this.out.byte(0xf0 | type)
      this.out.varint(length)
    }
  }
  private field(id: number, type: number): void {
    const delta = id - this.lastId
    if (delta > 0 && delta < 16) this.out.byte((delta << 4) | type)
    else {
      this.out.byte(type)
      this.out.zigzag(id)
    }
    this.lastId = id
  }
}
