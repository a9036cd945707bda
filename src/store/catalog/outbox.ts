/**
 * What has been forwarded: per feed its position, the batches begun and not settled yet, what became of the others, and
 * its dead letters. Order of a batch and failure table: docs/design.md §10.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ColdtrailError, printable } from '../../core/errors.ts'
import { faultPoint } from '../../platform/faults.ts'
import { appendDurably, makeDirectory } from '../../platform/files.ts'
import type { Owner } from '../catalog.ts'
import { batches, type CatalogContext, checkedCollection, now } from './context.ts'
import { createOwner, takeOver } from './owners.ts'
import type { Tables, Tx } from './schema.ts'

/** What a feed has read: all events of earlier commits, and of this commit those up to this id. (0, 0): nothing. */
export interface Position {
  readonly sequence: number
  readonly id: number
}

export const comparePositions = (a: Position, b: Position): number => a.sequence - b.sequence || a.id - b.id

/** Events of which none was sent: of superseded sessions, and offline ones with `--skip-offline`. */
export interface Passed {
  readonly superseded: number
  readonly offline: number
}

export const NONE_PASSED: Passed = { superseded: 0, offline: 0 }

export const addPassed = (a: Passed, b: Passed): Passed => ({
  superseded: a.superseded + b.superseded,
  offline: a.offline + b.offline,
})

export interface FeedKey {
  readonly destination: string
  readonly feed: string
  readonly collection: string
  /** Canonical text; '' for all events. */
  readonly expression: string
}

/** Events after `from`, up to and including `to`. */
export interface Batch {
  readonly from: Position
  readonly to: Position
  /** Null for a batch that a rebuild found open. */
  readonly records: number | null
  /** Microseconds: what relative times of the expression counted from when it was read; the time of the call by default. */
  readonly begun?: number
}

export interface OpenBatch extends Batch {
  readonly number: number
  readonly begun: number
}

/** An event that the receiver refused for its content, or that no encoder can send. */
export interface DeadLetter {
  readonly id: number
  readonly uid: string
  readonly reason: string
}

/** Since the feed was made. */
export interface FeedCounters {
  readonly accepted: number
  /** Ever refused; those that were sent later or given up are still counted here. */
  readonly rejected: number
  readonly retried: number
  readonly requests: number
  readonly wireBytes: number
  readonly decodedBytes: number
  /** Settled. */
  readonly batches: number
  /** Events passed over: of superseded sessions, and offline ones with `--skip-offline`. */
  readonly superseded: number
  readonly offline: number
}

export interface FeedState extends FeedKey {
  readonly feedId: number
  /** Events before it are not taken, microseconds; null: all. */
  readonly startTime: number | null
  /** End of the last batch begun, or what was passed over since: where reading goes on. */
  readonly position: Position
  /** By number. They are read and sent again before anything new. */
  readonly open: readonly OpenBatch[]
  readonly counters: FeedCounters
  readonly deadLetters: number
  /** Microseconds; null before the first. */
  readonly lastSettled: number | null
}

/** What became of a batch. */
export interface Settlement {
  readonly accepted: number
  readonly rejected: readonly DeadLetter[]
  readonly requests: number
  readonly retried: number
  readonly wireBytes: number
  readonly decodedBytes: number
  /** Of the last request. */
  readonly requestId: string | null
  /** What encoders had to change, counted by text. */
  readonly notes?: Readonly<Record<string, number>>
}

/** What became of dead letters that were tried again; `Settlement.rejected` are still dead, with their new reasons. */
export interface LetterSettlement extends Settlement {
  readonly sent: readonly number[]
  /** Ids that are dropped for good. */
  readonly givenUp?: readonly number[]
}

