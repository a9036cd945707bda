/**
 * A data directory that real `./coldtrail collect` processes fill and that tests kill them over; a set of logs whose
 * every event and reject is known; and the check that each is in the store exactly once.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { DECODE_LIMITS } from '../../src/collect/collect.ts'
import { decodeStream } from '../../src/collect/decode.ts'
import { awsLogSet } from '../../src/demo/awsLogs.ts'
import { type Catalog, openCatalog, rebuildCatalog, type SegmentRow } from '../../src/store/catalog.ts'
import { verifyStore } from '../../src/store/verify.ts'
import { LAUNCHER } from '../cli/runColdtrail.ts'
import { duckdb, type Row } from './readParquet.ts'

export interface KnownLogs {
  readonly objects: readonly { readonly key: string; readonly body: Buffer }[]
  /** The text of every record, sorted. */
  readonly events: readonly string[]
  /** The bytes of every record that its format refuses, sorted. */
  readonly rejects: readonly string[]
}

/** CloudTrail and flow logs of two days, and JSON lines among which some are none. */
export function knownLogs(seed: number): KnownLogs {
  const { objects } = awsLogSet({ seed, days: 2, cloudTrailEvents: 300, flowRecords: 300 })
  const events: string[] = []
  for (const { key, body } of objects) {
    const text = gunzipSync(body).toString()
    if (key.includes('/vpcflowlogs/')) events.push(...text.trimEnd().split('\n').slice(1))
    else if (!key.includes('/CloudTrail-Digest/'))
      for (const record of JSON.parse(text).Records) events.push(JSON.stringify(record))
  }
  const rejects: string[] = []
  const mixed = Array.from({ length: 30 }, (_, file) => {
    const lines = Array.from({ length: 20 }, (_, line) => {
      const isBad = (file + line) % 7 === 0
      const text = isBad ? `{"file":${file},"line":${line},"broken` : `{"file":${file},"line":${line}}`
      ;(isBad ? rejects : events).push(text)
      return text
    })
    const key = `app/2026/03/${10 + (file % 2)}/mixed-${file}.jsonl`
    return { key, body: Buffer.from(lines.join('\n')) }
  })
  return { objects: [...objects, ...mixed], events: events.sort(), rejects: rejects.sort() }
}

export interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly pid: number
  readonly ended: Promise<Ended>
  kill(): void
  /** Process ids of its workers; none once it has ended. */
  workers(): number[]
}

/** Nothing found: exactly once, and nothing damaged. */
export const SOUND: Findings = { duplicates: [], lost: [], faults: [] }

export interface Findings {
  readonly duplicates: readonly string[]
  readonly lost: readonly string[]
  /** What `verify` finds; and files that no commit made. */
  readonly faults: readonly string[]
}

export interface CrashSite {
  readonly root: string
  readonly dataDir: string
  readonly logs: string
  /** Starts `./coldtrail collect` with these arguments (default: the folder of logs). */
  start(options?: StartOptions): Running
  /** A run that nothing disturbs; its summary. Fails unless it ends with this status, 0 by default. */
  collect(options?: StartOptions & { readonly status?: number }): Promise<Record<string, unknown>>
  /** Starts any command. */
  run(args: readonly string[], options?: StartOptions): Running
  coldtrail(args: readonly string[]): Promise<Ended>
  check(logs: KnownLogs): Promise<Findings>
  /** Loses the catalog and makes it anew from the files. */
  rebuild(): Promise<void>
  remove(): void
}

export interface StartOptions {
  readonly fault?: string
  readonly source?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  /** Put before the launcher: a program that changes the limits of what it starts. */
  readonly under?: readonly string[]
}

export interface SiteOptions {
  /** PostgreSQL catalog; default SQLite. */
  readonly url?: string
  /** Where the data directory lies; default inside the site's own directory. */
  readonly dataDir?: string
  /** Few make many segments, so that a short run commits often; more make small ones, which are merged. */
  readonly maxRows?: number
  /** Lines of the configuration file after these. */
  readonly config?: string
}

