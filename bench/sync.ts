/**
 * `npm run bench -- sync [--catalog postgres] [--rows 1000000]`: a library of `rows` indicators, as many attributes and
 * half as many links is exported, imported, imported again and brought up to date, each by the program's own commands;
 * against L1, the raw load of the same rows into tables with the same indexes, and against `gzip -6` of the same CSV, on
 * one core. All in one run.
 */
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { csvRecordsOf } from '../src/core/csv.ts'
import { newChange, publish } from '../src/library/changes.ts'
import { uidRange, uidText } from '../src/library/identity.ts'
import { openLibrary } from '../src/library/library.ts'
import { merge } from '../src/library/merge/merge.ts'
import { openStaging, type StagedRow } from '../src/library/merge/staging.ts'
import { columnsOf, dumpColumns, TABLE_BY_NAME, type Table } from '../src/library/model.ts'
import { indexesOf, sqlType } from '../src/library/schema.ts'
import { BENCH, COLDTRAIL, freshData, lastLine } from './support/input.ts'
import { type Measured, measure, round } from './support/measure.ts'

const { values: given } = parseArgs({
  options: { rows: { type: 'string', default: '1000000' }, catalog: { type: 'string', default: 'sqlite' } },
})
const ROWS = Number(given.rows)
const NOW = 1_764_000_000_000_000
const ATTRIBUTES = 50
const isPostgres = given.catalog === 'postgres'
const LOADED = ['indicators', 'indicator_attributes', 'object_links'].map((name) => TABLE_BY_NAME.get(name)!)

const SOURCE = `sync-source-${ROWS}`
const place = join(BENCH, `sync-${ROWS}`)
if (!existsSync(place)) await prepare()
const { first, second, delta } = bundles()
const totalRows = ROWS * 2 + Math.floor(ROWS / 2)

const gzip = oneCore('gzip', ['-6', '-c', join(place, 'rows.csv')])
const exported = await exportAgain()
const two = await exportAgain(false)
const server = isPostgres ? await startServer() : undefined
try {
  const l1 = isPostgres ? await rawPostgres(server!.url) : await rawSqlite()
  console.error(`L1: ${l1.toFixed(1)} s`)
  const target = freshData('sync-target', `site: high\n${server ? `catalog_url: ${server.url}\n` : ''}`)
  // Its tables are there, as those of L1 are.
  await measure(COLDTRAIL, ['sync', 'fill-hash', '--config', target.config, '--json'])
  const importing = async (name: string, file: string): Promise<Measured> => {
    const args = ['sync', 'import', `--file=${file}`, '--config', target.config, '--report-dir', target.data, '--json']
    const ran = await measure(COLDTRAIL, args)
    const { result, steps, totals } = lastLine<{
      result: string
      steps: { step: string; seconds: number }[]
      totals: object
    }>(ran.stdout)
    if (ran.status !== 0) throw new Error(`${name} ended with ${ran.status}: ${ran.stdout}`)
    const of = steps.map(({ step, seconds }) => `${step} ${seconds.toFixed(1)}`).join(', ')
    console.error(
      `${name}: ${ran.wall.toFixed(1)} s, ${ran.peakRssMb.toFixed(0)} MB, ${result} ${JSON.stringify(totals)} (${of})`,
    )
    return ran
  }
  const imported = await importing('first import', first)
  const again = await importing('second full bundle', second)
  const known = await importing('the same bundle', second)
  const changed = await importing('10 % changed', delta)
  const figures = {
    bench: 'sync',
    catalog: given.catalog,
    rows: totalRows,
    l1_secs: round(l1),
    first_import_l1: round(imported.wall / l1),
    reimport_l1: round(again.wall / l1),
    delta10_l1: round(changed.wall / l1),
    known_secs: round(known.wall),
    export_gzip_ratio: round(exported.wall / gzip),
    export_two_cores: round(two.wall / exported.wall),
    rows_per_s: Math.round(totalRows / imported.wall),
    peak_rss_mb: Math.round(Math.max(...[imported, again, changed, exported, two].map(({ peakRssMb }) => peakRssMb))),
  }
  console.log(
    JSON.stringify({
      ...figures,
      of_limit: {
        first_import_l1: round(figures.first_import_l1 / 2.5),
        reimport_l1: round(figures.reimport_l1 / 0.5),
        delta10_l1: round(figures.delta10_l1 / 0.8),
        export_gzip_ratio: round(figures.export_gzip_ratio / 2),
        peak_rss_mb: round(figures.peak_rss_mb / 512),
      },
    }),
  )
} finally {
  await server?.stop()
}

