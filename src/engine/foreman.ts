/**
 * The foreman: keeps a number of worker processes alive and busy. It knows nothing of the work: the job says what to do
 * next (`next`), takes results, answers questions, and decides what becomes of the tasks of a worker that died.
 * Supervised: death (any signal or exit), memory (RSS watch, and prlimit where there is one), silence (task timeout, and
 * one for the start); a dead worker is replaced, with growing pauses when it dies without having finished anything.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { getCompileCacheDir } from 'node:module'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { asColdtrailError, ColdtrailError } from '../core/errors.ts'
import { dataLimited } from './dataLimit.ts'
import { type FromWorker, packError, type ToWorker, unpackError } from './messages.ts'

/** The job's part. Calls come one at a time, none before the constructor of Foreman has returned. */
export interface Duties<Task> {
  /** The next task for this worker, or undefined: it is asked again after each result, death and `wake`. */
  next(worker: number): Task | undefined
  done(worker: number, task: Task, result: unknown): void
  /** `run` rejected; the worker lives on. */
  failed(worker: number, task: Task, error: ColdtrailError): void
  /** A worker is gone; its unfinished tasks are the job's again. */
  died(death: Death<Task>): void
  answer?(worker: number, question: unknown): Promise<unknown>
  report?(worker: number, report: unknown): void
  /** No worker can be kept alive: E_WORKER_START. */
  hopeless(error: ColdtrailError): void
}

export interface Death<Task> {
  readonly worker: number
  /** Given and not finished, in the order in which they were given. */
  readonly tasks: readonly Task[]
  /** For people: `killed by SIGKILL`, `exceeded its memory limit of …`, `exit status 1: …`. */
  readonly reason: string
  /** `memory` and `silence`: we killed it for that. */
  readonly cause: 'died' | 'memory' | 'silence'
}

export interface ForemanOptions {
  readonly module: URL
  /** Plain data for every worker's `start`. */
  readonly init: unknown
  readonly workers: number
  /**
   * Resident bytes above which a worker is killed; 0 = no limit. Where there is `prlimit`, the system refuses what is
   * taken faster than the watch can see it.
   */
  readonly memoryBytes?: number
  /** A worker with tasks from which no result, question or report came for so long is killed; 0 = never. */
  readonly timeoutMilliseconds?: number
  /** A worker that is not ready so long after its start is killed; default a minute. */
  readonly startMilliseconds?: number
  /** Of V8, for the workers. */
  readonly flags?: readonly string[]
}

export interface WorkerStatus {
  readonly worker: number
  readonly pid: number | undefined
  /** `killed`: by us, for its memory or its silence; it is not gone yet. */
  readonly state: 'starting' | 'idle' | 'busy' | 'stopping' | 'killed' | 'dead'
  readonly tasks: number
  readonly rss: number
  readonly cpuMicroseconds: number
  /** Milliseconds since 1970 of the last result, question or report. */
  readonly lastActivity: number
  readonly restarts: number
}

export class Foreman<Task> {
  private readonly options: ForemanOptions
  private readonly duties: Duties<Task>
  private readonly workers: Worker<Task>[]
  private readonly watch: NodeJS.Timeout
  private stopping = false

  constructor(options: ForemanOptions, duties: Duties<Task>) {
    this.options = options
    this.duties = duties
    this.workers = Array.from({ length: options.workers }, (_, number) => newWorker(number))
    for (const worker of this.workers) this.start(worker)
    this.watch = setInterval(() => this.supervise(), WATCH_MILLISECONDS)
  }

  /** Asks the job for tasks on behalf of every worker. */
  wake(): void {
    for (const worker of this.workers) this.feed(worker)
  }

  /** A message to every worker that is alive. */
  note(note: unknown): void {
    for (const worker of this.workers) this.send(worker, { kind: 'note', note })
  }

  statuses(): WorkerStatus[] {
    return this.workers.map((worker) => ({
      worker: worker.number,
      pid: worker.process?.pid,
      state: stateOf(worker, this.stopping),
      tasks: worker.tasks.size,
      rss: worker.rss,
      cpuMicroseconds: worker.cpu,
      lastActivity: worker.lastActivity,
      restarts: worker.restarts,
    }))
  }

