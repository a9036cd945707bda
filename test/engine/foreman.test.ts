import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { enableCompileCache, getCompileCacheDir } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ColdtrailError } from '../../src/core/errors.ts'
import { type Death, type Duties, Foreman, type ForemanOptions } from '../../src/engine/foreman.ts'
import type { EngineTask } from '../support/engineWorker.ts'

const MODULE = new URL('../support/engineWorker.ts', import.meta.url)

const running: Foreman<EngineTask>[] = []
afterEach(async () => {
  for (const foreman of running.splice(0)) await foreman.stop({ askMilliseconds: 500, termMilliseconds: 500 })
})

/** A job that hands out a list of tasks and keeps what happens. */
class Job implements Duties<EngineTask> {
  readonly queue: EngineTask[]
  readonly results: unknown[] = []
  readonly failures: ColdtrailError[] = []
  readonly deaths: Death<EngineTask>[] = []
  readonly workers = new Set<number>()
  despair: ColdtrailError | undefined
  private readonly foreman: Foreman<EngineTask>

  constructor(queue: EngineTask[], options: Partial<ForemanOptions> = {}) {
    this.queue = queue
    this.foreman = new Foreman({ module: MODULE, init: { offset: 1 }, workers: 1, ...options }, this)
    running.push(this.foreman)
  }
  next(worker: number): EngineTask | undefined {
    const task = this.queue.shift()
    if (task) this.workers.add(worker)
    return task
  }
  done(_worker: number, _task: EngineTask, result: unknown): void {
    this.results.push(result)
  }
  failed(_worker: number, _task: EngineTask, error: ColdtrailError): void {
    this.failures.push(error)
  }
  died(death: Death<EngineTask>): void {
    this.deaths.push(death)
  }
  async answer(_worker: number, question: unknown): Promise<unknown> {
    return { question, answer: 42 }
  }
  hopeless(error: ColdtrailError): void {
    this.despair = error
  }
  async until(isMet: () => boolean): Promise<Foreman<EngineTask>> {
    const limit = Date.now() + 15_000
    while (!isMet()) {
      assert.ok(Date.now() < limit, 'it takes too long')
      await sleep(10)
    }
    return this.foreman
  }
}

test('tasks go to all workers, results and typed errors come back, questions are answered', async () => {
  const doubles = Array.from({ length: 50 }, (_, value): EngineTask => ({ do: 'double', value }))
  const job = new Job([{ do: 'fail' }, { do: 'ask' }, ...doubles], { workers: 2 })
  const foreman = await job.until(() => job.results.length === 51 && job.failures.length === 1)
  assert.deepEqual(
    job.results.filter((result) => typeof result === 'number').sort((a, b) => a - b),
    Array.from({ length: 50 }, (_, i) => 2 * i + 1),
  )
  assert.deepEqual(
    job.results.find((result) => typeof result === 'object'),
    { question: 'how much', answer: 42 },
  )
  assert.equal(job.failures[0]!.code, 'E_FILE_GONE')
  assert.equal(job.failures[0]!.message, 'x is gone since it was listed.')
  foreman.note('remember')
  job.queue.push({ do: 'say' })
  foreman.wake()
  await job.until(() => job.results.length === 52)
  assert.deepEqual(job.results.at(-1), ['remember'])
  // The result is heard a moment before its worker is idle.
  await job.until(() => foreman.statuses().every(({ state, tasks }) => state === 'idle' && tasks === 0))
  await foreman.stop()
  assert.ok(foreman.statuses().every(({ state }) => state === 'dead'))
})