export function crashSite({ url, dataDir: place, maxRows = 150, config: more = '' }: SiteOptions = {}): CrashSite {
  const root = mkdtempSync(join(tmpdir(), 'coldtrail-crash-'))
  const dataDir = place ?? join(root, 'data')
  const logs = join(root, 'logs')
  const config = join(root, 'coldtrail.yaml')
  writeFileSync(
    config,
    `data_dir: ${JSON.stringify(dataDir)}\ncollect: { processes: 2 }\nsegment: { max_rows: ${maxRows}, max_open: 4 }\n` +
      (url ? `catalog_url: ${url}\n` : '') +
      more,
  )
  const launch = (
    args: readonly string[],
    { fault = '', environment = {}, under = [] }: StartOptions = {},
  ): Running => {
    const [program, ...before] = [...under, LAUNCHER]
    const env = {
      ...{ HOME: root, PATH: process.env.PATH ?? '', AWS_EC2_METADATA_DISABLED: 'true' },
      ...(process.env.NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE }),
      ...environment,
      ...(fault && { COLDTRAIL_FAULT: fault }),
    }
    const child = spawn(program!, [...before, ...args, '--config', config], { cwd: root, env, stdio: 'pipe' })
    child.stdin.end()
    return { pid: child.pid!, ended: endOf(child), kill: () => child.kill('SIGKILL'), workers: () => workersOf(child) }
  }
  const start = (options: StartOptions = {}): Running =>
    launch(['collect', ...(options.source ?? [logs]), '--json'], options)
  const catalogOptions = { dataDir, ...(url && { url }) }
  return {
    root,
    dataDir,
    logs,
    start,
    async collect({ status = 0, ...options } = {}) {
      const ended = await start(options).ended
      assert.equal(ended.status, status, `${ended.signal ?? ''} ${ended.stdout}\n${ended.stderr}`)
      return summaryOf(ended)
    },
    run: launch,
    coldtrail: (args) => launch(args).ended,
    async check(known) {
      const catalog = await openCatalog(catalogOptions)
      try {
        return await findings(catalog, dataDir, known)
      } finally {
        await catalog.close()
      }
    },
    async rebuild() {
      if (!url) for (const suffix of ['', '-wal', '-shm']) rmSync(join(dataDir, `catalog.db${suffix}`), { force: true })
      await rebuildCatalog(catalogOptions)
    },
    remove: () => rmSync(root, { recursive: true, force: true, maxRetries: 5 }),
  }
}

export function putFiles(folder: string, { objects }: Pick<KnownLogs, 'objects'>): void {
  for (const { key, body } of objects) {
    mkdirSync(dirname(join(folder, key)), { recursive: true })
    writeFileSync(join(folder, key), body)
  }
}

export function summaryOf({ stdout }: Ended): Record<string, unknown> {
  const last = stdout.trimEnd().split('\n').at(-1)
  return last ? JSON.parse(last) : {}
}

// --- internal ---

function endOf(child: ChildProcess): Promise<Ended> {
  let stdout = ''
  let stderr = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => resolve({ status, signal, stdout, stderr }))
  })
}

function workersOf({ pid, exitCode, signalCode }: ChildProcess): number[] {
  const children = `/proc/${pid}/task/${pid}/children`
  if (exitCode !== null || signalCode !== null || !existsSync(children)) return []
  return readFileSync(children, 'latin1').split(' ').filter(Boolean).map(Number)
}

async function findings(catalog: Catalog, dataDir: string, known: KnownLogs): Promise<Findings> {
  const segments = await catalog.segments({ state: 'live' })
  const events = await texts(segments, 'meta')
  const rejects = await texts(segments, 'reject')
  const faults: string[] = []
  await verifyStore({
    catalog,
    dataDir,
    decode: async (received, size) => (await decodeStream(received, size, DECODE_LIMITS)).decoded,
    onFault: ({ file, fault, detail }) => faults.push(`${file} is ${fault}: ${detail}`),
    onOrphan: (file) => faults.push(`${file} is an orphan`),
  })
  const eventsCompared = compared(known.events, events)
  const rejectsCompared = compared(known.rejects, rejects)
  return {
    duplicates: [...eventsCompared.duplicates, ...rejectsCompared.duplicates],
    lost: [...eventsCompared.lost, ...rejectsCompared.lost],
    faults,
  }
}

/** Column `data` of all files of that kind, without superseded sessions. */
async function texts(segments: readonly SegmentRow[], kind: 'meta' | 'reject'): Promise<string[]> {
  const found: string[] = []
  for (const { directory, files, superseded } of segments) {
    const file = files.find((each) => each.kind === kind)
    if (!file) continue
    const rows: Row[] = await duckdb(join(directory, file.name), 'SELECT session_id, data FROM @file')
    for (const { session_id, data } of rows) if (!superseded.includes(Number(session_id))) found.push(String(data))
  }
  return found.sort()
}

/** Two sorted lists as multisets. */
function compared(wanted: readonly string[], found: readonly string[]): { duplicates: string[]; lost: string[] } {
  const left = new Map<string, number>()
  for (const text of wanted) left.set(text, (left.get(text) ?? 0) + 1)
  const duplicates: string[] = []
  for (const text of found) {
    const count = left.get(text) ?? 0
    if (count === 0) duplicates.push(text)
    else left.set(text, count - 1)
  }
  const lost = [...left].flatMap(([text, count]) => Array<string>(count).fill(text))
  return { duplicates, lost }
}
