/** The rules of ../shared/data/sigma over real CloudTrail records, against an evaluation of the rules' YAML of its own. */
import assert from 'node:assert/strict'
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { parse } from 'yaml'
import { aws_cloudtrail } from '../../../src/components/formats/aws_cloudtrail.ts'
import { readFolder } from '../../../src/components/plugins/sigma.ts'
import { ipKey } from '../../../src/core/ipAddress.ts'
import { awsLogSet } from '../../../src/demo/awsLogs.ts'
import { compile } from '../../../src/query/expression.ts'
import { accessOf, type EventRow, EventTable } from '../../support/eventTable.ts'
import { parseWhole } from '../../support/recordingSink.ts'

const SHARED = join(import.meta.dirname, '../../../../shared/data')
const RULES = join(SHARED, 'sigma')
const RECORDS = join(SHARED, 'cloudtrail/CloudTrail')
const skip = existsSync(RULES) && existsSync(RECORDS) ? false : `${SHARED} is not there`

const table = await EventTable.open()
after(() => table.close())

/** Every value at a path; an array stands for its elements. */
function valuesAt(record: unknown, [first, ...rest]: readonly string[]): unknown[] {
  if (Array.isArray(record))
    return record.flatMap((item) => valuesAt(item, first === undefined ? [] : [first, ...rest]))
  if (first === undefined) return record === null || record === undefined ? [] : [record]
  const is = typeof record === 'object' && record !== null && Object.hasOwn(record, first)
  return is ? valuesAt((record as Record<string, unknown>)[first], rest) : []
}

/** Only what the rules of the folder use, written for being obvious. */
function holds(key: string, wanted: unknown, record: Record<string, unknown>): boolean {
  const [field, ...modifiers] = key.split('|')
  const path = field!.split('.')
  let values = valuesAt(record, path)
  if (field === 'status') values = [record.errorCode || record.errorMessage ? 'Failure' : 'Success']
  if (wanted === null) return values.length === 0
  if (Array.isArray(wanted))
    return modifiers.includes('all')
      ? wanted.every((one) => holds(key, one, record))
      : wanted.some((one) => holds(key, one, record))
  if (modifiers.includes('fieldref')) {
    const others = valuesAt(record, String(wanted).split('.')).map((value) => String(value).toLowerCase())
    return values.some((value) => others.includes(String(value).toLowerCase()))
  }
  if (modifiers.includes('contains') && values.some((value) => typeof value === 'object')) {
    const pieces = String(wanted)
      .split('*')
      .filter((piece) => piece !== '')
    if (pieces.length === 0) return values.length > 0
    const text = JSON.stringify(record).replaceAll('\\', '').toLowerCase()
    return pieces.every((piece) => text.includes(piece.toLowerCase()))
  }
  const before = modifiers.includes('contains') ? '.*' : ''
  const behind = modifiers.includes('contains') || modifiers.includes('startswith') ? '.*' : ''
  const literal = String(wanted)
    .split('*')
    .map((part) => part.replace(/[.+?^${}()|[\]\\/]/g, '\\$&'))
    .join('.*')
  const regex = new RegExp(`^${before}${literal}${behind}$`, 'is')
  return values.some((value) => typeof value !== 'object' && regex.test(String(value)))
}

function matches(detection: Record<string, unknown>, record: Record<string, unknown>): boolean {
  const named = (name: string): boolean =>
    Object.entries(detection[name] as Record<string, unknown>).every(([key, wanted]) => holds(key, wanted, record))
  const condition = String(detection.condition)
    .replace(/1 of (\S+)\*/g, (_, start) => {
      const names = Object.keys(detection).filter((name) => name.startsWith(start) && name !== 'condition')
      return `(${names.join(' or ')})`
    })
    .replace(/\b(?!and\b|or\b|not\b)\w+/g, (name) => String(named(name)))
  return new Function(`return ${condition.replaceAll('and', '&&').replaceAll('or', '||').replaceAll('not', '!')}`)()
}

function rowsOf(bytes: Buffer): EventRow[] {
  return parseWhole(aws_cloudtrail, bytes).items.flatMap((item) =>
    item.kind === 'reject'
      ? []
      : [
          {
            ...item.columns,
            data: item.data.toString(),
            src_endpoint_ip_key: ipKey(String(item.columns.src_endpoint_ip ?? '')) ?? null,
          },
        ],
  )
}

test('all 29 rules compile, and find in real records what the rules say', { skip }, async (t) => {
  const found = readFolder(RULES, '/', new Map())
  assert.deepEqual(
    found.filter(({ kind }) => kind === 'unsupported'),
    [],
  )
  assert.equal(found.length, readdirSync(RULES).filter((name) => name.endsWith('.yml')).length)
  const real = globSync('**/*.json', { cwd: RECORDS })
    .sort()
    .flatMap((path) => rowsOf(readFileSync(join(RECORDS, path))))
  const made = awsLogSet()
    .objects.filter(({ key }) => key.includes('/CloudTrail/') && key.includes('2026/03/11'))
    .flatMap(({ body }) => rowsOf(gunzipSync(body)))
    .filter((row) => row.src_endpoint_ip === '198.51.100.23')
  const rows = [...real, ...made]
  const records = rows.map(({ data }) => JSON.parse(String(data)))
  await table.hold(rows)
  let hits = 0
  for (const one of found) {
    assert.ok(one.kind === 'rule')
    const { detection } = parse(readFileSync(one.file, 'utf8'))
    const expected = records.map((record) => matches(detection, record))
    const compiled = compile(one.rule.expression)
    assert.deepEqual(
      rows.map((row) => compiled.predicate(accessOf(row))),
      expected,
      one.file,
    )
    assert.deepEqual(await table.matches(compiled), expected, `as SQL: ${one.file}`)
    const count = expected.filter(Boolean).length
    hits += count
    if (count > 0) t.diagnostic(`${count} events: ${one.rule.finding!.title}`)
  }
  assert.ok(real.length > 1_000 && made.length > 400 && hits > 50, `${hits} hits in ${rows.length} events`)
})
