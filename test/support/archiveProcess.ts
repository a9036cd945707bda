/** Appends manifests to the history in the folder given and archives them, three times; each is told in `acknowledged` beside it. */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { appendHistory } from '../../src/store/history.ts'
import type { Manifest } from '../../src/store/manifest.ts'
import { archiveManifests } from '../../src/store/manifestGenerations.ts'

const directory = process.argv[2]!
const told = join(dirname(directory), 'acknowledged')
mkdirSync(directory, { recursive: true })
let segment = existsSync(told) ? readFileSync(told, 'utf8').split('\n').length - 1 : 0
for (let round = 0; round < 3; round++) {
  for (let i = 0; i < 2; i++) {
    const number = ++segment
    const manifest: Manifest = {
      ...({ v: 1, kind: 'meta', collection: 'main', format: 'json_lines', day: 'none', producer: 'test' } as const),
      filename: `meta-${String(number).padStart(9, '0')}.parquet`,
      ...{ segment: number, size: 1, fileTime: number, sealTime: number, session1: number, session2: number },
      ...{ time1: number, time2: number, rows: 1, rejects: 0, rawBytes: 1, sha256: 'ab'.repeat(32) },
    }
    appendHistory(directory, [{ segment: number, manifests: [manifest], keyset: 'none', replaced: [] }])
    appendFileSync(told, `${number}\n`)
  }
  archiveManifests(directory, { whole: round > 0 })
}
