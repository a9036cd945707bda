/**
 * Damaged log objects through the whole way of an object (decode, detect, parse, segment) in this process, between sound
 * neighbours. Each is collected, or refused with its reason; nothing throws anything else, and no neighbour suffers.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { DECODE_LIMITS } from '../../src/collect/collect.ts'
import { ObjectIntake } from '../../src/collect/objectIntake.ts'
import { BrokenSegment, OpenSegments } from '../../src/collect/openSegments.ts'
import { emptyCounts, type Item, type Question, type SegmentNumbers } from '../../src/collect/tasks.ts'
import type { Source } from '../../src/components/source.ts'
import { ColdtrailError } from '../../src/core/errors.ts'
import type { SourceObject } from '../../src/core/sourceObject.ts'
import { loadKeysetKey } from '../../src/store/keysetKeys.ts'
import type { SealedSegment } from '../../src/store/segment.ts'
import { knownLogs } from './crashSite.ts'
import { mutated, seededRandom } from './random.ts'
import { duckdb } from './readParquet.ts'

export interface FuzzOptions {
  readonly objects: number
  readonly seed: number
  /** No batch is begun after so many milliseconds. */
  readonly budget?: number
  /** Before each object, so that a watchdog can name the one that does not end. */
  readonly onObject?: (number: number) => void
  readonly onBatch?: (totals: FuzzTotals) => void
}

export interface FuzzTotals {
  objects: number
  collected: number
  skipped: number
  /** By code. */
  readonly refused: Record<string, number>
  events: number
  rejects: number
  /** Events of sound objects, and what became of them. */
  neighbours: number
  lost: number
  duplicates: number
  slowest_ms: number
  /** What went wrong, with the number of the object that shows it again under the same seed. */
  readonly details: string[]
}

export async function fuzzObjects({ objects, seed, budget, onObject, onBatch }: FuzzOptions): Promise<FuzzTotals> {
  const totals: FuzzTotals = {
    ...{ objects: 0, collected: 0, skipped: 0, refused: {}, events: 0, rejects: 0 },
    ...{ neighbours: 0, lost: 0, duplicates: 0, slowest_ms: 0, details: [] },
  }
  const bodies = knownLogs(seed).objects
  const started = Date.now()
  while (totals.objects < objects && (budget === undefined || Date.now() - started < budget)) {
    await batch(totals, bodies, seed, Math.min(BATCH, objects - totals.objects), onObject)
    onBatch?.(totals)
  }
  return totals
}

// --- internal ---

const BATCH = 400
/** An object of a few KB that takes longer is a hang in the making. */
const SLOW_MILLISECONDS = 2_000
/** One object in so many is left as it was. */
const SOUND_EVERY = 4

type Random = (below: number) => number
type Bodies = readonly { readonly key: string; readonly body: Buffer }[]

