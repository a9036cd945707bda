/**
 * Kills real `./coldtrail sync import` processes, at fault points and at random times, and lets another run go on; at the
 * end the library must be, row for row, the one of an import that nobody disturbed (T2).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Library } from '../../src/library/library.ts'
import { openLibrary } from '../../src/library/library.ts'
import { columnsOf, TABLES } from '../../src/library/model.ts'
import { seededRandom } from './random.ts'
import { sampleSite } from './sampleBundle.ts'
import { siteBundle, uidOf } from './siteBundle.ts'

const LAUNCHER = join(import.meta.dirname, '../../coldtrail')
/** As COLDTRAIL_FAULT names them; `:n` is for a later passing. */
export const IMPORT_POINTS = [
  'staging.loaded',
  'staging.loaded:3',
  'merge.inserted',
  'merge.inserted:4',
  'merge.inserted:9',
  'merge.applying',
  'merge.published',
] as const

export interface ImportKillOptions {
  readonly kills: number
  readonly seed: number
  /** No round is begun after so many milliseconds. */
  readonly budget?: number
  /** An empty PostgreSQL database for each site, in place of SQLite. */
  readonly url?: (name: string) => Promise<string>
  readonly onRound?: (kills: number, story: string) => void
}

export interface ImportKillTotals {
  kills: number
  rounds: number
  /** Runs that went on where a killed one ended. */
  resumed: number
  /** Dump files that were loaded once more although an earlier run had loaded them. */
  reloaded: number
  /** Rounds whose library was another one than it must be. */
  readonly differences: string[]
}

const INDICATORS = 2_000
const KILLS_A_ROUND = 4
/** Less than an undisturbed run, its start included. */
const RUN_MILLISECONDS = 900