  /**
   * Ends all workers: asked first, then SIGTERM, then SIGKILL. Afterwards no duty is called any more. A process that the
   * kernel does not let go, however it is told, is left to it: it holds nothing of ours.
   */
  async stop({ askMilliseconds = 10_000, termMilliseconds = 2_000 } = {}): Promise<void> {
    this.stopping = true
    clearInterval(this.watch)
    await Promise.all(
      this.workers.map(async (worker) => {
        clearTimeout(worker.restart)
        const { process } = worker
        if (!process) return
        const { promise: ended, resolve } = Promise.withResolvers<void>()
        process.once('close', () => resolve())
        this.send(worker, { kind: 'stop' })
        const killed = askMilliseconds + termMilliseconds
        const timers = [
          setTimeout(() => process.kill('SIGTERM'), askMilliseconds),
          setTimeout(() => process.kill('SIGKILL'), killed),
          setTimeout(resolve, killed + LETTING_GO_MILLISECONDS),
        ]
        await ended
        timers.forEach(clearTimeout)
      }),
    )
  }

  // --- internal ---

  private start(worker: Worker<Task>): void {
    const child = fork(fileURLToPath(this.options.module), [], {
      serialization: 'advanced',
      ...dataLimited(this.options.memoryBytes ?? 0, [
        '--disable-warning=ExperimentalWarning',
        ...(this.options.flags ?? []),
      ]),
      // A worker's output is no output of ours: what it writes belongs to the reason of its death.
      stdio: ['inherit', 'pipe', 'pipe', 'ipc'],
      env: { ...process.env, ...compileCache() },
    })
    worker.process = child
    worker.ready = false
    worker.lastActivity = Date.now()
    worker.output = ''
    const keep = (text: string): void => {
      worker.output = (worker.output + text).slice(-OUTPUT_CHARACTERS)
    }
    child.stdout!.setEncoding('utf8').on('data', keep)
    child.stderr!.setEncoding('utf8').on('data', keep)
    child.on('error', (error) => keep(error.message))
    child.on('message', (message) => this.receive(worker, child, message as FromWorker))
    child.once('close', (code, signal) => this.bury(worker, code, signal))
    // `close` waits for the ends of its output, which something that it started may still hold.
    child.once('exit', () => {
      setTimeout(() => {
        child.stdout!.destroy()
        child.stderr!.destroy()
      }, LETTING_GO_MILLISECONDS).unref()
    })
    this.send(worker, { kind: 'start', init: this.options.init })
  }

  private send(worker: Worker<Task>, message: ToWorker): void {
    // A closing channel is a death in progress, which `close` reports.
    if (worker.process?.connected) worker.process.send(message, () => undefined)
  }

  private receive(worker: Worker<Task>, from: ChildProcess, message: FromWorker): void {
    if (this.stopping) return
    if (message.kind === 'beat') {
      worker.rss = message.rss
      worker.cpu = message.cpu
      return
    }
    if (message.kind === 'exhausted') {
      const limit = this.options.memoryBytes ? `; its limit is ${mebibytes(this.options.memoryBytes)}` : ''
      worker.condemned ??= { cause: 'memory', reason: `it was refused more memory (${message.reason})${limit}` }
      from.kill('SIGKILL')
      return
    }
    worker.lastActivity = Date.now()
    switch (message.kind) {
      case 'ready':
        worker.ready = true
        break
      case 'done':
      case 'failed': {
        const task = worker.tasks.get(message.id)!
        worker.tasks.delete(message.id)
        worker.deathsInARow = 0
        if (message.kind === 'done') this.duties.done(worker.number, task, message.result)
        else this.duties.failed(worker.number, task, unpackError(message.error))
        break
      }
      case 'report':
        this.duties.report?.(worker.number, message.report)
        return
      case 'ask':
        void this.reply(worker, from, message.id, message.question)
        return
    }
    this.feed(worker)
  }

  private async reply(worker: Worker<Task>, from: ChildProcess, id: number, question: unknown): Promise<void> {
    let message: ToWorker
    try {
      message = { kind: 'answer', id, value: await this.duties.answer?.(worker.number, question) }
    } catch (error) {
      message = { kind: 'refusal', id, error: packError(asColdtrailError(error)) }
    }
    if (worker.process === from) this.send(worker, message)
  }

  private feed(worker: Worker<Task>): void {
    while (worker.ready && worker.process?.connected && !this.stopping && !worker.condemned) {
      const task = this.duties.next(worker.number)
      if (task === undefined) return
      if (worker.tasks.size === 0) worker.lastActivity = Date.now()
      worker.tasks.set(worker.given, task)
      this.send(worker, { kind: 'task', id: worker.given, task })
      worker.given++
    }
  }

