/**
 * Cases of rules, as files: test/fixtures/plugins/tagging/rules/<set>.json gives each rule events that it must match and
 * events that come close. An event is an object of its attributes:
 *
 *     {"eventName": …, "requestParameters.a.0.b": …}    a CloudTrail record, read by its format
 *     {"data_type": "aws:vpcflow:entry", "srcaddr": …}   a flow record, read by its format
 *     {"line": …}                                        a text line, read by its format
 *     {"data_type": …, "body": …}                        an event of plaso
 *
 * Each attribute of an event that matches is spoilt in turn, and the rule must then be silent. Before a name, `?` says
 * that being there is enough (it is taken away instead), `-` that the rule does not ask for it.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FORMATS } from '../../src/components/formats/all.ts'
import { ipKey } from '../../src/core/ipAddress.ts'
import type { EventRow } from './eventTable.ts'
import { parseWhole } from './recordingSink.ts'

export type CaseEvent = Readonly<Record<string, unknown>>

export interface RuleCases {
  readonly match: readonly CaseEvent[]
  readonly quiet: readonly CaseEvent[]
}

export function ruleCases(set: string): Readonly<Record<string, RuleCases>> {
  return JSON.parse(readFileSync(join(FOLDER, `${set}.json`), 'utf8'))
}

/** The event with each of its attributes spoilt, by name. */
export function spoilt(event: CaseEvent): readonly (readonly [name: string, CaseEvent])[] {
  const names = Object.keys(event).filter((name) => name !== 'line' && !name.startsWith('-') && !isKind(event, name))
  return names.map((name) => {
    const { [name]: _, ...rest } = event
    return [name, name.startsWith('?') ? rest : { ...rest, [name]: bogus(event, name) }]
  })
}

/** As the store holds it. */
export function rowOf(event: CaseEvent): EventRow {
  const named = Object.fromEntries(Object.entries(event).map(([name, value]) => [name.replace(/^[?-]/, ''), value]))
  const { line, ...attributes } = named
  if (line !== undefined) return parsed('text_lines', `${line}\n`)
  if (attributes.data_type === FLOW) {
    const { data_type: _, ...flow } = attributes
    const fields = { ...FLOW_FIELDS, ...(flow as Record<string, string>) }
    return parsed('aws_vpcflow', `${Object.keys(fields).join(' ')}\n${Object.values(fields).join(' ')}\n`)
  }
  if (attributes.data_type === undefined)
    return parsed('aws_cloudtrail', JSON.stringify({ Records: [record(attributes)] }))
  const { data_type, timestamp_desc = null } = attributes as Record<string, string>
  return { data_type: data_type!, timestamp_desc, time: TIME, data: JSON.stringify(attributes) }
}

// --- internal ---

const FOLDER = join(import.meta.dirname, '../fixtures/plugins/tagging/rules')
const TIME = Date.UTC(2026, 2, 10, 11) * 1000
const FLOW = 'aws:vpcflow:entry'
const FLOW_FIELDS = {
  ...{
    version: '2',
    'account-id': '111122223333',
    'interface-id': 'eni-01',
    srcaddr: '192.0.2.1',
    dstaddr: '192.0.2.2',
  },
  ...{
    srcport: '50000',
    dstport: '80',
    protocol: '6',
    packets: '9',
    bytes: '900',
    start: '1773140400',
    end: '1773140459',
  },
  ...{ action: 'ACCEPT', 'log-status': 'OK' },
}
/** What a field of a flow may be instead; each differs in kind from every value that a rule asks for. */
const FLOW_BOGUS = (event: CaseEvent): Readonly<Record<string, string>> => ({
  ...{ srcport: '7', dstport: '7', bytes: '7', action: event.action === 'ACCEPT' ? 'REJECT' : 'ACCEPT' },
  srcaddr: isPrivate(event.srcaddr) ? '203.0.113.200' : '10.200.0.1',
  dstaddr: isPrivate(event.dstaddr) ? '203.0.113.200' : '10.200.0.1',
})

const isPrivate = (address: unknown): boolean => String(address).startsWith('10.')

/** The data type of a flow decides how the case is read. */
const isKind = (event: CaseEvent, name: string): boolean => name === 'data_type' && event.data_type === FLOW

function bogus(event: CaseEvent, name: string): unknown {
  return event.data_type === FLOW ? FLOW_BOGUS(event)[name] : 'BOGUS'
}

/** A record of CloudTrail with these places; the rest is what every record has. */
function record(places: Readonly<Record<string, unknown>>): unknown {
  const base = {
    ...{ eventVersion: '1.09', eventTime: '2026-03-10T11:00:00Z', eventSource: 'x.amazonaws.com', eventName: 'X' },
    ...{ awsRegion: 'us-east-1', sourceIPAddress: '198.51.100.9', userAgent: 'case', eventID: 'e' },
    ...{ eventType: 'AwsApiCall', recipientAccountId: '111122223333' },
  }
  let root: unknown = base
  for (const [path, value] of Object.entries(places)) root = placed(root, path.split('.'), value)
  return root
}

function placed(at: unknown, [first, ...rest]: readonly string[], value: unknown): unknown {
  if (first === undefined) return value
  if (/^\d+$/.test(first)) {
    const list = Array.isArray(at) ? [...at] : []
    list[Number(first)] = placed(list[Number(first)], rest, value)
    return list
  }
  const object = (at ?? {}) as Record<string, unknown>
  return { ...object, [first]: placed(object[first], rest, value) }
}

function parsed(name: string, text: string): EventRow {
  const { items } = parseWhole(FORMATS.find((format) => format.name === name)!, Buffer.from(text))
  const [item, ...others] = items
  assert.ok(item?.kind === 'event' && others.length === 0, `one event: ${text}`)
  const { columns, data } = item
  const key = (column: string) => ipKey(String(columns[column] ?? '')) ?? null
  return {
    ...columns,
    data: data.toString(),
    src_endpoint_ip_key: key('src_endpoint_ip'),
    dst_endpoint_ip_key: key('dst_endpoint_ip'),
  }
}
