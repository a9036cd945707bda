/** Every shipped rule: it matches what it must, by predicate, SQL and block, and each thing that it asks for counts. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { SHIPPED_RULES, shippedRules } from '../../../src/components/plugins/tagging.ts'
import { BlockMatcher } from '../../../src/query/blockMatcher.ts'
import { ALL } from '../../../src/query/rowSet.ts'
import { accessOf, EventTable } from '../../support/eventTable.ts'
import { plainBlock } from '../../support/plainBlock.ts'
import { rowOf, ruleCases, spoilt } from '../../support/ruleCases.ts'

const table = await EventTable.open()
after(() => table.close())

for (const set of SHIPPED_RULES)
  test(`the rules of ${set}: each matches, and each of its conditions counts`, async () => {
    const rules = shippedRules(set)
    const cases = ruleCases(set)
    assert.deepEqual(Object.keys(cases).sort(), rules.map(({ rule }) => rule).sort(), 'a case for every rule')
    const expected = rules.flatMap(({ rule, compiled }) => {
      const { match, quiet } = cases[rule]!
      assert.ok(match.length > 0 && quiet.length > 0, `${rule} has both kinds of case`)
      return [
        ...match.map((event) => ({ rule, compiled, event, matches: true, why: 'it must match' })),
        ...quiet.map((event) => ({ rule, compiled, event, matches: false, why: 'it must be silent' })),
        ...match.flatMap((event) =>
          spoilt(event).map(([name, spoiled]) => ({
            ...{ rule, compiled, event: spoiled, matches: false, why: `it must ask for ${name}` },
          })),
        ),
      ]
    })
    const rows = expected.map(({ event }) => rowOf(event))
    await table.hold(rows)
    const bySql = new Map<string, boolean[]>()
    for (const { rule, compiled } of rules) bySql.set(rule, await table.matches(compiled))
    // All rules on all events of the set: those of other rules come close too.
    const byBlock = new Map<string, Set<number>>()
    const asked = rules.map((_, number) => number)
    new BlockMatcher(rules.map(({ compiled }) => compiled)).match(plainBlock(rows), ALL, asked, (number, found) =>
      byBlock.set(rules[number]!.rule, new Set(found)),
    )
    for (const { rule, compiled } of rules)
      assert.deepEqual(
        [...(byBlock.get(rule) ?? [])],
        rows.flatMap((row, i) => (compiled.predicate(accessOf(row)) ? [i] : [])),
        rule,
      )
    for (const [i, { rule, compiled, event, matches, why }] of expected.entries()) {
      const said = `${rule}: ${why}: ${JSON.stringify(event)}`
      assert.equal(compiled.predicate(accessOf(rows[i]!)), matches, said)
      assert.equal(bySql.get(rule)![i], matches, `as SQL, ${said}`)
    }
  })

test('what is shipped is what is listed, and nothing in it is empty or slow', () => {
  const files = readdirSync(join(import.meta.dirname, '../../../rules')).sort()
  assert.deepEqual(files, SHIPPED_RULES.map((name) => `${name}.txt`).sort())
  const all = SHIPPED_RULES.flatMap(shippedRules)
  assert.ok(all.length >= 60)
  const aws = shippedRules('aws')
  assert.ok(new Set(aws.map(({ label }) => label)).size >= 25)
  assert.ok(aws.filter(({ expression }) => expression.includes('data.')).length >= 10)
  for (const { rule, compiled } of all) {
    assert.equal(compiled.contradiction(), undefined, rule)
    assert.ok(compiled.sql(), rule)
    assert.ok(
      compiled.needles().some(({ column }) => column === 'data_type'),
      `${rule} says of which data types it is`,
    )
  }
})
