/**
 * Where the dates are in the key layouts that AWS services write below `AWSLogs/`, so that a listing can be cut down to
 * days. Layouts: "CloudTrail log file name", "Flow log files", "Access log files" and their like in the AWS manuals.
 */
import type { DayRange } from '../selection.ts'

/** `padded`: 2023/07/10; `unpadded`: 2016/9/27 (AWS Config); `hive`: year=2023/month=07/day=10. */
export type DateStyle = 'padded' | 'unpadded' | 'hive'

export type Place =
  /** Days follow directly below. */
  | { readonly kind: 'dated'; readonly style: DateStyle }
  /** An AWS tree whose days are further down. */
  | { readonly kind: 'branch' }
  /** Not an AWS tree (yet): one may begin below. */
  | { readonly kind: 'outside' }
  /** Below the days already, or a service whose layout is unknown. */
  | { readonly kind: 'leaf' }

/** Services with `service/region/yyyy/mm/dd`. */
const REGION_THEN_DAY = new Set([
  'CloudTrail',
  'CloudTrail-Digest',
  'CloudTrail-Insight',
  'CloudTrail-NetworkActivity',
  'Config',
  'GuardDuty',
  'elasticloadbalancing',
  'vpcflowlogs',
])
/** Services with names of their own between the service and the year. */
const NAMES_THEN_DAY = new Set(['WAFLogs', 'network-firewall', 'vpcdnsquerylogs'])
const MAX_NAMES = 4
const ORGANISATION = /^o-[a-z0-9]{4,32}$/
const REGION = /^[a-z]{2,4}(?:-[a-z]+)+-\d+$/
const YEAR = /^(?:19|20)\d\d$/

/** What lies at a prefix that ends with `/` (or is empty). */
export function placeOf(prefix: string): Place {
  const segments = prefix.split('/').slice(0, -1)
  const root = segments.indexOf('AWSLogs')
  if (root < 0) return { kind: 'outside' }
  const rest = segments.slice(root + 1)
  if (rest[0] !== undefined && ORGANISATION.test(rest[0])) rest.shift()
  if (rest[0]?.startsWith('aws-account-id=')) return hivePlace(rest)
  const [, service, ...names] = rest
  if (service === undefined) return { kind: 'branch' }
  if (REGION_THEN_DAY.has(service)) {
    if (names.length === 0) return { kind: 'branch' }
    if (names.length > 1 || !REGION.test(names[0]!)) return { kind: 'leaf' }
    return { kind: 'dated', style: service === 'Config' ? 'unpadded' : 'padded' }
  }
  if (!NAMES_THEN_DAY.has(service)) return { kind: 'leaf' }
  return { kind: names.length > MAX_NAMES || names.some((name) => YEAR.test(name)) ? 'leaf' : 'branch' }
}

/** Whether the names below a branch are years, so that the branch is dated. */
export function isYear(name: string): boolean {
  return YEAR.test(name)
}

/** The fewest prefixes below a dated one that cover exactly the days of a closed range: years, months, days. */
export function dayPrefixes(prefix: string, style: DateStyle, range: Required<DayRange>): string[] {
  const prefixes: string[] = []
  for (let day = range.from; day <= range.to; ) {
    const date = new Date(day * 86_400_000)
    const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()]
    const nextMonth = Date.UTC(year, month + 1, 1) / 86_400_000
    const nextYear = Date.UTC(year + 1, 0, 1) / 86_400_000
    const first = date.getUTCDate() === 1
    if (first && month === 0 && nextYear - 1 <= range.to) {
      prefixes.push(`${prefix}${part(style, 'year', year)}/`)
      day = nextYear
    } else if (first && nextMonth - 1 <= range.to) {
      prefixes.push(`${prefix}${part(style, 'year', year)}/${part(style, 'month', month + 1)}/`)
      day = nextMonth
    } else {
      const parts = [part(style, 'year', year), part(style, 'month', month + 1), part(style, 'day', date.getUTCDate())]
      prefixes.push(`${prefix}${parts.join('/')}/`)
      day += 1
    }
  }
  return prefixes
}

// --- internal ---

function hivePlace(rest: readonly string[]): Place {
  const last = rest[rest.length - 1]!
  if (rest.some((name) => name.startsWith('year='))) return { kind: 'leaf' }
  if (last.startsWith('aws-region=')) return { kind: 'dated', style: 'hive' }
  return { kind: /^aws-(?:account-id|service)=/.test(last) ? 'branch' : 'leaf' }
}

function part(style: DateStyle, name: string, value: number): string {
  const text = style === 'unpadded' ? String(value) : String(value).padStart(2, '0')
  return style === 'hive' ? `${name}=${text}` : text
}
