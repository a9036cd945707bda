/**
 * Kills real collectors: at fault points, at random times, the whole program, one of its workers, or one of several
 * collectors over the same source. After each few kills a run goes to its end, and everything must be there once.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type S3Server, startS3Server } from '../../src/demo/s3Server.ts'
import { FAULT_POINTS, type FaultPoint } from '../../src/platform/faults.ts'
import { type CrashSite, crashSite, type KnownLogs, knownLogs, putFiles, type Running, summaryOf } from './crashSite.ts'
import { seededRandom } from './random.ts'

export interface KillOptions {
  readonly kills: number
  readonly seed: number
  /** No round is begun after so many milliseconds. */
  readonly budget?: number
  /** PostgreSQL catalog of a round, in place of SQLite. */
  readonly url?: (round: number) => Promise<string | undefined>
  /** After a round of which `url` was asked. */
  readonly onEnd?: (round: number) => Promise<void>
  readonly onRound?: (totals: KillTotals, round: string) => void
}

export interface KillTotals {
  kills: number
  runs: number
  rounds: number
  /** Compared with what is known, over all rounds. */
  events: number
  duplicates: number
  lost: number
  verify_faults: number
  /** What went wrong, with the round that shows it again. */
  readonly details: string[]
}

export async function killRounds({ kills, seed, budget, url, onEnd, onRound }: KillOptions): Promise<KillTotals> {
  const totals = { kills: 0, runs: 0, rounds: 0, events: 0, duplicates: 0, lost: 0, verify_faults: 0, details: [] }
  const started = Date.now()
  const logs = knownLogs(seed)
  const server = await startS3Server()
  try {
    while (totals.kills < kills && (budget === undefined || Date.now() - started < budget)) {
      const random = seededRandom(seed * 100_003 + totals.rounds)
      const round = new KillRound(totals, logs, random, server, await url?.(totals.rounds))
      try {
        await round.run(kills)
      } catch (error) {
        totals.verify_faults += 1
        round.note(error instanceof Error ? error.message : String(error))
      } finally {
        round.site.remove()
        await onEnd?.(totals.rounds)
      }
      totals.rounds += 1
      onRound?.(totals, round.story.join(' '))
    }
  } finally {
    await server.close()
  }
  return totals
}

