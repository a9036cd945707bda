/**
 * The keyed hashes of a set of indicators: under each key another. Those of many are kept, by the digest of the set and
 * the id of the key, in `<data>/hunt/hashes-<key>-<digest>.bin` (0600): a double a hash, then CRC-32 of them all.
 */
import { createHash } from 'node:crypto'
import { rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { sipHash48, sipKey } from '../core/sipHash.ts'
import { makeDirectory, namesIfThere, readIfThere, writeDurably } from '../platform/files.ts'
import type { KeysetKey } from '../store/keysetKeys.ts'
import type { IndicatorSet } from './indicators.ts'

/** By number of observable. */
export type ObservableHashes = Float64Array

/** `directory`: where those of many are kept; without it none are. */
export function hashesOf(set: IndicatorSet, key: KeysetKey, directory: string | undefined): ObservableHashes {
  if (directory === undefined || set.observables < KEPT_FROM) return hashed(set, key)
  // Neither does the name tell who may read only names which of two sets are equal under different keys.
  const digest = createHash('sha256').update(key.key).update(set.digest()).digest('hex').slice(0, 32)
  const path = join(directory, `hashes-${key.id}-${digest}.bin`)
  const kept = readIfThere(path)
  if (kept?.length === set.observables * 8 + 4) {
    const body = kept.subarray(0, -4)
    if (crc32(body) === kept.readUInt32LE(body.length))
      return new Float64Array(Uint8Array.from(body).buffer, 0, set.observables)
  }
  const hashes = hashed(set, key)
  const body = Buffer.from(hashes.buffer, hashes.byteOffset, hashes.byteLength)
  const end = Buffer.alloc(4)
  end.writeUInt32LE(crc32(body))
  makeDirectory(directory)
  writeDurably(path, Buffer.concat([body, end]), 0o600)
  dropOldest(directory)
  return hashes
}

/** By type: the hashes, ascending and distinct. */
export function queriesOf(set: IndicatorSet, hashes: ObservableHashes): Map<number, Float64Array> {
  const counts = new Map<number, number>()
  set.eachObservable((type) => counts.set(type, (counts.get(type) ?? 0) + 1))
  const lists = new Map([...counts].map(([type, count]) => [type, { keys: new Float64Array(count), used: 0 }]))
  set.eachObservable((type, _bytes, _start, _end, number) => {
    const list = lists.get(type)!
    list.keys[list.used++] = hashes[number]!
  })
  return new Map([...lists].map(([type, { keys }]) => [type, distinct(keys)]))
}

/** Sorts in place. */
export function distinct(keys: Float64Array): Float64Array {
  keys.sort()
  let kept = 0
  for (let i = 0; i < keys.length; i++) if (i === 0 || keys[i] !== keys[i - 1]) keys[kept++] = keys[i]!
  return keys.subarray(0, kept)
}

// --- internal ---

const KEPT_FROM = 10_000
const KEPT_FILES = 16

function hashed(set: IndicatorSet, key: KeysetKey): ObservableHashes {
  const sip = sipKey(key.key)
  const hashes = new Float64Array(set.observables)
  set.eachObservable((type, bytes, start, end, number) => {
    hashes[number] = sipHash48(sip, type, bytes, start, end)
  })
  return hashes
}

function dropOldest(directory: string): void {
  const files = namesIfThere(directory)
    .filter((name) => /^hashes-.*\.bin(\.tmp)?$/.test(name))
    .flatMap((name) => {
      const path = join(directory, name)
      const found = statSync(path, { throwIfNoEntry: false })
      return found ? [{ path, time: found.mtimeMs }] : []
    })
    .sort((a, b) => b.time - a.time)
  for (const { path } of files.slice(KEPT_FILES)) rmSync(path, { force: true })
}
