/** What `doctor` says of keys that were lost: nothing else does until somebody hunts or verifies. */
import assert from 'node:assert/strict'
import { readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadConfig, open } from '../src/index.ts'
import { loadKeysetKey } from '../src/store/keysetKeys.ts'
import { SampleStore } from './support/sampleStore.ts'

test('doctor names the signing key and the keyset key that what is kept needs', async () => {
  const store = await SampleStore.create()
  const keyset = loadKeysetKey(store.dataDir, '2023')
  await store.seal([{ key: 'a', events: [{ time: 1_688_947_200_000_000 }] }], { keyset })
  const coldtrail = await open(loadConfig({ dataDir: store.dataDir }))
  const told = async () => (await coldtrail.doctor()).find(({ name }) => name === 'keys of what is kept')
  const keys = join(store.dataDir, 'keys')
  try {
    assert.deepEqual(await told(), {
      ...{ name: 'keys of what is kept', status: 'ok', message: '1 of links and 1 of keysets are here' },
    })
    for (const [kind, code] of [
      ['.pub', 'E_SIGNING_KEY'],
      ['keyset-', 'E_KEYSET_KEY'],
    ] as const) {
      const file = readdirSync(keys).find((name) => name.includes(kind))!
      renameSync(join(keys, file), join(store.dataDir, file))
      const { status, message, hint } = (await told())!
      assert.deepEqual([status, message.includes(code), hint !== ''], ['failed', true, true], message)
      renameSync(join(store.dataDir, file), join(keys, file))
    }
  } finally {
    await coldtrail.close()
    await store.remove()
  }
})
