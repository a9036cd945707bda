/**
 * The suite that every listed table must pass, over its fixtures. A new table brings a folder
 * `test/fixtures/tables/<name>/`; `npm run accept <name>` writes the expected rows, which are read before they are kept.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { compileRow } from '../../../src/components/rows/rowEncoder.ts'
import type { Table } from '../../../src/components/rows/table.ts'
import { tableText } from '../../../src/components/rows/tableText.ts'
import { TABLES } from '../../../src/components/tables/all.ts'
import { compile } from '../../../src/query/expression.ts'
import { seededRandom } from '../../support/random.ts'
import {
  assertTyped,
  bothWays,
  damagedEvents,
  goldenRows,
  outgoingEvents,
  tableFixtures,
  templatePath,
} from '../../support/tableFixtures.ts'

const SEED = 20_230_710
const tables: readonly Table[] = TABLES

for (const table of tables) {
  const fixtures = tableFixtures(table.name)

  suite(table.name, () => {
    for (const fixture of fixtures) {
      test(`${fixture.key} gives the expected rows`, () => {
        assert.ok(existsSync(fixture.expectedPath), `run: npm run accept ${table.name}`)
        const rows = goldenRows(table, fixture)
        assert.notEqual(rows, '', 'no event of the fixture is selected')
        assert.equal(rows, readFileSync(fixture.expectedPath, 'utf8'))
      })
    }

    test('every event of every fixture: rows are typed, and the same by scanner and by JSON.parse', () => {
      const row = bothWays(table)
      for (const other of tables)
        for (const { key, bytes } of tableFixtures(other.name))
          for (const event of outgoingEvents(bytes, key)) row(event, `${key}: ${event.data}`)
    })

    test(`damaged records: the same both ways (seed ${SEED})`, () => {
      const row = bothWays(table)
      const random = seededRandom(SEED)
      for (const { key, bytes } of fixtures)
        for (const event of damagedEvents(outgoingEvents(bytes, key), 40, random)) row(event, `${key}: ${event.data}`)
    })

    test('what it takes by default is an expression', () => {
      assert.equal(compile(table.where).text, table.where)
    })

    for (const format of ['arm', 'bicep'] as const)
      test(`its ${format} template is the expected one`, () => {
        const path = templatePath(table.name, format)
        assert.ok(existsSync(path), `run: npm run accept ${table.name}`)
        assert.equal(tableText([table], format), readFileSync(path, 'utf8'))
      })
  })
}

test('every fixture folder belongs to a table, and every golden to an input', () => {
  const root = join(import.meta.dirname, '../../fixtures/tables')
  for (const folder of readdirSync(root)) {
    assert.ok(
      tables.some(({ name }) => name === folder),
      `${folder} is no table`,
    )
    const expected = tableFixtures(folder).map(({ name }) => `${name}.expected.ndjson`)
    const found = readdirSync(join(root, folder)).filter((name) => name.endsWith('.expected.ndjson'))
    assert.deepEqual(found.sort(), expected.sort())
  }
})

test('a DNS event becomes a row of ASimDnsActivityLogs, though no format makes one yet', () => {
  const table = tables.find(({ name }) => name === 'ASimDnsActivityLogs')!
  const [event] = outgoingEvents(Buffer.from('{"a":1}\n'), 'x.json')
  const columns: Record<string, string | number> = {
    query_hostname: 'evil.example',
    src_endpoint_ip: '10.0.0.7',
    src_endpoint_port: 5353,
    connection_info_protocol_name: 'udp',
    status_code: 'NXDOMAIN',
    status: 'Failure',
  }
  const asked = { ...event!, column: (name: string) => columns[name] ?? null }
  const { written } = compileRow(table)
  const row = bothWays(table)(asked, 'dns')
  assert.deepEqual(row, {
    EventCount: 1,
    EventVendor: 'Other',
    EventProduct: 'json:line',
    EventSchemaVersion: '0.1.7',
    EventType: 'Query',
    EventResult: 'Failure',
    EventResultDetails: 'NXDOMAIN',
    Dvc: 'json:line',
    SrcIpAddr: '10.0.0.7',
    SrcPortNumber: 5353,
    NetworkProtocol: 'UDP',
    DnsQuery: 'evil.example',
    ColdtrailUid_CF: asked.uid,
  })
  assertTyped(written, row!)
})

test('the columns are those of the reference: none of the service itself, none that is deprecated', () => {
  const names = (table: string) => tables.find(({ name }) => name === table)!.columns.filter(({ added }) => !added)
  // 50 columns without AwsRequestId.
  assert.equal(names('AWSCloudTrail').length, 49)
  assert.equal(names('AWSVPCFlow').length, 40)
  for (const { columns } of tables)
    for (const { name } of columns)
      assert.ok(
        !['TenantId', 'SourceSystem', 'Type', '_BilledSize', '_IsBillable', 'AwsRequestId'].includes(name),
        name,
      )
})

const REAL = join(import.meta.dirname, '../../../../shared/data/cloudtrail/CloudTrail')
const absent = existsSync(REAL) ? false : 'no ../shared/data/cloudtrail here'

test('real CloudTrail files: every record a row with what the record says, the same both ways', {
  skip: absent,
}, () => {
  const table = tables.find(({ name }) => name === 'AWSCloudTrail')!
  const rows = tables.filter(({ name }) => name !== 'AWSCloudTrail').map(bothWays)
  const own = bothWays(table)
  let events = 0
  for (const key of readdirSync(REAL)) {
    const bytes = readFileSync(join(REAL, key))
    for (const event of outgoingEvents(bytes, key)) {
      const record = JSON.parse(event.data.toString()) as Record<string, unknown>
      const row = own(event, key)
      assert.ok(row, key)
      assert.equal(row.AwsEventId, record.eventID)
      assert.equal(row.EventName, record.eventName)
      assert.equal(row.UserAgent, record.userAgent)
      assert.equal(row.ReadOnly, record.readOnly)
      assert.equal(Date.parse(row.TimeGenerated as string), Date.parse(record.eventTime as string))
      for (const [column, field] of [
        ['RequestParameters', 'requestParameters'],
        ['ResponseElements', 'responseElements'],
        ['AdditionalEventData', 'additionalEventData'],
        ['Resources', 'resources'],
      ] as const)
        if (record[field] === null || record[field] === undefined) assert.ok(!(column in row), column)
        else assert.deepEqual(JSON.parse(row[column] as string), record[field])
      for (const other of rows) other(event, key)
      events++
    }
  }
  assert.ok(events > 1000, `${events} events`)
})