// --- internal ---

/** Source library, rows of L1, and three bundles, made once; what is made stays, so that a second try goes on. */
async function prepare(): Promise<void> {
  const config = join(BENCH, `${SOURCE}.yaml`)
  const filled = join(BENCH, `${SOURCE}.filled`)
  const unfinished = `${place}.unfinished`
  if (!existsSync(filled)) {
    console.error(`making a library of ${ROWS} indicators; it is kept in .bench`)
    rmSync(unfinished, { recursive: true, force: true })
    mkdirSync(unfinished, { recursive: true })
    const { data } = freshData(SOURCE, 'site: low\n')
    await fillLibrary(data)
    await writeRows(data, unfinished)
    writeFileSync(filled, '')
  }
  for (const name of ['first', 'second'])
    if (!hasBundle(join(unfinished, name))) await exportTo(config, join(unfinished, name), ['--full'])
  await changeTenth(join(BENCH, `data-${SOURCE}`))
  await exportTo(config, join(unfinished, 'delta'))
  renameSync(unfinished, place)
}

function isBundle(file: string): boolean {
  return file.endsWith('.tar.gz')
}

function hasBundle(folder: string): boolean {
  return existsSync(folder) && readdirSync(folder).some(isBundle)
}

async function exportTo(config: string, target: string, more: readonly string[] = []): Promise<Measured> {
  const ran = await measure(COLDTRAIL, ['sync', 'export', '--target', target, '--config', config, '--json', ...more])
  if (ran.status !== 0) throw new Error(`export ended with ${ran.status}: ${ran.stdout}`)
  return ran
}

function bundles(): { first: string; second: string; delta: string } {
  const in_ = (name: string): string => {
    const file = readdirSync(join(place, name)).find(isBundle)!
    return join(place, name, file)
  }
  return { first: in_('first'), second: in_('second'), delta: in_('delta') }
}

