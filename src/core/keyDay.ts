/**
 * The UTC day that an object's key names, as AWS services and most shippers write it: in folders
 * (`2023/07/10`, unpadded `2016/9/27`, `year=2023/month=07/day=10`) or in a name (`2023-07-10`, `20230710T1145Z`).
 * Days are whole numbers since 1970-01-01.
 */
export const MICROSECONDS_PER_DAY = 86_400_000_000

const PATTERNS = [
  /(?:^|\/)year=(\d{4})\/month=(\d{1,2})\/day=(\d{1,2})(?:\/|$)/,
  /(?:^|\/)((?:19|20)\d\d)\/(\d{1,2})\/(\d{1,2})(?:\/|$)/,
  /(?:^|\D)((?:19|20)\d\d)-(\d\d)-(\d\d)(?!\d)/,
  /(?:^|[^0-9A-Za-z])((?:19|20)\d\d)(\d\d)(\d\d)(?:T\d{4}|[^0-9A-Za-z]|$)/,
] as const

/** Undefined when the key names no possible day. */
export function keyDay(key: string): number | undefined {
  for (const pattern of PATTERNS) {
    const found = pattern.exec(key)
    if (!found) continue
    const [year, month, day] = [Number(found[1]), Number(found[2]), Number(found[3])]
    const time = Date.UTC(year, month - 1, day)
    const date = new Date(time)
    if (date.getUTCMonth() === month - 1 && date.getUTCDate() === day) return time / 86_400_000
  }
  return undefined
}

export function dayOfMicroseconds(time: number): number {
  return Math.floor(time / MICROSECONDS_PER_DAY)
}

/** `2023-07-10` */
export function dayText(day: number): string {
  return new Date(day * 86_400_000).toISOString().slice(0, 10)
}
