/**
 * The worker's side of the engine. A worker module calls `serve` once; it is started by a Foreman and ends with it:
 * when the foreman's process is gone, however that came about, the worker exits.
 */
import { Worker } from 'node:worker_threads'
import { type FromWorker, packError, type ToWorker, unpackError } from './messages.ts'

/** The worker's way back to its foreman. */
export interface Link {
  /** A question that the foreman's `answer` replies to; rejects with the foreman's error. */
  ask(question: unknown): Promise<unknown>
  /** Something the foreman should know at once, and a sign of progress. */
  report(report: unknown): void
}

/** What a worker does. Several tasks may run at once: they are started as they arrive. */
export interface Service<Task> {
  /** The result is plain data. A rejection is reported as the task's failure; the worker lives on. */
  run(task: Task): Promise<unknown>
  note?(note: unknown): void
  /** Before a graceful end; tasks in progress are not waited for. */
  stop?(): Promise<void> | void
}

export interface ServeOptions {
  /** The work may never come up for air: a thread of its own (some 15 MB) ends the process when the foreman is gone. */
  readonly mayHang?: boolean
}

export function serve<Init, Task>(
  start: (init: Init, link: Link) => Promise<Service<Task>> | Service<Task>,
  { mayHang = false }: ServeOptions = {},
): void {
  const send = (message: FromWorker): void => {
    if (process.connected) process.send!(message)
  }
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  let asked = 0
  const link: Link = {
    report: (report) => send({ kind: 'report', report }),
    ask(question) {
      const id = asked++
      send({ kind: 'ask', id, question })
      return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }))
    },
  }
  let service: Service<Task> | undefined

  const perform = async (id: number, task: Task): Promise<void> => {
    try {
      send({ kind: 'done', id, result: await service!.run(task) })
    } catch (error) {
      if (isRefusedMemory(error)) send({ kind: 'exhausted', reason: (error as Error).message })
      else send({ kind: 'failed', id, error: packError(error) })
    }
  }
  const settle = (id: number): { resolve(value: unknown): void; reject(error: Error): void } => {
    const entry = waiting.get(id)!
    waiting.delete(id)
    return entry
  }
  const handle = async (message: ToWorker): Promise<void> => {
    switch (message.kind) {
      case 'start':
        service = await start(message.init as Init, link)
        send({ kind: 'ready' })
        return
      case 'task':
        return perform(message.id, message.task as Task)
      case 'answer':
        return settle(message.id).resolve(message.value)
      case 'refusal':
        return settle(message.id).reject(unpackError(message.error))
      case 'note':
        return service?.note?.(message.note)
      case 'stop':
        await service?.stop?.()
        process.exit(0)
    }
  }
  process.on('message', (message) => void handle(message as ToWorker))
  process.on('disconnect', () => process.exit(1))
  if (mayHang) new Worker(ORPHAN_WATCH, { eval: true }).unref()
  // A terminal sends Ctrl-C to the whole group: the foreman alone decides what becomes of its workers.
  process.on('SIGINT', () => undefined)
  setInterval(() => {
    const { user, system } = process.cpuUsage()
    send({ kind: 'beat', rss: process.memoryUsage.rss(), cpu: user + system })
  }, BEAT_MILLISECONDS).unref()
}

// --- internal ---

const BEAT_MILLISECONDS = 500
const ORPHAN_WATCH = `const parent = process.ppid
setInterval(() => process.ppid === parent || process.kill(process.pid, 'SIGKILL'), 1000)`

/** What it holds already is not given back by a task that fails, so the worker ends. */
export function isRefusedMemory(error: unknown): boolean {
  return (
    error instanceof Error &&
    ((error as NodeJS.ErrnoException).code === 'ERR_MEMORY_ALLOCATION_FAILED' ||
      /^(Array buffer allocation failed|Failed to allocate memory|std::bad_alloc)/.test(error.message))
  )
}
