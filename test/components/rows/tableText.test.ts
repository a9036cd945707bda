import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { compileRow } from '../../../src/components/rows/rowEncoder.ts'
import type { Table } from '../../../src/components/rows/table.ts'
import { declaredColumns, inputStream, outputStream, tableText } from '../../../src/components/rows/tableText.ts'
import { TABLES } from '../../../src/components/tables/all.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'

const tables: readonly Table[] = TABLES

interface Template {
  readonly resources: readonly {
    readonly type: string
    readonly name: string
    readonly kind?: string
    readonly dependsOn?: readonly string[]
    readonly properties: Record<string, unknown>
  }[]
}
const arm = (...of: Table[]) => JSON.parse(tableText(of, 'arm')) as Template
const ruleOf = ({ resources }: Template) => resources.find(({ kind }) => kind === 'Direct')!

suite('templates', () => {
  test('a rule declares for each table exactly what its encoder writes', () => {
    const rule = ruleOf(arm(...tables))
    for (const table of tables) {
      const declared = declaredColumns(rule, inputStream(table))
      const { written, dropped } = compileRow(table, { declared })
      assert.deepEqual(
        declared.columns,
        written.map(({ name, type }) => ({ name, type })),
      )
      assert.deepEqual(dropped, [])
    }
  })

  test('a flow leads each stream to its table, after the table is there', () => {
    const template = arm(...tables)
    const rule = ruleOf(template)
    const flows = rule.properties.dataFlows as { streams: string[]; outputStream: string; transformKql: string }[]
    assert.deepEqual(
      flows.map(({ streams, outputStream, transformKql }) => [streams[0], outputStream, transformKql]),
      tables.map((table) => [inputStream(table), outputStream(table), 'source']),
    )
    assert.equal(rule.dependsOn?.length, tables.length)
    assert.equal(outputStream(tables.find(({ name }) => name === 'AWSCloudTrail')!), 'Microsoft-AWSCloudTrail')
    assert.equal(outputStream(tables.find(({ name }) => name === 'Coldtrail_CL')!), 'Custom-Coldtrail_CL')
  })

  test('of a table of Azure only the added columns are made, of one of ours all', () => {
    const { resources } = arm(...tables)
    for (const table of tables) {
      const made = resources.find(({ name }) => name.includes(`'${table.name}'`))!
      const { columns } = made.properties.schema as { columns: { name: string; type: string }[] }
      if (table.name.endsWith('_CL')) assert.equal(columns.length, table.columns.length)
      else
        assert.ok(
          columns.every(({ name }) => name.endsWith('_CF')),
          table.name,
        )
      assert.ok(columns.length > 0 && columns.every(({ type }) => type !== 'datetime'))
    }
  })

  test('Bicep has the same streams, columns and flows as ARM', () => {
    const bicep = tableText(tables, 'bicep')
    const pairs = [...bicep.matchAll(/name: '(\w+)'\n\s+type: '(\w+)'/g)].map((match) => `${match[1]} ${match[2]}`)
    const { resources } = arm(...tables)
    const expected = resources.flatMap(({ properties }) => {
      const { schema, streamDeclarations } = properties as {
        schema?: { columns: { name: string; type: string }[] }
        streamDeclarations?: Record<string, { columns: { name: string; type: string }[] }>
      }
      const lists = [...(schema ? [schema] : []), ...Object.values(streamDeclarations ?? {})]
      return lists.flatMap(({ columns }) => columns.map(({ name, type }) => `${name} ${type}`))
    })
    assert.deepEqual(pairs, expected)
    for (const table of tables) {
      assert.ok(bicep.includes(`'${inputStream(table)}': {`))
      assert.ok(bicep.includes(`outputStream: '${outputStream(table)}'`))
    }
  })

  test('a rule takes ten streams', () => {
    const many = Array.from({ length: 11 }, (_, i) => ({ ...tables[0]!, name: `T${i}_CL` }))
    assert.throws(() => tableText(many, 'arm'), { code: 'E_USAGE' })
    assert.ok(tableText(many.slice(1), 'bicep').length > 0)
  })
})

suite('columns of a rule', () => {
  const streamDeclarations = { 'Custom-X': { columns: [{ name: 'TimeGenerated', type: 'datetime' }] } }
  const columns = [{ name: 'TimeGenerated', type: 'datetime' }]
  const expected = { stream: 'Custom-X', columns }

  test('as az prints them, as the REST interface gives them, as a template has them', () => {
    for (const rule of [
      { id: '/subscriptions/x', kind: 'Direct', immutableId: 'dcr-1', streamDeclarations },
      { id: '/subscriptions/x', kind: 'Direct', properties: { streamDeclarations } },
    ]) {
      assert.deepEqual(declaredColumns(rule, 'Custom-X'), expected)
      assert.deepEqual(declaredColumns(JSON.stringify(rule), 'Custom-X'), expected)
    }
  })

  test('what is no rule is refused with the reason', () => {
    const cases: readonly [unknown, RegExp][] = [
      ['not JSON', /no JSON object/],
      ['[]', /no JSON object/],
      ['null', /no JSON object/],
      ['{}', /no streamDeclarations/],
      [{ streamDeclarations: {} }, /declares no stream/],
      [{ streamDeclarations: { 'Custom-Y': { columns: [] } } }, /it declares Custom-Y/],
      [{ streamDeclarations: { 'Custom-X': {} } }, /it declares Custom-X/],
      [{ streamDeclarations: { 'Custom-X': { columns: [{ name: 'a' }] } } }, /no name or no type/],
    ]
    for (const [rule, part] of cases)
      assert.throws(
        () => declaredColumns(rule, 'Custom-X'),
        (error) => error instanceof ColdtrailError && error.code === 'E_TABLE_RULE' && part.test(error.message),
        String(rule),
      )
    assert.throws(() => declaredColumns({ streamDeclarations }, 'constructor'), { code: 'E_TABLE_RULE' })
  })
})