test('a killed worker gives its tasks back in order and is replaced', async () => {
  const job = new Job([{ do: 'double', value: 1 }])
  const foreman = await job.until(() => job.results.length === 1)
  job.queue.push({ do: 'hang' }, { do: 'block' })
  foreman.wake()
  const pid = foreman.statuses()[0]!.pid!
  process.kill(pid, 'SIGKILL')
  await job.until(() => job.deaths.length === 1)
  assert.deepEqual(job.deaths[0], {
    worker: 0,
    tasks: [{ do: 'hang' }, { do: 'block' }],
    reason: 'it was killed by SIGKILL',
    cause: 'died',
  })
  job.queue.push({ do: 'double', value: 20 })
  await job.until(() => job.results.length === 2)
  assert.equal(job.results[1], 41)
  assert.notEqual(foreman.statuses()[0]!.pid, pid)
  assert.equal(foreman.statuses()[0]!.restarts, 1)
  await foreman.stop()
})

test('a worker that crashes says why', async () => {
  const job = new Job([{ do: 'crash' }])
  const foreman = await job.until(() => job.deaths.length === 1)
  assert.match(job.deaths[0]!.reason, /^it ended with status 1: .*out of paper/s)
  await foreman.stop()
})

test('a worker over its memory limit is killed, though it never comes up for air', async () => {
  const job = new Job([{ do: 'grow' }], { memoryBytes: 400 * 2 ** 20 })
  const foreman = await job.until(() => job.deaths.length === 1)
  assert.match(job.deaths[0]!.reason, /limit(?: of| is) 400 MiB/)
  assert.equal(job.deaths[0]!.cause, 'memory')
  await foreman.stop()
})

test('a worker that makes no progress is killed; one without tasks is not', async () => {
  const job = new Job([{ do: 'block' }], { timeoutMilliseconds: 600 })
  const foreman = await job.until(() => job.deaths.length === 1)
  assert.match(job.deaths[0]!.reason, /^nothing was heard of it for/)
  await sleep(1500)
  assert.equal(job.deaths.length, 1)
  await foreman.stop()
})

test('workers that cannot start are given up', async () => {
  const job = new Job([{ do: 'say' }], { init: { offset: 0, crash: true } })
  const foreman = await job.until(() => job.despair !== undefined)
  assert.equal(job.despair!.code, 'E_WORKER_START')
  assert.match(job.despair!.message, /no start today/)
  await foreman.stop()
})

test('stop: asked, then terminated, then killed', async () => {
  const job = new Job([{ do: 'ignore' }])
  const foreman = await job.until(() => job.results.length === 1)
  job.queue.push({ do: 'block' })
  foreman.wake()
  const pid = job.results[0] as number
  await foreman.stop({ askMilliseconds: 100, termMilliseconds: 100 })
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
  assert.equal(job.deaths.length, 0)
})

test('workers end with the process of their foreman, however it ends', async () => {
  const script = `
    import { Foreman } from ${JSON.stringify(new URL('../../src/engine/foreman.ts', import.meta.url).href)}
    const foreman = new Foreman(
      { module: new URL(${JSON.stringify(MODULE.href)}), init: { offset: 0 }, workers: 2 },
      { next: () => undefined, done() {}, failed() {}, died() {}, hopeless() {} },
    )
    setInterval(() => {
      const statuses = foreman.statuses()
      if (statuses.every(({ state }) => state === 'idle')) console.log(JSON.stringify(statuses.map(({ pid }) => pid)))
    }, 50)`
  const parent = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(parent.stdout, 'data')) as [Buffer]
  const pids = JSON.parse(line.toString().split('\n')[0]!) as number[]
  parent.kill('SIGKILL')
  const isAlive = (pid: number): boolean => {
    try {
      return process.kill(pid, 0)
    } catch {
      return false
    }
  }
  for (let i = 0; i < 200 && pids.some(isAlive); i++) await sleep(20)
  assert.deepEqual(pids.filter(isAlive), [])
})

test('workers read the compiled sources that their foreman keeps', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  enableCompileCache(directory)
  const job = new Job([{ do: 'cache' }])
  await job.until(() => job.results.length === 1)
  assert.equal(job.results[0], getCompileCacheDir())
})
