import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Library } from '../../../src/library/library.ts'
import type { BundleManifest } from '../../../src/sync/bundle/manifest.ts'
import { admit, appliedSeq, forgetApplied, recordApplied, streamOf } from '../../../src/sync/import/admission.ts'
import { DIALECTS, withFreshLibrary } from '../../support/freshLibrary.ts'

const digestOf = (seq: number, branch = 'a'): string => `${branch}${seq}`.padEnd(64, '0')

/** What admission looks at; `branch`: of a source that went back and numbered anew. */
function bundle(seq: number, more: Partial<BundleManifest> = {}, branch = 'a') {
  const base = more.base_seq ?? 0
  const covered = Array.from({ length: seq - 1 }, (_, i) => i + 1).map((n) => ({
    seq: n,
    name: `tqSync-26-11-2${n}-${n}-1`,
    manifest_sha256: digestOf(n, branch),
  }))
  const manifest = {
    bundle: `tqSync-26-11-2${seq}-${seq}-1`,
    site: 'low',
    audience: null,
    kind: base > 0 ? 'delta' : 'full',
    seq,
    prev_sha256: seq > 1 ? digestOf(seq - 1, branch) : null,
    base_seq: base,
    covered,
    config_sha256: 'c'.repeat(64),
    expires: null,
    ...more,
  } as unknown as BundleManifest
  return { manifest, manifestSha256: digestOf(seq, branch) }
}

type Some = ReturnType<typeof bundle>

const apply = (library: Library, one: Some, run = `run-${one.manifest.seq}`) =>
  library.database.write((tx) => recordApplied(tx, one, run))

const refused = (library: Library, one: Some, code: string, pattern = /./, now?: number) =>
  assert.rejects(admit(library, one, 'high', now), (error: { code: string; message: string }) => {
    assert.equal(error.code, code)
    assert.match(error.message, pattern)
    return true
  })

for (const dialect of DIALECTS) {
  describe(dialect, () => {
    test('S4, L11: rollback, gap, wrong audience and freeze are refused by name; the ledger answers a replay', () =>
      withFreshLibrary(dialect, async (library) => {
        await refused(library, bundle(1, { audience: 'other' }), 'E_BUNDLE_AUDIENCE', /other.*high/)
        assert.equal((await admit(library, bundle(1, { audience: 'high' }), 'high')).known, undefined)
        const expires = '2026-01-01T00:00:00.000Z'
        await refused(library, bundle(1, { expires }), 'E_BUNDLE_EXPIRED', /2026-01-01/, Date.parse(expires) + 1)
        await refused(
          library,
          bundle(3, { base_seq: 2 }),
          'E_BUNDLE_GAP',
          /tqSync-26-11-21-1-1\.tar\.gz, tqSync-26-11-22-2-1/,
        )

        await apply(library, bundle(1))
        assert.equal((await admit(library, bundle(1), 'high')).known?.run, 'run-1')
        await apply(library, bundle(2, { base_seq: 1 }))
        await refused(library, bundle(1, {}, 'b'), 'E_BUNDLE_OLD', /number 1 .* number 2 is applied/)
        await refused(
          library,
          bundle(5, { base_seq: 4 }),
          'E_BUNDLE_GAP',
          /Missing: tqSync-26-11-23-3-1.tar.gz, tqSync-26-11-24-4-1.tar.gz/,
        )
        assert.equal(await appliedSeq(library, streamOf(bundle(1).manifest)), 2)
      }))

    test('L13: a lost bundle that a later one covers is named and made up for', () =>
      withFreshLibrary(dialect, async (library) => {
        await apply(library, bundle(1))
        const { skipped, known } = await admit(library, bundle(4, { base_seq: 1 }), 'high')
        assert.equal(known, undefined)
        assert.deepEqual(
          skipped.map(({ seq }) => seq),
          [2, 3],
        )
      }))

    test('a source that went back and numbered anew is refused as a delta, and taken as a full bundle', () =>
      withFreshLibrary(dialect, async (library) => {
        await apply(library, bundle(1))
        await apply(library, bundle(2, { base_seq: 1 }))
        await refused(library, bundle(3, { base_seq: 2 }, 'b'), 'E_BUNDLE_GAP', /another/)
        assert.equal((await admit(library, bundle(3, {}, 'b'), 'high')).known, undefined)
      }))

    test('streams are apart by site, audience and configuration; a window has no place in one', () =>
      withFreshLibrary(dialect, async (library) => {
        await apply(library, bundle(3))
        for (const other of [{ site: 'third' }, { audience: 'high' }, { config_sha256: 'd'.repeat(64) }])
          assert.equal((await admit(library, bundle(1, other, 'x'), 'high')).applied, 0)
        const window = bundle(2, { kind: 'window' }, 'w')
        await admit(library, window, 'high')
        await apply(library, window)
        assert.ok((await admit(library, window, 'high')).known)
        assert.equal(await appliedSeq(library, streamOf(window.manifest)), 3)
      }))

    test('a bundle whose run was undone can be imported again, and so can those after it', () =>
      withFreshLibrary(dialect, async (library) => {
        for (const seq of [1, 2, 3]) await apply(library, bundle(seq, { base_seq: seq - 1 }))
        const forgotten = await library.database.write((tx) => forgetApplied(tx, 'run-2'))
        assert.deepEqual(
          forgotten?.later.map(({ seq }) => seq),
          [3],
        )
        assert.equal(await appliedSeq(library, streamOf(bundle(1).manifest)), 1)
        assert.ok((await admit(library, bundle(1), 'high')).known)
        await refused(library, bundle(3, { base_seq: 2 }), 'E_BUNDLE_GAP')
        assert.equal((await admit(library, bundle(2, { base_seq: 1 }), 'high')).known, undefined)
        await apply(library, bundle(2, { base_seq: 1 }), 'again')
        assert.equal((await admit(library, bundle(3, { base_seq: 2 }), 'high')).known, undefined)
        assert.equal(await library.database.write((tx) => forgetApplied(tx, 'nobody')), undefined)
      }))
  })
}
