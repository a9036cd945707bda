/**
 * The standing hunt of a collection: what is new meets all there is.
 *
 *     new segments x all indicators, new indicators x all older segments -> what is online confirmed -> findings -> position
 *
 * Positions are numbers in both sequences, taken before anything is read, and are written behind the findings: what a
 * crash repeats are findings with the same uids, which join what is there.
 */
import { ColdtrailError } from '../core/errors.ts'
import type { Catalog, HuntPosition, Owner, SegmentRow } from '../store/catalog.ts'
import { replacedOf, segmentOf } from '../store/chain.ts'
import { type FindingHit, type Severity, sealFindings } from '../store/findings.ts'
import type { RunReport } from '../store/runReport.ts'
import { CollectionHunt, type CollectionHuntOptions } from './collectionHunt.ts'
import type { GivenIndicator, IndicatorSet } from './indicators.ts'

export interface StandingOptions
  extends Pick<
    CollectionHuntOptions,
    'catalog' | 'collection' | 'keys' | 'hashDirectory' | 'engines' | 'log' | 'onProgress' | 'signal'
  > {
  readonly owner: Owner
  /** Number of the library's last change; undefined without a library. */
  readonly libraryHead: () => Promise<number | undefined>
  /** Active indicators; with `after` those that changed behind it. */
  readonly indicators: (after?: number) => Promise<IndicatorSet>
  readonly severity: { readonly confirmed: Severity; readonly possible: Severity }
  readonly producer: string
}

export interface StandingSummary {
  readonly collection: string
  /** Sealed since the last time. */
  readonly newSegments: number
  /** Indicators that changed since then; all, the first time. */
  readonly newIndicators: number
  /** Pairs of indicator and segment that were found: in data, and in keysets of what is offline. */
  readonly confirmed: number
  readonly possible: number
  /** Run that holds the findings; undefined without any. */
  readonly run?: number
  /** That no earlier run had. */
  readonly newFindings: number
}

/** E_HUNT_BUSY while another one hunts the collection. */
export async function standingHunt(options: StandingOptions): Promise<StandingSummary> {
  const { catalog, collection } = options
  const lock = await catalog.hold(`hunt-${collection.toLowerCase().replace(/[^a-z0-9_-]/g, '_')}`)
  if (!lock) throw new ColdtrailError('E_HUNT_BUSY', { collection })
  try {
    return await hunted(options)
  } finally {
    await lock.release()
  }
}

// --- internal ---

const PLUGIN = 'hunt'
const VERSION = 1
const MAX_TEXT = 300
const NOTHING: HuntPosition = { sequence: 0, librarySequence: 0 }

async function hunted(options: StandingOptions): Promise<StandingSummary> {
  const { catalog, collection, owner } = options
  const position = (await catalog.huntPosition(collection)) ?? NOTHING
  const librarySequence = (await options.libraryHead()) ?? 0
  const sequence = await catalog.head(collection)
  const fresh = sequence > position.sequence ? await sealedSince(catalog, collection, position.sequence) : new Set()
  const isNew = ({ segment }: SegmentRow): boolean => fresh.has(segment)
  const hunts: CollectionHunt[] = []
  let newIndicators = 0
  if (fresh.size > 0) hunts.push(...(await against(options, await options.indicators(), isNew)))
  if (librarySequence > position.librarySequence) {
    const set = await options.indicators(position.librarySequence)
    newIndicators = set.size
    hunts.push(...(await against(options, set, (row) => !isNew(row))))
  }
  const found = hits(hunts, options)
  const counts = {
    newSegments: fresh.size,
    newIndicators,
    confirmed: hunts.reduce((sum, hunt) => sum + hunt.confirmations, 0),
    possible: found.filter(({ event }) => event === null).length,
  }
  const committed = found.length > 0 ? await commit(options, hunts, found, counts) : undefined
  if (sequence !== position.sequence || librarySequence !== position.librarySequence)
    await catalog.setHuntPosition(owner, collection, { sequence, librarySequence })
  return { collection, ...counts, newFindings: 0, ...committed }
}

async function against(
  options: StandingOptions,
  set: IndicatorSet,
  among: (row: SegmentRow) => boolean,
): Promise<CollectionHunt[]> {
  if (set.size === 0) return []
  return [await CollectionHunt.run({ ...options, set, among, confirm: true, mayWrite: true })]
}

