/** Text for a terminal: hostile characters escaped, widths counted, tables and bars drawn. Pure. */
import { printable } from './errors.ts'

/** A value of a log as one cell: control characters escaped, cut at `width` columns. */
export function cell(value: unknown, width = 80): string {
  const whole = printable(value === null || value === undefined ? '' : String(value), 10_000)
  return displayWidth(whole) <= width ? whole : `${cut(whole, width - 1)}…`
}

/** Columns that a terminal needs: 2 for wide East Asian characters and emoji, 0 for combining marks. */
export function displayWidth(text: string): number {
  let width = 0
  for (const character of text) width += characterWidth(character)
  return width
}

/** Left-aligned columns, right-aligned where every value is a number; the last one takes what is left of `width`. */
export function textTable(
  head: readonly string[],
  rows: readonly (readonly unknown[])[],
  width: number,
  headStyle: (text: string) => string = (text) => text,
): string[] {
  const numeric = head.map((_, i) => rows.length > 0 && rows.every((row) => typeof row[i] === 'number'))
  const most = Math.max(20, Math.floor(width / 2))
  const cells = rows.map((row) => head.map((_, i) => cell(row[i], i === head.length - 1 ? width : most)))
  const widths = head.map((name, i) => Math.max(displayWidth(name), ...cells.map((row) => displayWidth(row[i]!))))
  const line = (row: readonly string[]): string => {
    let out = ''
    row.forEach((text, i) => {
      const last = i === row.length - 1
      const room = last ? Math.max(10, width - displayWidth(out)) : widths[i]!
      const fitted = last ? cell(text, room) : text
      const space = ' '.repeat(Math.max(0, widths[i]! - displayWidth(fitted)))
      out += numeric[i] ? space + fitted : last ? fitted : fitted + space
      if (!last) out += '  '
    })
    return out
  }
  return [headStyle(line(head)), ...cells.map(line)]
}

/** A bar of eighth blocks, `size` columns at `value` = `most`. What is not zero is always seen. */
export function bar(value: number, most: number, size: number): string {
  if (value <= 0 || most <= 0) return ''
  const eighths = Math.max(1, Math.round((value / most) * size * 8))
  const rest = eighths % 8
  return '█'.repeat(Math.floor(eighths / 8)) + (rest === 0 ? '' : EIGHTHS[rest - 1])
}

/** `1 object`, `1,666 events`. */
export const countText = (n: number, noun: string): string =>
  `${n.toLocaleString('en-US')} ${noun}${n === 1 ? '' : noun.endsWith('ch') ? 'es' : 's'}`

export function bytesText(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`
  const power = Math.min(4, Math.floor(Math.log10(bytes) / 3))
  return `${(bytes / 1_000 ** power).toFixed(1)} ${' kMGT'[power]}B`
}

/** Microseconds UTC as `2023-07-10 11:42:36.000000`, without a fraction that is zero; as the number when no calendar has it. */
export function timeText(microseconds: number | bigint): string {
  const whole = BigInt(microseconds)
  const fraction = ((whole % 1_000_000n) + 1_000_000n) % 1_000_000n
  const date = new Date(Number((whole - fraction) / 1_000n))
  if (Number.isNaN(date.getTime())) return String(microseconds)
  const seconds = date.toISOString().slice(0, -5).replace('T', ' ')
  return fraction === 0n ? seconds : `${seconds}.${String(fraction).padStart(6, '0')}`
}

// --- internal ---

const EIGHTHS = ['▏', '▎', '▍', '▌', '▋', '▊', '▉']
const COMBINING = /^[\p{Mn}\p{Me}\p{Cf}]$/u
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]$/u

function characterWidth(character: string): number {
  if (character < '\u0300') return 1
  return COMBINING.test(character) ? 0 : WIDE.test(character) ? 2 : 1
}

function cut(text: string, width: number): string {
  let taken = ''
  let used = 0
  for (const character of text) {
    used += characterWidth(character)
    if (used > width) break
    taken += character
  }
  return taken
}
