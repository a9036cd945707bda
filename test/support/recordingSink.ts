/** A sink that keeps what a format gives it, and fails the test when the format breaks an obligation of EventSink. */
import assert from 'node:assert/strict'
import { isUtf8 } from 'node:buffer'
import type { Format, ParseOptions } from '../../src/components/component.ts'
import { stringGeneration } from '../../src/core/byteModule.ts'
import { EVENT_COLUMNS } from '../../src/core/columns.ts'
import type { EventSink, Fact, Phrase } from '../../src/core/eventSink.ts'
import { ObservableExtractor } from '../../src/core/observableExtractor.ts'
import { OBSERVABLE_TYPES, observablesOf } from '../../src/core/observables.ts'
import { sipHash48, sipKey } from '../../src/core/sipHash.ts'

export interface RecordedEvent {
  readonly kind: 'event'
  readonly offset: number
  /** The record's own bytes. */
  readonly data: Buffer
  /** What the event says of itself where that is not the record's bytes. */
  readonly text?: string
  readonly columns: Readonly<Record<string, string | number>>
  /** Those that it brought with it. */
  readonly labels?: readonly string[]
}

export interface RecordedReject {
  readonly kind: 'reject'
  readonly offset: number
  readonly data: Buffer
  readonly reason: string
}

export class RecordingSink implements EventSink {
  readonly items: (RecordedEvent | RecordedReject)[] = []
  readonly facts: Fact[] = []
  /** Every observable found, as `keyedObservables` names them. */
  readonly observed = new Set<string>()
  readonly observables = new ObservableExtractor(KEY, (type, hash) => this.observed.add(`${type}:${hash}`))
  private readonly values = new Map<string, { id: number; generation: number; text: string }>()
  private readonly constants = new Set<Buffer>()
  private open:
    | {
        offset: number
        data: Buffer
        text?: string
        columns: Map<number, string | number>
        phrased: boolean
        labels: string[]
      }
    | undefined

  begin(bytes: Buffer, start: number, end: number, offset: number): void {
    assert.equal(this.open, undefined, 'begin inside an event')
    this.open = { offset, data: copied(bytes, start, end), columns: new Map(), phrased: false, labels: [] }
  }
  data(bytes: Buffer, start: number, end: number): void {
    const value = copied(bytes, start, end)
    assert.ok(isUtf8(value))
    assert.ok(this.open && this.open.text === undefined, 'data once, inside an event')
    this.open.text = value.toString()
  }
  slice(column: number, bytes: Buffer, start: number, end: number, id = 0): void {
    const value = copied(bytes, start, end)
    if (id !== 0) this.values.set(`${column} ${id}`, { id, generation: stringGeneration(), text: value.toString() })
    assert.ok(isUtf8(value), `column ${column} is not UTF-8`)
    this.set(column, value.toString(), ['text', 'ip'])
  }
  known(column: number, id: number): boolean {
    const value = this.values.get(`${column} ${id}`)
    if (value?.generation !== stringGeneration()) return false
    this.set(column, value.text, ['text', 'ip'])
    return true
  }
  text(column: number, value: string): void {
    assert.ok(value.isWellFormed())
    this.set(column, value, ['text', 'ip'])
  }
  constant(column: number, value: Buffer): void {
    this.constants.add(value)
    assert.ok(this.constants.size < 100, 'constants are few, and the same Buffer each time')
    this.slice(column, value, 0, value.length)
  }
  int(column: number, value: number): void {
    assert.ok(Number.isSafeInteger(value), `column ${column} got ${value}`)
    this.set(column, value, ['int'])
  }
  time(microseconds: number): void {
    assert.ok(Number.isInteger(microseconds) && Math.abs(microseconds) < 2 ** 62, `time is ${microseconds}`)
    this.set(TIME, microseconds, ['time'])
  }
  observe(bytes: Buffer, start: number, end: number, isUser: boolean): void {
    assert.equal(typeof isUser, 'boolean')
    for (const found of keyedObservables(copied(bytes, start, end).toString(), isUser)) this.observed.add(found)
  }
  phrase(phrase: Phrase): void {
    const { columns } = this.open!
    const parts = phrase.filter(({ column }) => columns.has(column))
    const texts = parts.map(({ before, column }, i) => (i === 0 ? '' : before) + columns.get(column))
    if (parts.length > 0) this.set(MESSAGE, texts.join(''), ['text'])
    this.open!.phrased = true
  }
  label(label: string): void {
    assert.match(label, /^[A-Za-z0-9_]{1,200}$/)
    this.open!.labels.push(label)
  }
  fact(fact: Fact): void {
    this.facts.push(fact)
  }
  commit(): void {
    assert.ok(this.open, 'commit without begin')
    const { offset, data, text, columns, labels } = this.open
    assert.ok(columns.has(DATA_TYPE), 'an event needs a data_type')
    const named = [...columns].map(([column, value]) => [EVENT_COLUMNS[column]!.name as string, value] as const)
    this.items.push({
      kind: 'event',
      offset,
      data,
      ...(text !== undefined && { text }),
      columns: Object.fromEntries(named),
      ...(labels.length > 0 && { labels }),
    })
    this.open = undefined
  }
  cancel(): void {
    assert.ok(this.open, 'cancel without begin')
    this.open = undefined
  }
  reject(bytes: Buffer, start: number, end: number, offset: number, reason: string): void {
    assert.equal(this.open, undefined, 'reject inside an event')
    assert.ok(reason.length > 0 && reason.length < 300, `reason: ${reason}`)
    this.items.push({ kind: 'reject', offset, data: copied(bytes, start, end), reason })
  }