/** Wall seconds on one core; what it writes is thrown away. */
function oneCore(command: string, args: readonly string[]): number {
  const started = performance.now()
  const { status, error } = spawnSync('taskset', ['-c', '0', command, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status !== 0) throw error ?? new Error(`${command} ended with ${status}`)
  return (performance.now() - started) / 1_000
}

async function exportAgain(onOneCore = true): Promise<Measured> {
  const target = join(BENCH, 'sync-export')
  rmSync(target, { recursive: true, force: true })
  const args = ['sync', 'export', '--full', '--target', target, '--config', join(BENCH, `${SOURCE}.yaml`), '--json']
  const ran = onOneCore ? await measure('taskset', ['-c', '0', COLDTRAIL, ...args]) : await measure(COLDTRAIL, args)
  if (ran.status !== 0) throw new Error(`export ended with ${ran.status}: ${ran.stdout}`)
  console.error(
    `export on ${onOneCore ? 'one core' : 'all cores'}: ${ran.wall.toFixed(1)} s, ${ran.peakRssMb.toFixed(0)} MB; gzip -6 ${gzip.toFixed(1)} s`,
  )
  return ran
}

/** Linear congruential, the same for ever. */
function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** A row in dump form: what is not named is NULL. */
function rowMaker(table: Table): (values: Readonly<Record<string, string>>) => StagedRow {
  const names = dumpColumns(table).map(({ name }) => name)
  const uids = uidRange(ROWS)
  let number = 0
  return (values) => {
    const at = String(NOW + number)
    const common: Record<string, string> = {
      id: String(++number),
      uid: uidText(uids.at(number - 1)),
      created_at: at,
      updated_at: at,
    }
    return names.map((name) => values[name] ?? common[name] ?? null)
  }
}

async function fillLibrary(dataDir: string): Promise<void> {
  const library = await openLibrary({ dataDir })
  try {
    const { db } = library.database
    const dictionary = async (name: string) =>
      (await db.selectFrom(name).select(['id', 'uid', 'name']).orderBy('id').execute()) as {
        id: number
        uid: Buffer
        name: string
      }[]
    const types = await dictionary('indicator_types')
    const statuses = await dictionary('indicator_statuses')
    const staging = await openStaging(library, {
      run: uidText(uidRange(1).at(0)),
      pid: process.pid,
      kind: 'import',
      source: 'bench',
    })
    for (const [name, rows] of [
      ['indicator_types', types],
      ['indicator_statuses', statuses],
    ] as const) {
      const table = TABLE_BY_NAME.get(name)!
      const names = dumpColumns(table).map(({ name }) => name)
      const staged = rows.map(({ id, uid }) =>
        names.map((name) => (name === 'id' ? String(id) : name === 'uid' ? uidText(uid) : null)),
      )
      await staging.load(table, staged, { shard: name, referenceOnly: true })
    }
    const typeId = (name: string): string => String(types.find((type) => type.name === name)!.id)
    const [ip, sha256, url, domain] = ['IP Address', 'SHA-256', 'URL', 'FQDN'].map(typeId) as [
      string,
      string,
      string,
      string,
    ]
    const random = seeded(1)
    const hex = (): string =>
      random(2 ** 32)
        .toString(16)
        .padStart(8, '0')
    const values: readonly (readonly [string, (i: number) => string])[] = [
      [ip, (i) => `${(i >>> 24) + 1}.${(i >>> 16) & 255}.${(i >>> 8) & 255}.${i & 255}`],
      [sha256, () => Array.from({ length: 8 }, hex).join('')],
      [url, (i) => `https://host${i}.example/${hex()}/login?id=${hex()}`],
      [domain, (i) => `n${i}-${hex()}.example.com`],
    ]
    const load = async (
      name: string,
      count: number,
      valuesOf: (i: number) => Record<string, string>,
    ): Promise<void> => {
      const table = TABLE_BY_NAME.get(name)!
      const row = rowMaker(table)
      const rows = function* () {
        for (let i = 0; i < count; i++) yield row(valuesOf(i))
      }
      await staging.load(table, rows(), { shard: name })
    }
    await load('attributes', ATTRIBUTES, (i) => ({ name: `Attribute ${i}` }))
    await load('indicators', ROWS, (i): Record<string, string> => {
      const [type_id, value] = values[random(4)]!
      const status_id = String(statuses[random(statuses.length)]!.id)
      const description: Record<string, string> =
        i % 4 === 0 ? { description: `Seen in campaign ${random(1_000)}, confidence ${random(100)}` } : {}
      return { type_id, status_id, class: 'network', value: value(i), ...description }
    })
    await load('indicator_attributes', ROWS, (i) => ({
      indicator_id: String(i + 1),
      attribute_id: String(1 + random(ATTRIBUTES)),
      value: `value ${hex()}`,
    }))
    await load('object_links', Math.floor(ROWS / 2), (i) => ({
      src_type: 'indicator',
      src_object_id: String(2 * i + 1),
      dest_type: 'indicator',
      dest_object_id: String(1 + random(ROWS)),
      relationship: 'related-to',
    }))
    const policy = {
      conflicts: 'source',
      deletions: 'apply',
      keepCreatedAt: true,
      overrideDescription: true,
      keepWhereAbsent: false,
      objectLimit: 50_000,
    } as const
    await merge(library, staging, policy)
    await staging.drop()
  } finally {
    await library.close()
  }
}

/** Every tenth indicator gets another description. */
async function changeTenth(dataDir: string): Promise<void> {
  const library = await openLibrary({ dataDir })
  try {
    await library.database.write(async (tx) => {
      const change = await newChange(tx, { kind: 'local' })
      await tx
        .updateTable('indicators')
        .set({ description: 'Seen again', updated_at: NOW + 10 ** 12, change })
        .where((where) =>
          where(
            'id',
            'in',
            where
              .selectFrom('indicators')
              .select('id')
              .where('hash', 'is not', null)
              .orderBy('hash')
              .limit(Math.floor(ROWS / 10)),
          ),
        )
        .execute()
      await publish(tx, change)
    })
  } finally {
    await library.close()
  }
}

/** The columns that L1 loads: those of the base table, all. */
function rawColumns(table: Table) {
  return columnsOf(table)
}

/** The rows of LOADED as CSV, a file each, and all together for gzip. Bytes are hex. */
async function writeRows(dataDir: string, folder: string): Promise<void> {
  const database = new DatabaseSync(join(dataDir, 'library.db'), { readOnly: true })
  const all = openSync(join(folder, 'rows.csv'), 'w')
  for (const table of LOADED) {
    const file = openSync(join(folder, `${table.name}.csv`), 'w')
    const travelling = new Set(dumpColumns(table).map(({ name }) => name))
    const columns = rawColumns(table)
    const select = columns.map(({ name, type }) =>
      type === 'hex' ? `lower(hex("${name}")) as "${name}"` : `"${name}"`,
    )
    const header = columns.map(({ name }) => name)
    let own = `${header.join(',')}\n`
    let dump = `${header.filter((name) => travelling.has(name)).join(',')}\n`
    const flush = (): void => {
      writeSync(file, own)
      writeSync(all, dump)
      own = ''
      dump = ''
    }
    for (const row of database.prepare(`select ${select.join(', ')} from ${table.name}`).iterate()) {
      const fields = header.map((name) => field(row[name] as string | number | null))
      own += `${fields.join(',')}\n`
      dump += `${fields.filter((_, i) => travelling.has(header[i]!)).join(',')}\n`
      if (own.length > 1 << 20) flush()
    }
    flush()
    closeSync(file)
  }
  closeSync(all)
  database.close()
}

function field(value: string | number | null): string {
  if (value === null) return ''
  const text = String(value)
  return text === '' || /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

function createRaw(table: Table, dialect: 'sqlite' | 'postgres'): string[] {
  return [
    `create table ${table.name} (${rawColumns(table)
      .map(({ name, type }) => `"${name}" ${sqlType(type, dialect)}${name === 'id' ? ' primary key' : ''}`)
      .join(', ')})`,
    ...indexesOf(table),
  ]
}

/** Seconds of prepared inserts in one transaction. */
async function rawSqlite(): Promise<number> {
  const path = join(BENCH, 'sync-raw.db')
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true })
  const database = new DatabaseSync(path)
  database.exec('pragma journal_mode = wal; pragma synchronous = normal; pragma cache_size = -163840')
  for (const table of LOADED) for (const statement of createRaw(table, 'sqlite')) database.exec(statement)
  const started = performance.now()
  database.exec('begin')
  for (const table of LOADED) {
    const columns = rawColumns(table)
    const places = columns.map(({ type }) => (type === 'hex' ? 'unhex(?)' : '?'))
    const insert = database.prepare(`insert into ${table.name} values (${places.join(', ')})`)
    const name = join(place, `${table.name}.csv`)
    const bytes = createReadStream(name, { highWaterMark: 1 << 20 })
    for await (const row of csvRecordsOf(bytes, { name, columns: columns.map(({ name }) => name) })) insert.run(...row)
  }
  database.exec('commit')
  const seconds = (performance.now() - started) / 1_000
  database.close()
  console.error(`raw: ${(statSync(path).size / 1e6).toFixed(0)} MB`)
  return seconds
}

