/**
 * Erasure of sessions: their records leave every database of their segment, which is written anew under another number
 * (compact.ts merges it, of one), its keyset, its tags, findings and what waits to be forwarded. The order of each segment's
 * commit, and what a crash leaves: docs/design.md §18.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { parseEventUid, uidPrefix } from '../core/eventUid.ts'
import { faultPoint } from '../platform/faults.ts'
import { namesIfThere } from '../platform/files.ts'
import type { IdRange } from './catalog/erase.ts'
import type { Catalog, Owner, SegmentRow } from './catalog.ts'
import { mergeSegments } from './compact.ts'
import { DuckDb, parquetFiles, throwIfAborted } from './duckdb.ts'
import { isEmptied } from './erasedParts.ts'
import { type HeldFile, heldPath, isHeldHere, isLocal, localDirectories, placedPath } from './heldFile.ts'
import { listKeysetKeys } from './keysetKeys.ts'
import type { SessionRow } from './segment.ts'
import { readSessionLedger, sessionLedgerName } from './sessionLedger.ts'
import { readSessions } from './sessions.ts'
import { type HeldTagFile, type TagFile, TagFileWriter, type TagKind, tagPath } from './tags.ts'

/** What is meant, by any of these; an event stands for the object that it came from. */
export interface ErasureChoice {
  readonly collection: string
  readonly sessions?: readonly number[]
  /** Keys of objects; every version of each. */
  readonly objects?: readonly string[]
  /** Uids of events, 32 hex digits. */
  readonly uids?: readonly string[]
}

/** A session that is to be erased. Times are microseconds. */
export interface ErasedSession
  extends Pick<
    SessionRow,
    'session_id' | 'source' | 'bucket' | 'key' | 'version' | 'events' | 'rejects' | 'time1' | 'time2'
  > {
  readonly segment: number
  /** Bytes as received that a pack has of it; null without. */
  readonly bytes: number | null
}

/** A file that has the records and that this program does not reach. */
export interface FarCopy {
  readonly name: string
  readonly sha256: string
  /** `deleted`: a backup may have it. */
  readonly state: 'offline' | 'deleted'
  readonly tier: string
  readonly directory: string
  readonly label?: string
}

export interface ErasurePlan {
  readonly collection: string
  readonly sessions: readonly ErasedSession[]
  /** What of the choice was met nowhere. */
  readonly unknown: readonly string[]
  /** Segments whose files are not here and which may have, or have, what is meant: nothing of them is erased. */
  readonly notHere: readonly {
    readonly segment: number
    readonly certain: boolean
    readonly copies: readonly FarCopy[]
  }[]
  /** Copies elsewhere of what is erased here. */
  readonly copies: readonly FarCopy[]
  /** Live workbenches whose copies go. */
  readonly workbenches: readonly string[]
  /** Runs whose reports sum up events of these segments: they stay. */
  readonly reports: readonly number[]
  /** Files of catalogs that a rebuild put aside: their manifests may have values. */
  readonly oldCatalogs: readonly string[]
}

export interface ErasureOptions {
  readonly catalog: Catalog
  readonly dataDir: string
  /** `coldtrail/<version>`. */
  readonly producer: string
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: { readonly segments: number; readonly totalSegments: number }) => void
}

export interface ErasureSummary extends ErasurePlan {
  /** Segments that were written anew, and the numbers that they have now. */
  readonly segments: readonly { readonly replaced: number; readonly segment: number; readonly sequence: number }[]
  /** Committed, and the history has not been cut yet: the next run of `collect` or `erase` does it. */
  readonly historyErrors: readonly string[]
  /** Segments whose old files a reader still has open; a later sweep removes them. */
  readonly waiting: readonly number[]
  /** False: others were using the SQLite catalog, whose file still has values of old manifests; the next erasure sees to it. */
  readonly catalogRewritten: boolean
}

/** What an erasure would do; nothing is changed. */
export async function planErasure(options: ErasureOptions, choice: ErasureChoice): Promise<ErasurePlan> {
  const hold = await options.catalog.registerReader()
  try {
    return (await planned(options, choice)).plan
  } finally {
    await hold.release()
  }
}

