/** The catalog's contract, the same on SQLite and PostgreSQL. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import pg from 'pg'
import { ColdtrailError } from '../../src/core/errors.ts'
import type { SourceObject } from '../../src/core/sourceObject.ts'
import { FAULT_POINTS } from '../../src/platform/faults.ts'
import { type Catalog, type CatalogOptions, openCatalog, rebuildCatalog } from '../../src/store/catalog.ts'
import { readQuarantine } from '../../src/store/quarantine.ts'
import type { SealedSegment } from '../../src/store/segment.ts'
import { collectObjects, fakeObject, fakeSegment, sealObjects, sessionOf } from '../support/fakeSegment.ts'
import { freshCatalog, withFreshCatalog } from '../support/freshCatalog.ts'
import { backToVersion } from '../support/olderCatalog.ts'
import { locksFreed, postgresUrl } from '../support/postgres.ts'

const directories: string[] = []
const children: ChildProcess[] = []
after(() => {
  for (const child of children) child.kill('SIGKILL')
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

const code = (expected: string) => (error: unknown) => error instanceof ColdtrailError && error.code === expected

for (const dialect of ['sqlite', 'postgres'] as const)
  describe(`catalog on ${dialect}`, () => {
    const fresh = () => freshCatalog(dialect, directories)
    const withCatalog = (action: (catalog: Catalog, options: CatalogOptions) => Promise<void>) =>
      withFreshCatalog(dialect, directories, action)

    function collectProcess(options: CatalogOptions, mode: string, names: string[], fault?: string): ChildProcess {
      const script = join(import.meta.dirname, '../support/collectProcess.ts')
      const child = spawn(
        process.execPath,
        [script, options.dataDir, options.url ?? '', options.schema!, mode, ...names],
        {
          stdio: ['ignore', 'pipe', 'inherit'],
          env: { ...process.env, ...(fault ? { COLDTRAIL_FAULT: fault } : {}) },
        },
      )
      children.push(child)
      return child
    }

    const ended = (child: ChildProcess) =>
      new Promise<NodeJS.Signals | number | null>((resolve) =>
        child.once('exit', (status, signal) => resolve(signal ?? status)),
      )

    test('a committed object is known, on reopening too', async () => {
      const options = await fresh()
      let catalog = await openCatalog(options)
      const owner = await catalog.owner('collect')
      const objects = [fakeObject('a'), fakeObject('b')]
      const result = await collectObjects(catalog, owner, objects)
      assert.deepEqual([result?.sequence, result?.superseded], [1, 0])
      assert.equal(await collectObjects(catalog, owner, objects), undefined)
      await catalog.close()
      catalog = await openCatalog(options)
      const again = await catalog.claim(await catalog.owner('collect'), objects)
      assert.deepEqual(
        again.map(({ verdict }) => verdict),
        ['known', 'known'],
      )
      const [segment] = await catalog.segments()
      assert.equal(segment?.sequence, 1)
      assert.deepEqual(
        segment?.files,
        [...result!.segment.files]
          .sort((a, b) => (a.name < b.name ? -1 : 1))
          .map((file) => ({ ...file, tier: 'hot', directory: segment?.directory, deleted: false })),
      )
      assert.equal(segment?.directory, catalog.collectionDirectory('main'))
      assert.equal(await catalog.head('main'), 1)
      assert.deepEqual((await catalog.verifyChain())[0]?.faults, [])
      await catalog.close()
    })

    test('a segment with times of the years 1 and 9999 is read again as it was', () =>
      withCatalog(async (catalog) => {
        const owner = await catalog.owner('collect')
        const object = fakeObject('a')
        await catalog.claim(owner, [object])
        const [time1, time2] = [Date.UTC(9999, 11, 31, 23, 59, 59) * -1000, Date.UTC(9999, 11, 31, 23, 59, 59) * 1000]
        const segment = { ...(await sealObjects(catalog, owner, [object])), time1, time2 }
        await catalog.commitSeal(owner, segment, [object])
        const [found] = await catalog.segments()
        assert.deepEqual([found?.time1, found?.time2], [time1, time2])
      }))

    test('verdicts: claimed, busy, known, quarantined, and what giving back does', () =>
      withCatalog(async (catalog) => {
        const one = await catalog.owner('collect')
        const two = await catalog.owner('collect')
        const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => fakeObject(name)) as [
          SourceObject,
          SourceObject,
          SourceObject,
          SourceObject,
        ]
        const verdicts = async (owner = two, retry = false) =>
          (await catalog.claim(owner, [a, b, c, d], { retry })).map(({ verdict }) => verdict)
        assert.deepEqual(
          (await catalog.claim(one, [a, a])).map(({ verdict }) => verdict),
          ['claimed', 'busy'],
        )
        assert.deepEqual(await verdicts(one), ['busy', 'claimed', 'claimed', 'claimed'])
        assert.deepEqual(await verdicts(), ['busy', 'busy', 'busy', 'busy'])
        await catalog.giveBack(one, a, { state: 'pending', code: 'E_X', reason: 'reset', collection: 'main' })
        await catalog.giveBack(one, b, { state: 'quarantined', code: 'E_Y', reason: 'bomb', collection: 'main' })
        await catalog.giveBack(one, c, { state: 'free' })
        await catalog.markSkipped(one, d, 'digest')
        const pending = await catalog.pending()
        assert.deepEqual(
          pending.map(({ key, state, attempts, code, reason }) => ({ key, state, attempts, code, reason })),
          [
            { key: a.key, state: 'pending', attempts: 1, code: 'E_X', reason: 'reset' },
            { key: b.key, state: 'quarantined', attempts: 1, code: 'E_Y', reason: 'bomb' },
          ],
        )
        assert.deepEqual(await verdicts(), ['claimed', 'quarantined', 'claimed', 'known'])
        await catalog.giveBack(two, a, { state: 'free' })
        assert.equal((await catalog.pending()).length, 2, 'a freed claim that had failed before is pending as before')
        const retried = await catalog.claim(two, [b], { retry: true })
        assert.deepEqual([retried[0]?.verdict, retried[0]?.attempts], ['claimed', 1])
        // What is not one's own is not given back.
        await catalog.giveBack(one, b, { state: 'free' })
        assert.deepEqual(
          (await catalog.claim(one, [b])).map(({ verdict }) => verdict),
          ['busy'],
        )
      }))

    test('two owners that claim the same objects at once share them without overlap', async () => {
      const options = await fresh()
      const catalogs = [await openCatalog(options), await openCatalog(options)]
      const objects = Array.from({ length: 300 }, (_, i) => fakeObject(`o${i}`))
      const answers = await Promise.all(
        catalogs.map(async (catalog, i) => {
          const owner = await catalog.owner('collect')
          const order = i === 0 ? objects : [...objects].reverse()
          const claimed: SourceObject[] = []
          for (let at = 0; at < order.length; at += 50)
            for (const { object, verdict } of await catalog.claim(owner, order.slice(at, at + 50)))
              if (verdict === 'claimed') claimed.push(object)
          if (claimed.length) {
            const segment = await sealObjects(catalog, owner, claimed)
            await catalog.commitSeal(owner, segment, claimed)
          }
          return claimed.map(({ key }) => key)
        }),
      )
      assert.deepEqual(answers.flat().sort(), objects.map(({ key }) => key).sort())
      const sequences = (await catalogs[0]!.segments()).map(({ sequence }) => sequence).sort()
      assert.deepEqual(
        sequences,
        sequences.map((_, i) => i + 1),
      )
      assert.deepEqual((await catalogs[1]!.verifyChain())[0]?.faults, [])
      for (const catalog of catalogs) await catalog.close()
    })

    test('the death of an owner frees its claims at once, and not before', () =>
      withCatalog(async (catalog, options) => {
        const child = collectProcess(options, 'hold', ['a', 'b'])
        const answer = await new Promise<string>((resolve) =>
          child.stdout!.once('data', (data) => resolve(String(data))),
        )
        assert.equal(answer.trim(), 'claimed claimed')
        const owner = await catalog.owner('collect')
        const objects = [fakeObject('a'), fakeObject('b'), fakeObject('c')]
        const verdicts = async () => (await catalog.claim(owner, objects)).map(({ verdict }) => verdict)
        assert.deepEqual(await verdicts(), ['busy', 'busy', 'claimed'])
        child.kill('SIGKILL')
        await ended(child)
        await until(async () => (await verdicts())[0] !== 'busy')
        assert.deepEqual(await verdicts(), ['busy', 'busy', 'busy'], 'now they are its own')
      }))

    test('a commit whose claims or epoch are not its own any more is refused whole', async () => {
      const options = await fresh()
      const [mine, other] = [await openCatalog(options), await openCatalog(options)]
      const owner = await mine.owner('collect')
      const objects = [fakeObject('a'), fakeObject('b')]
      await mine.claim(owner, objects)
      await mine.giveBack(owner, objects[1]!, { state: 'free' })
      const segment = await sealObjects(mine, owner, objects)
      await assert.rejects(mine.commitSeal(owner, segment, objects), code('E_CLAIM_LOST'))
      assert.deepEqual([await mine.segments(), await mine.head('main')], [[], 0])
      const stranger = await other.owner('collect')
      await assert.rejects(other.commitSeal({ ...owner }, segment, objects), code('E_CLAIM_LOST'))
      // The claim that remains is still its own, but the segment's number is not the stranger's.
      await other.claim(stranger, [objects[1]!])
      const foreign = fakeSegment(other, segment.segment, [sessionOf(objects[1]!, 5, segment.segment)], 1)
      await assert.rejects(other.commitSeal(stranger, foreign, [objects[1]!]), code('E_CLAIM_LOST'))
      await owner.release()
      await assert.rejects(mine.commitSeal(owner, segment, objects), code('E_CLAIM_LOST'))
      await assert.rejects(mine.draw(owner, 'segment', 1), code('E_CLAIM_LOST'))
      for (const catalog of [mine, other]) await catalog.close()
    })

    test('killed at every step of a commit: after the next run every object is there exactly once', async () => {
      const names = ['a', 'b', 'c']
      for (const fault of FAULT_POINTS.filter((name) => /^(claim|commit|history)\.|^file\.renamed/.test(name))) {
        const options = await fresh()
        const died = await ended(collectProcess(options, 'commit', names, fault))
        assert.equal(died, 'SIGKILL', fault)
        // A key that the process was making is a file too; whatever it died of, the next one goes on.
        const catalog = await openCatalog(options)
        await catalog.repairDerived()
        const owner = await catalog.owner('collect')
        await until(async () => {
          await collectObjects(
            catalog,
            owner,
            [...names, 'd'].map((name) => fakeObject(name)),
          )
          const claims = await catalog.claim(
            owner,
            names.map((name) => fakeObject(name)),
          )
          return claims.every(({ verdict }) => verdict === 'known')
        })
        const segments = await catalog.segments()
        assert.equal(
          segments.reduce((sum, { rows }) => sum + rows, 0),
          4,
          fault,
        )
        assert.deepEqual((await catalog.verifyChain())[0]?.faults, [], fault)
        const history = [...catalog.manifests()].map(({ manifest }) => manifest.filename).sort()
        assert.deepEqual(history, segments.flatMap(({ files }) => files.map(({ name }) => name)).sort(), fault)
        await catalog.sweep()
        const kept = readdirSync(catalog.collectionDirectory('main')).filter((name) => !name.endsWith('.manifest'))
        assert.deepEqual(kept.sort(), history, `${fault}: orphans are gone, committed files are not`)
        await catalog.close()
      }
    })

    test('a replaced object is a new session, and the old one is superseded', () =>
      withCatalog(async (catalog) => {
        const owner = await catalog.owner('collect')
        await collectObjects(catalog, owner, [fakeObject('a', 'v1', 1000), fakeObject('b')])
        const [claim] = await catalog.claim(owner, [fakeObject('a', 'v2', 2000)])
        assert.deepEqual([claim?.verdict, claim?.replaces], ['claimed', true])
        await catalog.giveBack(owner, claim!.object, { state: 'free' })
        const second = await collectObjects(catalog, owner, [fakeObject('a', 'v2', 2000)])
        assert.equal(second?.superseded, 1)
        const first = (await catalog.segments())[0]!
        assert.deepEqual(first.superseded, [first.session1])
        // A version that is older than what is there supersedes nothing; it is superseded itself.
        const third = await collectObjects(catalog, owner, [fakeObject('a', 'v0', 500)])
        assert.equal(third?.superseded, 1)
        assert.deepEqual(
          (await catalog.segments()).map(({ superseded }) => superseded.length),
          [1, 0, 1],
        )
        // The same in closed days, where only the history knows the sessions.
        await catalog.closeLedgerDays(-1)
        assert.equal((await collectObjects(catalog, owner, [fakeObject('b', 'v2', 2e15)]))?.superseded, 1)
        assert.deepEqual(
          (await catalog.segments()).map(({ superseded }) => superseded.length),
          [2, 0, 1, 0],
        )
        assert.equal((await collectObjects(catalog, owner, [fakeObject('a', 'v3', 3000)]))?.superseded, 1)
        assert.deepEqual(
          (await catalog.segments()).map(({ superseded }) => superseded.length),
          [2, 1, 1, 0, 0],
        )
      }))

    test('local files: the stat is known without reading, the content without a new session', () =>
      withCatalog(async (catalog) => {
        const owner = await catalog.owner('collect')
        const file = (version: string): SourceObject => ({
          ...fakeObject('f', version),
          source: 'file:///logs',
          key: 'f.log',
        })
        const commit = async (version: string, sha256: string) => {
          const number = await catalog.draw(owner, 'segment', 1)
          const session = await catalog.draw(owner, 'session', 10)
          const segment = fakeSegment(
            catalog,
            number,
            [sessionOf(file(version), session, number, `sha256:${sha256}`)],
            number,
          )
          return catalog.commitSeal(owner, segment, [file(version)])
        }
        const verdict = async (version: string) => (await catalog.claim(owner, [file(version)]))[0]!
        const [one, two] = ['11'.repeat(32), '22'.repeat(32)]
        assert.equal((await verdict('10:1')).verdict, 'claimed')
        assert.equal(await catalog.sameContent(owner, file('10:1'), one), false)
        await commit('10:1', one)
        assert.equal((await verdict('10:1')).verdict, 'known')
        assert.deepEqual(await verdict('10:2'), {
          object: file('10:2'),
          verdict: 'claimed',
          attempts: 0,
          replaces: true,
        })
        assert.equal(await catalog.sameContent(owner, file('10:2'), one), true)
        assert.equal((await verdict('10:2')).verdict, 'known')
        await verdict('12:3')
        assert.equal(await catalog.sameContent(owner, file('12:3'), two), false)
        await commit('12:3', two)
        await catalog.closeLedgerDays(-1)
        assert.equal((await verdict('12:3')).verdict, 'known')
        await verdict('10:4')
        assert.equal(await catalog.sameContent(owner, file('10:4'), one), true)
        await verdict('10:5')
        await assert.rejects(commit('10:5', one), code('E_CLAIM_LOST'))
        assert.equal((await catalog.segments()).length, 2)
      }))

    test('compaction retires what it replaces; files go when no earlier reader lives', () =>
      withCatalog(async (catalog) => {
        const owner = await catalog.owner('collect')
        // A collector draws several segment numbers at once.
        const first = await catalog.draw(owner, 'segment', 10)
        const parts: SealedSegment[] = []
        for (const objects of [[fakeObject('a', 'v1', 1000)], [fakeObject('b'), fakeObject('a', 'v2', 2000)]]) {
          await catalog.claim(owner, objects)
          const number = first + parts.length
          const session = await catalog.draw(owner, 'session', 10)
          const sessions = objects.map((object, i) => sessionOf(object, session + i, number))
          parts.push(fakeSegment(catalog, number, sessions, session))
          await catalog.commitSeal(owner, parts.at(-1)!, objects)
        }
        const early = await catalog.registerReader()
        const number = await catalog.draw(owner, 'segment', 1)
        const merged = fakeSegment(
          catalog,
          number,
          parts.flatMap(({ sessions }) => sessions),
          parts[0]!.id1!,
        )
        const replaced = parts.map(({ segment }) => segment)
        assert.deepEqual(await catalog.commitReplace(owner, merged, replaced), { sequence: 3 })
        await assert.rejects(catalog.commitReplace(owner, merged, replaced), code('E_CLAIM_LOST'))
        const late = await catalog.registerReader()
        assert.deepEqual(
          (await catalog.segments({ state: 'live' })).map(({ segment }) => segment),
          [number],
        )
        assert.deepEqual((await catalog.segments({ state: 'live' }))[0]?.superseded, [parts[0]!.session1])
        assert.deepEqual((await catalog.sweep({ graceMs: 0 })).unlinked, [], 'an earlier reader may still read them')
        await early.release()
        assert.deepEqual((await catalog.sweep({ graceMs: 60_000 })).unlinked, [], 'the grace time is not over')
        assert.deepEqual((await catalog.sweep({ graceMs: 0 })).unlinked, replaced)
        await late.release()
        const retired = await catalog.segments({ state: 'retired' })
        assert.deepEqual(
          retired.map(({ files }) => files.map(({ kind }) => kind)),
          [['log'], ['log']],
          'packs are still in use',
        )
        const names = readdirSync(catalog.collectionDirectory('main')).filter((name) =>
          /^(meta|log)-\d+\.[a-z]+$/.test(name),
        )
        assert.deepEqual(names.sort(), [
          'log-000000001.pack',
          'log-000000002.pack',
          'log-000000011.pack',
          'meta-000000011.parquet',
        ])
        const history = [...catalog.manifests({ replaced: true })].filter(({ manifest }) => manifest.kind === 'meta')
        assert.deepEqual(
          history.map(({ replaced }) => replaced),
          [true, true, false],
        )
        assert.equal(catalog.manifestQuery().length, 4)
        assert.equal((await collectObjects(catalog, owner, [fakeObject('b', 'v2', 2e15)]))?.superseded, 1)
        assert.deepEqual((await catalog.segments({ state: 'live' }))[0]?.superseded, [
          parts[0]!.session1,
          parts[1]!.session1,
        ])
        assert.deepEqual((await catalog.verifyChain())[0]?.faults, [])
        // Without packs nothing of a replaced segment stays but its history.
        const object = fakeObject('c')
        await catalog.claim(owner, [object])
        const sessions = [{ ...sessionOf(object, await catalog.draw(owner, 'session', 10), 0), pack_segment: null }]
        await catalog.commitSeal(owner, fakeSegment(catalog, first + 2, sessions, 900), [object])
        await catalog.commitReplace(owner, fakeSegment(catalog, first + 3, sessions, 900), [first + 2])
        assert.deepEqual((await catalog.sweep({ graceMs: 0 })).unlinked, [first + 2])
        assert.ok((await catalog.segments()).every(({ segment }) => segment !== first + 2))
        await owner.release()
        assert.deepEqual((await catalog.sweep()).orphans, [])
        assert.deepEqual(await catalog.verifyHistory(), [], 'the end of its owner takes nothing of a replaced segment')
      }))

    test('readers share a lock, and none shares one from before a replacement', { timeout: 60_000 }, () =>
      withCatalog(async (catalog, options) => {
        const owner = await catalog.owner('collect')
        const other = await openCatalog(options)
        const sweep = async () => (await other.sweep({ graceMs: 0 })).unlinked
        const first = await catalog.draw(owner, 'segment', 10)
        const object = fakeObject('a')
        await catalog.claim(owner, [object])
        const sessions = [{ ...sessionOf(object, await catalog.draw(owner, 'session', 10), 0), pack_segment: null }]
        await catalog.commitSeal(owner, fakeSegment(catalog, first, sessions, 900), [object])
        const replace = (by: number) => catalog.commitReplace(owner, fakeSegment(catalog, by, sessions, 900), [by - 1])

        await (await catalog.registerReader()).release()
        // Under the lock that the one before has left.
        const [reader, second] = await Promise.all([catalog.registerReader(), catalog.registerReader()])
        await replace(first + 1)
        await reader.release()
        await reader.release()
        const late = await catalog.registerReader()
        assert.deepEqual(await sweep(), [], 'the second one may still read what was replaced')
        await second.release()
        assert.deepEqual(await sweep(), [first], 'the late one came after the replacement')
        await replace(first + 2)
        assert.deepEqual(await sweep(), [])
        await late.release()
        // An idle process gives its lock up by itself.
        let unlinked: readonly number[] = []
        while (unlinked.length === 0) {
          await new Promise((resolve) => setTimeout(resolve, 50))
          unlinked = await sweep()
        }
        assert.deepEqual(unlinked, [first + 1])
        await (await catalog.registerReader()).release()
        await replace(first + 3)
        assert.deepEqual((await catalog.sweep({ graceMs: 0 })).unlinked, [first + 2], 'or when it sweeps')
        await other.close()
        await owner.release()
      }),
    )

    test('a sweep removes nothing of a living owner', () =>
      withCatalog(async (catalog, options) => {
        const owner = await catalog.owner('collect')
        const object = fakeObject('a')
        await catalog.claim(owner, [object])
        const segment = await sealObjects(catalog, owner, [object])
        const other = await openCatalog(options)
        assert.deepEqual(await other.sweep(), { orphans: [], unlinked: [] })
        await other.close()
        await catalog.commitSeal(owner, segment, [object])
        await owner.release()
        assert.deepEqual(await catalog.sweep(), { orphans: [], unlinked: [] })
      }))

    test('one holder a name, until it lets go', async () => {
      const options = await fresh()
      const [a, b] = [await openCatalog(options), await openCatalog(options)]
      const held = await a.hold('compact-main')
      assert.equal(await b.hold('compact-main'), undefined)
      assert.equal(await a.hold('compact-main'), undefined)
      assert.ok(await b.hold('compact-other'))
      await held!.release()
      const next = await b.hold('compact-main')
      assert.ok(next)
      await b.close()
      assert.ok(await a.hold('compact-main'))
      await a.close()
    })

    test('every damage of a chain is named', () =>
      withCatalog(async (catalog, options) => {
        const owner = await catalog.owner('collect')
        for (const name of ['a', 'b', 'c', 'd']) await collectObjects(catalog, owner, [fakeObject(name)])
        const chain = join(catalog.manifestDirectory('main'), 'chain')
        const copy = `${options.dataDir}/chain-copy`
        cpSync(chain, copy, { recursive: true })
        const file = (number: number) => join(chain, `00000000${number}.link`)
        const faults = async (damage: () => void): Promise<string[]> => {
          damage()
          const [report] = await catalog.verifyChain('main')
          rmSync(chain, { recursive: true })
          cpSync(copy, chain, { recursive: true })
          return report!.faults.map(({ number, fault }) => `${number} ${fault}`)
        }
        const change = (number: number, from: RegExp, to: string) => () => {
          const before = readFileSync(file(number), 'utf8')
          const after = before.replace(from, to)
          assert.notEqual(after, before)
          writeFileSync(file(number), after)
        }
        assert.deepEqual(await faults(() => {}), [])
        assert.deepEqual(await faults(() => rmSync(file(2))), ['2 missing'])
        assert.deepEqual(await faults(() => rmSync(file(4))), ['4 truncated'])
        assert.deepEqual(await faults(change(2, /"rows":1/, '"rows":2')), ['2 signature', '2 differs', '3 prev'])
        assert.deepEqual(await faults(change(3, /"v":1}/, '"v":9}')), ['3 format', '4 prev'])
        assert.deepEqual(await faults(change(4, /"key":"[0-9a-f]/, '"key":"x')), ['4 unknown-key', '4 differs'])
        assert.deepEqual(await faults(() => cpSync(file(1), file(2))), ['2 format', '2 prev', '2 differs', '3 prev'])
        assert.deepEqual(await faults(() => writeFileSync(file(1), 'not json')), ['1 format', '2 prev'])
        cpSync(file(4), file(5))
        const [report] = await catalog.verifyChain('main')
        assert.deepEqual([report?.faults, report?.aboveHead], [[], [5]], 'a commit that was cut off is no fault')
        await collectObjects(catalog, owner, [fakeObject('e')])
        assert.deepEqual((await catalog.verifyChain('main'))[0]?.faults, [], 'and the next one takes its place')
      }))

    test('damage in the history is named', () =>
      withCatalog(async (catalog) => {
        const owner = await catalog.owner('collect')
        for (const name of ['a', 'b']) await collectObjects(catalog, owner, [fakeObject(name)])
        assert.deepEqual(await catalog.verifyHistory(), [])
        const directory = catalog.manifestDirectory('main')
        const log = readFileSync(join(directory, 'manifests.ndjson'), 'utf8')
        writeFileSync(join(directory, 'manifests.ndjson'), log.replace('"rows":1', '"rows":2'))
        writeFileSync(join(directory, 'keyset-000000001.ks'), 'x')
        rmSync(join(directory, 'session-000000002.ledger'))
        const faults = await catalog.verifyHistory('main')
        assert.deepEqual(
          faults.map(({ file, fault }) => [file, fault]),
          [
            ['manifests.ndjson: index-000000001.manifest', 'missing'],
            ['keyset-000000001.ks', 'damaged'],
            ['session-000000002.ledger', 'missing'],
          ],
        )
        rmSync(join(directory, 'keyset-000000001.ks'))
        mkdirSync(join(directory, 'keyset-000000001.ks'))
        assert.equal((await catalog.verifyHistory('main'))[1]?.fault, 'damaged')
      }))

    test('a lost catalog is refused, and made again from disk with nothing lost or doubled', async () => {
      const options = await fresh()
      let catalog = await openCatalog(options)
      let owner = await catalog.owner('collect')
      const objects = Array.from({ length: 20 }, (_, i) => fakeObject(`o${i}`))
      await collectObjects(catalog, owner, objects.slice(0, 10))
      await collectObjects(catalog, owner, [...objects.slice(10), fakeObject('o1', 'v2', 2e15)])
      const first = (await collectObjects(catalog, owner, [fakeObject('x')]))!.segment
      const second = (await collectObjects(catalog, owner, [fakeObject('y')]))!.segment
      const number = await catalog.draw(owner, 'segment', 1)
      const merged = fakeSegment(catalog, number, [...first.sessions, ...second.sessions], first.id1!)
      await catalog.commitReplace(owner, merged, [first.segment, second.segment])
      await collectObjects(catalog, owner, [fakeObject('w')], 'workbench')
      // Files of a commit that never came.
      const orphan = fakeObject('orphan')
      await catalog.claim(owner, [orphan])
      await sealObjects(catalog, owner, [orphan])
      const before = await catalog.segments()
      const heads = [await catalog.head('main'), await catalog.head('workbench')]
      await assert.rejects(rebuildCatalog(options), code('E_CATALOG_BUSY'))
      await owner.release()
      await catalog.close()

      if (dialect === 'sqlite') {
        for (const name of readdirSync(options.dataDir))
          if (name.startsWith('catalog.db')) rmSync(join(options.dataDir, name))
        await assert.rejects(openCatalog(options), code('E_CATALOG_LOST'))
      }
      const report = await rebuildCatalog(options)
      const counts = { links: 6, segments: 4, sessions: 24, quarantined: 0 }
      assert.deepEqual(report, { collections: ['main', 'workbench'], ...counts, dropped: [] })
      catalog = await openCatalog(options)
      owner = await catalog.owner('collect')
      assert.deepEqual(await catalog.segments(), before)
      assert.deepEqual([await catalog.head('main'), await catalog.head('workbench')], heads)
      assert.equal(before.flatMap(({ superseded }) => superseded).length, 1)
      const known = [...objects, fakeObject('o1', 'v2'), fakeObject('x'), fakeObject('y'), fakeObject('w')]
      const verdicts = (await catalog.claim(owner, [...known, orphan])).map(({ verdict }) => verdict)
      assert.deepEqual(verdicts, [...known.map(() => 'known'), 'claimed'])
      await catalog.giveBack(owner, orphan, { state: 'free' })
      const last = await collectObjects(catalog, owner, [orphan, fakeObject('o1', 'v3', 3e15)])
      assert.equal(last?.sequence, heads[0]! + 1)
      assert.equal(last?.superseded, 1)
      assert.ok(last!.segment.segment > number + 1, 'numbers go on above the orphan')
      assert.ok(before.every(({ id2, session2 }) => last!.segment.id1! > id2! && last!.segment.session1 > session2))
      assert.deepEqual((await catalog.sweep()).orphans.length, 8, 'the orphan files are removed')
      assert.deepEqual(
        (await catalog.verifyChain()).flatMap(({ faults }) => faults),
        [],
      )
      await catalog.close()
    })

    test('a rebuild keeps what is in quarantine with its reason, and not what was tried again or collected since', async () => {
      const options = await fresh()
      let catalog = await openCatalog(options)
      let owner = await catalog.owner('collect')
      const [bad, other, healed, retried, pending] = ['bad', 'other', 'healed', 'retried', 'pending'].map((name) =>
        fakeObject(name),
      ) as [SourceObject, SourceObject, SourceObject, SourceObject, SourceObject]
      const hostile = { ...bad, key: 'k\n{"object":"x"}\u2028' }
      await catalog.claim(owner, [bad, other, healed, retried, pending, hostile])
      const refuse = (object: SourceObject, collection = 'main') =>
        catalog.giveBack(owner, object, { state: 'quarantined', code: 'E_Y', reason: 'bomb "\n', collection })
      for (const object of [bad, healed, retried, hostile]) await refuse(object)
      await refuse(other, 'audit')
      await catalog.giveBack(owner, pending, { state: 'pending', code: 'E_X', reason: 'reset', collection: 'main' })
      await catalog.claim(owner, [healed, retried, bad], { retry: true })
      const segment = await sealObjects(catalog, owner, [healed])
      await catalog.commitSeal(owner, segment, [healed])
      await refuse(bad)
      const before = (await catalog.pending()).filter(({ state }) => state === 'quarantined')
      assert.deepEqual(
        before.map(({ key, attempts }) => [key, attempts]).sort(),
        [
          [bad.key, 2],
          [hostile.key, 1],
          [other.key, 1],
        ].sort(),
      )
      await owner.release()
      await catalog.close()
      // A line that was cut off, and one that was damaged.
      const log = join(options.dataDir, 'history/main/quarantine.ndjson')
      writeFileSync(log, `${readFileSync(log, 'utf8')}{"object":\nnull\n{"obj`)

      assert.equal((await rebuildCatalog(options)).quarantined, 3)
      catalog = await openCatalog(options)
      owner = await catalog.owner('collect')
      const byKey = (objects: readonly { readonly key: string }[]) =>
        [...objects].sort((a, b) => (a.key < b.key ? -1 : 1))
      assert.deepEqual(byKey(await catalog.pending()), byKey(before))
      const verdicts = async (retry = false) =>
        (await catalog.claim(owner, [bad, other, hostile, healed, retried, pending], { retry })).map((c) => c.verdict)
      assert.deepEqual(await verdicts(), [...Array(3).fill('quarantined'), 'known', 'claimed', 'claimed'])
      assert.deepEqual(await verdicts(true), [...Array(3).fill('claimed'), 'known', 'busy', 'busy'])
      await catalog.close()
    })

    test('a failed object that another version replaces is told apart, until it is listed again', () =>
      withCatalog(async (catalog, options) => {
        const owner = await catalog.owner('collect')
        const [old, other] = [fakeObject('a', 'v1'), fakeObject('b')]
        const failed = { state: 'quarantined', code: 'E_Y', reason: 'bomb', collection: 'main' } as const
        await collectObjects(catalog, owner, [fakeObject('a', 'v0')])
        await catalog.claim(owner, [old, other])
        for (const object of [old, other]) await catalog.giveBack(owner, object, failed)
        const replaced = async () => (await catalog.pending()).map(({ key, replaced }) => [key, replaced])
        assert.deepEqual(await replaced(), [
          [old.key, false],
          [other.key, false],
        ])
        await collectObjects(catalog, owner, [fakeObject('a', 'v2')])
        assert.deepEqual(await replaced(), [
          [old.key, true],
          [other.key, false],
        ])
        assert.deepEqual(
          readQuarantine(join(options.dataDir, 'history/main')).map(({ key }) => key),
          [other.key],
        )
        assert.equal((await catalog.claim(owner, [old]))[0]?.verdict, 'quarantined')
        assert.deepEqual((await replaced())[0], [old.key, false])
      }))

    test('a catalog of version 2 is taken as it is, and learns where objects were to go', async () => {
      const options = await fresh()
      let catalog = await openCatalog(options)
      const owner = await catalog.owner('collect')
      const object = fakeObject('a')
      await catalog.claim(owner, [object])
      await catalog.giveBack(owner, object, { state: 'quarantined', code: 'E_Y', reason: 'bomb', collection: 'main' })
      await owner.release()
      await catalog.close()
      await run(options, backToVersion(2).join(';'))
      catalog = await openCatalog(options)
      assert.deepEqual(
        (await catalog.pending()).map(({ key, collection }) => [key, collection]),
        [[object.key, null]],
      )
      const again = await catalog.owner('collect')
      assert.equal((await catalog.claim(again, [object], { retry: true }))[0]?.verdict, 'claimed')
      await catalog.close()
    })

    test('a durable link above the head is adopted by a rebuild when its files exist, else dropped', async () => {
      for (const filesExist of [true, false]) {
        const options = await fresh()
        assert.equal(await ended(collectProcess(options, 'commit', ['a', 'b'], 'commit.link-written')), 'SIGKILL')
        if (!filesExist) rmSync(join(options.dataDir, 'collections'), { recursive: true })
        if (options.url) await locksFreed(options.url)
        const report = await rebuildCatalog(options)
        assert.deepEqual(report.dropped, filesExist ? [] : ['main/000000001.link'])
        const catalog = await openCatalog(options)
        const claims = await catalog.claim(await catalog.owner('collect'), [fakeObject('a')])
        assert.equal(claims[0]?.verdict, filesExist ? 'known' : 'claimed')
        assert.equal((await catalog.segments()).length, filesExist ? 1 : 0)
        assert.equal(catalog.manifestQuery().length, filesExist ? 4 : 0)
        await catalog.close()
      }
    })

    test('a rebuild refuses a chain with a hole', async () => {
      const options = await fresh()
      const catalog = await openCatalog(options)
      const owner = await catalog.owner('collect')
      for (const name of ['a', 'b', 'c']) await collectObjects(catalog, owner, [fakeObject(name)])
      rmSync(join(catalog.manifestDirectory('main'), 'chain/000000002.link'))
      await catalog.close()
      await assert.rejects(rebuildCatalog(options), code('E_CHAIN_FAULT'))
      assert.ok(dialect === 'postgres' || existsSync(join(options.dataDir, 'catalog.db')))
    })

    test('thousands of known keys of many days are known, in open and in closed days', () =>
      withCatalog(async (catalog) => {
        const owner = await catalog.owner('collect')
        const objects = Array.from({ length: 3000 }, (_, i): SourceObject => {
          const key = i % 2 ? `flat/${i}.log` : `AWSLogs/2023/07/${String(1 + (i % 28)).padStart(2, '0')}/${i}.gz`
          return { ...fakeObject('x'), key }
        })
        await catalog.claim(owner, objects)
        const number = await catalog.draw(owner, 'segment', 1)
        const sessions = objects.map((object, i) => sessionOf(object, i + 1, number))
        await catalog.commitSeal(owner, fakeSegment(catalog, number, sessions, 1), objects)
        for (const days of [2, -1]) {
          assert.equal(await catalog.closeLedgerDays(days), days === 2 ? 0 : objects.length)
          const claims = await catalog.claim(owner, objects)
          assert.ok(claims.every(({ verdict }) => verdict === 'known'))
          assert.ok(claims.every(({ object }, i) => object === objects[i]))
        }
        const replacing = await catalog.claim(owner, [{ ...objects[1]!, version: 'v2' }, fakeObject('new')])
        assert.deepEqual(
          replacing.map(({ verdict, replaces }) => [verdict, replaces]),
          [
            ['claimed', true],
            ['claimed', undefined],
          ],
        )
      }))

    test('killed at every step of a compaction: every session is live exactly once', async () => {
      const faults = ['replace.files-durable', 'retire.unlinked', 'history.appended:3']
      for (const step of ['begun', 'rows-written', 'link-written', 'done']) faults.push(`commit.${step}:3`)
      for (const fault of faults) {
        const options = await fresh()
        assert.equal(await ended(collectProcess(options, 'compact', ['a', 'b'], fault)), 'SIGKILL', fault)
        const catalog = await openCatalog(options)
        await until(async () => {
          await catalog.repairDerived()
          await catalog.sweep({ graceMs: 0 })
          const retired = await catalog.segments({ state: 'retired' })
          return retired.every(({ files }) => files.length === 1)
        })
        const live = await catalog.segments({ state: 'live' })
        assert.equal(
          live.reduce((sum, { rows }) => sum + rows, 0),
          2,
          fault,
        )
        assert.deepEqual((await catalog.verifyChain())[0]?.faults, [], fault)
        const expected = live.flatMap(({ files }) => files.map(({ name }) => name)).sort()
        assert.deepEqual(
          catalog
            .manifestQuery()
            .map(({ manifest }) => manifest.filename)
            .sort(),
          expected,
          fault,
        )
        for (const { directory, files } of live)
          for (const { name } of files) assert.ok(existsSync(join(directory, name)))
        await catalog.close()
      }
    })

    test('the ledger agrees with a naive model', () =>
      fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(fc.nat(6), fc.nat(3), fc.nat(2), fc.nat(1)), { maxLength: 25 }), (steps) =>
          agreesWithModel(steps),
        ),
        { numRuns: dialect === 'sqlite' ? 15 : 6 },
      ))

    type State = { state: 'claimed'; owner: number } | { state: 'pending' | 'quarantined' | 'known' }

    /** Steps: what to do, key, version, owner. */
    async function agreesWithModel(steps: [number, number, number, number][]): Promise<void> {
      await withCatalog(async (catalog) => {
        const owners = [await catalog.owner('collect'), await catalog.owner('collect')]
        const model = new Map<string, State>()
        const attempts = new Map<string, number>()
        for (const [action, key, version, who] of steps) {
          const object = fakeObject(`k${key}`, `v${version}`)
          const name = `${key}/${version}`
          const state = model.get(name)
          const mine = state?.state === 'claimed' && state.owner === who
          const owner = owners[who]!
          if (action <= 1) {
            const retry = action === 1
            const [claim] = await catalog.claim(owner, [object], { retry })
            const expected =
              state?.state === 'known'
                ? 'known'
                : state?.state === 'claimed'
                  ? 'busy'
                  : state?.state === 'quarantined' && !retry
                    ? 'quarantined'
                    : 'claimed'
            assert.equal(claim?.verdict, expected)
            assert.equal(claim?.attempts, state?.state === 'known' ? claim?.attempts : (attempts.get(name) ?? 0))
            const replaced = [...model].some(([other, { state }]) => other.startsWith(`${key}/`) && state === 'known')
            if (expected === 'claimed') {
              assert.equal(claim?.replaces ?? false, replaced)
              model.set(name, { state: 'claimed', owner: who })
            }
          } else if (action <= 3) {
            const outcome = action === 2 ? 'pending' : 'quarantined'
            await catalog.giveBack(owner, object, { state: outcome, code: 'E_X', reason: 'test', collection: 'main' })
            if (!mine) continue
            model.set(name, { state: outcome })
            attempts.set(name, (attempts.get(name) ?? 0) + 1)
          } else if (action === 4) {
            await catalog.giveBack(owner, object, { state: 'free' })
            if (mine && attempts.has(name)) model.set(name, { state: 'pending' })
            else if (mine) model.delete(name)
          } else if (action === 5) {
            if (!mine) continue
            const segment = await sealObjects(catalog, owner, [object])
            await catalog.commitSeal(owner, segment, [object])
            model.set(name, { state: 'known' })
          } else await catalog.closeLedgerDays(-1)
        }
        const pending = [...model].filter(([, { state }]) => state === 'pending' || state === 'quarantined')
        assert.equal((await catalog.pending()).length, pending.length)
        const segments = await catalog.segments()
        const known = [...model].filter(([, { state }]) => state === 'known').map(([name]) => name.split('/')[0])
        assert.equal(segments.length, known.length)
        const superseded = segments.reduce((sum, segment) => sum + segment.superseded.length, 0)
        assert.equal(superseded, known.length - new Set(known).size)
      })
    }

    test('a catalog of a newer program is refused by name', async () => {
      const options = await fresh()
      await (await openCatalog(options)).close()
      await run(options, `update facts set value = '99'`)
      await assert.rejects(openCatalog(options), code('E_CATALOG_VERSION'))
    })

    test('an owner that was taken over while it still runs commits nothing more', async () => {
      const options = await fresh()
      const catalog = await openCatalog(options)
      const owner = await catalog.owner('collect')
      const object = fakeObject('a')
      await catalog.claim(owner, [object])
      const segment = await sealObjects(catalog, owner, [object])
      // As another process does that found its lock free (a host cut off from its database server).
      await run(options, 'update owners set epoch = epoch + 1')
      await assert.rejects(catalog.commitSeal(owner, segment, [object]), code('E_CLAIM_LOST'))
      await assert.rejects(catalog.claim(owner, [object]), code('E_CLAIM_LOST'))
      assert.equal(await catalog.head('main'), 0)
      await catalog.close()
    })

    if (dialect === 'postgres')
      test('an owner whose lock session broke is free for others, and knows that it is', async () => {
        const options = await fresh()
        const [mine, other] = [await openCatalog(options), await openCatalog(options)]
        const owner = await mine.owner('collect')
        await mine.claim(owner, [fakeObject('a')])
        await run(
          options,
          `select pg_terminate_backend(pid) from pg_locks
           where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`,
        )
        const next = await other.owner('collect')
        await until(async () => (await other.claim(next, [fakeObject('a')]))[0]?.verdict === 'claimed')
        await assert.rejects(mine.draw(owner, 'segment', 1), code('E_CLAIM_LOST'))
        for (const catalog of [mine, other]) await catalog.close()
      })

    /** The kernel frees a file lock with the process; a database server has to read the end of the connection first. */
    async function until(done: () => Promise<boolean>): Promise<void> {
      for (let wait = 0; wait < 100; wait++) {
        if (await done()) return
        await sleep(25)
      }
      assert.fail('it did not come to pass')
    }

    /** SQL beside the catalog. */
    async function run(options: CatalogOptions, text: string): Promise<void> {
      if (dialect === 'sqlite') {
        const database = new DatabaseSync(join(options.dataDir, 'catalog.db'))
        database.exec(text)
        database.close()
        return
      }
      const client = new pg.Client({ connectionString: options.url!, options: `-c search_path=${options.schema}` })
      await client.connect()
      await client.query(text)
      await client.end()
    }
  })

