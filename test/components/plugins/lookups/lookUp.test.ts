/** Look-ups: distinct things once, the cache first, in batches; what fails is told, and what was answered counts. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Clock, LookupFault, lookUp } from '../../../../src/components/plugins/lookups/lookUp.ts'
import { Pace } from '../../../../src/components/plugins/lookups/pace.ts'
import { ColdtrailError } from '../../../../src/core/errors.ts'
import { lookupsPath } from '../../../../src/platform/lookupCache.ts'

const folders: string[] = []
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true })
})

/** A clock that only sleeping moves. */
function standingClock(start = 1_000_000): Clock & { slept: number[]; time: number } {
  const clock = {
    time: start,
    slept: [] as number[],
    now: () => clock.time,
    async sleep(milliseconds: number, signal?: AbortSignal) {
      signal?.throwIfAborted()
      clock.slept.push(milliseconds)
      clock.time += milliseconds
    },
  }
  return clock
}

function place(more: Partial<Parameters<typeof lookUp>[1]> = {}) {
  const dataDir = mkdtempSync(join(tmpdir(), 'coldtrail-lookups-'))
  folders.push(dataDir)
  const batches: string[][] = []
  const clock = standingClock()
  const options = {
    ...{ dataDir, title: 'Service', service: 'service 1', maxAgeDays: 10, batch: 3, clock },
    async ask(batch: readonly string[]) {
      batches.push([...batch])
      return new Map(batch.map((one) => [one, `${one}!`]))
    },
    ...more,
  }
  return { options, batches, clock }
}

test('in batches, and a second time from the cache until the answers are too old', async () => {
  const begun: number[] = []
  const { options, batches, clock } = place({ begin: (count) => begun.push(count) })
  const wanted = ['a', 'b', 'c', 'd']
  const first = await lookUp(wanted, options)
  assert.deepEqual(batches, [['a', 'b', 'c'], ['d']])
  assert.deepEqual(
    [...first.answers],
    wanted.map((one) => [one, `${one}!`]),
  )
  assert.deepEqual([first.cached, first.asked, first.warnings], [0, 4, []])
  const second = await lookUp([...wanted, 'e'], options)
  assert.deepEqual(batches.slice(2), [['e']])
  assert.deepEqual([second.cached, second.asked, second.answers.size], [4, 1, 5])
  clock.time += 10 * 86_400_000 + 1
  await lookUp(['a'], options)
  assert.deepEqual(batches.slice(3), [['a']])
  // Another service has other answers.
  await lookUp(['a'], { ...options, service: 'service 2' })
  assert.equal(batches.length, 5)
  assert.deepEqual(begun, [4, 1, 1, 1])
})

test('answers that may not be kept are asked for again', async () => {
  const { options, batches } = place({ keeps: (answer) => answer !== 'b!' })
  await lookUp(['a', 'b'], options)
  await lookUp(['a', 'b'], options)
  assert.deepEqual(batches, [['a', 'b'], ['b']])
})

test('a passing fault is waited for, longer each time or as long as the service says', async () => {
  const faults = [
    new LookupFault('busy', { retry: true }),
    new LookupFault('busy', { retry: true, waitMs: 90_000 }),
    new LookupFault('busy', { retry: true }),
  ]
  const { options, clock } = place()
  const { ask } = options
  const found = await lookUp(['a'], {
    ...options,
    ask: async (batch) => {
      const fault = faults.shift()
      if (fault) throw fault
      return ask(batch)
    },
  })
  assert.equal(found.answers.size, 1)
  assert.deepEqual(clock.slept, [1_000, 90_000, 4_000])
})

test('a lasting fault ends the asking: what is known counts, the rest is told, and kept answers stay', async () => {
  for (const [fault, attempts] of [
    [new LookupFault('host: gone', { retry: true }), 4],
    [new LookupFault('host: no', { retry: false }), 1],
    [new LookupFault('host: later', { retry: true, waitMs: 3_600_000 }), 1],
  ] as const) {
    const { options, batches } = place()
    let asked = 0
    const failing = async (batch: readonly string[]) => {
      if (!batch.includes('a')) {
        asked += 1
        throw fault
      }
      return options.ask(batch)
    }
    const found = await lookUp(['a', 'b', 'c', 'd', 'e'], { ...options, ask: failing })
    assert.equal(asked, attempts)
    assert.deepEqual([...found.answers.keys()], ['a', 'b', 'c'])
    assert.equal(found.warnings.length, 1)
    assert.match(found.warnings[0]!, /^Service: 2 of 5 were not looked up: host: /)
    const later = await lookUp(['a', 'b', 'c', 'd', 'e'], options)
    assert.deepEqual(batches.at(-1), ['d', 'e'])
    assert.deepEqual(later.warnings, [])
  }
})

test('a defect is no fault of the service, and an end asked for is none either', async () => {
  const { options } = place()
  const defect = async () => {
    throw new TypeError('defect')
  }
  await assert.rejects(lookUp(['a'], { ...options, ask: defect }), /defect/)
  const halt = new AbortController()
  const ask = async () => {
    halt.abort(new Error('halted'))
    throw new LookupFault('aborted', { retry: true })
  }
  await assert.rejects(lookUp(['a'], { ...options, ask, signal: halt.signal }), /halted/)
})

test('a damaged cache is named; nothing of it is taken', async () => {
  const { options } = place()
  writeFileSync(lookupsPath(options.dataDir), 'x'.repeat(10_000))
  await assert.rejects(
    lookUp(['a'], options),
    (error) => error instanceof ColdtrailError && error.code === 'E_LOOKUP_CACHE' && /lookups\.db/.test(error.message),
  )
})

test('nothing wanted asks nobody and makes no cache', async () => {
  const { options, batches } = place()
  assert.deepEqual(await lookUp([], options), { answers: new Map(), cached: 0, asked: 0, warnings: [] })
  assert.deepEqual(batches, [])
})

test('never more than so many in any span, and no longer waiting than needed', async () => {
  const clock = standingClock()
  const pace = new Pace({ count: 4, spanMs: 60_000, clock })
  const begun: number[] = []
  for (let i = 0; i < 20; i++) {
    await pace.turn()
    begun.push(clock.time)
    clock.time += (i * 7_919) % 30_000
  }
  for (const at of begun) assert.ok(begun.filter((one) => one >= at && one < at + 60_000).length <= 4)
  begun.forEach((at, i) => {
    const previousEnd = i === 0 ? 1_000_000 : begun[i - 1]! + (((i - 1) * 7_919) % 30_000)
    assert.equal(at, Math.max(previousEnd, i < 4 ? 0 : begun[i - 4]! + 60_000))
  })
})
