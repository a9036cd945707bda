/** A process that appends numbered lines to rotated files until it is killed: folder, first number. */
import { writeSync } from 'node:fs'
import { RotatedFiles } from '../../src/components/destinations/file/rotatedFiles.ts'

const [folder = '', first = '1'] = process.argv.slice(2)
const files = new RotatedFiles({
  folder,
  prefix: 'out-',
  suffix: '.ndjson',
  codec: '',
  maxBytes: 1000,
  maxAgeMs: 3_600_000,
  daily: true,
  now: () => Date.UTC(2026, 8, 14, 12) * 1000,
  warn: (message) => process.stderr.write(`${message}\n`),
})
for (let n = Number(first); ; n++) {
  await files.append(Buffer.from(`{"n":${n}}\n`))
  writeSync(1, `${n}\n`)
}
