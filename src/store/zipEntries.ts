/**
 * Entries of a zip file, by its central directory: stored and deflated ones, with zip64 numbers. Hostile input: every
 * length is bounded, nothing is written, and names are only handed on. What is no zip file throws an Error that says why.
 */
import type { FileHandle } from 'node:fs/promises'
import { crc32, inflateRawSync } from 'node:zlib'

export interface ZipEntry {
  readonly name: string
  readonly bytes: Buffer
  /** Why it cannot be read; then it has no bytes. */
  readonly fault?: string
}

/** Entries up to `most` bytes unpacked; of a larger one only so many and one more, so that it can be told. Folders are left out. */
export async function* zipEntries(file: FileHandle, most: number): AsyncGenerator<ZipEntry> {
  const { size } = await file.stat()
  const { offset, length, count } = await directoryOf(file, size)
  if (length > MOST_DIRECTORY || offset + length > size)
    throw new Error('it is no zip file: its directory lies outside')
  const directory = await read(file, offset, length)
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== 0x02014b50)
      throw new Error('the zip file is damaged: its directory is cut off')
    const entry = entryAt(directory, at)
    at = entry.end
    if (entry.name.endsWith('/')) continue
    yield await contentOf(file, size, entry, most).then(
      (bytes) => ({ name: entry.name, bytes }),
      (error: Error) => ({ name: entry.name, bytes: Buffer.alloc(0), fault: error.message }),
    )
  }
}

// --- internal ---

/** Some millions of entries. */
const MOST_DIRECTORY = 512 * 1024 * 1024
const END_BYTES = 22

interface DirectoryEntry {
  readonly name: string
  readonly method: number
  readonly crc: number
  readonly packed: number
  readonly unpacked: number
  readonly header: number
  readonly isEncrypted: boolean
  readonly end: number
}

async function directoryOf(file: FileHandle, size: number) {
  const start = Math.max(0, size - END_BYTES - 65_535)
  const tail = await read(file, start, size - start)
  const end = tail.lastIndexOf(Buffer.from([0x50, 0x4b, 5, 6]))
  if (end < 0 || end + END_BYTES > tail.length) throw new Error('it is no zip file')
  const [count, length, offset] = [
    tail.readUInt16LE(end + 10),
    tail.readUInt32LE(end + 12),
    tail.readUInt32LE(end + 16),
  ]
  if (count !== 0xffff && length !== 0xffffffff && offset !== 0xffffffff) return { count, length, offset }
  const locator = end - 20
  if (locator < 0 || tail.readUInt32LE(locator) !== 0x07064b50) throw new Error('it is no zip file: its end is damaged')
  const wide = await read(file, number64(tail, locator + 8), 56)
  if (wide.readUInt32LE(0) !== 0x06064b50) throw new Error('it is no zip file: its end is damaged')
  return { count: number64(wide, 32), length: number64(wide, 40), offset: number64(wide, 48) }
}

function entryAt(directory: Buffer, at: number): DirectoryEntry {
  const [nameLength, extraLength, commentLength] = [28, 30, 32].map((i) => directory.readUInt16LE(at + i))
  const end = at + 46 + nameLength! + extraLength! + commentLength!
  if (end > directory.length) throw new Error('the zip file is damaged: its directory is cut off')
  let [packed, unpacked, header] = [20, 24, 42].map((i) => directory.readUInt32LE(at + i)) as [number, number, number]
  const extra = directory.subarray(at + 46 + nameLength!, at + 46 + nameLength! + extraLength!)
  for (let i = 0; i + 4 <= extra.length; i += 4 + extra.readUInt16LE(i + 2)) {
    if (extra.readUInt16LE(i) !== 1) continue
    let next = i + 4
    const wide = (value: number): number => {
      if (value !== 0xffffffff) return value
      if (next + 8 > extra.length) throw new Error('the zip file is damaged: an entry has no size')
      next += 8
      return number64(extra, next - 8)
    }
    unpacked = wide(unpacked)
    packed = wide(packed)
    header = wide(header)
  }
  return {
    name: directory.toString('utf8', at + 46, at + 46 + nameLength!),
    isEncrypted: (directory.readUInt16LE(at + 8) & 1) !== 0,
    method: directory.readUInt16LE(at + 10),
    crc: directory.readUInt32LE(at + 16),
    ...{ packed, unpacked, header, end },
  }
}

async function contentOf(file: FileHandle, size: number, entry: DirectoryEntry, most: number): Promise<Buffer> {
  const bad = (reason: string): Error => new Error(reason)
  if (entry.isEncrypted) throw bad('it is encrypted')
  if (entry.unpacked > most || entry.packed > most + 1024) return Buffer.alloc(most + 1)
  if (entry.header + 30 > size) throw bad('it lies outside of the file')
  const head = await read(file, entry.header, 30)
  if (head.readUInt32LE(0) !== 0x04034b50) throw bad('its header is damaged')
  const start = entry.header + 30 + head.readUInt16LE(26) + head.readUInt16LE(28)
  if (start + entry.packed > size) throw bad('it lies outside of the file')
  const packed = await read(file, start, entry.packed)
  if (entry.method !== 0 && entry.method !== 8) throw bad(`its method ${entry.method} is unknown`)
  const bytes = entry.method === 0 ? packed : inflateRawSync(packed, { maxOutputLength: most + 1 })
  if (crc32(bytes) !== entry.crc) throw bad('its checksum is wrong')
  return bytes
}

function number64(bytes: Buffer, at: number): number {
  const value = Number(bytes.readBigUInt64LE(at))
  if (!Number.isSafeInteger(value)) throw new Error('the zip file is damaged: a number is too large')
  return value
}

async function read(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), { position: offset })
  if (bytesRead < length) throw new Error('the zip file is cut off')
  return buffer
}