test('a connection lost at COMMIT: the link says whether it took place', async () => {
  const server = new URL(await postgresUrl())
  for (const reached of [true, false]) {
    const proxy = await commitProxy(Number(server.port), reached)
    const url = new URL(server)
    url.port = String(proxy.port)
    const dataDir = mkdtempSync(join(tmpdir(), 'coldtrail-catalog-'))
    directories.push(dataDir)
    const catalog = await openCatalog({ dataDir, url: url.href, schema: `lost_${reached}` })
    const owner = await catalog.owner('collect')
    const object = fakeObject('a')
    await catalog.claim(owner, [object])
    const segment = await sealObjects(catalog, owner, [object])
    proxy.arm()
    if (reached) assert.equal((await catalog.commitSeal(owner, segment, [object])).sequence, 1)
    else {
      await assert.rejects(catalog.commitSeal(owner, segment, [object]), code('E_CATALOG_CONNECTION'))
      assert.equal(await catalog.head('main'), 0)
      assert.equal(
        (await catalog.commitSeal(owner, segment, [object])).sequence,
        1,
        'the same commit may be tried again',
      )
    }
    assert.equal(proxy.cut(), 1)
    assert.deepEqual((await catalog.verifyChain())[0]?.faults, [])
    assert.equal((await catalog.segments()).length, 1)
    await catalog.close()
    proxy.close()
  }
})

