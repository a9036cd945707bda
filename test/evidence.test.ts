/** Erasure over real formats: the keyset that is left is that of a store which never had the object. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { awsLogSet } from '../src/demo/awsLogs.ts'
import { open, parseConfig } from '../src/index.ts'
import { openKeyset } from '../src/store/keyset.ts'

const folders: string[] = []
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

const ODD = [
  '{"url":"http://one.example.com/a?b=1","nested":"{\\"ip\\":\\"203.0.113.9\\",\\"userName\\":\\"Zoë\\"}","userName":"dup","userName":"other"}',
  '{"escaped":"192.0.2\\u002e77","list":[{"deepUserName":"x"},"mail@two.example.org"],"hash":"d41d8cd98f00b204e9800998ecf8427e"}',
  '{"broken with 198.51.100.200 and evil.example.net',
]

/** A site that collected these objects with a given keyset key; its live segments' keysets by format. */
async function site(objects: readonly { key: string; body: Buffer }[], keysetKey?: string) {
  const folder = mkdtempSync(join(tmpdir(), 'coldtrail-evidence-'))
  folders.push(folder)
  const dataDir = join(folder, 'data')
  if (keysetKey) cpSync(dirname(keysetKey), join(dataDir, 'keys'), { recursive: true })
  for (const { key, body } of objects) {
    mkdirSync(dirname(join(folder, 'logs', key)), { recursive: true })
    writeFileSync(join(folder, 'logs', key), body)
  }
  const config = { ...parseConfig('', { file: 'x', environment: {} }), data_dir: dataDir }
  const coldtrail = await open({ ...config, collect: { ...config.collect, processes: 1 } })
  const { failed } = await coldtrail.collect({ sources: [join(folder, 'logs')] })
  assert.equal(failed, 0)
  return { coldtrail, dataDir }
}

function keysets(dataDir: string) {
  const directory = join(dataDir, 'history/main')
  const sections = new Map<string, Set<number>>()
  const lacking: string[] = []
  const live = readdirSync(join(dataDir, 'collections/main')).filter((name) => /^index-\d+$/.test(name))
  for (const name of live) {
    const path = join(dataDir, 'collections/main', name, 'keyset.ks')
    const copy = join(directory, `${name.replace('index', 'keyset')}.ks`)
    assert.deepEqual(readFileSync(copy), readFileSync(path))
    for (const { name: section, keys, complete, reason } of openKeyset(readFileSync(path), path).content().sections) {
      const all = sections.get(section) ?? new Set()
      for (const key of keys) all.add(key)
      sections.set(section, all)
      if (!complete) lacking.push(`${section}: ${reason}`)
    }
  }
  return {
    sections: Object.fromEntries([...sections].map(([name, keys]) => [name, [...keys].sort((a, b) => a - b)])),
    lacking: [...new Set(lacking)].sort(),
  }
}

test('after an erasure the keysets are those of a site that never had the objects', async () => {
  const { objects } = awsLogSet({ seed: 11, days: 1, cloudTrailEvents: 60, flowRecords: 60 })
  const logs = objects.filter(({ key }) => !key.includes('CloudTrail-Digest'))
  const odd = ODD.map((line, i) => ({ key: `odd/2023/07/1${i}/o.jsonl`, body: Buffer.from(`${line}\n{"n":${i}}\n`) }))
  const text = {
    key: 'odd/2023/07/10/p.jsonl',
    body: Buffer.from(`${ODD.slice(1).join('\n')}\n{"k":"198.51.100.1"}\n`),
  }
  const all = [...logs, ...odd, text]
  // One object of each kind and day goes, and one of those with odd records.
  const gone = [
    logs.find(({ key }) => key.includes('/CloudTrail/'))!,
    logs.find(({ key }) => key.includes('/vpcflowlogs/'))!,
    odd[0]!,
  ]
  const whole = await site(all)
  const keys = readdirSync(join(whole.dataDir, 'keys')).find((name) => name.startsWith('keyset-'))!
  const other = await site(
    all.filter((object) => !gone.includes(object)),
    join(whole.dataDir, 'keys', keys),
  )
  try {
    const before = keysets(whole.dataDir)
    const expected = keysets(other.dataDir)
    assert.notDeepEqual(before.sections, expected.sections)
    const names: string[] = []
    for await (const row of (await whole.coldtrail.search({ columns: ['session.key'], order: 'id' })).rows)
      names.push(String(row['session.key']))
    const objectsGone = [...new Set(names)].filter((name) => gone.some(({ key }) => name.endsWith(key)))
    assert.equal(objectsGone.length, 3)
    await whole.coldtrail.evidence.erase({ collection: 'main', objects: objectsGone, reason: 'x' })
    const after = keysets(whole.dataDir)
    // Not one key less, and none of what went.
    assert.deepEqual(after.sections, expected.sections)
    assert.deepEqual(
      after.lacking.filter((reason) => !expected.lacking.includes(reason)),
      [],
    )
  } finally {
    await whole.coldtrail.close()
    await other.coldtrail.close()
  }
})