/** Two bundles: a first one, and one that adds, changes and takes away. */
async function twoBundles(place: string): Promise<{ first: string; second: string }> {
  const site = sampleSite(place, 'low')
  const dictionaries = {
    indicator_types: [{ name: 'FQDN' }],
    indicator_statuses: [{ name: 'Active' }],
    attributes: [{ name: 'Confidence' }],
    adversaries: [{ name: 'Cosy Bear' }],
  }
  const rowsOf = (from: number, to: number, description: string) => ({
    ...dictionaries,
    indicators: numbers(from, to).map((i) => ({
      id: String(i),
      uid: uidOf('indicators', i),
      type_id: '1',
      status_id: '1',
      value: `host${i}.example`,
      description,
      updated_at: description === 'first' ? '1547660837000001' : '1547660837000002',
    })),
    indicator_attributes: numbers(from, to).map((i) => ({
      id: String(i),
      uid: uidOf('indicator_attributes', i),
      indicator_id: String(i),
      attribute_id: '1',
      value: String(i % 7),
    })),
    object_links: numbers(from, to).map((i) => ({
      id: String(i),
      uid: uidOf('object_links', i),
      src_type: 'indicator',
      src_object_id: String(i),
      dest_type: 'adversary',
      dest_object_id: '1',
      relationship: 'used-by',
    })),
  })
  const half = INDICATORS / 2
  const first = await siteBundle(place, { site, rows: rowsOf(1, half, 'first'), limit: 250 })
  const deleted = { indicators: numbers(1, 100).map((i) => uidOf('indicators', i)) }
  const second = await siteBundle(place, {
    site,
    rows: rowsOf(half - 300, INDICATORS, 'second'),
    deleted,
    limit: 250,
    manifest: { seq: 2, base_seq: 1, kind: 'delta', prev_sha256: first.manifestSha256 },
  })
  return { first: first.files[0]!, second: second.files[0]! }
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

interface Target {
  readonly data: string
  readonly config: string
  readonly url: string | undefined
}

export async function importKills(options: ImportKillOptions): Promise<ImportKillTotals> {
  const { kills, seed, budget, url, onRound } = options
  const totals: ImportKillTotals = { kills: 0, rounds: 0, resumed: 0, reloaded: 0, differences: [] }
  const place = mkdtempSync(join(tmpdir(), 'coldtrail-import-kills-'))
  const started = Date.now()
  let tries = 0
  try {
    const { first, second } = await twoBundles(place)
    const target = async (name: string): Promise<Target> => {
      const data = join(place, name)
      const database = await url?.(name)
      const config = join(place, `${name}.yaml`)
      writeFileSync(
        config,
        `site: high\ndata_dir: ${data}\n${database === undefined ? '' : `catalog_url: ${database}\n`}`,
      )
      return { data, config, url: database }
    }
    /** A library that has the first bundle. */
    const prepared = async (name: string): Promise<Target> => {
      const made = await target(name)
      // Of SQLite it is imported once and copied.
      if (made.url === undefined && totals.rounds > 0) cpSync(join(place, 'template'), made.data, { recursive: true })
      else await finish(place, made, first)
      if (made.url === undefined && totals.rounds === 0) cpSync(made.data, join(place, 'template'), { recursive: true })
      return made
    }
    const whole = await prepared('whole')
    await finish(place, whole, second)
    const expected = await everyRow(whole)
    if (expected.length < INDICATORS) throw new Error(`only ${expected.length} rows arrived`)
    while (totals.kills < kills && (budget === undefined || Date.now() - started < budget)) {
      totals.rounds += 1
      const random = seededRandom(seed * 1_009 + totals.rounds)
      const made = await prepared(`round-${totals.rounds}`)
      const story: string[] = []
      for (let run = 0; run < KILLS_A_ROUND && totals.kills < kills; run++) {
        // Points come in turn, so that a short sample has them all; every other kill is at a random time.
        const point = IMPORT_POINTS[Math.floor(tries / 2) % IMPORT_POINTS.length]!
        const fault = tries++ % 2 === 0 ? point : undefined
        const child = importing(place, made, second, fault)
        const wait = fault ?? `${200 + random(RUN_MILLISECONDS)} ms`
        if (fault === undefined) {
          await Promise.race([sleep(Number.parseInt(wait, 10)), child.ended])
          child.process.kill('SIGKILL')
        }
        const { signal, stdout } = await child.ended
        if (signal === 'SIGKILL') totals.kills += 1
        story.push(`${wait}${signal === 'SIGKILL' ? '' : ' (over)'}`)
        if (signal === 'SIGKILL') continue
        // What comes now is known, and would be killed for nothing.
        countRun(totals, stdout)
        break
      }
      countRun(totals, await finish(place, made, second))
      const found = await everyRow(made)
      const difference = firstDifference(expected, found)
      if (difference !== undefined)
        totals.differences.push(`seed ${seed}, round ${totals.rounds} (${story.join(', ')}): ${difference}`)
      const left = await leftOvers(made)
      if (left !== undefined)
        totals.differences.push(`seed ${seed}, round ${totals.rounds} (${story.join(', ')}): ${left}`)
      rmSync(made.data, { recursive: true, force: true })
      onRound?.(totals.kills, story.join(', '))
    }
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
  return totals
}

// --- internal ---

interface Summary {
  readonly result: string
  readonly resumed_run?: string
  readonly shards: { readonly loaded: number }
}

function importing(place: string, { config }: Target, file: string, fault?: string) {
  const child: ChildProcess = spawn(
    LAUNCHER,
    ['sync', 'import', `--file=${file}`, '--config', config, '--object-limit', '10', '--json'],
    {
      cwd: place,
      env: { HOME: place, PATH: process.env.PATH ?? '', ...(fault !== undefined && { COLDTRAIL_FAULT: fault }) },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  let stdout = ''
  let stderr = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const ended = once(child, 'close').then(([status, signal]) => ({ status, signal, stdout, stderr }))
  return { process: child, ended }
}

/** The output of a run that came to its end. */
async function finish(place: string, target: Target, file: string): Promise<string> {
  const { status, stdout, stderr } = await importing(place, target, file).ended
  if (status !== 0) throw new Error(`sync import ended with ${status}: ${stdout}${stderr}`)
  return stdout
}

function countRun(totals: ImportKillTotals, stdout: string): void {
  for (const line of stdout.trim().split('\n').filter(Boolean)) {
    const summary = JSON.parse(line) as Summary
    if (summary.resumed_run !== undefined) totals.resumed += 1
    totals.reloaded += summary.shards?.loaded ?? 0
  }
}

/** Of every table: uids, keys, fields and dates, references as the uids of their rows. Local ids and changes differ. */
async function everyRow({ data, url }: Target): Promise<string[]> {
  const library = await openLibrary({ dataDir: data, url })
  try {
    const uids = new Map<string, string>()
    const rows: string[] = []
    for (const table of TABLES) {
      const found = (await library.database.db.selectFrom(table.name).selectAll().execute()) as Record<
        string,
        unknown
      >[]
      for (const row of found)
        uids.set(
          `${table.objectCode && table.kind === 'object' ? table.objectCode : table.name} ${row.id}`,
          hex(row.uid),
        )
      for (const row of found) {
        const fields = columnsOf(table)
          .filter(({ name }) => !LOCAL.has(name))
          .map(({ name, type, references, typeColumn }) => {
            const value = row[name]
            if (value === null) return ''
            if (type === 'anyReference') return uids.get(`${row[typeColumn!]} ${value}`) ?? `? ${value}`
            if (type === 'reference') {
              const of = TABLES.find((one) => one.name === references)!
              return uids.get(`${of.kind === 'object' ? of.objectCode : of.name} ${value}`) ?? `? ${value}`
            }
            return value instanceof Uint8Array ? hex(value) : String(value)
          })
        rows.push(`${table.name} ${fields.join('|')}`)
      }
    }
    return rows.sort()
  } finally {
    await library.close()
  }
}

/** Numbers and times of this library alone; `sync_hash` of a link has local ids in it. */
const LOCAL = new Set(['id', 'created_change', 'change', 'sync_hash', 'deleted_at'])

const hex = (bytes: unknown): string => Buffer.from(bytes as Uint8Array).toString('hex')

function firstDifference(expected: readonly string[], found: readonly string[]): string | undefined {
  if (expected.length !== found.length) return `${found.length} rows in place of ${expected.length}`
  const at = expected.findIndex((row, i) => row !== found[i])
  return at < 0 ? undefined : `${found[at]} in place of ${expected[at]}`
}

/** What an ended import must not leave: sync tables, rows of changes that nobody sees, runs without an end. */
async function leftOvers({ data, url }: Target): Promise<string | undefined> {
  const library: Library = await openLibrary({ dataDir: data, url })
  try {
    const { db } = library.database
    const count = async (table: string, column: string, operator: 'is' | '=' | 'like', value: string | null) =>
      (await db.selectFrom(table).select(column).where(column, operator, value).execute()).length
    const left = {
      unseen: await count('changes', 'seq', 'is', null),
      running: await count('synchronizations', 'state', '=', 'running'),
      staging: await count('facts', 'name', 'like', 'merge:%'),
      files:
        url === undefined ? readdirSync(join(data, 'library')).filter((name) => name.startsWith('run-')).length : 0,
    }
    const named = Object.entries(left).filter(([, n]) => n > 0)
    return named.length === 0 ? undefined : `left: ${JSON.stringify(Object.fromEntries(named))}`
  } finally {
    await library.close()
  }
}
