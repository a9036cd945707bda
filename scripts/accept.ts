/**
 * Writes the expected output of format fixtures: `npm run accept NAME…`. For a new fixture, or after a change that is
 * meant to change events; read every line of the diff as a reviewer would. CI never accepts.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import { FORMATS } from '../src/components/formats/all.ts'
import { formatFixtures, goldenText } from '../test/support/formatFixtures.ts'

const names = process.argv.slice(2)
const known = FORMATS.map(({ name }) => name)
const unknown = names.filter((name) => !known.includes(name))
if (names.length === 0 || unknown.length > 0) {
  process.stderr.write(`usage: npm run accept NAME…\nnames: ${known.join(', ')}\n`)
  process.exit(2)
}

for (const format of FORMATS.filter(({ name }) => names.includes(name))) {
  for (const fixture of formatFixtures(format.name)) {
    const text = goldenText(format, fixture)
    const path = relative(process.cwd(), fixture.expectedPath)
    const before = existsSync(fixture.expectedPath) ? readFileSync(fixture.expectedPath, 'utf8') : undefined
    if (before === text) continue
    writeFileSync(fixture.expectedPath, text)
    process.stdout.write(`${before === undefined ? 'wrote' : 'changed'} ${path}\n`)
  }
}
