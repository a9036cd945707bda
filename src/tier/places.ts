/**
 * Places of tiers as the configuration has them, in the original's words: `path=size;path==size`. `=` makes a missing
 * directory, `==` refuses to start while the path is missing. A path left out is the data directory itself, where every
 * file is written first.
 */
import { isAbsolute, join, resolve } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import type { Tier } from '../store/heldFile.ts'

export interface TierPlace {
  readonly tier: Tier
  /** Absolute, or `s3://bucket/prefix`. Files of a collection lie in a folder of its name below. */
  readonly directory: string
  /** Bytes that files of segments may take there; undefined: as much as there is room. */
  readonly size?: number
  /** `==`: what must be mounted there is never made. */
  readonly mustExist: boolean
  /** The data directory's own. */
  readonly isData: boolean
}

/** Seconds since the last event. What is absent never happens. */
export interface Ages {
  readonly warm?: number
  readonly cold?: number
  readonly delete?: number
}

export interface TierRules {
  readonly places: readonly TierPlace[]
  readonly ages: (collection: string, kind: string) => Ages
  /** Of what moves to cold, unless the move names another one. */
  readonly label?: string
}

/** Ages as the configuration has them; databases by name go before what is said of all. */
export interface AgeSettings {
  readonly warm_after_days?: number
  readonly cold_after_days?: number
  readonly delete_after_days?: number
  readonly databases?: Readonly<Record<string, Omit<AgeSettings, 'databases'>>>
}

export interface TierSettings extends AgeSettings {
  readonly hot?: string
  readonly warm?: string
  readonly cold?: string
  readonly label?: string
  readonly collections?: Readonly<Record<string, AgeSettings>>
}

export function tierRules(
  settings: TierSettings,
  { base, dataDir }: { readonly base: string; readonly dataDir: string },
): TierRules {
  const data = join(dataDir, 'collections')
  const hot = parsePlaces(settings.hot ?? '', 'hot', { base, data })
  const own: TierPlace = { tier: 'hot', directory: data, mustExist: false, isData: true }
  const places = [
    ...(hot.some(({ isData }) => isData) ? hot : [own, ...hot]),
    ...parsePlaces(settings.warm ?? '', 'warm', { base, data }),
    ...parsePlaces(settings.cold ?? '', 'cold', { base, data }),
  ]
  const twice = places.find(
    ({ directory }, i) => places.findIndex((other) => isWithin(directory, other.directory)) !== i,
  )
  if (twice) throw fault(twice.tier, twice.directory, 'it is, or lies in, another place')
  return {
    places,
    ages: (collection, kind) => {
      const own = settings.collections?.[collection] ?? {}
      // Without its sessions no event can be named.
      const database = kind === 'session' ? 'meta' : kind
      const days = (name: keyof Omit<AgeSettings, 'databases'>): number | undefined =>
        own.databases?.[database]?.[name] ?? own[name] ?? settings.databases?.[database]?.[name] ?? settings[name]
      const ages: { warm?: number; cold?: number; delete?: number } = {}
      for (const [step, name] of STEPS) {
        const value = days(name)
        if (value !== undefined) ages[step] = value * 86_400
      }
      return ages
    },
    ...(settings.label === undefined ? {} : { label: settings.label }),
  }
}

/** Throws E_TIER_PLACES. Sizes are decimal, as the original's: 500g is 500,000,000,000 bytes. */
export function parsePlaces(
  text: string,
  tier: Tier,
  { base, data }: { readonly base: string; readonly data: string },
): TierPlace[] {
  const places: TierPlace[] = []
  for (const part of text.split(';').map((one) => one.trim())) {
    if (part === '') continue
    const match = /^(.*?)(?:(==?)\s*([^=]*))?$/s.exec(part)!
    const [, path = '', sign, sizeText] = match
    if (path.includes('\0')) throw fault(tier, text, 'a path has no NUL')
    if (path === '' && tier !== 'hot') throw fault(tier, text, 'a path is missing')
    if (path.startsWith('s3://') && tier !== 'cold') throw fault(tier, text, 'only cold may be a bucket')
    if (path.startsWith('s3://') && !/^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[^\s]*)?$/.test(path))
      throw fault(tier, text, `"${path}" is no bucket`)
    const size = sizeText === undefined || sizeText === '' ? undefined : bytesOf(sizeText)
    if (Number.isNaN(size)) throw fault(tier, text, `"${sizeText}" is no size`)
    places.push({
      tier,
      directory: path === '' ? data : directoryOf(path, base),
      ...(size === undefined ? {} : { size }),
      mustExist: sign === '==',
      isData: path === '',
    })
  }
  return places
}

/** The place that a directory of a file lies in. */
export const placeAt = (places: readonly TierPlace[], directory: string): TierPlace | undefined =>
  places.find((place) => isWithin(directory, place.directory))

/** Where files of a collection lie in a place. */
export const directoryIn = (place: TierPlace, collection: string): string =>
  place.directory.startsWith('s3://') ? `${place.directory}/${collection}` : join(place.directory, collection)

// --- internal ---

const STEPS = [
  ['warm', 'warm_after_days'],
  ['cold', 'cold_after_days'],
  ['delete', 'delete_after_days'],
] as const

const UNITS: Readonly<Record<string, number>> = { '': 1, m: 1e6, mb: 1e6, g: 1e9, gb: 1e9, t: 1e12, tb: 1e12 }

function bytesOf(text: string): number {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]*)$/i.exec(text.trim())
  const unit = match && UNITS[match[2]!.toLowerCase()]
  const bytes = unit ? Math.floor(Number(match![1]) * unit) : Number.NaN
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : Number.NaN
}

const directoryOf = (path: string, base: string): string => {
  if (path.startsWith('s3://')) return path.replace(/\/+$/, '')
  return isAbsolute(path) ? resolve(path) : resolve(base, path)
}

const isWithin = (directory: string, place: string): boolean =>
  directory === place || directory.startsWith(place.endsWith('/') ? place : `${place}/`)

const fault = (tier: string, text: string, reason: string): ColdtrailError =>
  new ColdtrailError('E_TIER_PLACES', { path: `tiers.${tier}`, text, reason })
