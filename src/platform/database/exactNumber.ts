/**
 * An integer of the database as a number, never rounded. Times of before 1684 and after 2255 lie beyond 2^53 and still
 * have an exact number, since whole seconds are kept of them (core/isoTime.ts).
 */
export function exactNumber(integer: bigint): number {
  const value = Number(integer)
  if (BigInt(value) !== integer) throw new RangeError(`${integer} has no exact number`)
  return value
}