/** A line of `forward/<destination>/receipts.ndjson`: all that a rebuild needs to know of a feed. */
export interface Receipt {
  readonly v: 1
  /** Running number in the file. */
  readonly receipt: number
  /** `feed`: made; `batch`: settled; `retry`: dead letters tried again; `pass`: events passed over. */
  readonly kind: 'feed' | 'batch' | 'retry' | 'pass'
  readonly feed: string
  readonly collection: string
  readonly expression: string
  readonly startTime: number | null
  /** Microseconds. */
  readonly time: number
  /** Of a batch; of what was passed over, the last batch begun before it. */
  readonly number?: number
  /** Of a batch and of what was passed over. */
  readonly from?: Position
  readonly to?: Position
  readonly settlement?: Settlement | LetterSettlement
  /** Of a batch: within its range. */
  readonly passed?: Passed
}

/** The one writer of a destination's feeds. Every method fails with E_CLAIM_LOST once another process has taken over. */
export interface Outbox {
  readonly destination: string
  /** The feed's state; made at position (0, 0) when it is new, and `startTime` counts only then. */
  openFeed(key: Omit<FeedKey, 'destination'>, startTime?: number): Promise<FeedState & { readonly isNew: boolean }>
  /** Commits that a batch is about to be sent, and moves the feed's position to its end. Batches begin in order. */
  beginBatch(feedId: number, batch: Batch): Promise<OpenBatch>
  /** Receipt, dead letters and counters, and the batch is gone: one transaction. Then the receipt goes into the file. */
  settleBatch(feedId: number, number: number, settlement: Settlement, passed?: Passed): Promise<Receipt>
  /** Moves the position over events of which none is to be sent. */
  passTo(feedId: number, position: Position, passed?: Partial<Passed>): Promise<void>
  settleDeadLetters(feedId: number, settlement: LetterSettlement): Promise<Receipt>
  /** Lets another process forward to the destination. */
  release(): Promise<void>
}

export async function openOutbox(context: CatalogContext, destination: string): Promise<Outbox> {
  if (!DESTINATION.test(destination))
    throw new ColdtrailError('E_USAGE', {
      message: `"${destination}" is not the name of a destination (a-z first, then a-z, 0-9, _ and -)`,
    })
  const owner = await createOwner(context, 'forward')
  try {
    await take(context, destination, owner.id)
    const outbox = new SqlOutbox(context, destination, owner)
    await outbox.writeReceipts()
    return outbox
  } catch (error) {
    await owner.release()
    throw error
  }
}

export async function feeds(context: CatalogContext, destination?: string): Promise<FeedState[]> {
  return context.read(async (tx) => {
    const rows = await tx
      .selectFrom('feeds')
      .selectAll()
      .$if(destination !== undefined, (query) => query.where('destination', '=', destination!))
      .orderBy('id')
      .execute()
    const states: FeedState[] = []
    for (const row of rows) states.push(await stateOf(tx, row))
    const names = (state: FeedState) => [state.destination, state.feed, state.collection, state.expression]
    return states.sort((a, b) => compareLists(names(a), names(b)))
  })
}

export async function deadLetters(
  context: CatalogContext,
  feedId: number,
  { after = -1, limit = Number.MAX_SAFE_INTEGER }: { readonly after?: number; readonly limit?: number } = {},
): Promise<DeadLetter[]> {
  const rows = await context.db
    .selectFrom('dead_letters')
    .select(['event', 'uid', 'reason'])
    .where('feed', '=', feedId)
    .where('event', '>', after)
    .orderBy('event')
    .limit(limit)
    .execute()
  return rows.map(({ event, uid, reason }) => ({ id: event, uid, reason }))
}

/**
 * Feeds as the receipts files tell them. A batch whose number is below a settled one's and that has no receipt is open
 * again. What was read of commits that are gone (above the head) is read again.
 */
export async function restoreFeeds(tx: Tx, dataDir: string): Promise<void> {
  const root = join(dataDir, 'forward')
  const names = existsSync(root) ? readdirSync(root).filter((name) => DESTINATION.test(name)) : []
  for (const destination of names.sort()) {
    const receipts = readReceipts(receiptsPath(dataDir, destination))
    const last = receipts.at(-1)
    if (!last) continue
    await tx.insertInto('destinations').values({ name: destination, owner: null, receipts: last.receipt }).execute()
    const feeds = Map.groupBy(receipts, ({ feed, collection, expression }) =>
      JSON.stringify([feed, collection, expression]),
    )
    for (const ofFeed of feeds.values()) await restoreFeed(tx, destination, ofFeed)
  }
}