/**
 * Erases sessions, segment by segment: what is committed stays so when a later one fails, and the same call goes on. E_HELD
 * when a hold covers one and `despiteHold` is not given; E_CATALOG_BUSY while the collection is compacted.
 */
export async function eraseSessions(
  options: ErasureOptions,
  choice: ErasureChoice & { readonly reason: string; readonly despiteHold?: boolean },
): Promise<ErasureSummary> {
  const { catalog, signal, onProgress } = options
  catalog.requireWritable()
  const { collection } = choice
  const owner = await catalog.owner('erase')
  const lock = await catalog.hold(`compact-${collection}`)
  try {
    if (!lock) throw new ColdtrailError('E_CATALOG_BUSY', { cause: `collection ${collection} is being compacted` })
    await catalog.repairDerived()
    const { plan, rows, found } = await planned(options, choice)
    const segments: ErasureSummary['segments'][number][] = []
    const historyErrors: string[] = []
    const retired: number[] = []
    for (const [segment, sessions] of found) {
      throwIfAborted(signal)
      onProgress?.({ segments: segments.length, totalSegments: found.size })
      const {
        segment: number,
        sequence,
        historyError,
      } = await eraseInSegment(options, owner, choice, {
        row: rows.get(segment)!,
        rows,
        sessions,
      })
      segments.push({ replaced: segment, segment: number, sequence })
      retired.push(segment)
      if (historyError) historyErrors.push(historyError.message)
    }
    onProgress?.({ segments: segments.length, totalSegments: found.size })
    // Who reads them registered still has them; nobody else should.
    await catalog.sweep({ graceMs: 0 })
    const old = await catalog.segments({ collection, state: 'retired' })
    const left = new Set(
      old.flatMap(({ segment, files }) => (files.some(({ kind }) => kind !== 'log') ? [segment] : [])),
    )
    return {
      ...{ ...plan, segments, historyErrors },
      waiting: retired.filter((segment) => left.has(segment)),
      catalogRewritten: await catalog.rewrite(),
    }
  } finally {
    await lock?.release()
    await owner.release()
  }
}

// --- internal ---

interface Planned {
  readonly plan: ErasurePlan
  /** Every row of the collection, by number. */
  readonly rows: ReadonlyMap<number, SegmentRow>
  readonly found: ReadonlyMap<number, readonly SessionRow[]>
}

