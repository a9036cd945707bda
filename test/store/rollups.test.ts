/** Roll-ups, and the search in them, against the plain definition: which keyset has which key. */
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { OBSERVABLE_TYPES, type ObservableType } from '../../src/core/observables.ts'
import { keysetCopyName } from '../../src/store/history.ts'
import { encodeKeyset, type KeysetContent } from '../../src/store/keyset.ts'
import { commonKeys, searchKeysets } from '../../src/store/keysetSearch.ts'
import { ALL_TIME, Rollup, RollupWriter } from '../../src/store/rollup.ts'
import { rollupFaults } from '../../src/store/rollupCheck.ts'
import {
  forgetRollups,
  ROLLUP_LIST,
  type RollupInput,
  readRollupList,
  rollupGroup,
  updateRollups,
} from '../../src/store/rollups.ts'

const directory = mkdtempSync(join(tmpdir(), 'coldtrail-rollups-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let folders = 0

const TYPES: readonly ObservableType[] = ['ip', 'domain', 'sha256']
const KEYS = ['aaaaaaaa', 'bbbbbbbb'] as const
const group = (keyId: string): string => rollupGroup({ extractor: 'obs/1', epoch: '2023', keyId })

interface Sample {
  readonly month: number
  readonly key: number
  /** By type; small numbers, spread over 48 bits. */
  readonly values: readonly (readonly number[])[]
}

const spread = (value: number): number => (value * 0x9e37_79b9) % 2 ** 48

const sortedKeys = (values: readonly number[]): Float64Array =>
  Float64Array.from(new Set(values.map(spread))).sort((a, b) => a - b)

const sample: fc.Arbitrary<Sample> = fc.record({
  month: fc.integer({ min: 0, max: 2 }),
  key: fc.integer({ min: 0, max: 1 }),
  values: fc.tuple(...TYPES.map(() => fc.array(fc.integer({ min: 0, max: 60_000 }), { maxLength: 12 }))),
})

class History {
  readonly directory = join(directory, String(++folders))
  readonly held = new Map<number, Sample & RollupInput>()
  private next = 1

  constructor() {
    mkdirSync(this.directory)
  }

  add(one: Sample): number {
    const segment = this.next++
    const path = join(this.directory, keysetCopyName(segment))
    writeFileSync(path, encodeKeyset(contentOf(one)))
    this.held.set(segment, { ...one, segment, period: `2023-0${one.month + 1}`, paths: [path] })
    return segment
  }

  drop(segment: number, isErased: boolean): void {
    this.held.delete(segment)
    if (isErased) rmSync(join(this.directory, keysetCopyName(segment)))
  }

  update(): void {
    updateRollups(this.directory, [...this.held.values()])
  }

  async search(queried: readonly number[]): Promise<{ found: string[]; damaged: readonly string[] }> {
    const keys = sortedKeys(queried)
    const queries = new Map(TYPES.map((type) => [OBSERVABLE_TYPES[type] as number, keys]))
    const found: string[] = []
    const { facts, damaged } = await searchKeysets({
      manifestDirectory: this.directory,
      list: readRollupList(this.directory),
      segments: [...this.held.values()],
      queries: new Map(KEYS.map((keyId) => [group(keyId), queries])),
      hit: (of, type, index, segment) => found.push(`${of} ${type} ${keys[index]} ${segment}`),
    })
    assert.deepEqual(new Set(facts.keys()), new Set(this.held.keys()))
    for (const [segment, { counts, lacking }] of facts) {
      assert.deepEqual(lacking, {})
      const { values } = this.held.get(segment)!
      TYPES.forEach((type, i) => {
        assert.equal(counts[OBSERVABLE_TYPES[type]] ?? 0, sortedKeys(values[i]!).length)
      })
    }
    return { found: found.sort(), damaged }
  }

  /** By definition. */
  expected(queried: readonly number[]): string[] {
    const keys = sortedKeys(queried)
    const found: string[] = []
    for (const { segment, key, values } of this.held.values())
      TYPES.forEach((type, i) => {
        for (const value of sortedKeys(values[i]!))
          if (keys.includes(value)) found.push(`${group(KEYS[key]!)} ${OBSERVABLE_TYPES[type]} ${value} ${segment}`)
      })
    return found.sort()
  }

  names(): string[] {
    return readdirSync(this.directory).filter((name) => name.endsWith('.kr'))
  }
}

function contentOf({ key, values }: Sample): KeysetContent {
  const sections = (Object.keys(OBSERVABLE_TYPES) as ObservableType[]).map((name) => ({
    ...{ name, complete: true, reason: '' },
    keys: sortedKeys(values[TYPES.indexOf(name)] ?? []),
  }))
  return { extractor: 'obs/1', epoch: '2023', keyId: KEYS[key]!, sections }
}

const many = (count: number, seed: number): Sample[] =>
  fc.sample(sample, { numRuns: count, seed }).map((one) => ({ ...one }))

test('what roll-ups find is what the keysets hold: after adding, replacing, erasing, in any order of updates', async () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ add: fc.array(sample, { minLength: 1, maxLength: 9 }) }) },
    { weight: 2, arbitrary: fc.record({ update: fc.constant(true) }) },
    { weight: 1, arbitrary: fc.record({ drop: fc.nat(), isErased: fc.boolean() }) },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 12 }), async (steps) => {
      const history = new History()
      for (const one of steps) {
        if ('add' in one) for (const added of one.add) history.add(added)
        else if ('update' in one) history.update()
        else if (history.held.size > 0)
          history.drop([...history.held.keys()][one.drop % history.held.size]!, one.isErased)
        const queried = [...history.held.values()].flatMap(({ values }) => values[0]!.slice(0, 3)).concat([1, 2, 3])
        assert.deepEqual((await history.search(queried)).found, history.expected(queried))
      }
    }),
    { numRuns: 25 },
  )
})

