/**
 * `npm run soak -- fuzz [--objects N] [--seed S] [--minutes M]`: damaged objects through the whole way of an object. The
 * last line is one JSON object; exit status 1 when anything was found. An object that does not end within a minute is
 * named, and ends the run.
 */
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { fuzzObjects } from '../test/support/fuzzObjects.ts'

const { values } = parseArgs({
  options: {
    objects: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '20' },
  },
})
const started = performance.now()
const seed = Number(values.seed)
const current = new Int32Array(new SharedArrayBuffer(4))
// A thread of its own: a parser that hangs would never let a timer of this one fire.
const watchdog = new Worker(
  `const { workerData: current } = require('node:worker_threads')
   let last = -1
   setInterval(() => {
     const now = Atomics.load(current, 0)
     if (now === last) {
       require('node:fs').writeSync(2, 'object ' + now + ' does not end\\n')
       process.kill(process.pid, 'SIGKILL')
     }
     last = now
   }, 60_000)`,
  { eval: true, workerData: current },
)
const totals = await fuzzObjects({
  objects: Number(values.objects),
  seed,
  budget: Number(values.minutes) * 60_000,
  onObject: (number) => Atomics.store(current, 0, number),
  onBatch: ({ objects, details }) => process.stdout.write(`${objects} objects, ${details.length} findings\n`),
})
await watchdog.terminate()
for (const detail of totals.details) process.stdout.write(`${detail}\n`)
const { details, ...counts } = totals
const seconds = Math.round((performance.now() - started) / 1000)
process.stdout.write(`${JSON.stringify({ ...counts, findings: details.length, seed, seconds })}\n`)
process.exitCode = details.length + counts.lost + counts.duplicates > 0 ? 1 : 0