  private set(column: number, value: string | number, types: readonly string[]): void {
    const name = EVENT_COLUMNS[column]?.name
    assert.ok(name && this.open, `column ${column} set outside an event`)
    assert.ok(types.includes(EVENT_COLUMNS[column]!.type), `${name} got ${value}`)
    assert.ok(!this.open.columns.has(column), `${name} set twice`)
    assert.ok(!this.open.phrased, `${name} set after the phrase`)
    assert.ok(!RESERVED.has(name), `${name} is the store's`)
    this.open.columns.set(column, value)
  }
}

/** Number and keyed hash of every observable of a string. */
export function keyedObservables(text: string, isUser: boolean): string[] {
  return observablesOf(text, isUser).map(({ type, value }) => {
    const bytes = Buffer.from(value)
    return `${OBSERVABLE_TYPES[type]}:${sipHash48(KEY, OBSERVABLE_TYPES[type], bytes, 0, bytes.length)}`
  })
}

export interface Parsed {
  readonly items: readonly (RecordedEvent | RecordedReject)[]
  readonly observed: ReadonlySet<string>
}

export const OPTIONS: ParseOptions = { observe: true, lastModified: Date.UTC(2023, 6, 11) * 1000 }

/** Runs the format over the pieces of one object; checks that each item's bytes stand where it says. */
export function parsePieces(format: Format, pieces: readonly Buffer[], options: ParseOptions = OPTIONS): Parsed {
  const sink = new RecordingSink()
  const parser = format.open(sink, options)
  for (const piece of pieces) {
    // A caller may use its buffer again: the parser must have copied what it needs.
    const lent = Buffer.from(piece)
    parser.push(lent)
    lent.fill(0xaa)
  }
  const { records } = parser.end()
  sink.observables.flush()
  const whole = Buffer.concat(pieces)
  let start = -1
  let end = 0
  let seen = 0
  for (const { offset, data } of sink.items) {
    // A record may give several events.
    const isSame = offset === start && offset + data.length === end
    if (!isSame) seen++
    assert.ok(isSame || offset >= end, `record at ${offset} begins before ${end}`)
    start = offset
    end = offset + data.length
    assert.ok(data.equals(whole.subarray(offset, end)), `record at ${offset} is not the object's bytes`)
  }
  assert.equal(records, seen, 'records are events and rejects')
  return sink
}

export function parseWhole(format: Format, bytes: Buffer, options?: ParseOptions): Parsed {
  return parsePieces(format, [bytes], options)
}

// --- internal ---

const KEY = sipKey(Buffer.from('0123456789abcdef'))
const index = (name: string) => EVENT_COLUMNS.findIndex((column) => column.name === name)
const TIME = index('time')
const MESSAGE = index('message')
const DATA_TYPE = index('data_type')
/** Columns that the store fills in by itself. */
const RESERVED: ReadonlySet<string> = new Set(
  ['id', 'session_id', 'ordinal', 'record_offset', 'record_length', 'data', 'segment_day'].concat([
    'src_endpoint_ip_key',
    'dst_endpoint_ip_key',
  ]),
)

function copied(bytes: Buffer, start: number, end: number): Buffer {
  assert.ok(start >= 0 && start <= end && end <= bytes.length, `slice ${start}-${end} of ${bytes.length}`)
  return Buffer.from(bytes.subarray(start, end))
}
