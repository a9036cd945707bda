/**
 * One event as one JSON object, for receivers that take any JSON: the columns that are present, under the names and in
 * the forms of `search --json`, and the record. Bytes of the record are copied, never parsed into objects.
 */
import { isUtf8 } from 'node:buffer'
import { z } from 'zod'
import { COLUMN_BY_NAME, type EventColumnName, READABLE_COLUMNS } from '../../core/columns.ts'
import { isoTimeText } from '../../core/isoTime.ts'
import type { OutgoingEvent } from '../../core/outgoingEvent.ts'
import type { ElementWriter, Encoded } from '../destination.ts'
import { JsonScanner } from '../json/jsonScanner.ts'
import { compileTable } from '../json/jsonTable.ts'
import { RowWriter } from './rowWriter.ts'

/** For the configuration of a destination. */
export const DATA_FIELD = z
  .enum(['text', 'record', 'none'])
  .default('text')
  .describe(
    'How the record itself is sent as data: text, a string as search --json prints it; record, its own JSON where it is ' +
      'an object or array, else a string; none.',
  )

/** Columns that elements read besides what every event has. */
export const ELEMENT_COLUMNS: readonly EventColumnName[] = READABLE_COLUMNS.filter(
  (name) => !['id', 'time', 'data_type', 'data'].includes(name),
)

/** An encoder of elements. Every element is valid JSON of well-formed Unicode on one line, whatever the event holds. */
export function eventElements(options: {
  readonly data: z.output<typeof DATA_FIELD>
}): (event: OutgoingEvent, out: ElementWriter) => Encoded {
  const writer = new RowWriter()
  const scanner = new JsonScanner(NOTHING_WANTED, undefined)
  return (event, out) => {
    const notes: string[] = []
    out.text(columnsText(event, notes))
    writer.at = 0
    if (options.data !== 'none') {
      writer.ascii(',"data":')
      writeRecord(event.data, options.data === 'record' ? scanner : undefined, writer, notes)
    }
    writer.ascii('}')
    out.bytes(writer.buffer, 0, writer.at)
    return notes.length > 0 ? { notes } : undefined
  }
}

/** The text; halves of surrogate pairs, which UTF-8 does not have, are replaced and noted. */
export function wellFormedText(text: string, column: string, notes: string[]): string {
  if (text.isWellFormed()) return text
  notes.push(`${column}: half a surrogate pair replaced`)
  return text.toWellFormed()
}

/** The record as UTF-8; other bytes are replaced and noted. */
export function wellFormedRecord(data: Buffer, notes: string[]): Buffer {
  if (isUtf8(data)) return data
  notes.push('data: bytes that are no UTF-8 replaced')
  return Buffer.from(data.toString())
}

/** Whether JSON has the number; one that it does not have is left out and noted. */
export function isJsonNumber(value: number, column: string, notes: string[]): boolean {
  if (Number.isFinite(value)) return true
  notes.push(`${column}: left out, for it is no number that JSON has`)
  return false
}

// --- internal ---

const NOTHING_WANTED = compileTable({ slots: {}, columns: [], finish: () => undefined })
const MEMBERS = READABLE_COLUMNS.filter((name) => name !== 'id' && name !== 'data').map((name) => ({
  name,
  key: `,${JSON.stringify(name)}:`,
  isTime: COLUMN_BY_NAME.get(name)!.type === 'time',
}))

/** The object up to its record, not closed. */
function columnsText(event: OutgoingEvent, notes: string[]): string {
  const { finding } = event
  let text = `{"id":${finding?.event ?? event.id},"uid":${JSON.stringify(event.uid)}`
  if (finding) {
    const { event: _, event_uid, title, rule, ...facts } = finding
    const written = {
      ...facts,
      rule: wellFormedText(rule, 'rule', notes),
      title: wellFormedText(title, 'title', notes),
    }
    text += `,"event_uid":${JSON.stringify(event_uid)},"finding":${JSON.stringify(written)}`
  }
  for (const { name, key, isTime } of MEMBERS) {
    const value = name === 'time' ? event.time : name === 'data_type' ? event.dataType : event.column(name)
    if (value === null) continue
    if (typeof value === 'string') text += key + JSON.stringify(wellFormedText(value, name, notes))
    else if (isJsonNumber(value, name, notes)) text += isTime ? `${key}"${isoTimeText(value)}"` : key + value
  }
  return text
}

function writeRecord(given: Buffer, scanner: JsonScanner | undefined, writer: RowWriter, notes: string[]): void {
  const data = wellFormedRecord(given, notes)
  if (scanner && (data[0] === OPEN_BRACE || data[0] === OPEN_BRACKET)) {
    scanner.look(data)
    const end = scanner.skip(0)
    if (end >= 0 && isBlank(data, end)) {
      const start = writer.at
      writer.container(data, 0, end, false)
      if (!writer.lone) return
      writer.at = start
      notes.push('data: sent as text, for its JSON escapes half a surrogate pair')
    }
  }
  writer.text(data, 0, data.length)
}

function isBlank(bytes: Buffer, from: number): boolean {
  for (let at = from; at < bytes.length; at++) if (!BLANKS.includes(bytes[at]!)) return false
  return true
}

const OPEN_BRACE = 0x7b
const OPEN_BRACKET = 0x5b
const BLANKS = [0x20, 0x0a, 0x0d, 0x09]
