/**
 * Kills real forwarders at fault points and at random times, while their receiver fails at random too; afterwards the
 * receiver must have every selected event, and the outbox must have settled each exactly once.
 */
import { awsLogSet } from '../../src/demo/awsLogs.ts'
import { type IngestionFault, type IngestionServer, startIngestionServer } from '../../src/demo/ingestionServer.ts'
import { type CrashSite, crashSite, putFiles, summaryOf } from './crashSite.ts'
import { seededRandom } from './random.ts'

export interface ForwardKillOptions {
  readonly kills: number
  readonly events: number
  readonly seed: number
  /** PostgreSQL catalog instead of SQLite. */
  readonly url?: string
  /** Milliseconds after which no more is killed. */
  readonly budget?: number
  readonly onRun?: (totals: ForwardKillTotals, story: string) => void
}

export interface ForwardKillTotals {
  kills: number
  runs: number
  /** Selected by the expression. */
  selected: number
  /** Distinct ids at the receiver, and all records that it took. */
  distinct: number
  received: number
  lost: number
  /** Received, but not selected. */
  foreign: number
  /** Settled in the outbox. */
  accepted: number
  /** The most that can come twice: what was under way at kills and what was answered with a fault after it was taken. */
  repeats: number
  allowed_repeats: number
  verify_status: number | null
}

const EXPRESSION = "data_type == 'aws:cloudtrail:entry' or disposition == 'Allowed'"
const BATCH_RECORDS = 250
const IN_FLIGHT = 4
const POINTS = ['outbox.begun', 'outbox.settled', 'receipt.appended']

export async function forwardKills(options: ForwardKillOptions): Promise<ForwardKillTotals> {
  const { kills, events, seed, url, budget = Number.POSITIVE_INFINITY, onRun } = options
  const random = seededRandom(seed)
  const started = Date.now()
  const server = await startIngestionServer({ idColumn: 'uid', keepRows: 0 })
  const site = crashSite({ url, maxRows: 20_000, config: destination(server) })
  const totals: ForwardKillTotals = {
    kills: 0,
    runs: 0,
    selected: 0,
    distinct: 0,
    received: 0,
    lost: 0,
    foreign: 0,
    accepted: 0,
    repeats: 0,
    allowed_repeats: 0,
    verify_status: null,
  }
  try {
    const logs = awsLogSet({ seed, days: 2, cloudTrailEvents: events >> 1, flowRecords: events >> 1 })
    const { objects } = logs
    let dropped = 0
    for (let run = 1; totals.kills < kills && run <= kills * 2 && Date.now() - started < budget; run++) {
      // Something new each time, or a run after a whole one would have nothing to lose.
      const part = { objects: objects.slice(...[run - 1, run].map((n) => Math.floor((objects.length * n) / kills))) }
      if (run <= kills) {
        putFiles(site.logs, part)
        await site.collect()
      } else await moreToSend(site, objects, run)
      dropped += disturb(server, random)
      // At a fault point, at a time, or when the receiver has a request in its hands.
      const kind = random(4)
      const fault = kind === 0 ? `${POINTS[random(POINTS.length)]!}@main:${1 + random(5)}` : undefined
      const moment = 350 + random(900)
      const request = 1 + random(7)
      totals.runs += 1
      const forwarder = site.run(['forward', '--json', '--where', EXPRESSION], { fault })
      const timer = kind === 1 ? setTimeout(forwarder.kill, moment) : undefined
      if (kind > 1)
        server.fail({ operation: 'hook', from: request, action: { kind: 'run', run: () => void forwarder.kill() } })
      const ended = await forwarder.ended
      clearTimeout(timer)
      if (ended.signal === 'SIGKILL') totals.kills += 1
      const cause = fault ?? (kind === 1 ? `+${moment} ms` : `request ${request}`)
      const story = `${cause} ${ended.signal ?? ended.status}`
      if (ended.signal === null && ended.status !== 0) throw new Error(`${story}: ${ended.stdout}${ended.stderr}`)
      onRun?.(totals, story)
    }
    server.clearFaults()
    putFiles(site.logs, { objects })
    await site.collect()
    const last = await site.run(['forward', '--json', '--where', EXPRESSION]).ended
    if (last.status !== 0) throw new Error(`the last run ended with ${last.status}: ${last.stdout}${last.stderr}`)
    const again = summaryOf(await site.run(['forward', '--json', '--where', EXPRESSION]).ended)
    if (again.events !== 0) throw new Error(`a run with nothing new sent ${again.events} events`)
    await compare(site, server, totals)
    totals.allowed_repeats = (totals.kills * IN_FLIGHT + dropped) * BATCH_RECORDS
    totals.verify_status = (await site.run(['verify']).ended).status
    return totals
  } finally {
    site.remove()
    await server.close()
  }
}

// --- internal ---

type Random = (below: number) => number

const destination = ({ endpoint }: IngestionServer): string =>
  `destinations:\n  - name: soc\n    type: http\n    url: ${endpoint}/hook/soc\n    compression: gzip\n` +
  `    max_records: ${BATCH_RECORDS}\n    max_in_flight: ${IN_FLIGHT}\n`

/** Faults for some of the next requests; answers how many of them are taken and then answered with a fault. */
function disturb(server: IngestionServer, random: Random): number {
  server.clearFaults()
  let dropped = 0
  for (let request = 1; request <= 60; request++) {
    if (random(8) !== 0) continue
    const action = FAULTS[random(FAULTS.length)]!
    if (action.kind === 'drop') dropped += 1
    server.fail({ operation: 'hook', from: request, action })
  }
  return dropped
}

const FAULTS: readonly IngestionFault[] = [
  { kind: 'status', status: 503 },
  { kind: 'status', status: 429, headers: { 'Retry-After': '0' } },
  { kind: 'status', status: 413 },
  { kind: 'reset' },
  { kind: 'reset', after: 1_000 },
  { kind: 'drop' },
]

/** One more object, so that the next run has something to do. */
async function moreToSend(
  site: CrashSite,
  objects: readonly { readonly key: string; readonly body: Buffer }[],
  run: number,
): Promise<void> {
  const { body } = objects[run % objects.length]!
  putFiles(site.logs, { objects: [{ key: `again/${run}/${objects[run % objects.length]!.key}`, body }] })
  await site.collect()
}

async function compare(site: CrashSite, server: IngestionServer, totals: ForwardKillTotals): Promise<void> {
  const found = await site.run(['search', EXPRESSION, '--json', '--columns', 'uid', '--order', 'id']).ended
  const selected = new Set(
    found.stdout
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line).uid as string),
  )
  const { ids, records } = server.stream('/hook/soc')
  totals.selected = selected.size
  totals.distinct = ids.size
  totals.received = records
  totals.repeats = records - ids.size
  for (const uid of selected) if (!ids.has(uid)) totals.lost += 1
  for (const uid of ids) if (!selected.has(uid)) totals.foreign += 1
  const status = await site.run(['forward', 'status', '--json']).ended
  const feeds = status.stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
  totals.accepted = feeds.reduce((sum, { accepted }) => sum + accepted, 0)
}
