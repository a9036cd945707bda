/**
 * Sum modulo 2^256 of digests: of a set of rows, in whatever order they come. A plain sum and not XOR, under which a row
 * that is there twice were a row that is not there.
 */
import type { SqliteAggregate } from '../platform/database/sqliteDialect.ts'
import { naturalKeyOfArguments } from './identity.ts'

/** Eight words of 32 bits, the highest first, each as a sum that may exceed them: numbers are exact up to 2^53. */
export type Words = Float64Array

/** `digest_sum(table/kinds, part…)` of SQLite: the sum over `nk` of the same arguments of all rows, in 64 hex digits. */
export const digestSum: SqliteAggregate = {
  start: () => ({ words: new Float64Array(8), added: 0 }),
  step(state: { words: Words; added: number }, head, ...parts) {
    addHex(state.words, naturalKeyOfArguments(head as string, parts as (string | null)[]))
    if (++state.added % CARRY_AFTER === 0) carry(state.words)
  },
  result: ({ words }: { words: Words }) => wordsText(words),
}

export function addHex(words: Words, hex: string): void {
  digest.write(hex, 'hex')
  for (let i = 0; i < 8; i++) words[i]! += digest.readUInt32BE(i * 4)
}

/** The sum as 64 hex digits. */
export function wordsText(words: Words): string {
  carry(words)
  return Array.from(words, (word) => word.toString(16).padStart(8, '0')).join('')
}

/** Moves what exceeds 32 bits into the next higher word; beyond the highest it is dropped. */
export function carry(words: Words): void {
  let over = 0
  for (let i = 7; i >= 0; i--) {
    const sum = words[i]! + over
    over = Math.floor(sum / 2 ** 32)
    words[i] = sum - over * 2 ** 32
  }
}

// --- internal ---

const digest = Buffer.alloc(32)

/** 2^20 words of 32 bits make a sum below 2^52. */
const CARRY_AFTER = 2 ** 20
