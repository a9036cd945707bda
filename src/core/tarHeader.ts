/**
 * The one form of ustar header that our archives have (POSIX.1-1988): a regular file, mode 0644, owner 0, a 7-bit name of at most 100 bytes.
 * A reader makes the header that it expects and compares bytes: no field of a stranger's header is ever obeyed (S1).
 */
import { ColdtrailError } from './errors.ts'

export const TAR_BLOCK = 512

/** Two empty blocks end an archive. */
export const TAR_END = Buffer.alloc(2 * TAR_BLOCK)

/** `mtime`: seconds since 1970. */
export function tarHeader(path: string, size: number, mtime: number): Buffer {
  if (!/^[\x21-\x7e]{1,100}$/.test(path) || size > 0o77777777777)
    throw new ColdtrailError('E_INTERNAL', { message: `no tar header can hold ${path} of ${size} bytes` })
  const header = Buffer.alloc(TAR_BLOCK)
  header.write(path, 0, 'latin1')
  header.write('0000644\0', 100, 'latin1')
  header.write('0000000\0', 108, 'latin1')
  header.write('0000000\0', 116, 'latin1')
  header.write(`${octal(size)}\0`, 124, 'latin1')
  header.write(`${octal(mtime)}\0`, 136, 'latin1')
  header.write('        0', 148, 'latin1')
  header.write('ustar\x0000', 257, 'latin1')
  header.write('0000000\0', 329, 'latin1')
  header.write('0000000\0', 337, 'latin1')
  let sum = 0
  for (const byte of header) sum += byte
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return header
}

/** Zeros that fill the last block of a file. */
export const tarPadding = (size: number): number => (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK

/** Header, content and padding. */
export const tarLength = (size: number): number => TAR_BLOCK + size + tarPadding(size)

/** What a header says of its file's size; undefined when it is no such header. Bytes are compared afterwards. */
export function tarSize(header: Uint8Array): number | undefined {
  const digits = Buffer.from(header.subarray(124, 135)).toString('latin1')
  return /^[0-7]{11}$/.test(digits) ? Number.parseInt(digits, 8) : undefined
}

// --- internal ---

const octal = (value: number): string => value.toString(8).padStart(11, '0')
