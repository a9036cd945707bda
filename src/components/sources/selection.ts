/** Which listed objects are collected, the same for every source, and why the others are passed over. */
import picomatch from 'picomatch'
import { z } from 'zod'
import { dayOfMicroseconds, keyDay } from '../../core/keyDay.ts'
import type { SourceObject } from '../../core/sourceObject.ts'
import type { ListRange, ListStatistics } from '../source.ts'

/** Config keys that every source has. */
export const SELECTION_FIELDS = {
  include: z
    .array(z.string().min(1))
    .default([])
    .describe(
      'Key globs; only objects that match one are collected. A glob without / is matched against the last part.',
    ),
  exclude: z.array(z.string().min(1)).default([]).describe('Key globs of objects to leave out, even if included.'),
  lookback_days: z
    .int()
    .min(0)
    .max(366)
    .default(2)
    .describe('Days listed before the start of a range, for objects that were delivered late.'),
}

export interface SelectionConfig {
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly lookback_days: number
}

export type SkipReason = 'zero bytes' | 'noise' | 'digest' | 'partial' | 'excluded' | 'archived' | 'out of range'

/** The days of a range, look-back included: from and to are days since 1970, absent when that side is open. */
export interface DayRange {
  readonly from?: number
  readonly to?: number
}

export interface Selection {
  readonly days: DayRange
  /** The object again when it is to be collected; else it is counted with its reason. */
  keep(object: SourceObject): boolean
}

/** Files that services and people leave beside logs: probes, checksums, inventories, folder markers. */
const NOISE = [
  /(?:^|\/)aws-logs-write-test$/,
  /(?:^|\/)[^/]*ELBAccessLogTestFile[^/]*$/,
  /(?:^|\/)ConfigWritabilityCheckFile[^/]*$/,
  /\/$/,
  /(?:^|\/)manifest\.(?:json|checksum)$/,
  /\.(?:md5|sha1|sha256|crc32|manifest)$/,
  /(?:^|\/)\.DS_Store$/,
]
const DIGEST = /(?:^|\/)CloudTrail-Digest\//
const PARTIAL = /(?:^|\/)\.[^/]|\.(?:tmp|part|partial|swp|crdownload)$/
const ARCHIVED = new Set(['GLACIER', 'DEEP_ARCHIVE'])

/**
 * `partialFiles`: hidden and unfinished files are passed over, as local writers leave them. A day in the key decides
 * about the range; without one LastModified does.
 */
export function selection(
  config: SelectionConfig,
  range: ListRange,
  statistics: ListStatistics,
  options: { readonly partialFiles?: boolean } = {},
): Selection {
  const days = dayRange(range, config.lookback_days)
  const included = matcher(config.include)
  const excluded = matcher(config.exclude)
  const reasonToSkip = (object: SourceObject): SkipReason | undefined => {
    const { key } = object
    if (options.partialFiles && PARTIAL.test(key)) return 'partial'
    if (object.size === 0) return 'zero bytes'
    if (NOISE.some((pattern) => pattern.test(key))) return 'noise'
    if (DIGEST.test(key)) return 'digest'
    if (excluded?.(key) || included?.(key) === false) return 'excluded'
    if (object.storageClass !== undefined && ARCHIVED.has(object.storageClass)) return 'archived'
    const day = keyDay(key) ?? dayOfMicroseconds(object.lastModified)
    if (day < (days.from ?? -Infinity) || day > (days.to ?? Infinity)) return 'out of range'
    return undefined
  }
  return {
    days,
    keep(object) {
      const reason = reasonToSkip(object)
      if (reason !== undefined) statistics.skipped.set(reason, (statistics.skipped.get(reason) ?? 0) + 1)
      else {
        statistics.objects += 1
        statistics.bytes += object.size
      }
      return reason === undefined
    },
  }
}

// --- internal ---

function dayRange(range: ListRange, lookbackDays: number): DayRange {
  const lookback = range.lookbackDays ?? lookbackDays
  return {
    ...(range.from !== undefined && { from: dayOfMicroseconds(range.from) - lookback }),
    ...(range.to !== undefined && { to: dayOfMicroseconds(range.to) }),
  }
}

/** As in a shell or an ignore file: a glob without `/` looks only at the name. */
function matcher(globs: readonly string[]): ((key: string) => boolean) | undefined {
  if (globs.length === 0) return undefined
  const tests = globs.map((glob) => picomatch(glob, { dot: true, basename: !glob.includes('/') }))
  return (key) => tests.some((test) => test(key))
}