async function batch(
  totals: FuzzTotals,
  bodies: Bodies,
  seed: number,
  count: number,
  onObject: FuzzOptions['onObject'],
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-fuzz-'))
  try {
    const sealed: SealedSegment[] = []
    const place = { directory, collection: 'main', keepLog: true, producer: 'fuzz/1' }
    const keyset = loadKeysetKey(directory, '2026')
    const segments = new OpenSegments({ ...place, keyset }, LIMITS, numbering(sealed))
    const intake = new ObjectIntake({
      segments,
      limits: DECODE_LIMITS,
      observe: true,
      isSame: async () => false,
      alive: () => undefined,
    })
    const wanted: string[] = []
    for (let i = 0; i < count; i++) {
      const number = totals.objects
      onObject?.(number)
      const random = seededRandom(seed * 1_000_003 + number)
      const isSound = number % SOUND_EVERY === 0
      const { key, body } = isSound ? soundObject(number, wanted) : damagedObject(bodies, random)
      await take(totals, intake, number, key, body, isSound)
      totals.objects += 1
    }
    await segments.sealAll()
    await compare(totals, directory, sealed, wanted)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

async function take(
  totals: FuzzTotals,
  intake: ObjectIntake,
  number: number,
  key: string,
  body: Buffer,
  isSound: boolean,
): Promise<void> {
  const object: SourceObject = {
    ...{ source: 's3://fuzz', bucket: 'fuzz', key: `${number}/${key}`, version: String(number) },
    ...{ size: body.length, lastModified: 1_773_100_800_000_000 },
  }
  const item: Item = { number, source: 0, object, replaces: false }
  const started = performance.now()
  try {
    const passed = await intake.take(item, memorySource(body), emptyCounts(), new AbortController().signal)
    if (passed === undefined) totals.collected += 1
    else totals.skipped += 1
    if (isSound && passed !== undefined) totals.details.push(`object ${number} is sound and was passed over`)
  } catch (error) {
    const isRefusal = error instanceof ColdtrailError && /^E_OBJECT_/.test(error.code)
    if (isRefusal) totals.refused[error.code] = (totals.refused[error.code] ?? 0) + 1
    if (isRefusal && !isSound) return
    const what = error instanceof BrokenSegment ? `a format broke (${error.format})` : 'failed'
    totals.details.push(`object ${number}: ${what}: ${error instanceof Error ? error.message : String(error)}`)
  } finally {
    const elapsed = Math.round(performance.now() - started)
    totals.slowest_ms = Math.max(totals.slowest_ms, elapsed)
    if (elapsed > SLOW_MILLISECONDS) totals.details.push(`object ${number} took ${elapsed} ms`)
  }
}

const LIMITS = {
  ...{ maxRows: 5_000, maxBytes: 8 * 2 ** 20, maxSessions: 1_000, maxOpen: 4 },
  ...{ bufferBytes: 32 * 2 ** 20, idleSeconds: 0 },
}

/** What the foreman would answer: fresh numbers, and every commit succeeds. */
function numbering(sealed: SealedSegment[]): (question: Question) => Promise<unknown> {
  let segment = 0
  return async (question) => {
    if (question.kind === 'commit') sealed.push(question.segment)
    if (question.kind !== 'numbers') return undefined
    segment += 1
    const numbers: SegmentNumbers = { segment, firstEventId: segment * 2 ** 26, firstSessionId: segment * 2 ** 17 }
    return numbers
  }
}

/** Every event that the segments promise can be read back, and those of sound objects are there exactly once. */
async function compare(
  totals: FuzzTotals,
  directory: string,
  sealed: readonly SealedSegment[],
  wanted: readonly string[],
): Promise<void> {
  const found = new Map<string, number>()
  for (const { segment, rows, rejects, files, sessions } of sealed) {
    const meta = files.find(({ kind }) => kind === 'meta')!
    const read = await duckdb(join(directory, meta.name), 'SELECT data FROM @file')
    const promised = sessions.reduce((sum, { events }) => sum + events, 0)
    if (read.length !== rows || promised !== rows)
      totals.details.push(`segment ${segment} has ${read.length} rows, says ${rows}, its sessions ${promised}`)
    for (const { data } of read) {
      const text = String(data)
      if (text.includes(NEIGHBOUR)) found.set(text, (found.get(text) ?? 0) + 1)
    }
    totals.events += rows
    totals.rejects += rejects
  }
  totals.neighbours += wanted.length
  for (const text of wanted) {
    const count = found.get(text) ?? 0
    if (count === 0) totals.lost += 1
    if (count > 1) totals.duplicates += count - 1
  }
}

const NEIGHBOUR = 'sound neighbour'

function soundObject(number: number, wanted: string[]): { key: string; body: Buffer } {
  const lines = [0, 1, 2].map((line) => JSON.stringify({ time: '2026-03-10T10:00:00Z', is: NEIGHBOUR, number, line }))
  wanted.push(...lines)
  return { key: 'app/2026/03/10/sound.jsonl.gz', body: gzipSync(lines.join('\n')) }
}

function damagedObject(bodies: Bodies, random: Random): { key: string; body: Buffer } {
  const { key, body } = bodies[random(bodies.length)]!
  const plain = body[0] === 0x1f ? gunzipSync(body) : body
  switch (random(6)) {
    // In what was compressed: the formats see it.
    case 0:
    case 1:
      return { key, body: gzipSync(mutated(plain, random).bytes, { level: 1 }) }
    case 2:
      return { key, body: mutated(plain, random).bytes }
    // In the compressed bytes: decoding sees it, or their checksum.
    case 3:
      return { key, body: mutated(body, random).bytes }
    // Cut off, with something else behind.
    case 4: {
      const other = bodies[random(bodies.length)]!.body
      const parts = [plain.subarray(0, random(plain.length)), other[0] === 0x1f ? gunzipSync(other) : other]
      return { key, body: Buffer.concat(parts.map((part) => part.subarray(0, 1 + random(part.length)))) }
    }
    // A piece of it again and again.
    default: {
      const from = random(plain.length)
      const piece = plain.subarray(from, from + 1 + random(200))
      const repeated = Buffer.concat(Array.from({ length: 1 + random(200) }, () => piece))
      return { key, body: Buffer.concat([plain.subarray(0, from), repeated, plain.subarray(from)]) }
    }
  }
}

function memorySource(body: Buffer): Source {
  return {
    name: 's3://fuzz',
    list: async function* () {},
    open: async () =>
      (async function* () {
        yield body
      })(),
    read: async () => body,
    statistics: { requests: new Map(), errors: new Map(), retries: 0, throttles: 0 },
    close: async () => undefined,
  }
}
