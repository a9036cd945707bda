/** The time of a timeline's event. */

/**
 * Whole microseconds since 1970 UTC as plaso writes them, exactly; NaN for anything else, and for what a number cannot
 * hold (before 1684 and after 2255). 0 is a time here: whether it stands for none, the date says (`NO_DATE`).
 */
export function plasoTimestamp(text: string): number {
  if (!/^-?(?:0|[1-9]\d{0,15})$/.test(text)) return Number.NaN
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : Number.NaN
}
