/** Tiers as a person or a program uses them: where files lie, what is due, moves, and legal holds. */
import { dirname } from 'node:path'
import type { SourceContext } from './components/component.ts'
import type { Config } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import { isoTimeText } from './core/isoTime.ts'
import type { Log } from './core/log.ts'
import type { Catalog, SegmentRow } from './store/catalog.ts'
import { isHeldHere, type Tier } from './store/heldFile.ts'
import { covers, heldTimes, type LegalHold } from './store/holds.ts'
import { placeAt, tierRules } from './tier/places.ts'
import {
  type Alarm,
  type PlaceStatus,
  type PlanInput,
  planMoves,
  planTiers,
  SIZE_GUARD,
  stateOf,
  type TierPlan,
  unitsOf,
} from './tier/plan.ts'
import type { RollProgress, RollSummary } from './tier/roll.ts'
import type { Storages } from './tier/storage.ts'

export type { Tier } from './store/heldFile.ts'
export type { LegalHold } from './store/holds.ts'
export type { Alarm, KeptByHold, PlaceStatus, PlannedDeletion, PlannedMove, TierPlan } from './tier/plan.ts'
export type { RollFault, RollProgress, RollSummary } from './tier/roll.ts'

export interface TierUse {
  readonly tier: Tier
  readonly database: string
  readonly files: number
  readonly bytes: number
  /** Of them: not there, so that they must be restored to be read. */
  readonly offline: number
}

export interface TierStatus {
  readonly places: readonly PlaceStatus[]
  readonly use: readonly TierUse[]
  readonly deleted: { readonly files: number; readonly bytes: number }
  /** Copies that wait for their removal. */
  readonly left: number
  readonly holds: number
  readonly alarms: readonly Alarm[]
}

export interface TierRun {
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: RollProgress) => void
}

export interface RollRequest extends TierRun {
  /** Take sizes that were made smaller by more than 10 %. */
  readonly acceptSizes?: boolean
  /** The clock is right, however far it is from the last commit. */
  readonly trustClock?: boolean
}

export interface MoveRequest extends TierRun {
  readonly to: Tier
  readonly collection?: string
  /** Numbers; together with a range, both must fit. */
  readonly segments?: readonly number[]
  /** Microseconds, both included: segments with events in between. */
  readonly from?: number
  readonly until?: number
  readonly databases?: readonly string[]
  /** What a person needs to find them. */
  readonly label?: string
}

export interface HoldRequest {
  readonly name: string
  readonly reason: string
  readonly collection?: string
  /** POSIX seconds, both included; null: open. */
  readonly time1?: number | null
  readonly time2?: number | null
}

export interface Tiers {
  status(): Promise<TierStatus>
  /** What `roll` would do now. `clock`: why it would refuse to. */
  plan(): Promise<TierPlan & { readonly clock?: string }>
  /**
   * Moves and deletes what is due. E_TIER_MISSING when a place that must be mounted is not, E_TIER_BUSY, E_CLOCK_JUMP; a
   * file that fails is in the summary, and stays where it is.
   */
  roll(request?: RollRequest): Promise<RollSummary>
  /** Moves what somebody chooses, or says where it is (`label`). E_TIER_UNKNOWN. */
  move(request: MoveRequest): Promise<RollSummary>
  /** E_HOLD_EXISTS. */
  addHold(request: HoldRequest): Promise<void>
  /** E_HOLD_UNKNOWN. */
  releaseHold(request: Pick<HoldRequest, 'name' | 'reason' | 'collection'>): Promise<void>
  /** With how many segments each covers. */
  holds(collection?: string): Promise<readonly (LegalHold & { readonly segments: number })[]>
}

interface Parts {
  readonly catalog: () => Promise<Catalog>
  readonly requireData: () => void
  readonly log: Log
}