async function planned({ catalog, dataDir, signal }: ErasureOptions, choice: ErasureChoice): Promise<Planned> {
  const { collection, sessions = [], objects = [], uids = [] } = choice
  const wanted = { sessions: new Set(sessions), objects: new Set(objects), uids: new Map<string, string>() }
  for (const uid of uids) {
    const parsed = parseEventUid(uid)
    if (!parsed) throw new ColdtrailError('E_USAGE', { message: `"${uid}" is no uid of an event (32 hex digits).` })
    wanted.uids.set(parsed.prefix, uid)
  }
  const all = await catalog.segments({ collection })
  const rows = new Map(all.map((row) => [row.segment, row]))
  const met = new Set<string>()
  const found = new Map<number, SessionRow[]>()
  const notHere: ErasurePlan['notHere'][number][] = []
  const duckdb = await DuckDb.open({ directories: localDirectories(all), tempDirectory: join(dataDir, 'spill') })
  try {
    for (const row of all.filter(({ state }) => state === 'live')) {
      throwIfAborted(signal)
      const byId = sessions.filter((id) => id >= row.session1 && id <= row.session2)
      if (byId.length === 0 && objects.length === 0 && uids.length === 0) continue
      if (row.files.every(({ kind }) => kind === 'log' || isHeldHere(row, kind as 'meta'))) {
        for (const session of await readSessions(duckdb, row, signal)) {
          if (isEmptied(session)) continue
          const reasons = [
            ...(wanted.sessions.has(session.session_id) ? [`session ${session.session_id}`] : []),
            ...(wanted.objects.has(session.key) ? [`object ${session.key}`] : []),
            ...[wanted.uids.get(uids.length > 0 ? uidPrefix(session) : '')].flatMap((uid) =>
              uid ? [`event ${uid}`] : [],
            ),
          ]
          if (reasons.length === 0) continue
          for (const reason of reasons) met.add(reason)
          found.set(row.segment, [...(found.get(row.segment) ?? []), session])
        }
        continue
      }
      const ledger = join(catalog.manifestDirectory(collection), sessionLedgerName(row.segment))
      const own = byId.length > 0 ? new Set(readSessionLedger(ledger).map(({ session }) => session)) : new Set<number>()
      const certain = byId.filter((id) => own.has(id))
      for (const id of certain) met.add(`session ${id}`)
      if (certain.length > 0 || objects.length > 0 || uids.length > 0)
        notHere.push({ segment: row.segment, certain: certain.length > 0, copies: farCopies(row.files) })
    }
  } finally {
    duckdb.close()
  }
  const asked = [
    ...sessions.map((id) => `session ${id}`),
    ...objects.map((key) => `object ${key}`),
    ...uids.map((uid) => `event ${uid}`),
  ]
  const touched = [...found.keys()].map((segment) => rows.get(segment)!)
  const packs = touched.flatMap((row) => packsOf(found.get(row.segment)!, rows))
  const names = [
    ...new Set([...touched.flatMap(({ files }) => files.map(({ name }) => name)), ...packs.map(({ name }) => name)]),
  ]
  const copies = await catalog.copiesIn(names)
  const runs = await catalog.runs({ collection })
  const since = Math.min(...[...found.values()].flat().map(({ received }) => received))
  const reports = runs.filter(({ sequence, started }) => sequence !== null && started >= since)
  return {
    ...{ rows, found },
    plan: {
      collection,
      sessions: [...found].flatMap(([segment, list]) => list.map((session) => erasedSession(segment, session))),
      unknown: asked.filter((what) => !met.has(what)),
      notHere,
      copies: farCopies([...touched.flatMap(({ files }) => files.filter(({ kind }) => kind !== 'log')), ...packs]),
      workbenches: [...new Set(copies.map(({ workbench }) => workbench))],
      oldCatalogs: namesIfThere(dataDir)
        .filter((name) => /^catalog\.db\.old-\d+$/.test(name))
        .map((name) => join(dataDir, name)),
      reports: reports.map(({ run }) => run).sort((a, b) => a - b),
    },
  }
}

const erasedSession = (segment: number, session: SessionRow): ErasedSession => {
  const { session_id, source, bucket, key, version, events, rejects, time1, time2, pack_length } = session
  return { ...{ segment, session_id, source, bucket, key, version, events, rejects, time1, time2 }, bytes: pack_length }
}

/** Pack files that have the objects of these sessions. */
const packsOf = (sessions: readonly SessionRow[], rows: ReadonlyMap<number, SegmentRow>): HeldFile[] =>
  [...new Set(sessions.map(({ pack_segment }) => pack_segment))].flatMap((pack) =>
    pack === null ? [] : (rows.get(pack)?.files.filter(({ kind }) => kind === 'log') ?? []),
  )

const farCopies = (files: readonly HeldFile[]): FarCopy[] =>
  files.flatMap(({ name, sha256, tier, directory, label, deleted }): FarCopy[] => {
    const isHere = !deleted && isLocal(directory) && existsSync(placedPath(directory, name))
    const copy = { name, sha256, tier, directory, ...(label === undefined ? {} : { label }) }
    return isHere ? [] : [{ ...copy, state: deleted ? 'deleted' : 'offline' }]
  })

