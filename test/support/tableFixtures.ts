/**
 * Fixtures of tables: `test/fixtures/tables/<table>/<case>.<ext>`, objects as they are collected, beside the rows that
 * they give, `<case>.expected.ndjson`. A case named `lenient…` is encoded with values trimmed and left out.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Format } from '../../src/components/component.ts'
import type { ElementWriter, Encoded } from '../../src/components/destination.ts'
import { FORMATS } from '../../src/components/formats/all.ts'
import { compileRow, type RowEncoder, type RowOptions } from '../../src/components/rows/rowEncoder.ts'
import type { Table, TableColumn } from '../../src/components/rows/table.ts'
import { eventUid, uidPrefix } from '../../src/core/eventUid.ts'
import type { OutgoingEvent, OutgoingSession } from '../../src/core/outgoingEvent.ts'
import { compile, type EventAccess } from '../../src/query/expression.ts'
import { mutated } from './random.ts'
import { OPTIONS, RecordingSink } from './recordingSink.ts'

/** The events of one object that an expression selects, by the format that would collect it; rejects are no events. */
export function outgoingEvents(bytes: Buffer, key: string, where = ''): OutgoingEvent[] {
  const formats: readonly Format[] = FORMATS
  const head = bytes.subarray(0, 4096)
  const format = formats.toSorted((a, b) => b.detect(head, key) - a.detect(head, key))[0]!
  const sink = new RecordingSink()
  const parser = format.open(sink, { ...OPTIONS, observe: false })
  parser.push(bytes)
  const { header = null } = parser.end()
  const version = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  const session: OutgoingSession = { source: 'fixtures', bucket: '', key, version, format: format.name, header }
  const prefix = uidPrefix(session)
  const expression = compile(where)
  return sink.items.flatMap((item, ordinal) => {
    if (item.kind !== 'event') return []
    const { columns, data } = item
    const access: EventAccess = {
      get: (name) => columns[name],
      data: () => data.toString(),
    }
    if (!expression.predicate(access)) return []
    return [
      {
        id: ordinal + 1,
        uid: eventUid(prefix, ordinal),
        time: (columns.time as number | undefined) ?? null,
        dataType: String(columns.data_type),
        data,
        session,
        column: (name) => columns[name] ?? null,
      },
    ]
  })
}

/** Keeps what an encoder writes. */
export class TextWriter implements ElementWriter {
  private readonly parts: Buffer[] = []
  text(text: string): void {
    this.parts.push(Buffer.from(text))
  }
  bytes(bytes: Uint8Array, start = 0, end = bytes.length): void {
    this.parts.push(Buffer.from(bytes.subarray(start, end)))
  }
  toString(): string {
    return Buffer.concat(this.parts).toString()
  }
}

export interface TableFixture {
  readonly name: string
  readonly key: string
  readonly bytes: Buffer
  readonly options: RowOptions
  readonly expectedPath: string
}

export function tableFixtures(table: string): TableFixture[] {
  const directory = join(root, table)
  if (!existsSync(directory)) return []
  const inputs = readdirSync(directory).filter((name) => !name.endsWith('.expected.ndjson'))
  return inputs.sort().map((key) => {
    const name = key.replace(/\.\w+$/, '')
    const options: RowOptions = name.startsWith('lenient') ? { tooLong: 'trim', wrongType: 'null' } : {}
    const expectedPath = join(directory, `${name}.expected.ndjson`)
    return { name, key, bytes: readFileSync(join(directory, key)), options, expectedPath }
  })
}

/** A row a line as it is sent, each before its notes; or why the event is refused. */
export function goldenRows(table: Table, { bytes, key, options }: TableFixture): string {
  const row = compileRow(table, options)
  return outgoingEvents(bytes, key, table.where)
    .map((event) => {
      const out = new TextWriter()
      const encoded = row.encode(event, out)
      if (encoded === undefined) return `${out}\n`
      return 'refused' in encoded ? `${JSON.stringify(encoded)}\n` : `${out}\n${JSON.stringify(encoded)}\n`
    })
    .join('')
}

