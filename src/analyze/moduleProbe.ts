/**
 * Modules of the user's own, loaded in a thread first: one that never ends loading can be ended there, and would hold this
 * process, interruptions included, if it were loaded here.
 */
import { Worker } from 'node:worker_threads'

/** The first of the modules (URLs) whose loading does not end, undefined when that of all ends, with or without an error. */
export function moduleThatHangs(modules: readonly string[], milliseconds: number): Promise<string | undefined> {
  if (modules.length === 0) return Promise.resolve(undefined)
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  // What they print is printed when they are loaded in earnest.
  const thread = new Worker(LOADING, { eval: true, workerData: modules, stdout: true, stderr: true })
  let loaded = 0
  const hangs = (): void => resolve(modules[loaded])
  let deadline = setTimeout(hangs, milliseconds)
  thread.on('message', () => {
    loaded += 1
    clearTimeout(deadline)
    if (loaded === modules.length) resolve(undefined)
    else deadline = setTimeout(hangs, milliseconds)
  })
  // An error that nothing caught, or the end of a thread in which nothing is left to do while a module still waits.
  thread.on('error', () => undefined)
  thread.on('exit', hangs)
  return promise.finally(async () => {
    clearTimeout(deadline)
    await thread.terminate()
  })
}

// --- internal ---

const LOADING = `const { parentPort, workerData } = require('node:worker_threads')
const load = async () => {
  for (const module of workerData) {
    await import(module).catch(() => undefined)
    parentPort.postMessage(0)
  }
}
load()`