test('files stay few, and what is in no list is removed', async () => {
  const history = new History()
  for (const one of many(30, 1)) {
    history.add(one)
    history.update()
  }
  const { files } = readRollupList(history.directory)
  assert.deepEqual(history.names().sort(), files.map(({ name }) => name).sort())
  // Two keys, three months and all time, a few sizes each.
  assert.ok(files.length <= 2 * 4 * 5, `${files.length} files`)
  assert.deepEqual((await history.search([1, 2, 3, 4])).damaged, [])
})

test('keys of an erased segment are in no roll-up any more, of all time neither', () => {
  const history = new History()
  const secret: Sample = { month: 0, key: 0, values: [[77_777], [], []] }
  for (const one of many(12, 2)) history.add(one)
  const segment = history.add(secret)
  history.update()
  const has = (): boolean =>
    readRollupList(history.directory).files.some(({ name }) => {
      const rollup = new Rollup(join(history.directory, name))
      let isThere = false
      rollup.probe(OBSERVABLE_TYPES.ip, sortedKeys([77_777]), () => {
        isThere = true
      })
      rollup.close()
      return isThere
    })
  assert.ok(has())
  history.drop(segment, true)
  history.update()
  assert.ok(!has())
  forgetRollups(history.directory, { segments: [1] })
  assert.ok(readRollupList(history.directory).files.every(({ segments }) => !segments.includes(1)))
})

test('a damaged roll-up never hides a key: it is named, its segments are looked at, and it is made again', async () => {
  const history = new History()
  for (const one of many(20, 3)) history.add(one)
  history.update()
  const queried = [...history.held.values()].flatMap(({ values }) => values.flat())
  const expected = history.expected(queried)
  for (const name of history.names()) {
    const path = join(history.directory, name)
    const bytes = readFileSync(path)
    const places = [9, 20, bytes.length >> 1, bytes.length - 60, bytes.length - 3]
    for (const place of places) {
      const damaged = Buffer.from(bytes)
      damaged[place]! ^= 0x10
      writeFileSync(path, damaged)
      assert.deepEqual((await history.search(queried)).found, expected, `${name} at ${place}`)
    }
    writeFileSync(path, bytes.subarray(0, bytes.length - 30))
    const cut = await history.search(queried)
    assert.deepEqual([cut.found, cut.damaged.includes(name)], [expected, true])
    rmSync(path)
    assert.deepEqual((await history.search(queried)).found, expected)
  }
  history.update()
  assert.deepEqual(await history.search(queried), { found: expected, damaged: [] })
  // One that is to be merged, and cannot be read.
  for (const name of history.names()) {
    const path = join(history.directory, name)
    const bytes = readFileSync(path)
    bytes[12]! ^= 1
    writeFileSync(path, bytes)
  }
  for (const one of many(20, 4)) history.add(one)
  history.update()
  const all = [...history.held.values()].flatMap(({ values }) => values.flat())
  assert.deepEqual((await history.search(all)).found, history.expected(all))
  writeFileSync(join(history.directory, 'rollups.json'), '{"v":1,')
  assert.deepEqual((await history.search(all)).found, history.expected(all))
})