/**
 * Encodes an event by scanner and by JSON.parse, strictly and leniently, and holds every row to what the table declares;
 * the strict row, undefined when it was refused.
 */
export function bothWays(table: Table): (event: OutgoingEvent, what: string) => Record<string, unknown> | undefined {
  const compiled = ([{}, { tooLong: 'trim', wrongType: 'null' }] as const).map((options) => ({
    scan: compileRow(table, options),
    parse: compileRow(table, { ...options, way: 'parse' }),
  }))
  return (event, what) => {
    const [strict] = compiled.map(({ scan, parse }) => {
      const found = encoded(scan, event)
      const expected = encoded(parse, event)
      assert.deepEqual(found.told, expected.told, what)
      assert.deepEqual(
        found.row && comparable(scan.written, found.row),
        expected.row && comparable(scan.written, expected.row),
        what,
      )
      if (found.row) assertTyped(scan.written, found.row)
      return found.row
    })
    return strict
  }
}

/** The row is JSON with known columns, each once and of its type. */
export function assertTyped(columns: readonly TableColumn[], row: Readonly<Record<string, unknown>>): void {
  const names = Object.keys(row)
  const order = columns.map(({ name }) => name)
  assert.deepEqual(
    names,
    order.filter((name) => names.includes(name)),
  )
  for (const { name, type } of columns) {
    const value = row[name]
    if (value === undefined) continue
    const isFit =
      type === 'dynamic' ||
      (type === 'boolean' && typeof value === 'boolean') ||
      (type === 'string' && typeof value === 'string' && value.isWellFormed() && Buffer.byteLength(value) <= 65_536) ||
      (type === 'datetime' && typeof value === 'string' && !Number.isNaN(Date.parse(value))) ||
      (type === 'int' && Number.isInteger(value) && Math.abs(value as number) <= 2 ** 31) ||
      (type === 'long' && Number.isInteger(value) && Math.abs(value as number) <= 2 ** 63) ||
      (type === 'real' && Number.isFinite(value))
    assert.ok(isFit, `${name} of type ${type}: ${JSON.stringify(value)?.slice(0, 200)}`)
  }
}

/** Each event with its record damaged, but well-formed UTF-8, as everything that is stored. */
export function damagedEvents(
  events: readonly OutgoingEvent[],
  times: number,
  random: (below: number) => number,
): OutgoingEvent[] {
  return events.flatMap((event) =>
    Array.from({ length: times }, () => ({
      ...event,
      data: Buffer.from(mutated(event.data, random).bytes.toString()),
    })).filter(({ data }) => data.length > 0),
  )
}

/** The golden template of one table. */
export const templatePath = (table: string, format: 'arm' | 'bicep'): string =>
  join(root, `../templates/${table}.${format === 'arm' ? 'json' : 'bicep'}`)

// --- internal ---

function encoded(row: RowEncoder, event: OutgoingEvent): { row?: Record<string, unknown>; told: Encoded } {
  const out = new TextWriter()
  const told = row.encode(event, out)
  const text = out.toString()
  if (told !== undefined && 'refused' in told) {
    assert.equal(text, '', 'refused, but something was written')
    return { told }
  }
  return { row: JSON.parse(text) as Record<string, unknown>, told }
}

/** JSON in a text column counts by its value: of two equal keys the last. */
function comparable(columns: readonly TableColumn[], row: Record<string, unknown>): Record<string, unknown> {
  const all = { ...row }
  for (const { name, type, from } of columns) {
    const value = all[name]
    if (type !== 'string' || typeof value !== 'string' || !from.some((source) => 'data' in source)) continue
    if (!/^[[{]/.test(value)) continue
    try {
      all[name] = JSON.parse(value)
    } catch {
      // It only looks like JSON (a text that was cut, say): compared as the text it is.
    }
  }
  return all
}

const root = join(import.meta.dirname, '../fixtures/tables')
