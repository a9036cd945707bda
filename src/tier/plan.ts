/**
 * What should lie where: moves by age and by size, deletions by retention, what a hold keeps, and what is wrong with the
 * places. Nothing here touches a file; `roll.ts` does what is planned.
 */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileSystemOf } from '../platform/fileSystem.ts'
import type { SegmentRow } from '../store/catalog.ts'
import { type HeldFile, isLocal, PLACE_MARK, TIERS, type Tier } from '../store/heldFile.ts'
import { heldTimes, holdsOver, type LegalHold } from '../store/holds.ts'
import { placeAt, type TierPlace, type TierRules } from './places.ts'

export interface PlannedMove {
  readonly collection: string
  readonly segment: number
  readonly file: HeldFile
  readonly to: TierPlace
  readonly label?: string
  readonly reason: 'age' | 'size' | 'asked'
}

export interface PlannedDeletion {
  readonly collection: string
  readonly segment: number
  readonly file: HeldFile
  /** Days since the last event. */
  readonly days: number
}

export interface KeptByHold {
  readonly collection: string
  readonly segment: number
  readonly kind: string
  readonly holds: readonly string[]
}

/** What a person has to see to; nothing of it stops collecting. */
export interface Alarm {
  readonly alarm: 'full' | 'missing' | 'size' | 'offline' | 'future'
  readonly tier: Tier
  readonly place: string
  readonly detail: string
}

export interface PlaceStatus {
  readonly tier: Tier
  readonly place: string
  readonly state: 'ready' | 'missing' | 'new' | 'remote'
  /** Bytes that it may take; null: no limit. */
  readonly size: number | null
  /** Bytes of files of segments. */
  readonly used: number
  /** Room of its file system; null where it cannot be told. */
  readonly free: number | null
  readonly files: number
}

export interface TierPlan {
  readonly moves: readonly PlannedMove[]
  readonly deletions: readonly PlannedDeletion[]
  readonly held: readonly KeptByHold[]
  readonly alarms: readonly Alarm[]
  readonly places: readonly PlaceStatus[]
}

export interface PlanInput {
  readonly rules: TierRules
  /** Every segment, replaced ones with packs in use too. */
  readonly segments: readonly SegmentRow[]
  readonly holds: readonly LegalHold[]
  /** Sizes that places had, by directory (`tier-size` facts). */
  readonly sizes: ReadonlyMap<string, number>
  /** Seconds. */
  readonly now: number
}

/** A file with what decides about it. */
export interface Unit {
  readonly collection: string
  readonly segment: number
  readonly file: HeldFile
  /** Seconds: when its last event happened, as far as clocks can be believed. */
  readonly time: number
  readonly holds: readonly string[]
}

