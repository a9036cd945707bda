/**
 * What keysets call possible, looked for in the data that are here: one pass over a segment for all its indicators. Events
 * that cannot hold any of them are passed over by a plain comparison of texts; the others go through the extractor, so that
 * a hit is what the extractor calls one, and not a part of another name.
 */
import { ipSpellings } from '../core/ipAddress.ts'
import { collectObservables, normalize, OBSERVABLE_TYPES, type ObservableType } from '../core/observables.ts'
import type { SegmentRow } from '../store/catalog.ts'
import { type DuckDb, parquetFiles, throwIfAborted } from '../store/duckdb.ts'
import { heldPath, isHeldHere } from '../store/heldFile.ts'
import { blockRange, type IndicatorSet, isInRange } from './indicators.ts'

export interface Confirmation {
  readonly indicator: number
  readonly segment: number
  /** How many events hold it, and ids of the first. */
  readonly count: number
  readonly events: readonly number[]
  /** Records that a format refused. */
  readonly rejects: number
}

/** Events of one (indicator, segment) that are named. */
export const NAMED_EVENTS = 1_000

/** Whether a segment can be searched here. */
export const isSearchable = (row: SegmentRow): boolean =>
  (row.rows === 0 || isHeldHere(row, 'meta')) && (row.rejects === 0 || isHeldHere(row, 'reject'))

/** Those that were found, of the segments that are here. */
export async function confirmIn(
  duckdb: DuckDb,
  row: SegmentRow,
  set: IndicatorSet,
  indicators: readonly number[],
  signal?: AbortSignal,
): Promise<Confirmation[]> {
  const matcher = new Matcher(set, indicators)
  const found = new Map<number, { count: number; events: number[]; rejects: number }>()
  const tally = (indicator: number) => {
    const known = found.get(indicator) ?? { count: 0, events: [], rejects: 0 }
    found.set(indicator, known)
    return known
  }
  if (row.rows > 0) {
    const path = heldPath(row, 'meta')
    const { where, parameters } = matcher.filter(USER_COLUMNS)
    const sql = `SELECT id, data, ${USER_COLUMNS.join(', ')} FROM ${parquetFiles([path])} WHERE ${where}`
    for await (const chunk of duckdb.stream({ sql, parameters, files: [path], ...(signal && { signal }) })) {
      throwIfAborted(signal)
      for (const event of chunk) {
        const users = USER_COLUMNS.flatMap((name) => (typeof event[name] === 'string' ? [event[name]] : []))
        for (const indicator of matcher.in(textOf(event.data), users)) {
          const known = tally(indicator)
          known.count += 1
          if (known.events.length < NAMED_EVENTS) known.events.push(event.id as number)
        }
      }
    }
  }
  if (row.rejects > 0) {
    const path = heldPath(row, 'reject')
    const sql = `SELECT data FROM ${parquetFiles([path])}`
    for await (const chunk of duckdb.stream({ sql, files: [path], ...(signal && { signal }) }))
      for (const reject of chunk)
        for (const indicator of matcher.in(textOf(reject.data), [])) tally(indicator).rejects += 1
  }
  return [...found]
    .map(([indicator, known]) => ({ indicator, segment: row.segment, ...known }))
    .sort((a, b) => a.indicator - b.indicator)
}

// --- internal ---

const USER_COLUMNS = ['actor_user_name', 'actor_user_uid', 'actor_user_type', 'actor_user_credential_uid'] as const
/** More texts than these are not compared one by one: every event goes through the extractor. */
const MAX_NEEDLES = 2_000

const textOf = (data: unknown): string =>
  data instanceof Uint8Array ? Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString() : String(data)

class Matcher {
  private readonly byValue = new Map<string, number[]>()
  private readonly blocks: { readonly indicator: number; readonly from: string; readonly to: string }[] = []
  /** Locators that free text shows only in part. */
  private readonly texts: { readonly indicator: number; readonly text: string }[] = []
  private readonly needles = new Set<string>()
  private isUnfiltered = false

  constructor(set: IndicatorSet, indicators: readonly number[]) {
    for (const indicator of indicators) {
      const { first, end } = set.observablesOf(indicator)
      const given = set.indicator(indicator)
      const range = blockRange(given)
      if (range) this.blocks.push({ indicator, ...range })
      for (let i = first; i < end; i++) {
        const { type, value } = set.observable(i)
        if (type === OBSERVABLE_TYPES.stem) {
          this.texts.push({ indicator, text: set.observable(first).value })
          continue
        }
        if (!range) {
          const key = `${type} ${value}`
          const list = this.byValue.get(key)
          if (list) list.push(indicator)
          else this.byValue.set(key, [indicator])
        }
        const needle = needleOf(TYPE_NAMES.get(type)!, value)
        if (needle === undefined || this.needles.size >= MAX_NEEDLES) this.isUnfiltered = true
        else this.needles.add(needle)
      }
    }
  }

  /** SQL that every event with a hit passes. What is written with escapes, or not in ASCII, passes too. */
  filter(columns: readonly string[]): { where: string; parameters: Record<string, string> } {
    if (this.isUnfiltered) return { where: 'TRUE', parameters: {} }
    const needles = [...this.needles]
    const parameters = Object.fromEntries(needles.map((needle, i) => [`n${i}`, needle]))
    const terms = needles.flatMap((_, i) => [
      `contains(text, $n${i})`,
      ...columns.map((name) => `contains(lower(${name}), $n${i})`),
    ])
    const any = `contains(text, '\\') OR contains(text, '::') OR regexp_matches(text, '[^\\x00-\\x7f]') OR ${terms.join(' OR ')}`
    return { where: any.replaceAll('text,', 'lower(data),'), parameters }
  }

  in(text: string, users: readonly string[]): Set<number> {
    const found = new Set<number>()
    const emit = (type: ObservableType, value: string): void => {
      for (const indicator of this.byValue.get(`${OBSERVABLE_TYPES[type]} ${value}`) ?? []) found.add(indicator)
      if (type === 'ip')
        for (const { indicator, from, to } of this.blocks) if (isInRange(value, { from, to })) found.add(indicator)
    }
    collectObservables(text, false, emit)
    for (const user of users) {
      const name = normalize('user', user)
      if (name !== undefined) emit('user', name)
    }
    for (const { indicator, text: locator } of this.texts) if (text.includes(locator)) found.add(indicator)
    return found
  }
}

const TYPE_NAMES = new Map(Object.entries(OBSERVABLE_TYPES).map(([name, type]) => [type as number, name]))

/** What stands in lower case in every unescaped ASCII text that holds the value; undefined when nothing does. */
function needleOf(type: string, value: string): string | undefined {
  if (value.includes('xn--') || /[^\x00-\x7f]/.test(value)) return undefined
  switch (type) {
    case 'ip':
      // Of IPv6 there are many spellings.
      return ipSpellings(value).length > 1 ? value : undefined
    case 'ip16':
    case 'ip24':
      return value.includes(':') ? undefined : value.replace(/(?:\.0)?\.0\/\d+$/, '.')
    case 'url':
      // Its port may be written or not.
      return /^[^/]*\/\/([^/:?#]*)/.exec(value)?.[1]?.toLowerCase() || undefined
    default:
      return value.toLowerCase()
  }
}
