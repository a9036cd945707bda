/** Files of a backup are told by their bytes alone: whatever they are called, nested, doubled, cut or mixed with others. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import fc from 'fast-check'
import { directoryDigest } from '../../src/store/manifest.ts'
import { lookThrough, type Wanted } from '../../src/tier/broughtBack.ts'
import { segmentsOfHunt } from '../../src/tier/huntAnswer.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coldtrail-brought-'))
after(() => rmSync(scratch, { recursive: true, force: true }))
let count = 0
const folder = (): string => {
  const path = join(scratch, String(++count))
  mkdirSync(path)
  return path
}
const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const wantedMeta = (segment: number, bytes: Uint8Array): Wanted => ({
  ...{ kind: 'meta', name: `meta-00000000${segment}.parquet`, size: bytes.length, sha256: sha(bytes) },
})
const indexOf = (parts: Readonly<Record<string, Uint8Array>>) =>
  directoryDigest(Object.entries(parts).map(([name, bytes]) => ({ name, size: bytes.length, sha256: sha(bytes) })))

suite('files brought back', () => {
  test('exactly what has the bytes is found, whatever the names say', async () => {
    const content = fc.uint8Array({ minLength: 1, maxLength: 20 })
    const name = fc.stringMatching(/^[a-z0-9 ]{1,8}$/).filter((text) => text.trim() === text)
    const file = fc.record({
      content,
      fate: fc.constantFrom('whole', 'whole', 'flipped', 'cut', 'absent'),
      path: fc.array(name, { minLength: 1, maxLength: 3 }),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(file, { maxLength: 6, selector: ({ content }) => sha(content) }),
        async (files) => {
          const at = folder()
          const wanted = files.map(({ content }, i) => wantedMeta(i, content))
          const there = new Set<string>()
          files.forEach(({ content, fate, path }, i) => {
            if (fate === 'absent') return
            const bytes = Buffer.from(content)
            if (fate === 'flipped') bytes[0]! ^= 255
            const written = fate === 'cut' ? bytes.subarray(0, -1) : bytes
            // Of two files one may bear the name of the other.
            const parent = join(at, `${i}`, ...path.slice(0, -1))
            mkdirSync(parent, { recursive: true })
            writeFileSync(
              join(parent, i % 2 ? path.at(-1)! : `meta-00000000${(i + 1) % files.length}.parquet`),
              written,
            )
            there.add(sha(written))
          })
          const { found, damaged, foreign, others, files: looked } = await lookThrough(at, wanted)
          assert.deepEqual(
            [...found.keys()].sort(),
            wanted.filter(({ sha256 }) => there.has(sha256)).map(({ name }) => name),
          )
          assert.equal(found.size + damaged.length + foreign.length + others, looked)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('an index is known by its two files, together or with the copy of the history', async () => {
    const [values, keyset] = [Buffer.from('values of the index'), Buffer.from('keys')]
    const digest = indexOf({ 'values.parquet': values, 'keyset.ks': keyset })
    const index = { kind: 'index', name: 'index-000000007', ...digest } as const
    const at = folder()
    mkdirSync(join(at, 'a', 'b'), { recursive: true })
    writeFileSync(join(at, 'a', 'b', 'one'), keyset)
    writeFileSync(join(at, 'a', 'b', 'two'), values)
    const together = await lookThrough(at, [index])
    assert.deepEqual([...(together.found.get(index.name) as ReadonlyMap<string, string>)].sort(), [
      ['keyset.ks', join(at, 'a', 'b', 'one')],
      ['values.parquet', join(at, 'a', 'b', 'two')],
    ])
    const copy = join(scratch, 'keyset-000000007.ks')
    writeFileSync(copy, keyset)
    rmSync(join(at, 'a', 'b', 'one'))
    const known = { ...index, keyset: { path: copy, size: keyset.length, sha256: sha(keyset) } }
    const { found, foreign } = await lookThrough(at, [known])
    assert.deepEqual(
      [...(found.get(index.name) as ReadonlyMap<string, string>).values()],
      [join(at, 'a', 'b', 'two'), copy],
    )
    assert.deepEqual(foreign, [])
    const alone = {
      kind: 'index',
      name: 'index-000000008',
      ...indexOf({ 'values.parquet': values }),
      keyset: null,
    } as const
    assert.equal((await lookThrough(at, [alone])).found.size, 1)
    // The right values beside other keys are no index.
    const other = { ...known, keyset: { ...known.keyset, sha256: '0'.repeat(64) } }
    assert.equal((await lookThrough(at, [other])).found.size, 0)
  })

  test('says what is damaged, foreign, ours and not asked for; follows no link', async () => {
    const at = folder()
    const bytes = Buffer.alloc(5_000, 'x')
    const wanted = [wantedMeta(1, bytes), wantedMeta(2, Buffer.from('second'))]
    writeFileSync(join(at, 'renamed'), Buffer.alloc(5_000, 'y'))
    writeFileSync(join(at, 'meta-000000002.parquet'), 'sec')
    writeFileSync(join(at, 'old'), 'an older file')
    writeFileSync(join(at, 'photo.jpg'), 'holiday')
    symlinkSync('/etc', join(at, 'etc'))
    symlinkSync(at, join(at, 'loop'))
    const known = new Map([['an older file'.length, new Set([sha(Buffer.from('an older file'))])]])
    const { found, damaged, foreign, others, files } = await lookThrough(at, wanted, { known })
    assert.deepEqual([found.size, others, files], [0, 1, 4])
    assert.deepEqual(
      damaged.map(({ name, reason }) => [name, reason]),
      [
        ['meta-000000002.parquet', 'it has 3 bytes instead of 6'],
        ['meta-000000001.parquet', 'it has the size of that file and another SHA-256'],
      ],
    )
    assert.deepEqual(
      foreign.map(({ path }) => path),
      [join(at, 'photo.jpg')],
    )
    await assert.rejects(lookThrough(join(at, 'photo.jpg'), wanted), { code: 'E_RESTORE_REQUEST' })
  })
})

test('the segments of a hunt are read from one document or from lines, and nothing else passes for one', () => {
  const answers = [
    { value: 'a', verdict: 'possible', segments: [3, 1] },
    { value: 'b', verdict: 'absent', segments: [] },
    { value: 'c', segments: [{ segment: 7, tier: 'cold', label: 'tape 1' }, { segment: 3 }] },
  ]
  assert.deepEqual(segmentsOfHunt(JSON.stringify({ answers }), 'x'), [1, 3, 7])
  assert.deepEqual(segmentsOfHunt(answers.map((one) => JSON.stringify(one)).join('\n'), 'x'), [1, 3, 7])
  const refused = { code: 'E_RESTORE_REQUEST' }
  for (const text of [
    '',
    '{}',
    '[1,2]',
    'no json',
    '{"segments":[1.5]}',
    '{"segments":["1"]}',
    '{"segments":[-1]}',
    '{"a":1}\n{',
  ])
    assert.throws(() => segmentsOfHunt(text, 'x'), refused, text)
  fc.assert(
    fc.property(fc.json(), (text) => {
      try {
        for (const number of segmentsOfHunt(text, 'x')) assert.ok(Number.isSafeInteger(number) && number >= 0)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'E_RESTORE_REQUEST')
      }
    }),
  )
})