/** Seconds of COPY in one transaction. */
async function rawPostgres(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query('create schema raw')
  await client.query('set search_path to raw')
  for (const table of LOADED) for (const statement of createRaw(table, 'postgres')) await client.query(statement)
  const files = LOADED.map((table) => ({ table, file: join(BENCH, `sync-copy-${table.name}.csv`) }))
  for (const { table, file } of files) await withByteaForm(table, file)
  const started = performance.now()
  await client.query('begin')
  for (const { table, file } of files) {
    const copy = client.query(copyFrom(`copy ${table.name} from stdin (format csv, header)`))
    await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), copy)
  }
  await client.query('commit')
  const seconds = (performance.now() - started) / 1_000
  await client.end()
  for (const { file } of files) rmSync(file)
  return seconds
}

/** The same rows with bytes as COPY takes them. */
async function withByteaForm(table: Table, to: string): Promise<void> {
  const columns = rawColumns(table)
  const name = join(place, `${table.name}.csv`)
  const out = openSync(to, 'w')
  let text = `${columns.map(({ name }) => name).join(',')}\n`
  const bytes = createReadStream(name, { highWaterMark: 1 << 20 })
  for await (const row of csvRecordsOf(bytes, { name, columns: columns.map(({ name }) => name) })) {
    text += `${row.map((value, i) => (columns[i]!.type === 'hex' && value !== null ? `\\x${value}` : field(value))).join(',')}\n`
    if (text.length > 1 << 20) {
      writeSync(out, text)
      text = ''
    }
  }
  writeSync(out, text)
  closeSync(out)
}

async function startServer(): Promise<{ url: string; stop(): Promise<void> }> {
  const { startPostgres } = await import('../test/support/postgresServer.ts')
  return startPostgres()
}