// --- internal ---

/** Part of a path. */
const DESTINATION = /^[a-z][a-z0-9_-]{0,62}$/
const MAX_REASON = 1_000
/** Receipts of a destination that stay in the catalog once they are in the file. */
const KEPT_RECEIPTS = 1_000
/** A dead process' lock may be held for a moment by whoever sweeps after it. */
const TAKE_ATTEMPTS = 5

const receiptsPath = (dataDir: string, destination: string): string =>
  join(dataDir, 'forward', destination, 'receipts.ndjson')

async function take(context: CatalogContext, destination: string, mine: string): Promise<void> {
  await context.write((tx) =>
    tx
      .insertInto('destinations')
      .values({ name: destination, owner: null, receipts: 0 })
      .onConflict((conflict) => conflict.doNothing())
      .execute(),
  )
  const become = async (tx: Tx, former: string | null): Promise<boolean> => {
    const result = await tx
      .updateTable('destinations')
      .set({ owner: mine })
      .where('name', '=', destination)
      .where('owner', former === null ? 'is' : '=', former)
      .executeTakeFirst()
    return Number(result.numUpdatedRows) === 1
  }
  let holder: { host: string; pid: number } | undefined
  for (let attempt = 1; attempt <= TAKE_ATTEMPTS; attempt++) {
    const { owner } = await context.db
      .selectFrom('destinations')
      .select('owner')
      .where('name', '=', destination)
      .executeTakeFirstOrThrow()
    holder =
      owner === null
        ? undefined
        : await context.db.selectFrom('owners').select(['host', 'pid']).where('id', '=', owner).executeTakeFirst()
    let taken = false
    // An owner without a row died and was swept.
    if (!holder) taken = await context.write((tx) => become(tx, owner))
    else
      await takeOver(context, owner!, async (tx) => {
        taken = await become(tx, owner)
      })
    if (taken) return
    await sleep(20)
  }
  throw new ColdtrailError('E_FORWARD_BUSY', { destination, host: holder?.host ?? 'unknown', pid: holder?.pid ?? 0 })
}

class SqlOutbox implements Outbox {
  readonly destination: string
  private readonly context: CatalogContext
  private readonly owner: Owner
  /** Receipts go into the file one writing after another. */
  private writing: Promise<unknown> = Promise.resolve()

  constructor(context: CatalogContext, destination: string, owner: Owner) {
    this.context = context
    this.destination = destination
    this.owner = owner
  }

  async openFeed(
    { feed, collection, expression }: Omit<FeedKey, 'destination'>,
    startTime?: number,
  ): Promise<FeedState & { isNew: boolean }> {
    const { destination } = this
    checkedCollection(collection)
    const { state, isNew } = await this.write(async (tx) => {
      await this.lockDestination(tx)
      const find = tx
        .selectFrom('feeds')
        .selectAll()
        .where('destination', '=', destination)
        .where('feed', '=', feed)
        .where('collection', '=', collection)
        .where('expression', '=', expression)
      const found = await find.executeTakeFirst()
      if (found) return { state: await stateOf(tx, found), isNew: false }
      const key = { destination, feed, collection, expression }
      const row = { ...NOTHING, ...key, id: await feedNumber(tx), start_time: startTime ?? null }
      await tx.insertInto('feeds').values(row).execute()
      await this.addReceipt(tx, row, { kind: 'feed' })
      return { state: await stateOf(tx, row), isNew: true }
    })
    if (isNew) await this.writeReceipts()
    return { ...state, isNew }
  }