async function eraseInSegment(
  { catalog, dataDir, producer }: ErasureOptions,
  owner: Owner,
  { collection, reason, despiteHold = false }: Parameters<typeof eraseSessions>[1],
  {
    row,
    rows,
    sessions,
  }: { readonly row: SegmentRow; readonly rows: Planned['rows']; readonly sessions: readonly SessionRow[] },
) {
  const segment = await catalog.draw(owner, 'segment', 1)
  const directory = catalog.collectionDirectory(collection)
  const packs = packsOf(sessions, rows)
    .map((file) => ({ file, owner: rows.get(file.manifest.segment)! }))
    .filter(({ owner }) => isHeldHere(owner, 'log'))
    .map(({ file: { size, sha256 }, owner }) => ({
      segment: owner.segment,
      path: heldPath(owner, 'log'),
      size,
      sha256,
    }))
  const keyset = row.files.find(({ kind }) => kind === 'index')?.manifest.keyset
  const sealed = await mergeSegments({
    inputs: [row],
    ...{ collection, directory, segment, format: row.format, day: row.day, producer },
    erasure: {
      sessions: new Set(sessions.map(({ session_id }) => session_id)),
      packs,
      keysetKey: keyset && listKeysetKeys(dataDir).find(({ id }) => id === keyset.key),
    },
  })
  faultPoint('erase.segment-durable')
  const events = sessions.flatMap(({ id1, id2 }): IdRange[] => (id1 === null ? [] : [[id1, id2!]]))
  const target = { ...sealed, directory }
  const tags: { before: string[]; made: TagFile[] } = await tagsWithout(row, target, events, { dataDir, producer })
  const times = sessions.flatMap(({ time1, time2 }) => (time1 === null ? [] : [time1, time2!]))
  const committed = await catalog.commitErase(owner, {
    ...{ sealed, replaced: row.segment, events, reason, despiteHold },
    sessions: sessions.map(({ session_id }) => session_id),
    packs: packs.map((pack) => pack.segment),
    tagsSeen: row.tags.map(({ name }) => name),
    tagsBefore: tags.before,
    tags: tags.made,
    times: {
      time1: times.length > 0 ? Math.min(...times) : null,
      time2: times.length > 0 ? Math.max(...times) : null,
      missing: sessions.some((session) => session.rejects > 0) ? 1 : 0,
    },
  })
  return { segment, ...committed }
}

/** Tag files with tags of these events, made anew without them: one a run, named for the new segment. */
async function tagsWithout(
  row: SegmentRow,
  target: ConstructorParameters<typeof TagFileWriter>[0]['segment'],
  events: readonly IdRange[],
  { dataDir, producer }: { readonly dataDir: string; readonly producer: string },
): Promise<{ before: string[]; made: TagFile[] }> {
  const before: string[] = []
  const made: TagFile[] = []
  if (row.tags.length === 0 || events.length === 0) return { before, made }
  const isErased = events.map(([first, last]) => `id BETWEEN ${first} AND ${last}`).join(' OR ')
  const duckdb = await DuckDb.open({
    directories: [...new Set([...row.tags.map(({ directory }) => directory)])],
    tempDirectory: join(dataDir, 'spill'),
  })
  try {
    const touched: HeldTagFile[] = []
    for (const file of row.tags) {
      const sql = `SELECT count(*) AS n FROM ${parquetFiles([tagPath(file)])} WHERE ${isErased}`
      const [counted] = await duckdb.rows({ sql, files: [tagPath(file)] })
      if ((counted!.n as number) > 0) touched.push(file)
    }
    for (const [run, files] of Map.groupBy(touched, ({ run }) => run)) {
      const paths = files.map(tagPath)
      const sql = `SELECT id, label, plugin, rule FROM ${parquetFiles(paths)} WHERE NOT (${isErased}) ORDER BY id`
      const writer = new TagFileWriter({ segment: target, run, producer })
      try {
        await addTags(writer, duckdb.stream({ sql, files: paths }))
        const file = writer.seal()
        if (file) made.push(file)
      } catch (error) {
        writer.discard()
        throw error
      }
      before.push(...files.map(({ name }) => name))
    }
  } finally {
    duckdb.close()
  }
  return { before, made }
}

/** Rows in order of id; those of one event are added at once. */
async function addTags(writer: TagFileWriter, rows: ReturnType<DuckDb['stream']>): Promise<void> {
  let ids: number[] = []
  let kindOf: number[] = []
  const kinds: TagKind[] = []
  const known = new Map<string, number>()
  const flush = (): void => {
    writer.add(kinds, Float64Array.from(ids), Uint32Array.from(kindOf))
    ids = []
    kindOf = []
  }
  for await (const chunk of rows)
    for (const { id, label, plugin, rule } of chunk as unknown as (TagKind & { id: number })[]) {
      if (ids.length >= TAGS_AT_ONCE && ids.at(-1) !== id) flush()
      const name = JSON.stringify([label, plugin, rule])
      if (!known.has(name)) known.set(name, kinds.push({ label, plugin, rule }) - 1)
      ids.push(id)
      kindOf.push(known.get(name)!)
    }
  if (ids.length > 0) flush()
}

const TAGS_AT_ONCE = 100_000
