/**
 * Identity of an object in 16 bytes: 10 of SHA-256 over source, bucket and key, then 6 of SHA-256 over its version.
 * By the birthday bound 10^9 different keys share a 10-byte hash with probability 4e-7.
 */
import { digestOfParts as digest } from '../../core/digest.ts'

export const OBJECT_ID_BYTES = 16
export const KEY_BYTES = 10

interface Identity {
  readonly source: string
  readonly bucket: string
  readonly key: string
  readonly version: string
}

export function objectId({ source, bucket, key, version }: Identity): Buffer {
  return Buffer.concat([
    digest(source, bucket, key).subarray(0, KEY_BYTES),
    digest(version).subarray(0, OBJECT_ID_BYTES - KEY_BYTES),
  ])
}

/** Day of a key without a date. */
export const NO_DAY = 0xffff

/**
 * The first date in a key (`2023/07/10`, `2023-07-10`, `20230710`, 1970 to 2099) in days since 1970, else NO_DAY. Part
 * of the catalog's format: another rule would not find what is known.
 */
export function ledgerDay(key: string): number {
  const date = DATE_IN_KEY.exec(key)
  return date ? Date.UTC(Number(date[1]), Number(date[2]) - 1, Number(date[3])) / 86_400_000 : NO_DAY
}

/**
 * Which shard of the closed ledger holds a key. It depends on the key alone, so that every version of a key is in one
 * shard: one a day when the key holds a date (listings are by day, so few shards are touched), else one of 256.
 */
export const ledgerShard = (day: number, id: Buffer): string =>
  day === NO_DAY ? `h${id.toString('hex', 0, 1)}` : `d${day}`

// --- internal ---

const DATE_IN_KEY = /(?<!\d)(19[7-9]\d|20\d\d)[/_-]?(0[1-9]|1[0-2])[/_-]?(0[1-9]|[12]\d|3[01])(?!\d)/
