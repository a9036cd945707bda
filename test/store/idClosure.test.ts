import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { idClosure, idGaps } from '../../src/store/idClosure.ts'
import type { ImportedManifest } from '../../src/store/importedManifests.ts'
import { parseManifestText } from '../../src/store/manifestText.ts'

const of = (facts: Partial<ImportedManifest> & { kind: string; sequence: number }): ImportedManifest => ({
  filename: `${facts.kind}-${String(facts.sequence).padStart(9, '0')}`,
  ...{ service: 's', origin: 'o', digest: `${facts.kind}${facts.sequence}`, size: 10 },
  ...facts,
})

test('T2: the files of example B do not belong together, and the closure names the ids that are missing', () => {
  const text = readFileSync(join(import.meta.dirname, '../fixtures/manifests/exampleB.txt'), 'utf8')
  const list = parseManifestText(text).map((facts) => {
    const [, kind, digits] = /^([a-z]+)-(\d+)/.exec(facts.filename)!
    return { ...facts, kind: kind!, sequence: Number(digits), service: '', origin: 'b', digest: facts.filename }
  })
  const { isComplete, missing, files } = idClosure(list, list)
  assert.equal(isComplete, false)
  assert.equal(files.length, 3)
  assert.deepEqual(
    missing.map(({ needs, id1, id2 }) => [needs, id1, id2]),
    [
      ['meta', 288_217_522_208, 288_520_616_949],
      ['packet', 11_733_872_441, 11_749_618_589],
      ['session', 15_352_020_201, 15_361_024_200],
    ],
  )
  assert.deepEqual(missing[0]!.neededBy, ['session-000001865.nwsdb', 'session-000001866.nwsdb'])
  // T7: the two session files are neighbours without a gap; nothing is said about files before and after.
  assert.deepEqual([...idGaps(list)], [])
})

test('a closure brings the meta and packet files of sessions, and the sessions and raw records of a meta file', () => {
  const sessions = [
    of({ kind: 'session', sequence: 1, id1: 1, id2: 10, metaId1: 1, metaId2: 100, packetId1: 1, packetId2: 10 }),
    of({ kind: 'session', sequence: 2, id1: 11, id2: 20, metaId1: 101, metaId2: 200, packetId1: 11, packetId2: 20 }),
  ]
  const metas = [1, 2, 3, 4].map((n) =>
    of({ kind: 'meta', sequence: n, id1: n * 50 - 49, id2: n * 50, session1: n * 5 - 4, session2: n * 5 }),
  )
  const packets = [1, 2].map((n) => of({ kind: 'packet', sequence: n, id1: n * 10 - 9, id2: n * 10 }))
  const all = [...sessions, ...metas, ...packets]
  const names = (chosen: ImportedManifest[], known = all) => idClosure(chosen, known).files.map(({ digest }) => digest)
  assert.deepEqual(names([sessions[0]!]), ['session1', 'meta1', 'meta2', 'packet1'])
  assert.deepEqual(names([metas[2]!]), ['session2', 'meta3', 'packet2'])
  assert.equal(idClosure(all, all).isComplete, true)
  assert.equal(idClosure(all, all).bytes, 80)
  const lost = all.filter(({ digest }) => digest !== 'meta2' && digest !== 'packet1')
  const { missing } = idClosure([sessions[0]!], lost)
  assert.deepEqual(
    missing.map(({ needs, id1, id2, neededBy }) => [needs, id1, id2, neededBy]),
    [
      ['meta', 51, 100, ['session-000000001']],
      ['packet', 1, 10, ['session-000000001']],
    ],
  )
  const elsewhere = all.map((one) => (one.kind === 'meta' ? { ...one, service: 'other' } : one))
  assert.equal(idClosure([sessions[0]!], elsewhere).isComplete, false, 'another service has its own ids')
})

test('T7: gaps in numbers and ids are told, and files that overlap', () => {
  const list = [
    of({ kind: 'meta', sequence: 1, id1: 1, id2: 10 }),
    of({ kind: 'meta', sequence: 2, id1: 12, id2: 20 }),
    of({ kind: 'meta', sequence: 5, id1: 15, id2: 30 }),
    of({ kind: 'meta', sequence: 5, id1: 31, id2: 40, digest: 'other' }),
  ]
  const told = [...idGaps(list)].map(({ detail }) => detail)
  assert.match(told[0]!, /meta ids 11 to 11 are in no file/)
  assert.match(told[1]!, /meta files 3 to 4 are not known/)
  assert.match(told[2]!, /overlap: 20, 15/)
  assert.match(told[3]!, /two different files/)
  assert.equal(told.length, 4)
})
