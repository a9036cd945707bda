/**
 * Writes the expected output of the fixtures of formats, tables and plugins: `npm run accept NAME…`. For a new fixture, or after a
 * change that is meant to change events or rows; read every line of the diff as a reviewer would. CI never accepts.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, relative } from 'node:path'
import { FORMATS } from '../src/components/formats/all.ts'
import { PLUGINS } from '../src/components/plugins/all.ts'
import { tableText } from '../src/components/rows/tableText.ts'
import { TABLES } from '../src/components/tables/all.ts'
import { formatFixtures, goldenText } from '../test/support/formatFixtures.ts'
import { goldenOutcome, pluginFixture } from '../test/support/pluginFixtures.ts'
import { goldenRows, tableFixtures, templatePath } from '../test/support/tableFixtures.ts'

const names = process.argv.slice(2)
const plugins = PLUGINS.flatMap(({ name }) => pluginFixture(name) ?? [])
const known: readonly string[] = [...FORMATS, ...TABLES]
  .map(({ name }) => name)
  .concat(plugins.map(({ plugin }) => plugin))
const unknown = names.filter((name) => !known.includes(name))
if (names.length === 0 || unknown.length > 0) {
  process.stderr.write(`usage: npm run accept NAME…\nnames: ${known.join(', ')}\n`)
  process.exit(2)
}

for (const format of FORMATS.filter(({ name }) => names.includes(name)))
  for (const fixture of formatFixtures(format.name)) accept(fixture.expectedPath, goldenText(format, fixture))

for (const table of TABLES.filter(({ name }) => names.includes(name))) {
  for (const fixture of tableFixtures(table.name)) accept(fixture.expectedPath, goldenRows(table, fixture))
  for (const format of ['arm', 'bicep'] as const) accept(templatePath(table.name, format), tableText([table], format))
}

for (const fixture of plugins.filter(({ plugin }) => names.includes(plugin)))
  accept(fixture.expectedPath, await goldenOutcome(fixture))

// --- internal ---

function accept(path: string, text: string): void {
  const before = existsSync(path) ? readFileSync(path, 'utf8') : undefined
  if (before === text) return
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  process.stdout.write(`${before === undefined ? 'wrote' : 'changed'} ${relative(process.cwd(), path)}\n`)
}
