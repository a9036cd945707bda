/** Natural keys, uids and ThreatQ's hash columns; the same in JavaScript and in the SQL of both databases. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { sql } from 'kysely'
import {
  eventHash,
  eventHashSql,
  fromTextSql,
  isReference,
  murmur3x86_128,
  naturalKey,
  naturalKeyColumns,
  naturalKeySql,
  parseUid,
  syncHash,
  syncHashSql,
  textFormSql,
  uidRange,
  uidText,
} from '../../src/library/identity.ts'
import { TABLES } from '../../src/library/model.ts'
import { DIALECTS, withFreshLibrary } from '../support/freshLibrary.ts'

const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`

test('T7: the published vectors of sync_hash and hash', () => {
  for (const [value, type, sync, hash] of [
    ['YOUR NEW SALARY NOTIFICATION', 7, 'a1f45026a8481036d81b5c4479115485', '65e668a0d327a7d4cb4550d83b002d19'],
    ['8.8.85.5', 32, 'aca1e5b10657c8a3266bb9502b5c05b1', '0b0d0e4d656cfe05e95fd6cbe95fd6cb'],
    ['testtest', 27, '0ec37d9eb46538335fcf47c72c774406', 'de06fc6f5a8192be43d82a6c43d82a6c'],
    ['CVE-2012-0217', 4, 'e527d6d667b0ab8cc731dadc47c45d8e', 'c2107c21f7a6f030e3430829cfb3a3d5'],
    ['peterpc.localdomain.local', 11, '6b5eb36a8c450074a63a740fa1820ece', 'eb1b619f317518481183980adcbeae95'],
    ['8c71fb3f7593543f2ad180d31148a7cf', 18, '68430f34910adb87797ca0df95354393', '12fc1985a0ab5984cb70385004f32ffa'],
  ] as const) {
    assert.equal(syncHash(value, type), sync, value)
    assert.equal(murmur3x86_128(value), hash, value)
  }
  for (const [value, hash] of [
    ['CVE-2020-10587', '1eb1492a73972823ef9323daec0cbe5c'],
    ['star@star.star', 'f74ee458b6e12452a04c6595bb3cd2d9'],
    ['www.example.com', '69d4269b838ce143e6f0656384c58ff8'],
    ['d41d8cd98f00b204e9800998ecf8427e', '8b168f614b40150266d304dbd5c78036'],
    ['8e545e1c31f91f777c894b3bd2c2e7d7044cc9dd', '4ca64ed42f6f4e49f1775e5c63d371cd'],
    ['tip1@siemplify.com', '26ed6f79c7a9d2f666113cc63907071d'],
    ['tip2@siemplify.com', 'b68edaa93c823b2c9a7442b31834aecc'],
    ['', '0'.repeat(32)],
    ['hello', '2b2444a0db91def79adb31b69adb31b6'],
    ['The quick brown fox jumps over the lazy dog', '2f1583c3ecee2c675d7bf66ce5e91d2c'],
  ] as const)
    assert.equal(murmur3x86_128(value), hash, value)
  assert.equal(eventHash(Date.UTC(2020, 7, 14, 11, 30, 2) * 1000, '123123'), '5d1ee5105448a27443f8b451c5b081e1')
})

test('a natural key is SHA-256 over the table and its parts, each behind its length', () => {
  const part = (bytes: Buffer) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    return Buffer.concat([length, bytes])
  }
  const other = naturalKey('tags', ['x'])
  const expected = createHash('sha256')
    .update(part(Buffer.from('adversaries')))
    .update(part(Buffer.from('Zoë')))
    .update(Buffer.from('ffffffff', 'hex'))
    .update(part(other))
    .digest()
  assert.deepEqual(naturalKey('adversaries', ['Zoë', null, other]), expected)
  assert.notDeepEqual(naturalKey('tags', ['ab', 'c']), naturalKey('tags', ['a', 'bc']))
  assert.notDeepEqual(naturalKey('tags', ['']), naturalKey('tags', [null]))
  const long = 'ü'.repeat(100_000)
  assert.deepEqual(
    naturalKey('tags', [long]),
    createHash('sha256')
      .update(part(Buffer.from('tags')))
      .update(part(Buffer.from(long)))
      .digest(),
  )
})

test('consecutive uids are UUIDv7, sorted, never met twice, and survive their text', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 20 }), (counts) => {
      const uids = counts.flatMap((count) => {
        const range = uidRange(count)
        assert.throws(() => range.at(count), RangeError)
        return Array.from({ length: count }, (_, i) => range.at(i))
      })
      for (const [i, uid] of uids.entries()) {
        const text = uidText(uid)
        assert.match(text, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        assert.deepEqual(parseUid(text), uid)
        if (i > 0) assert.equal(Buffer.compare(uids[i - 1]!, uid), -1)
      }
    }),
    { numRuns: 20 },
  )
  assert.equal(
    Math.abs(Number.parseInt(uidText(uidRange(1).at(0)).slice(0, 13).replace('-', ''), 16) - Date.now()) < 60_000,
    true,
  )
  for (const text of ['', 'x', `${uidText(uidRange(1).at(0))} `, '0'.repeat(36)])
    assert.equal(parseUid(text), undefined)
})

for (const dialect of DIALECTS)
  test(`natural keys, forms and hashes in SQL are those of JavaScript (${dialect})`, async () => {
    await withFreshLibrary(dialect, async ({ database }) => {
      const value = async (expression: string): Promise<unknown> =>
        (await sql.raw<{ v: unknown }>(`select ${expression} as v`).execute(database.db)).rows[0]!.v
      const bytes = async (expression: string) => Buffer.from((await value(expression)) as Uint8Array)
      // No U+0000: no column of either database takes one.
      const text = fc.string({ unit: 'binary', maxLength: 40 }).map((given) => given.replaceAll('\0', ''))
      const table = fc.constantFrom(...TABLES)
      await fc.assert(
        fc.asyncProperty(table, fc.array(fc.option(text), { minLength: 5, maxLength: 5 }), async (table, texts) => {
          const columns = naturalKeyColumns(table)
          const parts = columns.map((column, i) =>
            texts[i] === null ? null : isReference(column) ? naturalKey('tags', [texts[i]!]) : texts[i]!,
          )
          const expression = naturalKeySql(dialect, table, (column) => {
            const part = parts[columns.indexOf(column)] ?? null
            const isSqlite = dialect === 'sqlite'
            if (part === null) return isSqlite ? 'null' : `null::${isReference(column) ? 'bytea' : 'text'}`
            if (typeof part === 'string') return literal(part)
            return isSqlite ? `x'${part.toString('hex')}'` : `'\\x${part.toString('hex')}'::bytea`
          })
          assert.deepEqual(await bytes(expression), naturalKey(table.name, parts))
        }),
        { numRuns: 150 },
      )
      const uid = uidText(uidRange(1).at(0))
      const forms = [
        [{ name: 'uid', type: 'hex' }, uid],
        [{ name: 'sha256', type: 'hex' }, 'ab'.repeat(32)],
        [{ name: 'created_at', type: 'time' }, '-1700000000000001'],
        [{ name: 'value', type: 'text' }, "it's"],
      ] as const
      for (const [column, form] of forms)
        assert.equal(await value(textFormSql(dialect, column, fromTextSql(dialect, column, literal(form)))), form)
      const sync = syncHashSql(dialect, 'indicators', (name) => (name === 'value' ? `'8.8.85.5'` : '32'))!
      assert.equal((await bytes(sync)).toString('hex'), 'aca1e5b10657c8a3266bb9502b5c05b1')
      for (const at of [Date.UTC(2020, 7, 14, 11, 30, 2) * 1000 + 7, -1, -1_000_000, 0])
        assert.equal(
          (await bytes(eventHashSql(dialect, `cast(${at} as bigint)`, `'123123'`))).toString('hex'),
          eventHash(at, '123123'),
        )
    })
  })
