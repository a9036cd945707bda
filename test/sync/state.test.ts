/** L15: "identical as of N", or the keys that differ; and what is no such file is refused. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { Library } from '../../src/library/library.ts'
import { compareState, stateKeyLines } from '../../src/sync/state.ts'
import { DIALECTS, withFreshLibrary } from '../support/freshLibrary.ts'
import { putRows } from '../support/libraryRows.ts'

const fill = (library: Library, values: readonly (readonly [string, string | null])[]) =>
  putRows(library, async (put) => {
    for (const [value, description] of values) await put('indicators', { type_id: 'String', value, description })
  })

async function keysOf(library: Library): Promise<string> {
  const lines: string[] = []
  for await (const line of stateKeyLines(library, 'low')) lines.push(line)
  const path = join(library.dataDir, 'keys.state')
  writeFileSync(path, `${lines.join('\n')}\n`)
  return path
}

async function differencesOf(library: Library, path: string) {
  const { identical, differences } = await compareState(library, path)
  const found = []
  for await (const { table, where, name } of differences) found.push(`${table} ${where} ${name ?? ''}`.trim())
  return { identical, found: found.sort() }
}

for (const dialect of DIALECTS)
  describe(`state of ${dialect}`, () => {
    test('two libraries of other databases and ids are identical, or differ by named keys', async () => {
      await withFreshLibrary(dialect, (here) =>
        withFreshLibrary(
          'sqlite',
          async (there) => {
            const same = [
              ['a', null],
              ['b', 'text'],
            ] as const
            await fill(here, same)
            await fill(there, same.toReversed())
            assert.deepEqual(await differencesOf(here, await keysOf(there)), { identical: true, found: [] })
            await fill(here, [
              ['only here', null],
              ['both', 'one'],
            ])
            await fill(there, [
              ['only there', null],
              ['both', 'other'],
            ])
            assert.deepEqual(await differencesOf(here, await keysOf(there)), {
              identical: false,
              found: ['indicators different both', 'indicators only here only here', 'indicators only there'],
            })
          },
          { seedOrder: 'reversed' },
        ),
      )
    })

    test('a file that is none, is cut or out of order is refused with its line', async () => {
      await withFreshLibrary(dialect, async (library) => {
        await fill(library, [['a', null]])
        const lines: string[] = []
        for await (const line of stateKeyLines(library, 'low')) lines.push(line)
        await fill(library, [['b', null]])
        const other = [lines[0]!.replace(/"digest":"./, '"digest":"x'), ...lines.slice(1)]
        const path = join(library.dataDir, 'bad.state')
        for (const [text, line] of [
          ['', 1],
          ['no json\n', 1],
          ['{}\n', 1],
          [lines[0]!.replace('"format":1', '"format":2'), 1],
          [[...other.slice(0, 3), 'a line', ...other.slice(3)].join('\n'), 4],
          [[...other.slice(0, 2), ...other.slice(1)].join('\n'), 3],
          [[...other, 'x'.repeat(2_000_000)].join('\n'), undefined],
        ] as const) {
          writeFileSync(path, text)
          await assert.rejects(differencesOf(library, path), (error: { code: string; values: { line: number } }) => {
            assert.equal(error.code, 'E_STATE_FILE')
            if (line !== undefined) assert.equal(error.values.line, line)
            return true
          })
        }
        await assert.rejects(differencesOf(library, join(library.dataDir, 'missing')), { code: 'E_STATE_FILE' })
      })
    })
  })
