/** Runs in the catalog, the same on SQLite and PostgreSQL: who holds them, resuming, commit and removal, kills, rebuild. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, describe, test } from 'node:test'
import { ColdtrailError } from '../../src/core/errors.ts'
import { FAULT_POINTS } from '../../src/platform/faults.ts'
import { type Catalog, type CatalogOptions, openCatalog, rebuildCatalog } from '../../src/store/catalog.ts'
import { committedRun, fakeFindings } from '../support/fakeRun.ts'
import { collectObjects, fakeObject } from '../support/fakeSegment.ts'
import { freshCatalog, withFreshCatalog } from '../support/freshCatalog.ts'
import { backToVersion } from '../support/olderCatalog.ts'
import { locksFreed } from '../support/postgres.ts'
import { runRequest, tag, writeTags } from '../support/tagging.ts'

const directories: string[] = []
const children: ChildProcess[] = []
after(() => {
  for (const child of children) child.kill('SIGKILL')
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})
const code = (expected: string) => (error: unknown) => error instanceof ColdtrailError && error.code === expected

for (const dialect of ['sqlite', 'postgres'] as const)
  describe(`runs on ${dialect}`, () => {
    const withCatalog = (action: (catalog: Catalog, options: CatalogOptions) => Promise<void>) =>
      withFreshCatalog(dialect, directories, action)

    async function collected(catalog: Catalog, ...names: string[]) {
      const owner = await catalog.owner('collect')
      for (const name of names) await collectObjects(catalog, owner, [fakeObject(name), fakeObject(`${name}2`)])
      await owner.release()
      return catalog.segments({ state: 'live' })
    }

    /** Tagged events, findings with their runs, and that everything adds up. */
    async function results(catalog: Catalog) {
      const segments = await catalog.segments({ state: 'live' })
      const tags = segments.flatMap(({ tags }) => tags.map(({ run, rows }) => [run, rows]))
      const findings = await catalog.findings({ collection: 'main' })
      return { tags, findings: findings.map(({ event, runs }) => [event, runs]) }
    }

    async function sound(catalog: Catalog) {
      for (const { faults } of await catalog.verifyChain()) assert.deepEqual(faults, [])
      assert.deepEqual(await catalog.verifyHistory(), [])
    }

    test('a run lives as long as its owner, and is resumed with its tasks by one other', () =>
      withCatalog(async (catalog, options) => {
        const segments = await collected(catalog, 'a')
        const owner = await catalog.owner('analyze')
        const request = runRequest(segments, { expression: "user == 'x'", commandLine: 'coldtrail analyze "é"' })
        const run = await catalog.beginRun(owner, request)
        const task = { segment: 1, first: 0, rows: 2, state: 'done', attempts: 1, result: { tags: 3 } } as const
        await catalog.taskDone(owner, run, { ...task, first: 2 })
        await catalog.taskDone(owner, run, task)
        await catalog.taskDone(owner, run, { ...task, attempts: 2, state: 'skipped' })
        const expected = [
          { ...task, attempts: 2, state: 'skipped' },
          { ...task, first: 2 },
        ]
        assert.deepEqual(await catalog.runTasks(run), expected)
        const [row] = await catalog.runs()
        const { segments: asked, ...facts } = row!
        assert.deepEqual(
          [facts.run, facts.state, facts.isLiving, facts.expression, facts.commandLine, asked],
          [run, 'running', true, "user == 'x'", 'coldtrail analyze "é"', request.segments],
        )
        const other = await openCatalog(options)
        const heir = await other.owner('analyze')
        await assert.rejects(other.resumeRun(heir, run), code('E_RUN_BUSY'))
        await assert.rejects(other.removeRun(heir, run), code('E_RUN_BUSY'))
        await assert.rejects(other.resumeRun(heir, 99), code('E_RUN_UNKNOWN'))
        await assert.rejects(other.taskDone(heir, run, task), code('E_CLAIM_LOST'))
        assert.equal((await other.runs())[0]!.isLiving, true)
        await owner.release()
        assert.deepEqual(
          (await other.runs()).map(({ state, isLiving }) => [state, isLiving]),
          [['aborted', false]],
        )
        assert.equal((await other.resumeRun(heir, run)).state, 'running')
        assert.deepEqual(await other.runTasks(run), expected)
        const late = await catalog.owner('analyze')
        await assert.rejects(catalog.resumeRun(late, run), code('E_RUN_BUSY'))
        await other.endRun(heir, run, 'failed', 'no luck')
        assert.deepEqual(
          (await other.runs({ run })).map(({ state, reason }) => [state, reason]),
          [['failed', 'no luck']],
        )
        await assert.rejects(catalog.runReport(run), code('E_RUN_STATE'))
        await other.close()
      }))

    test('a commit makes tags, findings and report exist at once, and a late one of another process nothing', () =>
      withCatalog(async (catalog) => {
        await collected(catalog, 'a', 'b')
        const owner = await catalog.owner('analyze')
        const run = await committedRun(catalog, owner)
        const [row] = await catalog.runs()
        assert.deepEqual([row!.state, row!.sequence, row!.tags, row!.findings], ['finished', 4, 4, 2])
        assert.deepEqual(await catalog.runTasks(run), [])
        const segments = await catalog.segments()
        const ids = segments.flatMap(({ id1 }) => [id1!, id1! + 1])
        assert.deepEqual(await catalog.runReport(run), { ids })
        assert.deepEqual(await results(catalog), {
          tags: [
            [run, 2],
            [run, 2],
          ],
          findings: segments.map(({ id1 }) => [id1, [run]]),
        })
        assert.deepEqual(
          (await catalog.commits('main')).map(({ number, body }) => [number, body.action]),
          [
            [1, 'seal'],
            [2, 'seal'],
            [3, 'finding'],
            [4, 'tag'],
          ],
        )
        await assert.rejects(catalog.resumeRun(owner, run), code('E_RUN_STATE'))
        await sound(catalog)

        const second = await catalog.beginRun(owner, runRequest(segments))
        await owner.release()
        const heir = await catalog.owner('analyze')
        await catalog.resumeRun(heir, second)
        const tagFiles = writeTags(second, segments, [tag(ids[0]!, 'x')])
        const outcome = { run: second, state: 'finished', tagFiles, report: null, counters: {} } as const
        const late = { ...outcome, findings: fakeFindings(catalog, second, ids) }
        await assert.rejects(catalog.commitRun(owner, late), code('E_CLAIM_LOST'))
        assert.equal((await results(catalog)).findings.length, 2)
        assert.equal(await catalog.head('main'), 4)
        assert.deepEqual(await catalog.commitRun(heir, { ...outcome, findings: null }), { sequence: 5, newFindings: 0 })
        await sound(catalog)
        assert.deepEqual(await catalog.removeRun(heir, run), { run, tags: 4, findings: 2 })
        assert.deepEqual(await results(catalog), { tags: [[second, 1]], findings: [] })
        await sound(catalog)
      }))

    test('links that a cut-off commit left behind the next one are removed', async () => {
      const options = await freshCatalog(dialect, directories)
      const first = await openCatalog(options)
      await collected(first, 'a')
      await first.close()
      assert.equal(await ended(runProcess(options, 0, 'commit.link-written')), 'SIGKILL')
      const catalog = await openCatalog(options)
      const chain = join(catalog.manifestDirectory('main'), 'chain')
      assert.equal(readdirSync(chain).length, 3)
      const owner = await catalog.owner('collect')
      await collectObjects(catalog, owner, [fakeObject('b')])
      assert.equal(readdirSync(chain).length, 2)
      await sound(catalog)
      await owner.release()
      await catalog.close()
      if (options.url) await locksFreed(options.url)
      assert.deepEqual((await rebuildCatalog(options)).dropped, [])
    })

    test('a run that nobody holds is removed with its files; an uncommitted one is swept', () =>
      withCatalog(async (catalog) => {
        const segments = await collected(catalog, 'a')
        const files = () =>
          [catalog.collectionDirectory('main'), catalog.manifestDirectory('main')].flatMap((path) =>
            readdirSync(path).filter((name) => /^(tag|finding|run)-/.test(name)),
          )
        const owner = await catalog.owner('analyze')
        const [one, two] = [
          await catalog.beginRun(owner, runRequest([])),
          await catalog.beginRun(owner, runRequest([])),
        ]
        for (const run of [one, two]) {
          writeTags(run, segments, [tag(segments[0]!.id1!, 'x')])
          fakeFindings(catalog, run, [segments[0]!.id1!])
        }
        assert.equal(files().length, 6)
        await catalog.sweep({ graceMs: 0 })
        assert.equal(files().length, 6, 'its owner lives')
        await owner.release()
        const other = await catalog.owner('analyze')
        assert.deepEqual(await catalog.removeRun(other, one), { run: one, tags: 0, findings: 0 })
        assert.equal(files().length, 3)
        await catalog.sweep({ graceMs: 0 })
        assert.deepEqual(files(), [])
        assert.deepEqual(
          (await catalog.runs()).map(({ run, state }) => [run, state]),
          [[two, 'aborted']],
        )
        assert.equal(await catalog.head('main'), 1)
      }))

    test('killed at every step: all of a run exists or nothing, and resuming makes the rest', async () => {
      const points = FAULT_POINTS.filter((name) => /^(run|commit|history)\./.test(name))
      // A rename is the same beside either database; those within a transaction have points of their own.
      const renames = Array.from({ length: dialect === 'sqlite' ? 12 : 0 }, (_, i) => `file.renamed:${i + 1}`)
      let survived = 0
      for (const fault of [...points, ...renames]) {
        const options = await freshCatalog(dialect, directories)
        const first = await openCatalog(options)
        await collected(first, 'a', 'b')
        await first.close()
        const end = await ended(runProcess(options, 0, fault))
        if (end === 0) {
          survived += 1
          continue
        }
        assert.equal(end, 'SIGKILL', fault)
        if (options.url) await locksFreed(options.url)
        const catalog = await openCatalog(options)
        await catalog.repairDerived()
        const [row] = await catalog.runs()
        const found = await results(catalog)
        if (row?.sequence == null) assert.deepEqual(found, { tags: [], findings: [] }, fault)
        await sound(catalog)
        const owner = await catalog.owner('analyze')
        if (row?.sequence == null) await committedRun(catalog, owner, row?.run)
        const { tags, findings } = await results(catalog)
        assert.deepEqual([tags.length, findings.length], [2, 2], fault)
        await catalog.repairDerived()
        await sound(catalog)
        await owner.release()
        await catalog.close()
        if (options.url) await locksFreed(options.url)
        await rebuildCatalog(options)
        const rebuilt = await openCatalog(options)
        assert.deepEqual(await results(rebuilt), { tags, findings }, fault)
        await sound(rebuilt)
        await rebuilt.close()
      }
      if (dialect === 'sqlite') assert.ok(survived > 0 && survived < renames.length, 'the last rename was met')
    })

    test('a rebuild right after a kill adopts a run whose links are both there, and drops a half', async () => {
      // The findings' link is written before that of the tags, by the rename before the last.
      for (const [fault, isAdopted] of [
        ['commit.link-written', true],
        ['file.renamed:LAST', false],
      ] as const) {
        const options = await freshCatalog(dialect, directories)
        const first = await openCatalog(options)
        await collected(first, 'a')
        await first.close()
        const named = fault.replace('LAST', String(RENAMES_TO_FIRST_LINK))
        assert.equal(await ended(runProcess(options, 0, named)), 'SIGKILL')
        const links = readdirSync(join(options.dataDir, 'history/main/chain'))
        assert.deepEqual(links.length, isAdopted ? 3 : 2, fault)
        if (options.url) await locksFreed(options.url)
        const { dropped } = await rebuildCatalog(options)
        assert.deepEqual(dropped, isAdopted ? [] : ['main/000000002.link'])
        const catalog = await openCatalog(options)
        const { tags, findings } = await results(catalog)
        assert.deepEqual([tags.length, findings.length], isAdopted ? [1, 1] : [0, 0])
        const owner = await catalog.owner('analyze')
        await catalog.sweep({ graceMs: 0 })
        const left = readdirSync(catalog.collectionDirectory('main')).filter((name) => name.startsWith('tag-'))
        assert.equal(left.length, isAdopted ? 2 : 0)
        assert.equal(await committedRun(catalog, owner), 2)
        await sound(catalog)
        await catalog.close()
      }
    })

    function runProcess(options: CatalogOptions, run: number, fault: string): ChildProcess {
      const script = join(import.meta.dirname, '../support/runProcess.ts')
      const child = spawn(
        process.execPath,
        [script, options.dataDir, options.url ?? '', options.schema!, String(run)],
        { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, COLDTRAIL_FAULT: fault } },
      )
      children.push(child)
      return child
    }
  })

/** Tag file, its manifest, findings, report, then the links; a fresh process makes no key, for collecting made it. */
const RENAMES_TO_FIRST_LINK = 5

const ended = (child: ChildProcess) =>
  new Promise<NodeJS.Signals | number | null>((resolve) =>
    child.once('exit', (status, signal) => resolve(signal ?? status)),
  )

test('a catalog of version 3 gets its tables, and keeps what it has', async () => {
  const options = await freshCatalog('sqlite', directories)
  const old = await openCatalog(options)
  const owner = await old.owner('collect')
  await collectObjects(old, owner, [fakeObject('a')])
  await owner.release()
  await old.close()
  const database = new DatabaseSync(join(options.dataDir, 'catalog.db'))
  for (const statement of backToVersion(3)) database.exec(statement)
  database.close()
  const catalog = await openCatalog(options)
  assert.equal((await catalog.segments()).length, 1)
  assert.deepEqual(await catalog.runs(), [])
  assert.equal(await committedRun(catalog, await catalog.owner('analyze')), 1)
  assert.ok(existsSync(options.dataDir))
  await catalog.close()
})