export function planTiers(input: PlanInput): TierPlan {
  const units = unitsOf(input.segments, input.holds)
  const rooms = new Rooms(input, units)
  const alarms: Alarm[] = [...rooms.alarms]
  const deletions: PlannedDeletion[] = []
  const held: KeptByHold[] = []
  const targets = new Map<Unit, { place: TierPlace; reason: 'age' | 'size' }>()
  const staying: Unit[] = []
  for (const unit of inOrder(units)) {
    const { collection, segment, file, time, holds } = unit
    const ages = input.rules.ages(collection, file.kind)
    const age = input.now - time
    if (age < -DAY_SECONDS)
      alarms.push({
        ...{ alarm: 'future', tier: file.tier, place: file.directory },
        detail: `${file.name} has events that lie ahead of the clock`,
      })
    if (ages.delete !== undefined && age >= ages.delete) {
      if (holds.length === 0) {
        deletions.push({ collection, segment, file, days: Math.floor(age / DAY_SECONDS) })
        rooms.take(unit)
        continue
      }
      held.push({ collection, segment, kind: file.kind, holds })
    }
    staying.push(unit)
    const wanted = wantedTier(ages, age, rooms.tiers)
    if (TIERS.indexOf(wanted) <= TIERS.indexOf(file.tier)) continue
    const place = rooms.placeFor(wanted, file.size)
    if (place) {
      targets.set(unit, { place, reason: 'age' })
      rooms.take(unit)
      rooms.put(place, unit)
    } else rooms.refuse(wanted)
  }
  // From the top: what leaves hot for want of room may push something out of warm.
  for (const tier of rooms.tiers) {
    const there = staying.filter((unit) => (targets.get(unit)?.place.tier ?? unit.file.tier) === tier)
    for (const unit of there) {
      const at = targets.get(unit)?.place ?? placeAt(input.rules.places, unit.file.directory)
      if (!at || !rooms.isOver(at)) continue
      const lower = rooms.tiers.slice(rooms.tiers.indexOf(tier) + 1)
      const place = rooms.placeFor(tier, unit.file.size) ?? firstOf(lower, (one) => rooms.placeFor(one, unit.file.size))
      if (!place) continue
      if (targets.has(unit)) rooms.unput(at, unit)
      else rooms.take(unit)
      rooms.put(place, unit)
      targets.set(unit, { place, reason: 'size' })
    }
  }
  alarms.push(...rooms.fullAlarms())
  const moves = staying.flatMap((unit): PlannedMove[] => {
    const target = targets.get(unit)
    if (!target || target.place === placeAt(input.rules.places, unit.file.directory)) return []
    const { collection, segment, file } = unit
    const label = target.place.tier === 'cold' ? input.rules.label : undefined
    return [{ collection, segment, file, to: target.place, reason: target.reason, ...(label ? { label } : {}) }]
  })
  return { moves, deletions, held, alarms, places: rooms.status() }
}

/** Moves that somebody asks for, whatever ages and sizes say; to where a file lies already only its label changes. */
export function planMoves(
  input: PlanInput,
  units: readonly Unit[],
  { to, label }: { readonly to: Tier; readonly label?: string },
): Pick<TierPlan, 'moves' | 'alarms' | 'places'> {
  const rooms = new Rooms(input, unitsOf(input.segments, []))
  const moves: PlannedMove[] = []
  for (const unit of inOrder(units)) {
    const { collection, segment, file } = unit
    const here = placeAt(input.rules.places, file.directory)
    if (here?.tier === to && (label === undefined || label === file.label)) continue
    const place = here?.tier === to ? here : rooms.placeFor(to, file.size)
    if (!place) {
      rooms.refuse(to)
      continue
    }
    if (place !== here) {
      rooms.take(unit)
      rooms.put(place, unit)
    }
    const given = label ?? (to === 'cold' ? input.rules.label : undefined)
    moves.push({ collection, segment, file, to: place, reason: 'asked', ...(given ? { label: given } : {}) })
  }
  return { moves, alarms: [...rooms.alarms, ...rooms.fullAlarms()], places: rooms.status() }
}

/**
 * The files that can be moved or deleted. A pack is as old as the youngest session that lies in it, and held when one of
 * them is: its users are the live segments that point to it.
 */
export function unitsOf(segments: readonly SegmentRow[], holds: readonly LegalHold[]): Unit[] {
  const live = segments.filter(({ state }) => state === 'live')
  const users = new Map<number, SegmentRow[]>()
  for (const segment of live)
    for (const pack of segment.packs) {
      const list = users.get(pack)
      if (list) list.push(segment)
      else users.set(pack, [segment])
    }
  const holdsOf = new Map<number, string[]>()
  for (const segment of live) {
    const own = holds.filter(({ collection }) => collection === segment.collection)
    if (own.length > 0) holdsOf.set(segment.segment, holdsOver(own, heldTimes(segment)))
  }
  return segments.flatMap((segment) =>
    segment.files.flatMap((file): Unit[] => {
      if (file.deleted) return []
      const meant = file.kind === 'log' ? (users.get(segment.segment) ?? []) : segment.state === 'live' ? [segment] : []
      // Of a replaced segment that the sweep will remove.
      if (meant.length === 0) return []
      return [
        {
          ...{ collection: segment.collection, segment: segment.segment, file },
          time: Math.max(...meant.map(lastTime)),
          holds: [...new Set(meant.flatMap((one) => holdsOf.get(one.segment) ?? []))].sort(),
        },
      ]
    }),
  )
}