  async beginBatch(feedId: number, { from, to, records, begun = now() }: Batch): Promise<OpenBatch> {
    const number = await this.write(async (tx) => {
      const feed = await this.feed(tx, feedId)
      if (comparePositions(from, positionOf(feed)) < 0 || comparePositions(to, from) <= 0)
        throw new ColdtrailError('E_INTERNAL', {
          message: 'a batch must begin where the feed stands, and end behind it',
        })
      const batch = feed.batch + 1
      await tx
        .updateTable('feeds')
        .set({ batch, sequence: to.sequence, event: to.id })
        .where('id', '=', feedId)
        .execute()
      await tx
        .insertInto('outbox')
        .values({ feed: feedId, number: batch, ...rangeRow(from, to), records, begun })
        .execute()
      return batch
    })
    faultPoint('outbox.begun')
    return { number, from, to, records, begun }
  }

  async settleBatch(
    feedId: number,
    number: number,
    settlement: Settlement,
    passed: Passed = NONE_PASSED,
  ): Promise<Receipt> {
    const receipt = await this.write(async (tx) => {
      const feed = await this.feed(tx, feedId)
      const open = await tx
        .deleteFrom('outbox')
        .where('feed', '=', feedId)
        .where('number', '=', number)
        .returningAll()
        .executeTakeFirst()
      if (!open) throw new ColdtrailError('E_INTERNAL', { message: `batch ${number} of feed ${feedId} is not open` })
      const time = now()
      const bounded = { ...settlement, rejected: settlement.rejected.map(boundedLetter) }
      await putLetters(tx, feedId, bounded.rejected)
      await tx
        .updateTable('feeds')
        .set({
          ...added(feed, bounded, time),
          rejected: feed.rejected + bounded.rejected.length,
          batches: feed.batches + 1,
          superseded: feed.superseded + passed.superseded,
          offline: feed.offline + passed.offline,
        })
        .where('id', '=', feedId)
        .execute()
      const place = { number, ...rangeOf(open) }
      const counted = passed.superseded + passed.offline > 0 && { passed }
      return this.addReceipt(tx, feed, { kind: 'batch', time, ...place, settlement: bounded, ...counted })
    })
    faultPoint('outbox.settled')
    await this.writeReceipts()
    return receipt
  }

  async passTo(
    feedId: number,
    position: Position,
    { superseded = 0, offline = 0 }: Partial<Passed> = {},
  ): Promise<void> {
    const counted = superseded + offline > 0
    await this.write(async (tx) => {
      const feed = await this.feed(tx, feedId)
      const from = positionOf(feed)
      if (comparePositions(position, from) < 0)
        throw new ColdtrailError('E_INTERNAL', { message: 'the position of a feed never goes back' })
      await tx
        .updateTable('feeds')
        .set({
          sequence: position.sequence,
          event: position.id,
          superseded: feed.superseded + superseded,
          offline: feed.offline + offline,
        })
        .where('id', '=', feedId)
        .execute()
      const passed = { superseded, offline }
      if (counted) await this.addReceipt(tx, feed, { kind: 'pass', number: feed.batch, from, to: position, passed })
    })
    if (counted) await this.writeReceipts()
  }

  async settleDeadLetters(feedId: number, settlement: LetterSettlement): Promise<Receipt> {
    const receipt = await this.write(async (tx) => {
      const feed = await this.feed(tx, feedId)
      const time = now()
      const bounded = { ...settlement, rejected: settlement.rejected.map(boundedLetter) }
      for (const gone of batches([...bounded.sent, ...(bounded.givenUp ?? [])]))
        await tx.deleteFrom('dead_letters').where('feed', '=', feedId).where('event', 'in', gone).execute()
      await putLetters(tx, feedId, bounded.rejected)
      await tx
        .updateTable('feeds')
        .set(added(feed, bounded, time))
        .where('id', '=', feedId)
        .execute()
      return this.addReceipt(tx, feed, { kind: 'retry', time, settlement: bounded })
    })
    faultPoint('outbox.settled')
    await this.writeReceipts()
    return receipt
  }

  async release(): Promise<void> {
    await this.writing.catch(() => undefined)
    try {
      await this.context.write((tx) =>
        tx
          .updateTable('destinations')
          .set({ owner: null })
          .where('name', '=', this.destination)
          .where('owner', '=', this.owner.id)
          .execute(),
      )
    } finally {
      await this.owner.release()
    }
  }

