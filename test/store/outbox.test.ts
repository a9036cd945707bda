/** What has been forwarded, the same on SQLite and PostgreSQL. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, describe, test } from 'node:test'
import pg from 'pg'
import { ColdtrailError } from '../../src/core/errors.ts'
import { FAULT_POINTS } from '../../src/platform/faults.ts'
import {
  type Catalog,
  type CatalogOptions,
  type FeedState,
  openCatalog,
  type Receipt,
  rebuildCatalog,
  type Settlement,
} from '../../src/store/catalog.ts'
import { collectObjects, fakeObject } from '../support/fakeSegment.ts'
import { freshCatalog, withFreshCatalog } from '../support/freshCatalog.ts'
import { backToVersion } from '../support/olderCatalog.ts'

const directories: string[] = []
const children: ChildProcess[] = []
after(() => {
  for (const child of children) child.kill('SIGKILL')
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

const code = (expected: string) => (error: unknown) => error instanceof ColdtrailError && error.code === expected

const EVENTS = { feed: 'events', collection: 'main', expression: '' }
const at = (sequence: number, id: number) => ({ sequence, id })
const letter = (id: number, reason = 'not a number') => ({ id, uid: `uid${id}`, reason })

const settled = (accepted: number, ...rejected: number[]): Settlement => ({
  ...{ accepted, requests: 2, retried: 1, wireBytes: 100, decodedBytes: 900, requestId: 'r1' },
  rejected: rejected.map((id) => letter(id)),
})

/** What a rebuild gives back of a feed; the time of its last receipt is told to the microsecond. */
const kept = ({ feedId: _, open, ...state }: FeedState) => ({
  ...state,
  open: open.map(({ number, from, to }) => ({ number, from, to })),
})

function receipts({ dataDir }: CatalogOptions, destination = 'siem'): Receipt[] {
  const lines = readFileSync(join(dataDir, 'forward', destination, 'receipts.ndjson'), 'utf8').split('\n')
  assert.equal(lines.pop(), '', 'every line is whole')
  return lines.map((line) => JSON.parse(line))
}