export function tiers(config: Config, { catalog, requireData, log }: Parts): Tiers {
  const rules = rulesOf(config)
  const opened = async (): Promise<Catalog> => {
    requireData()
    return catalog()
  }
  const inputOf = async (open: Catalog, acceptSizes = false): Promise<PlanInput> => ({
    rules,
    segments: await ofCollections(open),
    holds: await open.holds(),
    sizes: acceptSizes ? new Map() : await sizesOf(open),
    now: Date.now() / 1000,
  })
  /** Runs what moves files, alone. */
  const alone = async (
    places: readonly PlaceStatus[],
    run: { readonly signal?: AbortSignal; readonly onProgress?: (progress: RollProgress) => void },
    plan: Pick<TierPlan, 'moves' | 'deletions' | 'alarms'>,
  ): Promise<RollSummary> => {
    const open = await opened()
    const usable = rules.places.filter((place) =>
      places.some((one) => one.place === place.directory && one.state !== 'missing'),
    )
    const { roll } = await import('./tier/roll.ts')
    const owner = await open.owner('tier')
    const storages = await storagesOf(config, log, run.signal)
    try {
      const summary = await roll(plan, { catalog: open, owner, storages, places: usable, log, ...run })
      return { ...summary, alarms: [...plan.alarms, ...summary.alarms] }
    } finally {
      await storages.close()
      await owner.release()
    }
  }
  const locked = async <T>(open: Catalog, action: () => Promise<T>): Promise<T> => {
    open.requireWritable()
    const lock = await open.hold('tier')
    if (!lock) throw new ColdtrailError('E_TIER_BUSY', {})
    try {
      return await action()
    } finally {
      await lock.release()
    }
  }
  const remember = async (open: Catalog, acceptSizes: boolean): Promise<void> => {
    const before = await sizesOf(open)
    for (const { directory, size } of rules.places) {
      const held = before.get(directory)
      const isGuarded = size !== undefined && held !== undefined && size < held * (1 - SIZE_GUARD) && !acceptSizes
      if (size !== undefined && size !== held && !isGuarded) await open.setFact(SIZE_FACT + directory, String(size))
    }
  }
  return {
    async status() {
      const open = await opened()
      const input = await inputOf(open)
      const { places, alarms } = planTiers({ ...input, rules: { ...rules, ages: () => ({}) } })
      return {
        ...{ places, alarms, ...useOf(input) },
        left: (await open.leftFiles()).length,
        holds: input.holds.length,
      }
    },
    async plan() {
      const open = await opened()
      const input = await inputOf(open)
      const clock = await clockFault(open, input.now)
      return { ...planTiers(input), ...(clock ? { clock: clock.message } : {}) }
    },
    async roll({ acceptSizes = false, trustClock = false, ...run } = {}) {
      const open = await opened()
      return locked(open, async () => {
        await open.repairDerived()
        const input = await inputOf(open, acceptSizes)
        requireMounts(input)
        const clock = trustClock ? undefined : await clockFault(open, input.now)
        if (clock) throw clock
        await remember(open, acceptSizes)
        const plan = planTiers(input)
        const summary = await alone(plan.places, run, plan)
        // Workbenches whose time is over, and what others have left.
        await open.sweep()
        return summary
      })
    },
    async move({ to, collection, segments, from, until, databases, label, ...run }) {
      if (!rules.places.some(({ tier }) => tier === to)) throw new ColdtrailError('E_TIER_UNKNOWN', { tier: to })
      const open = await opened()
      return locked(open, async () => {
        const input = await inputOf(open)
        requireMounts(input)
        const known = new Map(input.segments.map((row) => [row.segment, row]))
        const missing = segments?.find((number) => !known.has(number))
        if (missing !== undefined) throw new ColdtrailError('E_USAGE', { message: `There is no segment ${missing}.` })
        const range = { time1: from === undefined ? null : from / 1e6, time2: until === undefined ? null : until / 1e6 }
        const units = unitsOf(input.segments, []).filter(
          (unit) =>
            (collection === undefined || unit.collection === collection) &&
            (segments === undefined || segments.includes(unit.segment)) &&
            (databases === undefined || databases.includes(unit.file.kind)) &&
            covers(range, heldTimes(known.get(unit.segment)!)),
        )
        const plan = planMoves(input, units, { to, ...(label === undefined ? {} : { label }) })
        return alone(plan.places, run, { ...plan, deletions: [] })
      })
    },
    async addHold({ name, reason, collection = 'main', time1 = null, time2 = null }) {
      const open = await opened()
      await requireCollection(open, collection)
      if (time1 !== null && time2 !== null && time1 > time2)
        throw new ColdtrailError('E_TIME_ORDER', { from: isoTimeText(time1 * 1e6), to: isoTimeText(time2 * 1e6) })
      await withOwner(open, (owner) =>
        open.commitHold(owner, collection, { ...checkedHold(name, reason), time1, time2, isOn: true }),
      )
    },
    async releaseHold({ name, reason, collection = 'main' }) {
      const open = await opened()
      await requireCollection(open, collection)
      await withOwner(open, (owner) =>
        open.commitHold(owner, collection, { ...checkedHold(name, reason), time1: null, time2: null, isOn: false }),
      )
    },
    async holds(collection) {
      const open = await opened()
      const live = await open.segments({ state: 'live' })
      return (await open.holds(collection)).map((hold) => ({
        ...hold,
        segments: live.filter((row) => row.collection === hold.collection && covers(hold, heldTimes(row))).length,
      }))
    },
  }
}

/** For `doctor`: a place that is missing, full or not writable, before a roll trips over it. */
export function tierProbes(config: Config, catalog: () => Promise<Catalog>): [string, () => Promise<string>][] {
  return rulesOf(config)
    .places.filter(({ isData }) => !isData)
    .map((place) => [
      `${place.tier} ${place.directory}`,
      async () => {
        const files = (await (await catalog()).segments()).flatMap((row) => row.files)
        const own = files.filter(({ deleted, directory }) => !deleted && placeAt([place], directory))
        const state = stateOf(place, own.length > 0)
        const used = own.reduce((sum, { size }) => sum + size, 0)
        if (state === 'missing' && place.tier === 'cold' && !place.mustExist)
          return `it is away: ${own.length} files are offline`
        if (state === 'missing')
          throw new ColdtrailError('E_TIER_MISSING', { path: place.directory, tier: place.tier, reason: 'not mounted' })
        if (place.size !== undefined && used > place.size) throw new ColdtrailError('E_TIER_FULL', { tier: place.tier })
        return `${state}: ${own.length} files, ${used} bytes`
      },
    ])
}