  /** Appends what waits in the catalog to the file; a crash in between makes a line stand there twice. */
  writeReceipts(): Promise<void> {
    const written = this.writing.catch(() => undefined).then(() => this.appendWaiting())
    this.writing = written
    return written
  }

  private async appendWaiting(): Promise<void> {
    const { context, destination } = this
    const waiting = await context.db
      .selectFrom('receipts')
      .select(['receipt', 'line'])
      .where('destination', '=', destination)
      .where('in_file', '=', 0)
      .orderBy('receipt')
      .execute()
    const last = waiting.at(-1)
    if (!last) return
    const path = receiptsPath(context.dataDir, destination)
    makeDirectory(dirname(path))
    appendDurably(path, Buffer.from(waiting.map(({ line }) => `${line}\n`).join('')), 'remove')
    faultPoint('receipt.appended')
    await this.write(async (tx) => {
      await tx
        .updateTable('receipts')
        .set({ in_file: 1 })
        .where('destination', '=', destination)
        .where('in_file', '=', 0)
        .where('receipt', '<=', last.receipt)
        .execute()
      await tx
        .deleteFrom('receipts')
        .where('destination', '=', destination)
        .where('in_file', '=', 1)
        .where('receipt', '<=', last.receipt - KEPT_RECEIPTS)
        .execute()
    })
  }

  private write<T>(action: (tx: Tx) => Promise<T>): Promise<T> {
    return this.context.write(async (tx) => {
      await this.context.assertOwner(tx, this.owner)
      return action(tx)
    })
  }

  /** Two calls must not make one feed twice. */
  private async lockDestination(tx: Tx): Promise<void> {
    if (this.context.dialect === 'sqlite') return
    await tx.selectFrom('destinations').select('name').where('name', '=', this.destination).forUpdate().execute()
  }

  private async feed(tx: Tx, feedId: number): Promise<FeedRow> {
    const row = await tx
      .selectFrom('feeds')
      .selectAll()
      .where('id', '=', feedId)
      .where('destination', '=', this.destination)
      // Batches of a feed settle at once, each on a connection of its own.
      .$if(this.context.dialect === 'postgres', (query) => query.forUpdate())
      .executeTakeFirst()
    if (!row) throw new ColdtrailError('E_INTERNAL', { message: `${feedId} is no feed of ${this.destination}` })
    return row
  }

  private async addReceipt(
    tx: Tx,
    { feed, collection, expression, start_time }: FeedRow,
    what: Pick<Receipt, 'kind'> & Partial<Receipt>,
  ): Promise<Receipt> {
    const { receipts } = await tx
      .updateTable('destinations')
      .set((expression) => ({ receipts: expression('receipts', '+', 1) }))
      .where('name', '=', this.destination)
      .returning('receipts')
      .executeTakeFirstOrThrow()
    const place = { feed, collection, expression, startTime: start_time }
    const receipt: Receipt = { v: RECEIPT_FORMAT, receipt: receipts, ...place, time: now(), ...what }
    const line = JSON.stringify(receipt)
    await tx
      .insertInto('receipts')
      .values({ destination: this.destination, receipt: receipts, line, in_file: 0 })
      .execute()
    return receipt
  }
}

type FeedRow = Tables['feeds']

const RECEIPT_FORMAT = 1

/** A feed that has read nothing. */
const NOTHING = {
  ...{ sequence: 0, event: 0, batch: 0, accepted: 0, rejected: 0, retried: 0, requests: 0, wire_bytes: 0 },
  ...{ decoded_bytes: 0, batches: 0, superseded: 0, offline: 0, last_settled: null },
}

async function feedNumber(tx: Tx): Promise<number> {
  const { next } = await tx
    .updateTable('counters')
    .set((expression) => ({ next: expression('next', '+', 1) }))
    .where('name', '=', 'feed')
    .returning('next')
    .executeTakeFirstOrThrow()
  return next - 1
}

