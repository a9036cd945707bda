/**
 * `npm run soak -- analyze [--kills N] [--events N] [--seed S]`: kills workers and the foreman at random times while
 * events are analysed, resumes each time, and compares the tags with those of an undisturbed run. The last line is one JSON
 * object; exit status 1 when anything differs.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { analysisStore } from '../bench/support/analysisStore.ts'
import { COLDTRAIL } from '../bench/support/input.ts'
import { measure } from '../bench/support/measure.ts'
import { seededRandom } from '../test/support/random.ts'
import { duckdb } from '../test/support/readParquet.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '30' },
    events: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
  },
})
const [kills, seed] = [Number(values.kills), Number(values.seed)]
const random = seededRandom(seed)
const { directory, events } = await analysisStore(Number(values.events))
const scratch = mkdtempSync(join(tmpdir(), 'coldtrail-soak-'))
const [calm, data] = [join(scratch, 'calm'), join(scratch, 'data')]
for (const copy of [calm, data]) cpSync(directory, copy, { recursive: true })
const ANALYZE = ['analyze', '--plugins', 'tagging,sessionize', '--task-rows', '50000']

const undisturbed = await measure(COLDTRAIL, [...ANALYZE, '--data-dir', calm, '--json'])
if (undisturbed.status !== 0) throw new Error(undisturbed.stdout)
let made = { foreman: 0, worker: 0 }
let [resumes, differing] = [0, 0]
while (made.foreman + made.worker < kills) {
  let run: number | undefined
  for (;;) {
    const line = run === undefined ? ANALYZE : ['analyze', '--resume', String(run)]
    const status = await disturbed([...line, '--data-dir', data, '--json'])
    if (status === 0) break
    run = (await unfinished()) ?? undefined
    if (run !== undefined) resumes += 1
  }
  if ((await digests(data)) !== (await digests(calm))) differing += 1
  const [last] = await runsOf(data)
  await measure(COLDTRAIL, ['analyze', 'remove', String(last!.run), '--data-dir', data, '--json'])
  process.stdout.write(
    `${made.foreman} kills of the foreman, ${made.worker} of workers, ${resumes} resumes, ${differing} differing\n`,
  )
}
const verify = await measure(COLDTRAIL, ['verify', '--data-dir', data, '--json'])
const isSound = differing === 0 && verify.status === 0
console.log(
  JSON.stringify({
    soak: 'analyze',
    events,
    kills: made,
    resumes,
    differing,
    verify_status: verify.status,
    sound: isSound,
    seed,
  }),
)
rmSync(scratch, { recursive: true, force: true })
process.exitCode = isSound ? 0 : 1

/** One run of the program in which processes die at random times; its exit status, null when it was killed itself. */
async function disturbed(line: readonly string[]): Promise<number | null> {
  const child = spawn(COLDTRAIL, line, { stdio: ['ignore', 'ignore', 'inherit'] })
  let ended = false
  const end = once(child, 'close').then(([status]) => {
    ended = true
    return status as number | null
  })
  while (made.foreman + made.worker < kills) {
    await Promise.race([sleep(800 + random(4_000)), end])
    if (ended) break
    // The launcher becomes the program, whose children are the workers.
    const workers = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'latin1')
      .trim()
      .split(' ')
      .filter(Boolean)
    const ofForeman = workers.length === 0 || random(3) === 0
    made = ofForeman ? { ...made, foreman: made.foreman + 1 } : { ...made, worker: made.worker + 1 }
    try {
      process.kill(ofForeman ? child.pid! : Number(workers[random(workers.length)]), 'SIGKILL')
    } catch {
      // It ended between the look and the blow.
    }
  }
  return end
}

interface Listed {
  readonly run: number
  readonly state: string
}

async function runsOf(place: string): Promise<Listed[]> {
  const { stdout } = await measure(COLDTRAIL, ['analyze', 'runs', '--data-dir', place, '--json'])
  return stdout
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((text) => JSON.parse(text) as Listed)
}

/** The run to resume; one of which nothing was written down is removed. */
async function unfinished(): Promise<number | undefined> {
  const last = (await runsOf(data))[0]
  if (!last || last.state === 'finished' || last.state === 'partial') return undefined
  const plan = join(data, 'analyze', String(last.run).padStart(9, '0'), 'plan.json')
  try {
    readFileSync(plan)
    return last.run
  } catch {
    await measure(COLDTRAIL, ['analyze', 'remove', String(last.run), '--data-dir', data, '--json'])
    return undefined
  }
}

/** Every tag of a store's last run, as one digest a segment: files of removed runs stay for a while. */
async function digests(place: string): Promise<string> {
  const folder = join(place, 'collections/main')
  const lines: string[] = []
  const ending = `-${String((await runsOf(place))[0]!.run).padStart(9, '0')}.parquet`
  for (const name of readdirSync(folder).filter((file) => file.startsWith('tag-') && file.endsWith(ending))) {
    const sql = 'SELECT bit_xor(hash(id, label, plugin, rule))::VARCHAR AS digest, count(*) AS n FROM @file'
    const [row] = await duckdb(join(folder, name), sql)
    lines.push(`${name.slice(0, 13)} ${row!.digest} ${row!.n}`)
  }
  return lines.sort().join('\n')
}