// --- internal ---

const SIZE_FACT = 'tier-size '
/** A clock that is so far ahead of the last commit may be wrong, and what it deletes is gone. */
const MOST_AHEAD_SECONDS = 90 * 86_400
const MOST_BEHIND_SECONDS = 3_600

const rulesOf = (config: Config) =>
  tierRules(config.tiers, {
    base: config.file === undefined ? process.cwd() : dirname(config.file),
    dataDir: config.data_dir,
  })

/** Without the copies of workbenches, which are not kept by age. */
async function ofCollections(open: Catalog): Promise<readonly SegmentRow[]> {
  return open.segments()
}

async function sizesOf(open: Catalog): Promise<Map<string, number>> {
  const facts = await open.facts(SIZE_FACT)
  return new Map([...facts].map(([name, value]) => [name.slice(SIZE_FACT.length), Number(value)]))
}

/** Directories and buckets by the configuration. */
export async function storagesOf(config: Config, log: Log, signal?: AbortSignal): Promise<Storages> {
  const { Storages } = await import('./tier/storage.ts')
  const context: SourceContext = {
    environment: process.env,
    pause: (milliseconds, stop) => pause(milliseconds, stop ?? signal),
    warn: (message, values) => log('warn', message, values),
  }
  return new Storages({ access: config.tiers.s3 ?? {}, context, ...(signal === undefined ? {} : { signal }) })
}

function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(signal.reason)
    })
  })
}

/** `==` places, whose absence must not be taken for a fresh disk. */
function requireMounts({ rules, segments }: PlanInput): void {
  const files = segments.flatMap((row) => row.files.filter(({ deleted }) => !deleted))
  for (const place of rules.places) {
    if (!place.mustExist) continue
    const hasFiles = files.some(({ directory }) => placeAt([place], directory))
    if (stateOf(place, hasFiles) !== 'missing') continue
    const reason = hasFiles ? 'files lie there, and its mark is not there' : 'there is no such directory'
    throw new ColdtrailError('E_TIER_MISSING', { path: place.directory, tier: place.tier, reason })
  }
}

async function clockFault(open: Catalog, now: number): Promise<ColdtrailError | undefined> {
  let last = 0
  for (const collection of await open.collections()) {
    const head = await open.head(collection)
    const [commit] = await open.commits(collection, { after: head - 1, limit: 1 })
    last = Math.max(last, (commit?.time ?? 0) / 1e6)
  }
  if (last === 0 || (now >= last - MOST_BEHIND_SECONDS && now <= last + MOST_AHEAD_SECONDS)) return undefined
  return new ColdtrailError('E_CLOCK_JUMP', { now: isoTimeText(now * 1e6), last: isoTimeText(last * 1e6) })
}

function useOf({ segments }: PlanInput): Pick<TierStatus, 'use' | 'deleted'> {
  const use = new Map<string, { tier: Tier; database: string; files: number; bytes: number; offline: number }>()
  const deleted = { files: 0, bytes: 0 }
  for (const row of segments)
    for (const file of row.files) {
      if (file.deleted) {
        deleted.files += 1
        deleted.bytes += file.size
        continue
      }
      const key = `${file.tier} ${file.kind}`
      const one = use.get(key) ?? { tier: file.tier, database: file.kind, files: 0, bytes: 0, offline: 0 }
      use.set(key, one)
      one.files += 1
      one.bytes += file.size
      if (!isHeldHere(row, file.kind as Parameters<typeof isHeldHere>[1])) one.offline += 1
    }
  return { use: [...use.values()], deleted }
}

async function requireCollection(open: Catalog, name: string): Promise<void> {
  const known = await open.collections()
  if (!known.includes(name))
    throw new ColdtrailError('E_COLLECTION_UNKNOWN', { name, known: known.join(', ') || 'none' })
}

function checkedHold(name: string, reason: string): { name: string; reason: string } {
  if (!/^[\p{L}\p{N}][\p{L}\p{N}._/ -]{0,99}$/u.test(name))
    throw new ColdtrailError('E_USAGE', { message: 'a hold is named by up to 100 letters, digits, spaces and ._/-' })
  if (reason.trim() === '' || reason.length > 1_000)
    throw new ColdtrailError('E_USAGE', { message: 'a reason has 1 to 1,000 characters' })
  return { name, reason }
}

async function withOwner<T>(open: Catalog, action: (owner: Awaited<ReturnType<Catalog['owner']>>) => Promise<T>) {
  open.requireWritable()
  const owner = await open.owner('hold')
  try {
    return await action(owner)
  } finally {
    await owner.release()
  }
}