async function stateOf(tx: Tx, row: FeedRow): Promise<FeedState> {
  const open = await tx.selectFrom('outbox').selectAll().where('feed', '=', row.id).orderBy('number').execute()
  const letters = await tx
    .selectFrom('dead_letters')
    .select((expression) => expression.fn.countAll<number>().as('count'))
    .where('feed', '=', row.id)
    .executeTakeFirstOrThrow()
  const { destination, feed, collection, expression, accepted, rejected, retried, requests } = row
  return {
    ...{ destination, feed, collection, expression },
    feedId: row.id,
    startTime: row.start_time,
    position: positionOf(row),
    open: open.map((batch) => ({
      number: batch.number,
      ...rangeOf(batch),
      records: batch.records,
      begun: batch.begun,
    })),
    counters: {
      ...{ accepted, rejected, retried, requests },
      wireBytes: row.wire_bytes,
      decodedBytes: row.decoded_bytes,
      batches: row.batches,
      superseded: row.superseded,
      offline: row.offline,
    },
    deadLetters: Number(letters.count),
    lastSettled: row.last_settled,
  }
}

/** Counters of a feed with those of a settlement; dead letters that are refused again were counted before. */
const added = (feed: FeedRow, { accepted, retried, requests, wireBytes, decodedBytes }: Settlement, time: number) => ({
  accepted: feed.accepted + accepted,
  retried: feed.retried + retried,
  requests: feed.requests + requests,
  wire_bytes: feed.wire_bytes + wireBytes,
  decoded_bytes: feed.decoded_bytes + decodedBytes,
  last_settled: time,
})

async function putLetters(tx: Tx, feed: number, letters: readonly DeadLetter[]): Promise<void> {
  for (const batch of batches(letters))
    await tx
      .insertInto('dead_letters')
      .values(batch.map(({ id, uid, reason }) => ({ feed, event: id, uid, reason })))
      .onConflict((conflict) =>
        conflict
          .columns(['feed', 'event'])
          .doUpdateSet((expression) => ({ reason: expression.ref('excluded.reason') })),
      )
      .execute()
}

/** A reason is text of a receiver: no control characters, and no more than anybody reads. */
const boundedLetter = ({ id, uid, reason }: DeadLetter): DeadLetter => ({
  ...{ id, uid },
  reason: printable(reason.toWellFormed(), MAX_REASON),
})

const positionOf = ({ sequence, event }: Pick<FeedRow, 'sequence' | 'event'>): Position => ({ sequence, id: event })

const rangeRow = (from: Position, to: Position) => ({
  from_sequence: from.sequence,
  from_event: from.id,
  to_sequence: to.sequence,
  to_event: to.id,
})

const rangeOf = (row: ReturnType<typeof rangeRow>): { from: Position; to: Position } => ({
  from: { sequence: row.from_sequence, id: row.from_event },
  to: { sequence: row.to_sequence, id: row.to_event },
})

function compareLists(a: readonly string[], b: readonly string[]): number {
  const at = a.findIndex((text, i) => text !== b[i])
  return at < 0 ? 0 : a[at]! < b[at]! ? -1 : 1
}

/** Whole lines of a receipts file, by number, each once. Behind the last end of line is nothing yet. */
function readReceipts(path: string): Receipt[] {
  if (!existsSync(path)) return []
  const lines = readFileSync(path, 'utf8').split('\n')
  lines.pop()
  const byNumber = new Map<number, Receipt>()
  lines.forEach((line, i) => {
    const receipt = parseReceipt(line, `${path} line ${i + 1}`)
    byNumber.set(receipt.receipt, receipt)
  })
  return [...byNumber.values()].sort((a, b) => a.receipt - b.receipt)
}

