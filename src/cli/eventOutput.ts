/** Events as a table, JSON lines or CSV. */
import { COLUMN_BY_NAME } from '../core/columns.ts'
import { isoTimeText } from '../core/isoTime.ts'
import { textTable, timeText } from '../core/terminalText.ts'
import type { EventRow } from '../index.ts'

/** One JSON object: absent columns left out, times as RFC 3339. `data` stays the text that the record is. */
export function eventJson(row: EventRow): Record<string, unknown> {
  const entries = Object.entries(row).filter(([, value]) => value !== null && value !== undefined)
  return Object.fromEntries(entries.map(([name, value]) => [name, isTime(name) ? rfc3339(value) : value]))
}

/** A line of RFC 4180; quoted where it must be. */
export function csvLine(values: readonly unknown[]): string {
  return values
    .map((value) => {
      const text = value === null || value === undefined ? '' : String(value)
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
    })
    .join(',')
}

/** `asText`: makes a text that a spreadsheet would run text again. */
export function csvEvent(columns: readonly string[], row: EventRow, asText = (text: string) => text): string {
  return csvLine(
    columns.map((name) => {
      const value = isTime(name) ? rfc3339(row[name]) : row[name]
      return typeof value === 'string' ? asText(value) : value
    }),
  )
}

/** Whether a spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection"). */
export const isFormula = (text: string): boolean => /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text)

export function eventTable(
  columns: readonly string[],
  rows: readonly EventRow[],
  width: number,
  headStyle: (text: string) => string,
): string[] {
  const cells = rows.map((row) =>
    columns.map((name) => {
      const value = row[name]
      return isTime(name) && typeof value === 'number' ? timeText(value) : value
    }),
  )
  return textTable(columns, cells, width, headStyle)
}

// --- internal ---

const isTime = (name: string): boolean => COLUMN_BY_NAME.get(name)?.type === 'time'

function rfc3339(value: unknown): unknown {
  return typeof value === 'number' ? isoTimeText(value) : value
}
