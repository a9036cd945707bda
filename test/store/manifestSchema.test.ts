import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { manifestSchema } from '../../scripts/gen/manifestSchema.ts'
import { loadKeysetKey } from '../../src/store/keysetKeys.ts'
import { SampleStore } from '../support/sampleStore.ts'

let store: SampleStore
before(async () => {
  store = await SampleStore.create()
})
after(() => store.remove())

test('the published schema describes every manifest that is written, field by field', async () => {
  const keyset = loadKeysetKey(store.dataDir, '2023')
  const events = [{ time: 1e15, columns: { api_operation: 'A' } }, { time: 5e14 }, {}]
  const row = await store.seal([{ key: 'a', events, rejects: [Buffer.from('bad')] }], { keyset })
  const without = await store.seal([{ key: 'b', events: [] }])
  const manifests = [...row.files, ...without.files].map(({ manifest }) => manifest)
  assert.deepEqual(new Set(manifests.map(({ kind }) => kind)), new Set(['session', 'meta', 'log', 'index', 'reject']))
  for (const manifest of manifests)
    assert.deepEqual(manifestSchema.parse(manifest), JSON.parse(JSON.stringify(manifest)))
  assert.equal(manifests[0]!.eventTime!.outliers!.length, 1)
  assert.throws(() => manifestSchema.parse({ ...manifests[0], other: 1 }))
})