test('a large part: what is asked is found by its guess, whatever the spread of the keys', () => {
  const path = join(directory, 'rollup-all-000000001.kr')
  const even = Float64Array.from({ length: 100_000 }, (_, i) => Math.floor((i * 2 ** 48) / 100_000) + (i % 7))
  // A hundred thousand keys under one upper word, all at its beginning, and a few at its end.
  const uneven = Float64Array.from(
    { length: 100_000 },
    (_, i) => 5 * 2 ** 32 + i * 2 + (i > 99_990 ? 4_000_000_000 : 0),
  )
  for (const keys of [even, uneven]) {
    const writer = new RollupWriter(path, {
      extractor: 'obs/1',
      epoch: 'e',
      keyId: 'k',
      period: ALL_TIME,
      segments: [1],
    })
    writer.keys(1, keys)
    writer.publish()
    const rollup = new Rollup(path)
    const queries = Float64Array.from(
      new Set(Array.from(keys).flatMap((key, i) => (i % 3 === 0 ? [key, key + 1] : []))),
    ).sort((a, b) => a - b)
    const held = new Set(keys)
    const found: number[] = []
    rollup.probe(1, queries, (index) => found.push(queries[index]!))
    assert.deepEqual(
      found,
      Array.from(queries).filter((key) => held.has(key)),
    )
    for (const one of [keys[0]!, keys[50_001]!, keys.at(-1)!]) {
      let times = 0
      rollup.probe(1, Float64Array.of(one), () => times++)
      assert.equal(times, 1)
    }
    assert.deepEqual(rollup.keysBetween(1, 0, 2 ** 16), keys)
    rollup.close()
  }
})

test('common keys of two lists are those of sets', () => {
  const list = fc
    .array(fc.integer({ min: 0, max: 300 }), { maxLength: 200 })
    .map((values) => Float64Array.from(new Set(values)).sort((a, b) => a - b))
  fc.assert(
    fc.property(list, list, (keys, queries) => {
      const found: number[] = []
      commonKeys(keys, queries, (index) => found.push(index))
      assert.deepEqual(
        found,
        Array.from(queries.keys()).filter((index) => keys.includes(queries[index]!)),
      )
    }),
    { numRuns: 500 },
  )
})

test('roll-ups are held against keysets: damage of any byte, lost, swapped and forged ones are named', () => {
  const history = new History()
  const sealed = new Map<number, string>()
  const add = (month: number, values: readonly number[]): void => {
    const segment = history.add({ month, key: 0, values: [values, [], values] })
    sealed.set(segment, hash('sha256', readFileSync(join(history.directory, keysetCopyName(segment)))))
  }
  for (const month of [0, 1]) for (const n of [1, 2, 3]) add(month, [n, n + 10, 100 * month])
  history.update()
  const faults = (): string[] => [
    ...new Set([...rollupFaults(history.directory, sealed)].map(({ name, fault }) => `${fault} ${name}`)),
  ]
  assert.deepEqual(faults(), [])
  const path = (name: string): string => join(history.directory, name)
  for (const name of [...history.names(), ROLLUP_LIST]) {
    const bytes = readFileSync(path(name))
    for (let i = 0; i < bytes.length; i += 5) {
      const damaged = Buffer.from(bytes)
      damaged[i]! ^= 1 << (i % 8)
      writeFileSync(path(name), damaged)
      // The beginning and the padding between parts hold nothing that a hunt reads.
      const told = faults()
      if (told.length > 0) assert.deepEqual(told, [`damaged ${name}`], `byte ${i} of ${bytes.length}`)
      else assert.ok(i < 8 || bytes[i] === 0, `byte ${i} of ${name}`)
    }
    writeFileSync(path(name), bytes)
  }
  const list = readRollupList(history.directory)
  const month = list.files.find(({ period }) => period === '2023-01')!
  const allTime = list.files.find(({ period }) => period === ALL_TIME)!
  for (const { name, period, segments, extractor, epoch, keyId } of [month, allTime]) {
    const bytes = readFileSync(path(name))
    rmSync(path(name))
    assert.deepEqual(faults(), [`missing ${name}`])
    const writer = new RollupWriter(path(name), { extractor, epoch, keyId, period, segments })
    writer.publish()
    assert.deepEqual(faults(), [`inconsistent ${name}`], 'whole, and without any key')
    writeFileSync(path(name), bytes)
  }
  assert.deepEqual(faults(), [])
})