/** Credentials for the embedded server, which lets everybody in. */
export const S3_KEYS = { AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret', AWS_REGION: 'us-east-1' }

const WORKER_POINTS: ReadonlySet<FaultPoint> = new Set<FaultPoint>(['segment.files-durable'])
/** Passed by what forwards, imports, moves, restores, hunts, erases, which have kills of their own. */
const OTHER_POINTS =
  /^(anchor|erase|archive|custody|left|move|outbox|receipt|restore|rollup|staging|merge|run|workbench)\./
/** Fault points as COLDTRAIL_FAULT names them, once for each kind of process that passes them. */
export const KILL_POINTS: readonly string[] = FAULT_POINTS.filter((point) => !OTHER_POINTS.test(point)).flatMap(
  (point) =>
    point.startsWith('file.')
      ? [`${point}@main`, `${point}@worker`]
      : [WORKER_POINTS.has(point) ? `${point}@worker` : `${point}@main`],
)

// --- internal ---

type Random = (below: number) => number

const KILLS_A_ROUND = 5
/** About one undisturbed run; a later moment is after its end. */
const RUN_MILLISECONDS = 1100

class KillRound {
  readonly site: CrashSite
  /** What was done to whom, so that a finding can be understood. */
  readonly story: string[] = []
  private readonly totals: KillTotals
  private readonly logs: KnownLogs
  private readonly random: Random
  private readonly options: { readonly source?: readonly string[]; readonly environment?: Record<string, string> }
  private readonly put: (objects: KnownLogs['objects']) => void
  /** Objects that are in the source by now. */
  private given = 0

  constructor(totals: KillTotals, logs: KnownLogs, random: Random, server: S3Server, url: string | undefined) {
    this.totals = totals
    this.logs = logs
    this.random = random
    const maxRows = random(2) ? 150 : 1500
    this.site = crashSite({ url, maxRows })
    const isS3 = random(2) === 0
    const name = `logs-${totals.rounds}`
    const { endpoint } = server
    this.options = isS3 ? { source: [`s3://${name}/`, '--endpoint', endpoint], environment: S3_KEYS } : {}
    const bucket = server.bucket(name)
    this.put = (objects) => {
      if (isS3) for (const { key, body } of objects) bucket.put(key, body)
      else putFiles(this.site.logs, { objects })
    }
    this.story.push(isS3 ? 's3' : 'folder', url ? 'postgres' : 'sqlite', String(maxRows))
  }

  async run(wanted: number): Promise<void> {
    const { random, site, totals, logs } = this
    const turns = 1 + random(KILLS_A_ROUND)
    for (let turn = 1; turn <= turns && totals.kills < wanted; turn++) {
      // Something new to collect each time, or a run after a whole one would have nothing to lose.
      this.publish(Math.floor((logs.objects.length * turn) / turns))
      await this.kill()
    }
    this.publish(logs.objects.length)
    await this.complete()
    if (random(3) === 0) {
      this.story.push('rebuild')
      await site.rebuild()
      await this.complete()
    }
    const last = await this.collect()
    if (last.objects !== 0) this.note(`a run with nothing new collected ${last.objects} objects`)
    const { duplicates, lost, faults } = await site.check(logs)
    totals.events += logs.events.length
    totals.duplicates += duplicates.length
    totals.lost += lost.length
    totals.verify_faults += faults.length
    for (const fault of faults) this.note(fault)
    if (duplicates.length + lost.length > 0) this.note(`${duplicates.length} twice, ${lost.length} lost`)
  }

  note(text: string): void {
    this.totals.details.push(`round ${this.totals.rounds} (${this.story.join(' ')}): ${text}`)
  }

  // --- internal ---

  private publish(count: number): void {
    this.put(this.logs.objects.slice(this.given, count))
    this.given = Math.max(this.given, count)
  }

  private async kill(): Promise<void> {
    const kind = this.random(4)
    if (kind === 0) await this.killAtPoint()
    else if (kind === 1) await this.killAtTime()
    else if (kind === 2) await this.killWorker()
    else await this.killOneOfSeveral()
  }

  private start(fault?: string): Running {
    this.totals.runs += 1
    return this.site.start({ ...this.options, fault })
  }

  private async killAtPoint(): Promise<void> {
    const { random } = this
    const fault = `${KILL_POINTS[random(KILL_POINTS.length)]!}:${1 + random(6)}`
    const ended = await this.start(fault).ended
    const { signal } = ended
    const deaths = signal ? 0 : Number(summaryOf(ended).worker_deaths ?? 0)
    if (signal || deaths > 0) this.totals.kills += 1
    this.story.push(signal || deaths ? fault : `(${fault})`)
  }

  private async killAtTime(): Promise<void> {
    const milliseconds = this.moment()
    const run = this.start()
    const timer = setTimeout(run.kill, milliseconds)
    const { signal } = await run.ended
    clearTimeout(timer)
    if (signal) this.totals.kills += 1
    this.story.push(signal ? `main+${milliseconds}ms` : '(main)')
  }

  private async killWorker(): Promise<void> {
    const milliseconds = this.moment()
    const run = this.start()
    const ended = run.ended.then(() => true)
    await Promise.race([ended, sleep(milliseconds)])
    const [worker] = run.workers()
    const isKilled = worker !== undefined && killProcess(worker)
    if (isKilled) this.totals.kills += 1
    this.story.push(isKilled ? `worker+${milliseconds}ms` : '(worker)')
    const { status, stderr } = await run.ended
    if (status !== 0) this.note(`the run whose worker was killed ended with ${status}: ${stderr.slice(-500)}`)
  }

  /** The others go on, and take over what the dead one had claimed. */
  private async killOneOfSeveral(): Promise<void> {
    const runs = [this.start(), this.start(), ...(this.random(2) ? [this.start()] : [])]
    const milliseconds = this.moment()
    const [victim, ...others] = runs
    const timer = setTimeout(victim!.kill, milliseconds)
    const { signal } = await victim!.ended
    clearTimeout(timer)
    if (signal) this.totals.kills += 1
    this.story.push(`${signal ? '' : '('}1 of ${runs.length}+${milliseconds}ms${signal ? '' : ')'}`)
    for (const { ended } of others) {
      const { status, stderr } = await ended
      if (status !== 0) this.note(`a collector beside a killed one ended with ${status}: ${stderr.slice(-500)}`)
    }
  }

  private moment(): number {
    return 100 + this.random(RUN_MILLISECONDS)
  }

  /** A run that nothing disturbs. A PostgreSQL server may take a moment to see that the killed one is gone. */
  private async complete(): Promise<void> {
    for (let attempt = 1; attempt <= 3; attempt++) {
      const { busy, left, quarantined, failed } = await this.collect()
      if (Number(left) + Number(quarantined) + Number(failed) > 0)
        this.note(`an undisturbed run left ${left}, failed ${failed}, found ${quarantined} quarantined`)
      if (busy === 0) return
      await sleep(300)
    }
    this.note('claims of a killed collector stay busy')
  }

  private async collect(): Promise<Record<string, unknown>> {
    this.totals.runs += 1
    return this.site.collect(this.options)
  }
}

function killProcess(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