for (const dialect of ['sqlite', 'postgres'] as const)
  describe(`outbox on ${dialect}`, () => {
    const fresh = () => freshCatalog(dialect, directories)
    const withCatalog = (action: (catalog: Catalog, options: CatalogOptions) => Promise<void>) =>
      withFreshCatalog(dialect, directories, action)

    function forwardProcess(options: CatalogOptions, mode: string, fault?: string): ChildProcess {
      const script = join(import.meta.dirname, '../support/forwardProcess.ts')
      const child = spawn(process.execPath, [script, options.dataDir, options.url ?? '', options.schema!, mode], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, ...(fault ? { COLDTRAIL_FAULT: fault } : {}) },
      })
      children.push(child)
      return child
    }

    const ended = (child: ChildProcess) =>
      new Promise<NodeJS.Signals | number | null>((resolve) =>
        child.once('exit', (status, signal) => resolve(signal ?? status)),
      )

    /** The collection has so many commits. */
    async function committed(catalog: Catalog, count: number): Promise<void> {
      const owner = await catalog.owner('collect')
      for (let n = 0; n < count; n++) await collectObjects(catalog, owner, [fakeObject(`o${n}`)])
      await owner.release()
    }

    async function lose(options: CatalogOptions): Promise<void> {
      if (dialect === 'sqlite')
        for (const name of readdirSync(options.dataDir))
          if (name.startsWith('catalog.db')) rmSync(join(options.dataDir, name))
      await rebuildCatalog(options)
    }

    async function run(options: CatalogOptions, ...statements: string[]): Promise<void> {
      if (dialect === 'sqlite') {
        const database = new DatabaseSync(join(options.dataDir, 'catalog.db'))
        for (const statement of statements) database.exec(statement)
        database.close()
      } else {
        const client = new pg.Client(options.url)
        await client.connect()
        await client.query(`set search_path = ${options.schema}`)
        for (const statement of statements) await client.query(statement)
        await client.end()
      }
    }

    test('a feed goes from position to position; what is open and what is settled is known, on reopening too', async () => {
      const options = await fresh()
      let catalog = await openCatalog(options)
      let outbox = await catalog.openOutbox('siem')
      const first = await outbox.openFeed(EVENTS, 5_000)
      const { isNew, feedId, ...made } = first
      assert.equal(isNew, true)
      assert.deepEqual([made.position, made.open, made.startTime], [at(0, 0), [], 5_000])
      const one = await outbox.beginBatch(feedId, { from: at(0, 0), to: at(1, 7), records: 5 })
      const two = await outbox.beginBatch(feedId, { from: at(1, 7), to: at(3, 2), records: 4 })
      assert.deepEqual([one.number, two.number], [1, 2])
      const receipt = await outbox.settleBatch(feedId, 2, settled(3, 30))
      assert.deepEqual([receipt.number, receipt.from, receipt.to], [2, at(1, 7), at(3, 2)])
      await outbox.passTo(feedId, at(4, 9), { superseded: 2 })
      await outbox.passTo(feedId, at(5, 1))
      await catalog.close()

      catalog = await openCatalog(options)
      outbox = await catalog.openOutbox('siem')
      const again = await outbox.openFeed(EVENTS, 9_000)
      assert.deepEqual([again.isNew, again.feedId, again.startTime], [false, feedId, 5_000])
      assert.deepEqual(again.position, at(5, 1))
      assert.deepEqual(again.open, [one])
      const counters = { accepted: 3, rejected: 1, retried: 1, requests: 2, wireBytes: 100, decodedBytes: 900 }
      assert.deepEqual(again.counters, { ...counters, batches: 1, superseded: 2, offline: 0 })
      await outbox.settleBatch(feedId, 1, settled(4, 5))
      assert.deepEqual((await catalog.feeds())[0]!.open, [])
      assert.deepEqual(
        receipts(options).map(({ receipt, kind, number }) => [receipt, kind, number]),
        [
          [1, 'feed', undefined],
          [2, 'batch', 2],
          [3, 'pass', 2],
          [4, 'batch', 1],
        ],
      )
      await catalog.close()
    })

    test('misuse is refused: a batch settled twice, positions that go back, a feed of another destination', () =>
      withCatalog(async (catalog) => {
        const outbox = await catalog.openOutbox('siem')
        const { feedId } = await outbox.openFeed(EVENTS)
        const begin = (from: number, to: number) =>
          outbox.beginBatch(feedId, { from: at(1, from), to: at(1, to), records: 1 })
        await begin(0, 10)
        await outbox.settleBatch(feedId, 1, settled(1))
        await assert.rejects(outbox.settleBatch(feedId, 1, settled(1)), code('E_INTERNAL'))
        await assert.rejects(begin(9, 20), code('E_INTERNAL'))
        await assert.rejects(begin(20, 20), code('E_INTERNAL'))
        await assert.rejects(outbox.passTo(feedId, at(1, 9)), code('E_INTERNAL'))
        const other = await catalog.openOutbox('other')
        await assert.rejects(other.passTo(feedId, at(9, 9)), code('E_INTERNAL'))
        for (const name of ['', 'Siem', '../x', 'a/b', '1a', 'a'.repeat(64), 'nul\0'])
          await assert.rejects(catalog.openOutbox(name), code('E_USAGE'))
        assert.deepEqual(
          (await catalog.feeds()).map(({ position }) => position),
          [at(1, 10)],
        )
      }))

    test('feeds differ by name, collection and expression; two calls at once make one', () =>
      withCatalog(async (catalog) => {
        const outbox = await catalog.openOutbox('siem')
        const keys = [EVENTS, { ...EVENTS, feed: 'alerts' }, { ...EVENTS, expression: `user == '${'ö'.repeat(5000)}'` }]
        const opened = await Promise.all([...keys, ...keys].map((key) => outbox.openFeed(key)))
        assert.equal(new Set(opened.map(({ feedId }) => feedId)).size, 3)
        assert.equal(opened.filter(({ isNew }) => isNew).length, 3)
        const other = await catalog.openOutbox('archive')
        await other.openFeed(EVENTS)
        const names = (await catalog.feeds()).map(({ destination, feed }) => `${destination} ${feed}`)
        assert.deepEqual(names, ['archive events', 'siem alerts', 'siem events', 'siem events'])
        assert.equal((await catalog.feeds('archive')).length, 1)
      }))

    test('dead letters: refused, tried again, sent, given up; reasons are bounded and printable', () =>
      withCatalog(async (catalog, options) => {
        const outbox = await catalog.openOutbox('siem')
        const { feedId } = await outbox.openFeed(EVENTS)
        await outbox.beginBatch(feedId, { from: at(0, 0), to: at(1, 9), records: 9 })
        const hostile = `\u001b[31m\ud800${'x'.repeat(5000)}`
        const rejected = [letter(3), letter(1, hostile), ...Array.from({ length: 2500 }, (_, i) => letter(10 + i))]
        await outbox.settleBatch(feedId, 1, { ...settled(4), rejected })
        const letters = await catalog.deadLetters(feedId)
        assert.equal(letters.length, 2502)
        assert.deepEqual(letters[1], letter(3))
        assert.ok(letters[0]!.reason.length < 1100 && !letters[0]!.reason.includes('\u001b'))
        assert.deepEqual(
          (await catalog.deadLetters(feedId, { after: 3, limit: 2 })).map(({ id }) => id),
          [10, 11],
        )
        const sent = letters.slice(2).map(({ id }) => id)
        const still = { ...settled(2500), rejected: [letter(3, 'still')], sent, givenUp: [1] }
        await outbox.settleDeadLetters(feedId, still)
        assert.deepEqual(await catalog.deadLetters(feedId), [letter(3, 'still')])
        const [state] = await catalog.feeds('siem')
        assert.deepEqual([state!.deadLetters, state!.counters.rejected, state!.counters.accepted], [1, 2502, 2504])
        assert.equal(receipts(options).at(-1)?.kind, 'retry')
      }))

    test('one forwarder a destination: the second is told who it is, and takes over when it has died', async () => {
      const options = await fresh()
      const child = forwardProcess(options, 'hold')
      await new Promise((resolve) => child.stdout!.once('data', resolve))
      const catalog = await openCatalog(options)
      await assert.rejects(catalog.openOutbox('siem'), (error: unknown) => {
        assert.ok(error instanceof ColdtrailError && error.code === 'E_FORWARD_BUSY')
        assert.deepEqual(error.values, { destination: 'siem', host: hostname(), pid: child.pid })
        return true
      })
      await (await catalog.openOutbox('other')).release()
      child.kill('SIGKILL')
      await ended(child)
      const outbox = await until(() => catalog.openOutbox('siem'))
      await assert.rejects(catalog.openOutbox('siem'), code('E_FORWARD_BUSY'), 'its own process too')
      await outbox.release()
      await (await catalog.openOutbox('siem')).release()
      await catalog.close()
    })

    test('who was taken over commits nothing more', () =>
      withCatalog(async (catalog, options) => {
        const outbox = await catalog.openOutbox('siem')
        const { feedId } = await outbox.openFeed(EVENTS)
        const batch = { from: at(0, 0), to: at(1, 9), records: 9 }
        await outbox.beginBatch(feedId, batch)
        await run(options, 'update owners set epoch = epoch + 1')
        await assert.rejects(outbox.settleBatch(feedId, 1, settled(9)), code('E_CLAIM_LOST'))
        await assert.rejects(outbox.passTo(feedId, at(2, 0)), code('E_CLAIM_LOST'))
        assert.equal((await catalog.feeds())[0]!.open.length, 1)
      }))

    test('killed at every step: the next run settles what was open, and every receipt is in the file', async () => {
      const points = FAULT_POINTS.filter((name) => /^(outbox|receipt)\./.test(name))
      assert.equal(points.length, 3)
      for (const fault of points.flatMap((point) => [`${point}:1`, `${point}:3`])) {
        const options = await fresh()
        assert.equal(await ended(forwardProcess(options, 'send', fault)), 'SIGKILL', fault)
        const catalog = await openCatalog(options)
        const [before] = await catalog.feeds()
        // The feed's own line passes receipt.appended first.
        const begun = fault.startsWith('receipt') ? Number(fault.at(-1)) - 1 : Number(fault.at(-1))
        assert.deepEqual(before!.position, begun ? at(1, 10 * begun) : at(0, 0), fault)
        assert.equal(before!.open.length, fault.startsWith('outbox.begun') ? 1 : 0, fault)
        await until(async () => assert.equal(await ended(forwardProcess(options, 'send')), 0))
        const [after] = await catalog.feeds()
        assert.deepEqual([after!.position, after!.open, after!.deadLetters], [at(1, 30), [], 3], fault)
        assert.deepEqual([after!.counters.batches, after!.counters.accepted], [3, 27], fault)
        const found = receipts(options)
        const numbers = [...new Set(found.map(({ receipt }) => receipt))]
        assert.deepEqual(numbers, [1, 2, 3, 4], fault)
        assert.ok(found.length <= (fault.startsWith('receipt') ? 5 : 4), `${fault}: a line may stand there twice`)
        await catalog.close()
      }
    })

    test('a rebuild restores feeds, positions, counters, dead letters, and what had no receipt', () =>
      withCatalog(async (catalog, options) => {
        await committed(catalog, 5)
        const outbox = await catalog.openOutbox('siem')
        const { feedId } = await outbox.openFeed(EVENTS, 77)
        const ends = [at(1, 5), at(1, 9), at(2, 3), at(3, 1), at(3, 8), at(4, 2), at(5, 5)]
        let from = at(0, 0)
        for (const to of ends) {
          await outbox.beginBatch(feedId, { from, to, records: 3 })
          from = to
        }
        await outbox.settleBatch(feedId, 2, settled(2, 7))
        await outbox.settleBatch(feedId, 3, settled(1, 8, 9))
        await outbox.settleBatch(feedId, 6, settled(3), { superseded: 2, offline: 1 })
        await outbox.settleDeadLetters(feedId, {
          ...settled(1),
          rejected: [letter(8, 'again')],
          sent: [9],
          givenUp: [7],
        })
        await outbox.passTo(feedId, at(5, 6), { superseded: 4, offline: 5 })
        await outbox.openFeed({ ...EVENTS, feed: 'idle' }, 88)
        const [before, idle] = await catalog.feeds()
        await outbox.release()
        await catalog.close()

        await lose(options)
        const again = await openCatalog(options)
        const [restored, untouched] = await again.feeds()
        assert.deepEqual(kept(restored!), {
          ...kept(before!),
          // 1 alone; 4 and 5 side by side are one; 7 ended where what was passed over began.
          open: [
            { number: 1, from: at(0, 0), to: at(1, 5) },
            { number: 4, from: at(2, 3), to: at(3, 8) },
            { number: 7, from: at(4, 2), to: at(5, 5) },
          ],
        })
        assert.deepEqual(kept(untouched!), kept(idle!))
        assert.deepEqual(await again.deadLetters(restored!.feedId), [letter(8, 'again')])

        // What is open is settled, numbers go on, and it is the same after another loss.
        const next = await again.openOutbox('siem')
        for (const { number } of restored!.open) await next.settleBatch(restored!.feedId, number, settled(3))
        const { number } = await next.beginBatch(restored!.feedId, { from: at(5, 6), to: at(5, 9), records: 1 })
        assert.equal(number, 8)
        await next.settleBatch(restored!.feedId, number, settled(1))
        const [last] = await again.feeds()
        await next.release()
        await again.close()
        await lose(options)
        const third = await openCatalog(options)
        assert.deepEqual(kept((await third.feeds())[0]!), kept(last!))
        await third.close()
      }))

    test('a rebuild reads what a crash left of the file, refuses damage, and clips positions to the chain', () =>
      withCatalog(async (catalog, options) => {
        await committed(catalog, 2)
        const outbox = await catalog.openOutbox('siem')
        const { feedId } = await outbox.openFeed(EVENTS)
        await outbox.beginBatch(feedId, { from: at(0, 0), to: at(1, 5), records: 3 })
        await outbox.settleBatch(feedId, 1, settled(3))
        await outbox.beginBatch(feedId, { from: at(1, 5), to: at(9, 5), records: 3 })
        await outbox.settleBatch(feedId, 2, settled(3))
        await outbox.release()
        await catalog.close()
        const path = join(options.dataDir, 'forward/siem/receipts.ndjson')
        const [feed, one, two] = readFileSync(path, 'utf8').trimEnd().split('\n') as [string, string, string]
        // The second receipt stands twice, the third was cut off.
        writeFileSync(path, `${feed}\n${one}\n${one}\n${two.slice(0, 50)}`)
        await lose(options)
        let again = await openCatalog(options)
        assert.deepEqual((await again.feeds())[0]!.position, at(1, 5))
        assert.equal((await again.feeds())[0]!.counters.batches, 1)
        await (await again.openOutbox('siem')).openFeed({ ...EVENTS, feed: 'more' })
        await again.close()
        assert.equal(receipts(options).length, 4, 'the rest of a line is gone')
        writeFileSync(path, `${feed}\n${one}\n${two}\n`)
        await lose(options)
        again = await openCatalog(options)
        assert.deepEqual((await again.feeds())[0]!.position, at(2, Number.MAX_SAFE_INTEGER))
        await again.close()
        for (const damage of [
          `${feed}\n{"v":1,"kind":"batch"}\n`,
          `${feed}\n{"v":2}\n`,
          `${feed.slice(0, 40)}\n${one}\n`,
          '1\n',
        ]) {
          writeFileSync(path, damage)
          await assert.rejects(lose(options), code('E_RECEIPT_FORMAT'))
        }
        if (dialect === 'sqlite') assert.equal(existsSync(join(options.dataDir, 'catalog.db')), false)
      }))

    test('receipts that could not be written wait in the catalog', () =>
      withCatalog(async (catalog, options) => {
        let outbox = await catalog.openOutbox('siem')
        const { feedId } = await outbox.openFeed(EVENTS)
        await outbox.beginBatch(feedId, { from: at(0, 0), to: at(1, 5), records: 3 })
        const path = join(options.dataDir, 'forward/siem/receipts.ndjson')
        // Where the file should be is something else.
        renameSync(path, `${path}.away`)
        mkdirSync(path)
        await assert.rejects(outbox.settleBatch(feedId, 1, settled(3)), code('E_FILE_WRITE'))
        await outbox.release()
        await assert.rejects(catalog.openOutbox('siem'), code('E_FILE_WRITE'))
        rmdirSync(path)
        renameSync(`${path}.away`, path)
        outbox = await catalog.openOutbox('siem')
        assert.deepEqual(
          receipts(options).map(({ kind }) => kind),
          ['feed', 'batch'],
        )
      }))

    test('the catalog keeps the latest receipts, the file all of them', () =>
      withCatalog(async (catalog, options) => {
        const outbox = await catalog.openOutbox('siem')
        const { feedId } = await outbox.openFeed(EVENTS)
        const many = Array.from({ length: 1100 }, (_, i) => ({ destination: 'siem', receipt: 2 + i }))
        const values = many.map(({ destination, receipt }) => `('${destination}', ${receipt}, '{}', 1)`)
        await run(options, `insert into receipts values ${values}`, 'update destinations set receipts = 1101')
        await outbox.passTo(feedId, at(1, 1), { offline: 1 })
        await outbox.release()
        await run(options, `create table kept as select count(*) as n, min(receipt) as least from receipts`)
        await run(options, `delete from receipts where (select n from kept) = 1000 and (select least from kept) = 103`)
        await run(options, `update destinations set receipts = (select count(*) from receipts)`)
        const next = await catalog.openOutbox('siem')
        await next.passTo(feedId, at(1, 2), { offline: 1 })
        assert.equal(receipts(options).at(-1)!.receipt, 1, 'a thousand were kept, the latest')
        assert.deepEqual(
          receipts(options).map(({ kind }) => kind),
          ['feed', 'pass', 'pass'],
        )
      }))

    test('a catalog of before forwarding gets its tables', async () => {
      const options = await fresh()
      let catalog = await openCatalog(options)
      await committed(catalog, 1)
      await catalog.close()
      await run(options, ...backToVersion(1))
      const opened = await Promise.all([openCatalog(options), openCatalog(options)])
      for (const each of opened) await each.close()
      catalog = await openCatalog(options)
      assert.equal((await catalog.segments()).length, 1)
      const outbox = await catalog.openOutbox('siem')
      assert.equal((await outbox.openFeed(EVENTS)).isNew, true)
      await catalog.close()
    })

    test('commits of a collection, in order, in pages', () =>
      withCatalog(async (catalog) => {
        await committed(catalog, 3)
        const numbers = async (after?: number, limit?: number) =>
          (
            await catalog.commits('main', { ...(after === undefined ? {} : { after }), ...(limit ? { limit } : {}) })
          ).map(({ number }) => number)
        assert.deepEqual(
          [await numbers(), await numbers(1), await numbers(0, 2)],
          [
            [1, 2, 3],
            [2, 3],
            [1, 2],
          ],
        )
        assert.deepEqual(await catalog.commits('other'), [])
        const [commit] = await catalog.commits('main')
        assert.equal(commit!.body.action, 'seal')
        assert.ok(Math.abs(commit!.time / 1000 - Date.now()) < 60_000)
      }))
  })

test('a torn end is taken away before a receipt is appended', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'coldtrail-outbox-'))
  directories.push(dataDir)
  const catalog = await openCatalog({ dataDir })
  const outbox = await catalog.openOutbox('siem')
  const { feedId } = await outbox.openFeed(EVENTS)
  const path = join(dataDir, 'forward/siem/receipts.ndjson')
  const torn = ['{', 'x'.repeat(200_000)]
  for (const [turn, rest] of torn.entries()) {
    appendFileSync(path, rest)
    await outbox.passTo(feedId, at(1, turn), { offline: 1 })
  }
  assert.deepEqual(
    receipts({ dataDir }).map(({ kind }) => kind),
    ['feed', 'pass', 'pass'],
  )
  await catalog.close()
})

/** A server may take a moment to see that a killed process is gone. */
async function until<T>(action: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await action()
    } catch (error) {
      if (attempt === 50) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