/** Passes bytes on to PostgreSQL; once armed it cuts the next connection that says COMMIT, before or after the server hears it. */
async function commitProxy(port: number, forward: boolean) {
  let armed = false
  let cuts = 0
  const proxy = createServer((client) => {
    const server = connect(port, '127.0.0.1')
    client.on('data', (bytes) => {
      if (!armed || !bytes.includes('commit\0')) return void server.write(bytes)
      armed = false
      cuts += 1
      if (forward) server.write(bytes, () => server.once('data', () => client.destroy()))
      else client.destroy()
    })
    server.on('data', (bytes) => void (client.destroyed || client.write(bytes)))
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  return {
    port: (proxy.address() as AddressInfo).port,
    arm: () => {
      armed = true
    },
    cut: () => cuts,
    close: () => proxy.close(),
  }
}

test('what is no SQLite database is refused, and so are hostile names', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'coldtrail-catalog-'))
  directories.push(dataDir)
  writeFileSync(join(dataDir, 'catalog.db'), 'this is not a database, '.repeat(100))
  await assert.rejects(openCatalog({ dataDir }), code('E_CATALOG_OPEN'))
  await assert.rejects(openCatalog({ dataDir, url: 'mysql://x' }), code('E_USAGE'))
  await assert.rejects(openCatalog({ dataDir, url: 'postgres://x', schema: 'a; drop' }), code('E_USAGE'))
  rmSync(join(dataDir, 'catalog.db'))
  const catalog = await openCatalog({ dataDir })
  for (const name of ['../x', '', 'A', 'a/b', 'x'.repeat(64)])
    assert.throws(() => catalog.collectionDirectory(name), code('E_USAGE'))
  await catalog.close()
})