/** Live segments with events that were sealed behind a link, wherever compaction has put them. */
async function sealedSince(catalog: Catalog, collection: string, after: number): Promise<Set<number>> {
  const sealed: number[] = []
  const by = new Map<number, number>()
  for (let last = after; ; ) {
    const commits = await catalog.commits(collection, { after: last })
    for (const { number, body } of commits) {
      const made = segmentOf(body)
      if (made) {
        const replaced = replacedOf(body)
        for (const segment of replaced) by.set(segment, made.segment)
        if (replaced.length === 0) sealed.push(made.segment)
      }
      last = number
    }
    if (commits.length === 0) break
  }
  return new Set(
    sealed.map((segment) => {
      let home = segment
      for (let next = by.get(home); next !== undefined; next = by.get(home)) home = next
      return home
    }),
  )
}

/** In order of events, those about segments behind them; each once. */
function hits(hunts: readonly CollectionHunt[], { severity }: StandingOptions): FindingHit[] {
  const found: FindingHit[] = []
  for (const hunt of hunts)
    for (const indicator of hunt.answer.possible) {
      const verdict = hunt.verdict(indicator)
      const rule = shown(verdict)
      const base = { plugin: PLUGIN, rule }
      const told = new Set(verdict.searched)
      for (const { segment, events, rejects } of verdict.found) {
        told.add(segment)
        const title = `${rule} was in an event`.slice(0, MAX_TEXT)
        for (const event of events)
          found.push({ ...base, event, label: 'hunt_confirmed', severity: severity.confirmed, title })
        // What a format refused is no event.
        if (events.length === 0 && rejects > 0)
          found.push({
            ...{ ...base, event: null, segment, label: 'hunt_confirmed', severity: severity.confirmed },
            title: `${rule} is in a refused record of segment ${segment}`.slice(0, MAX_TEXT),
          })
      }
      for (const segment of verdict.segments)
        if (!told.has(segment))
          found.push({
            ...{ ...base, event: null, segment, label: 'hunt_possible', severity: severity.possible },
            title: `${rule} may be in segment ${segment}, which is offline${placeText(hunt, segment)}`.slice(
              0,
              MAX_TEXT,
            ),
          })
    }
  return found.sort((a, b) => (a.event ?? Number.MAX_VALUE) - (b.event ?? Number.MAX_VALUE))
}

const shown = ({ type, value }: GivenIndicator): string => `${type} ${value}`.slice(0, MAX_TEXT)

function placeText(hunt: CollectionHunt, segment: number): string {
  const labels = new Set(hunt.segmentRow(segment).files.flatMap(({ label }) => label ?? []))
  return labels.size === 0 ? '' : ` (${[...labels].join(', ')})`
}

async function commit(
  options: StandingOptions,
  hunts: readonly CollectionHunt[],
  found: readonly FindingHit[],
  counts: Readonly<Record<string, number>>,
): Promise<{ run: number; newFindings: number }> {
  const { catalog, owner, collection, engines, producer } = options
  const rows = (await catalog.segments({ collection, state: 'live' })).filter(({ segment }) =>
    hunts.some((hunt) => hunt.has(segment)),
  )
  const started = Date.now() * 1_000
  const run = await catalog.beginRun(owner, {
    ...{ collection, kind: 'hunt', expression: '', mode: 'strict', time1: null, time2: null, taskRows: 0, producer },
    plugins: [{ name: PLUGIN, version: VERSION, options: {} }],
    segments: [],
    commandLine: 'hunt standing',
  })
  try {
    const { duckdb } = await engines.for(rows)
    const findings = await sealFindings({ catalog, duckdb, collection, run, segments: rows, hits: found, kind: 'hunt' })
    const report: RunReport = {
      ...{ run, state: 'finished', collection, expression: '', mode: 'strict', from: null, to: null, limit: null },
      ...{ command_line: 'hunt standing', producer, started, ended: Date.now() * 1_000, tags: 0, warnings: [] },
      events: { total: 0, read: 0, filtered: 0, in_time_slice: 0, duplicates: 0, analyzed: 0 },
      findings: findings?.rows ?? 0,
      plugins: [
        {
          ...{ plugin: PLUGIN, version: VERSION, options: {}, labels: {}, skipped: 0 },
          counters: Object.entries(counts),
        },
      ],
    }
    const { newFindings } = await catalog.commitRun(owner, {
      ...{ run, state: 'finished', tagFiles: [], findings, report, counters: counts },
    })
    return { run, newFindings }
  } catch (error) {
    await catalog.endRun(owner, run, 'failed', (error as Error).message).catch(() => undefined)
    throw error
  }
}
