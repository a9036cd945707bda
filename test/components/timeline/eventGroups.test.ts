import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventGroups, type GroupCounts, MAX_EVENTS } from '../../../src/components/timeline/eventGroups.ts'
import type { OutputEvent } from '../../../src/components/timeline/outputEvent.ts'

const M = 'Content Modification Time'
const B = 'Creation Time'
const C = 'Metadata Modification Time'

/** `3 a Creation Time`: time, hash of the values, description. */
function event(text: string): OutputEvent {
  const [, time, valuesHash, description] = /^(\d+) (\w+) (.*)$/.exec(text)!
  const base = { columns: {}, attributes: {}, labels: [], isTimeline: true }
  return { ...base, time: Number(time), valuesHash: valuesHash!, description: description! }
}

async function groups(texts: Iterable<string>, keepDuplicates = false) {
  const counts: GroupCounts = { duplicates: 0, macbGrouped: 0 }
  const found: string[][] = []
  async function* events() {
    for (const text of texts) yield event(text)
  }
  for await (const ofOneTime of eventGroups(events(), counts, keepDuplicates)) {
    for (const { events, isGroup } of ofOneTime)
      found.push([
        ...(isGroup ? ['group'] : []),
        ...events.map(({ time, valuesHash, description }) => `${time} ${valuesHash} ${description}`),
      ])
  }
  return { found, ...counts }
}

test('times of one file that are the same are a group, those of another time or file are not', async () => {
  const { found, macbGrouped, duplicates } = await groups([`1 a ${M}`, `1 a ${B}`, `1 b ${C}`, `2 a ${C}`])
  assert.deepEqual(found, [
    ['group', `1 a ${M}`, `1 a ${B}`],
    ['group', `1 b ${C}`],
    ['group', `2 a ${C}`],
  ])
  assert.deepEqual({ macbGrouped, duplicates }, { macbGrouped: 4, duplicates: 0 })
})

test('another time of the same file divides a group, as in the original', async () => {
  const { found } = await groups([`1 a ${C}`, `1 a ${B}`, '1 a Last Time Executed', `1 a ${M}`])
  assert.deepEqual(found, [['group', `1 a ${M}`, `1 a ${B}`], ['1 a Last Time Executed'], ['group', `1 a ${C}`]])
})

test('events that say the same of one time are told once', async () => {
  const events = ['1 a Start', '1 b Start', '1 a Start', '1 a End', '2 a Start']
  const once = await groups(events)
  assert.deepEqual(once.found, [['1 a End'], ['1 a Start'], ['1 b Start'], ['2 a Start']])
  assert.equal(once.duplicates, 1)
})

test('defect 10: the last time keeps its repeats too when all are asked for', async () => {
  const all = await groups(['1 a Start', '1 a Start', '2 b End', '2 b End'], true)
  assert.deepEqual(all.found, [['1 a Start'], ['1 a Start'], ['2 b End'], ['2 b End']])
  assert.equal(all.duplicates, 0)
  const once = await groups(['1 a Start', '1 a Start', '2 b End', '2 b End'])
  assert.equal(once.duplicates, 2)
})

test('of very many events of one time no more are held than the original holds', async () => {
  const count = MAX_EVENTS + 10
  const { found, duplicates } = await groups(Array.from({ length: count }, (_, i) => `1 a${i} Start`))
  assert.equal(found.length + duplicates, count)
})
