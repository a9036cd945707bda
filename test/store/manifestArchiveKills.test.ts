/** The process dies at every step of archiving: what was acknowledged is readable, once, and the next run goes on. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { FAULT_POINTS } from '../../src/platform/faults.ts'
import { manifests } from '../../src/store/history.ts'
import { archiveManifests, manifestSnapshot } from '../../src/store/manifestGenerations.ts'

const root = mkdtempSync(join(tmpdir(), 'coldtrail-archive-kills-'))
after(() => rmSync(root, { recursive: true, force: true }))

const points = FAULT_POINTS.filter((name) => /^archive\.(rotated|written|log-removed|merged)$|^file\./.test(name))
/** Not the first passing, so that there are generations already. */
const cases = points.map((point) => `${point}:${point === 'archive.merged' ? 1 : 2}`)
for (const fault of cases)
  test(`killed at ${fault}`, () => {
    const history = join(root, fault.replaceAll(/\W/g, '-'))
    const directory = join(history, 'main')
    const run = (armed?: string) =>
      spawnSync(process.execPath, [join(import.meta.dirname, '../support/archiveProcess.ts'), directory], {
        env: { ...process.env, ...(armed === undefined ? {} : { COLDTRAIL_FAULT: armed }) },
        encoding: 'utf8',
      })
    const killed = run(fault)
    assert.equal(killed.signal, 'SIGKILL', killed.stderr)
    const said = (): number[] => {
      const path = join(directory, '..', 'acknowledged')
      return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n').map(Number) : []
    }
    const held = () =>
      [...manifests(history, { collection: 'main', replaced: true })].map(({ manifest }) => manifest.segment)
    assert.deepEqual(held(), said())
    const before = [...manifestSnapshot(directory).lines()].map(({ line }) => line)
    archiveManifests(directory)
    assert.deepEqual(
      [...manifestSnapshot(directory).lines()].map(({ line }) => line),
      before,
    )
    const again = run()
    assert.equal(again.status, 0, again.stderr)
    assert.deepEqual(held(), said())
    assert.equal(readdirSync(join(directory, 'archive')).length, 1)
  })