/** Whether a place is there. A local one bears a mark from its first use on; one that held files and has lost it is not mounted. */
export function stateOf(place: TierPlace, hasFiles: boolean): PlaceStatus['state'] {
  if (!isLocal(place.directory)) return 'remote'
  if (place.isData) return 'ready'
  if (existsSync(join(place.directory, PLACE_MARK))) return 'ready'
  const isDirectory = statSync(place.directory, { throwIfNoEntry: false })?.isDirectory() === true
  if (hasFiles || (place.mustExist && !isDirectory)) return 'missing'
  return 'new'
}

/** What was made smaller by more than this share may be a slip of the pen. */
export const SIZE_GUARD = 0.1

// --- internal ---

const DAY_SECONDS = 86_400
/** A file system is never filled to its last byte. */
const RESERVE_BYTES = 64 * 2 ** 20

/**
 * When the last event of a segment happened: the 99th percentile, so that one clock in the future keeps nothing for ever;
 * never after its sealing, and its sealing where no event has a time.
 */
function lastTime({ files, time2 }: SegmentRow): number {
  const { eventTime, sealTime } = files.find(({ kind }) => kind === 'meta')?.manifest ?? files[0]!.manifest
  const last = eventTime?.p99 ?? (time2 === null ? sealTime : Math.floor(time2 / 1e6))
  return Math.min(last, sealTime)
}

/** Old ones first, packs before the rest of their segment. */
function inOrder(units: readonly Unit[]): Unit[] {
  const rank = ({ file }: Unit): number => (file.kind === 'log' ? 0 : 1)
  return [...units].sort((a, b) => a.time - b.time || a.segment - b.segment || rank(a) - rank(b))
}

function wantedTier(
  ages: { readonly warm?: number; readonly cold?: number },
  age: number,
  tiers: readonly Tier[],
): Tier {
  if (ages.cold !== undefined && age >= ages.cold && tiers.includes('cold')) return 'cold'
  const isDue = (ages.warm !== undefined && age >= ages.warm) || (ages.cold !== undefined && age >= ages.cold)
  return isDue && tiers.includes('warm') ? 'warm' : 'hot'
}

function firstOf<T, R>(list: readonly T[], find: (one: T) => R | undefined): R | undefined {
  for (const one of list) {
    const found = find(one)
    if (found !== undefined) return found
  }
  return undefined
}

interface Room {
  readonly place: TierPlace
  readonly state: PlaceStatus['state']
  /** The configured size, or the one before where that is guarded. */
  readonly size: number
  readonly free: number | null
  used: number
  files: number
  /** Free bytes of its file system that what is planned takes. */
  planned: number
  refused: number
}

/** How full places are, with what is planned. */
class Rooms {
  readonly alarms: Alarm[] = []
  readonly tiers: readonly Tier[]
  private readonly rooms: Room[]
  private readonly places: readonly TierPlace[]