  private supervise(): void {
    const { memoryBytes = 0, timeoutMilliseconds = 0, startMilliseconds = START_MILLISECONDS } = this.options
    for (const worker of this.workers) {
      const { process } = worker
      if (!process?.pid) continue
      worker.rss = residentBytes(process.pid) ?? worker.rss
      const silent = Date.now() - worker.lastActivity
      const patience = worker.ready ? (worker.tasks.size > 0 ? timeoutMilliseconds : 0) : startMilliseconds
      if (memoryBytes > 0 && worker.rss > memoryBytes) {
        const reason = `it used ${mebibytes(worker.rss)} of memory, more than its limit of ${mebibytes(memoryBytes)}`
        worker.condemned ??= { cause: 'memory', reason }
      } else if (patience > 0 && silent > patience)
        worker.condemned ??= { cause: 'silence', reason: `nothing was heard of it for ${(silent / 1000).toFixed(1)} s` }
      if (worker.condemned) process.kill('SIGKILL')
    }
  }

  private bury(worker: Worker<Task>, code: number | null, signal: NodeJS.Signals | null): void {
    const tasks = [...worker.tasks.values()]
    const lines = worker.output.trim().split('\n')
    const said = lines.find((line) => /error/i.test(line)) ?? lines.at(-1)
    const cause = signal ? `it was killed by ${signal}` : `it ended with status ${code}`
    const isMemory = OUT_OF_MEMORY.test(worker.output)
    const { memoryBytes = 0 } = this.options
    const limit = isMemory && memoryBytes > 0 ? `; its limit is ${mebibytes(memoryBytes)}` : ''
    const death = {
      cause: isMemory ? 'memory' : 'died',
      reason: (said ? `${cause}: ${said.trim()}` : cause) + limit,
      ...worker.condemned,
    } as const
    const started = worker.ready
    Object.assign(worker, { process: undefined, ready: false, condemned: undefined, rss: 0 })
    worker.tasks.clear()
    if (this.stopping) return
    worker.deathsInARow++
    worker.failedStarts = started ? 0 : worker.failedStarts + 1
    this.duties.died({ worker: worker.number, tasks, ...death })
    if (worker.failedStarts >= MAX_FAILED_STARTS) {
      this.duties.hopeless(new ColdtrailError('E_WORKER_START', { reason: death.reason }))
      return
    }
    const pause = Math.min(100 * 2 ** (worker.deathsInARow - 1), MAX_PAUSE_MILLISECONDS)
    worker.restart = setTimeout(() => {
      worker.restarts++
      this.start(worker)
    }, pause)
  }
}

/** A process keeps compiled sources for itself, unless told: then its workers start in a quarter of the time. */
function compileCache(): { NODE_COMPILE_CACHE?: string } {
  // Below the directory that was given is one for each version of Node.
  const directory = getCompileCacheDir()
  return directory === undefined ? {} : { NODE_COMPILE_CACHE: dirname(directory) }
}

const WATCH_MILLISECONDS = 100
const MAX_PAUSE_MILLISECONDS = 10_000
const MAX_FAILED_STARTS = 3
const OUTPUT_CHARACTERS = 4_096
/** What V8 and the C++ library say at their end. */
const OUT_OF_MEMORY = /out of memory|Allocation failed|std::bad_alloc|Cannot allocate memory/
const START_MILLISECONDS = 60_000
const LETTING_GO_MILLISECONDS = 2_000

interface Worker<Task> {
  readonly number: number
  process: ChildProcess | undefined
  ready: boolean
  /** Why it is being killed, when we do it. */
  condemned: Pick<Death<Task>, 'cause' | 'reason'> | undefined
  readonly tasks: Map<number, Task>
  given: number
  rss: number
  cpu: number
  lastActivity: number
  restarts: number
  deathsInARow: number
  /** Of these, how many last ones died before they were ready. */
  failedStarts: number
  restart: NodeJS.Timeout | undefined
  output: string
}

function newWorker<Task>(number: number): Worker<Task> {
  return {
    number,
    process: undefined,
    ready: false,
    condemned: undefined,
    tasks: new Map(),
    given: 0,
    rss: 0,
    cpu: 0,
    lastActivity: Date.now(),
    restarts: 0,
    deathsInARow: 0,
    failedStarts: 0,
    restart: undefined,
    output: '',
  }
}

function stateOf(worker: Worker<unknown>, stopping: boolean): WorkerStatus['state'] {
  if (!worker.process) return 'dead'
  if (stopping) return 'stopping'
  if (worker.condemned) return 'killed'
  if (!worker.ready) return 'starting'
  return worker.tasks.size > 0 ? 'busy' : 'idle'
}

/** Undefined where the system has no /proc: the worker's own beats tell then, except while it is deep in work. */
function residentBytes(pid: number): number | undefined {
  try {
    const found = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
    return found ? Number(found[1]) * 1024 : undefined
  } catch {
    return undefined
  }
}

const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`