function parseReceipt(line: string, where: string): Receipt {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new ColdtrailError('E_RECEIPT_FORMAT', { where, reason: (error as Error).message })
  }
  const receipt = (typeof value === 'object' && value !== null ? value : {}) as Partial<Receipt>
  if (receipt.v !== RECEIPT_FORMAT)
    throw new ColdtrailError('E_RECEIPT_FORMAT', { where, reason: `version ${receipt.v} is unknown` })
  const { kind, from, to, settlement } = receipt
  const isWhole =
    Number.isSafeInteger(receipt.receipt) &&
    [receipt.feed, receipt.collection, receipt.expression].every((text) => typeof text === 'string') &&
    (kind === 'feed' ||
      (kind === 'retry' && Array.isArray(settlement?.rejected) && 'sent' in settlement) ||
      (Number.isSafeInteger(receipt.number) &&
        isPosition(from) &&
        isPosition(to) &&
        ((kind === 'pass' && receipt.passed !== undefined) ||
          (kind === 'batch' && Array.isArray(settlement?.rejected)))))
  if (!isWhole) throw new ColdtrailError('E_RECEIPT_FORMAT', { where, reason: 'a field is missing' })
  return receipt as Receipt
}

const isPosition = (value: Position | undefined): boolean =>
  Number.isSafeInteger(value?.sequence) && Number.isSafeInteger(value?.id)

async function restoreFeed(tx: Tx, destination: string, receipts: readonly Receipt[]): Promise<void> {
  const [{ feed, collection, expression, startTime }] = receipts as [Receipt]
  const key = { destination, feed, collection, expression }
  let row: FeedRow = { ...NOTHING, ...key, id: await feedNumber(tx), start_time: startTime }
  const letters = new Map<number, DeadLetter>()
  const places: Receipt[] = []
  let position: Position = { sequence: 0, id: 0 }
  for (const receipt of receipts) {
    const { kind, to, settlement, passed } = receipt
    if (to && comparePositions(to, position) > 0) position = to
    if (to) places.push(receipt)
    if (passed) row = { ...row, ...addPassed(row, passed) }
    if (!settlement) continue
    row = { ...row, ...added(row, settlement, receipt.time) }
    if ('sent' in settlement) for (const id of [...settlement.sent, ...(settlement.givenUp ?? [])]) letters.delete(id)
    for (const letter of settlement.rejected) letters.set(letter.id, letter)
    if (kind !== 'batch') continue
    row = { ...row, batches: row.batches + 1, rejected: row.rejected + settlement.rejected.length }
  }
  const head = await tx.selectFrom('collections').select('head').where('name', '=', collection).executeTakeFirst()
  const end: Position = { sequence: head?.head ?? 0, id: Number.MAX_SAFE_INTEGER }
  if (comparePositions(position, end) > 0) position = end
  row = {
    ...row,
    sequence: position.sequence,
    event: position.id,
    batch: Math.max(0, ...places.map(({ number }) => number!)),
  }
  await tx.insertInto('feeds').values(row).execute()
  await putLetters(tx, row.id, [...letters.values()])
  const open = openAgain(places, receipts[0]!.time)
  for (const batch of batches(open))
    await tx
      .insertInto('outbox')
      .values(
        batch.map(({ number, from, to, begun }) => ({
          ...{ feed: row.id, number, records: null, begun },
          ...rangeRow(from, to),
        })),
      )
      .execute()
}

/**
 * What was begun and has no receipt: whatever lies between the receipts on both sides of a missing number. Of several
 * that lie side by side one batch is made. When it was begun is told by the receipt before it, about.
 */
function openAgain(
  places: readonly Receipt[],
  made: number,
): { number: number; from: Position; to: Position; begun: number }[] {
  const open: { number: number; from: Position; to: Position; begun: number }[] = []
  let begun = made
  let number = 1
  let from: Position = { sequence: 0, id: 0 }
  for (const place of [...places].sort((a, b) => comparePositions(a.from!, b.from!))) {
    // A batch stands in its own place, what was passed over behind the batch before it.
    const missing = place.kind === 'batch' ? place.number! - 1 : place.number!
    if (missing >= number && comparePositions(from, place.from!) < 0)
      open.push({ number, from, to: place.from!, begun })
    number = Math.max(number, place.number! + 1)
    from = place.to!
    begun = place.time
  }
  return open
}
