/** Events for destinations: those of all the formats' fixtures, and odd ones that no format makes. */
import type { Format } from '../../src/components/component.ts'
import { FORMATS } from '../../src/components/formats/all.ts'
import type { EventColumnName } from '../../src/core/columns.ts'
import { eventUid, uidPrefix } from '../../src/core/eventUid.ts'
import type { OutgoingEvent, OutgoingSession } from '../../src/core/outgoingEvent.ts'
import { formatFixtures } from './formatFixtures.ts'
import { outgoingEvents } from './tableFixtures.ts'

export type EventColumns = Readonly<Partial<Record<EventColumnName, string | number>>>

export interface EventParts {
  readonly id?: number
  readonly time?: number | null
  readonly dataType?: string
  readonly data?: Buffer | string
  readonly columns?: EventColumns
}

export function outgoingEvent({ id = 1, columns = {}, data = '{}', ...parts }: EventParts = {}): OutgoingEvent {
  return {
    id,
    uid: eventUid(uidPrefix(SESSION), id),
    time: parts.time === undefined ? 1_688_990_556_000_001 : parts.time,
    dataType: parts.dataType ?? 'aws:cloudtrail:entry',
    data: typeof data === 'string' ? Buffer.from(data) : data,
    session: SESSION,
    column: (name) => columns[name] ?? null,
  }
}

/** Every event that the formats make of their fixtures, ids from 1. */
export function fixtureEvents(): OutgoingEvent[] {
  const formats: readonly Format[] = FORMATS
  return formats
    .flatMap((format) =>
      formatFixtures(format.name)
        .filter(({ key, bytes }) => format.noise?.(bytes.subarray(0, 4096), key) === undefined)
        .flatMap(({ key, bytes }) => outgoingEvents(bytes, `${format.name}/${key}`)),
    )
    .map((event, at) => ({ ...event, id: at + 1 }))
}

/** What no format makes, and a damaged or foreign segment could still hold. By name. */
export function oddEvents(): readonly (readonly [string, OutgoingEvent])[] {
  const trail = (fields: object) =>
    JSON.stringify({ eventVersion: '1.08', eventTime: '2023-07-10T12:02:36Z', eventName: 'A', ...fields })
  const parts: Readonly<Record<string, EventParts>> = {
    'no time': { time: null, data: trail({}) },
    'a time that no calendar has': { time: 9.3e17, data: trail({}) },
    'a time that is no number': { time: Number.NaN, data: trail({}) },
    'an empty record': { data: '' },
    'empty strings': { data: '', dataType: '', columns: { message: '', status: '', actor_user_name: '' } },
    '500 columns': { data: trail(Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`c${i}`, i]))) },
    'nested beyond any reader': { data: `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}` },
    'a text NaN, and numbers that JSON does not have': {
      data: '{"a":NaN}',
      columns: { status: 'NaN', src_endpoint_port: Number.NaN, traffic_bytes: Number.POSITIVE_INFINITY },
    },
    'halves of surrogate pairs in columns': { data: trail({}), columns: { message: '\ud800x', file_path: 'a\udfff' } },
    'half a surrogate pair in the record': { data: '{"eventName":"A","requestParameters":{"a":"\\ud83d"}}' },
    'NUL and other controls': { data: 'a\0b\u0001\u001f\u007f\u2028', columns: { message: '\0\b\f"\\\u2029' } },
    'bytes that are no UTF-8': { data: Buffer.from([0x7b, 0x22, 0xff, 0xc3, 0x28, 0xed, 0xa0, 0x80, 0x22, 0x7d]) },
    'a broken JSON record': { data: '{"eventName":"A","requestParameters":{' },
    'two records in one': { data: '{"a":1}{"b":2}' },
    'line breaks between tokens': { data: '{\n  "eventName": "A",\r\n\t"n": [1,\n2]\n}\n' },
    'repeated keys': { data: '{"eventName":"A","eventName":"B"}' },
    'numbers beyond doubles': { data: '{"eventName":"A","n":123456789012345678901234567890,"m":1e999}' },
    'a field of 1 MB': { data: trail({ requestParameters: { policy: 'x'.repeat(1 << 20) } }) },
    'a column of 1 MB': { data: trail({}), columns: { message: 'é"'.repeat(1 << 18) } },
  }
  return Object.entries(parts).map(([name, given], at) => [name, outgoingEvent({ id: 900 + at, ...given })])
}

// --- internal ---

const SESSION: OutgoingSession = {
  source: 's3://logs',
  bucket: 'logs',
  key: 'AWSLogs/123456789012/CloudTrail/us-east-1/2023/07/10/a.json.gz',
  version: '"1"',
  format: 'aws_cloudtrail',
  header: null,
}