  constructor({ rules, sizes }: PlanInput, units: readonly Unit[]) {
    this.places = rules.places
    const used = new Map<TierPlace, { bytes: number; files: number }>()
    const strange = new Map<string, { count: number; tier: Tier }>()
    for (const { file } of units) {
      const place = placeAt(this.places, file.directory)
      if (!place) {
        const held = strange.get(file.directory) ?? { count: 0, tier: file.tier }
        held.count += 1
        strange.set(file.directory, held)
        continue
      }
      const sum = used.get(place) ?? { bytes: 0, files: 0 }
      sum.bytes += file.size
      sum.files += 1
      used.set(place, sum)
    }
    this.rooms = this.places.map((place): Room => {
      const { bytes = 0, files = 0 } = used.get(place) ?? {}
      const state = stateOf(place, files > 0)
      // Volumes of cold are taken away on purpose: that is told once something is to go there.
      if (state === 'missing' && (place.tier !== 'cold' || place.mustExist))
        this.alarms.push({
          ...{ alarm: 'missing', tier: place.tier, place: place.directory },
          detail: files > 0 ? `it is not mounted: its mark ${PLACE_MARK} is not there` : 'there is no such directory',
        })
      const before = sizes.get(place.directory)
      const isGuarded = place.size !== undefined && before !== undefined && place.size < before * (1 - SIZE_GUARD)
      if (isGuarded)
        this.alarms.push({
          ...{ alarm: 'size', tier: place.tier, place: place.directory },
          detail: `its size went from ${before} to ${place.size} bytes, by more than 10 %: the old one holds until \`tier roll --accept-sizes\``,
        })
      const isHere = isLocal(place.directory) && state !== 'missing'
      return {
        ...{ place, state, used: bytes, files, planned: 0, refused: 0 },
        size: (isGuarded ? before : place.size) ?? Number.POSITIVE_INFINITY,
        free: isHere ? fileSystemOf(place.directory).freeBytes : null,
      }
    })
    for (const [directory, { count, tier }] of strange)
      this.alarms.push({
        ...{ alarm: 'offline', tier, place: directory },
        detail: `${count} files lie there, and it is in no place of the configuration: they stay as they are`,
      })
    this.tiers = TIERS.filter((tier) => this.places.some((place) => place.tier === tier))
  }

  /** The first place of a tier with room for so many bytes. */
  placeFor(tier: Tier, bytes: number): TierPlace | undefined {
    return this.rooms.find((room) => room.place.tier === tier && this.hasRoom(room, bytes))?.place
  }

  /** A file had to stay where it is for want of room. */
  refuse(tier: Tier): void {
    for (const room of this.rooms) if (room.place.tier === tier) room.refused += 1
  }

  isOver(place: TierPlace): boolean {
    const room = this.roomOf(place)
    return room !== undefined && room.used > room.size
  }

  take({ file }: Unit): void {
    const place = placeAt(this.places, file.directory)
    const room = place && this.roomOf(place)
    if (room) room.used -= file.size
  }

  put(place: TierPlace, { file }: Unit): void {
    const room = this.roomOf(place)!
    room.used += file.size
    room.planned += file.size
  }

  unput(place: TierPlace, { file }: Unit): void {
    const room = this.roomOf(place)!
    room.used -= file.size
    room.planned -= file.size
  }

  /** Of places that are still too full, and of tiers that could not take what was due. */
  fullAlarms(): Alarm[] {
    return this.rooms.flatMap(({ place, state, used, size, refused }): Alarm[] => {
      const { tier, directory } = place
      if (used > size)
        return [{ alarm: 'full', tier, place: directory, detail: `${used} bytes lie there, and it may take ${size}` }]
      if (refused === 0) return []
      if (state === 'missing') {
        if (this.alarms.some((one) => one.alarm === 'missing' && one.place === directory)) return []
        return [
          {
            alarm: 'missing',
            tier,
            place: directory,
            detail: `it is not mounted, and ${refused} files are to go there`,
          },
        ]
      }
      return [
        {
          alarm: 'full',
          tier,
          place: directory,
          detail: `${refused} files found no room there and stay where they are`,
        },
      ]
    })
  }

  status(): PlaceStatus[] {
    return this.rooms.map(({ place, state, size, used, free, files }) => ({
      ...{ tier: place.tier, place: place.directory, state, used: Math.max(0, used), free, files },
      size: Number.isFinite(size) ? size : null,
    }))
  }

  private hasRoom({ state, size, used, free, planned }: Room, bytes: number): boolean {
    if (state === 'missing') return false
    return used + bytes <= size && (free === null || free - planned - bytes >= RESERVE_BYTES)
  }

  private roomOf(place: TierPlace): Room | undefined {
    return this.rooms.find((room) => room.place === place)
  }
}
