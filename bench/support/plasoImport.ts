/**
 * A plaso timeline, kept in the ignored folder, and what it costs to import it: CPU seconds of the whole program over those
 * of inflating and parsing its event data alone, measured by turns.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { deflateSync, inflateSync } from 'node:zlib'
import { Random } from '../../src/demo/random.ts'
import { BENCH, COLDTRAIL, lastLine } from './input.ts'
import { measure, median, round } from './measure.ts'

export interface PlasoImport {
  readonly events: number
  readonly importCpu: number
  readonly decodeCpu: number
  readonly ratio: number
  readonly importWall: number
  readonly peakRssMb: number
}

export async function plasoImport(events: number, repeats: number): Promise<PlasoImport> {
  const file = timeline(events)
  const data = join(BENCH, 'data-plaso')
  const runs: { cpu: number; wall: number; peakRssMb: number; decode: number }[] = []
  for (let i = 0; i < repeats; i++) {
    rmSync(data, { recursive: true, force: true })
    const { cpu, wall, peakRssMb, stdout, status } = await measure(COLDTRAIL, [
      'collect',
      file,
      '--data-dir',
      data,
      '--json',
    ])
    if (status !== 0 || lastLine<{ events: number }>(stdout).events !== events) throw new Error(stdout)
    runs.push({ cpu, wall, peakRssMb, decode: decodeCpu(file) })
  }
  rmSync(data, { recursive: true, force: true })
  const of = (what: keyof (typeof runs)[number]): number => median(runs.map((run) => run[what]))
  return {
    ...{ events, importCpu: round(of('cpu')), decodeCpu: round(of('decode')) },
    ratio: round(median(runs.map(({ cpu, decode }) => cpu / decode))),
    ...{ importWall: round(of('wall')), peakRssMb: Math.round(of('peakRssMb')) },
  }
}

// --- internal ---

/** Seconds that inflating and parsing every blob takes, without reading them. */
function decodeCpu(file: string): number {
  const database = new DatabaseSync(file, { readOnly: true })
  const some = database.prepare(
    'select _identifier as id, _data as data from event_data where _identifier > ? order by 1 limit 5000',
  )
  let seconds = 0
  let keys = 0
  for (let last = 0; ; ) {
    const rows = some.all(last) as { id: number; data: Uint8Array }[]
    if (rows.length === 0) break
    last = rows.at(-1)!.id
    const before = process.cpuUsage()
    for (const { data } of rows) keys += Object.keys(JSON.parse(inflateSync(data).toString()) as object).length
    const { user, system } = process.cpuUsage(before)
    seconds += (user + system) / 1e6
  }
  database.close()
  if (keys === 0) throw new Error('no event data')
  return seconds
}

const PYTHON = (value: object): string => JSON.stringify(value).replaceAll('":', '": ').replaceAll(',"', ', "')

/** Lines of syslog, visits, and files with four times each and a stream, in the proportion 7 : 1 : 2 of events. */
function timeline(events: number): string {
  const file = join(BENCH, `timeline-${events}.plaso`)
  if (existsSync(file)) return file
  mkdirSync(BENCH, { recursive: true })
  const unfinished = `${file}.unfinished`
  rmSync(unfinished, { force: true })
  const database = new DatabaseSync(unfinished)
  const table = (name: string, columns: string) =>
    database.exec(`create table ${name} (_identifier INTEGER PRIMARY KEY AUTOINCREMENT${columns})`)
  database.exec(`pragma journal_mode = off; pragma synchronous = off; create table metadata (key text, value text);
    insert into metadata values ('format_version', '20260516'), ('compression_format', 'zlib'), ('serialization_format', 'json')`)
  table('event', ', _event_data_identifier TEXT, date_time TEXT, timestamp INTEGER, timestamp_desc TEXT')
  table('event_data', ', _data BLOB')
  table(
    'event_data_stream',
    ', file_entropy TEXT, md5_hash TEXT, path_spec TEXT, sha1_hash TEXT, sha256_hash TEXT, yara_match TEXT',
  )
  table('session', ', command_line_arguments TEXT, identifier TEXT, product_name TEXT, product_version TEXT')
  database.exec('begin')
  const putEvent = database.prepare('insert into event values (null, ?, ?, ?, ?)')
  const putData = database.prepare('insert into event_data values (null, ?)')
  const putStream = database.prepare('insert into event_data_stream values (null, ?, ?, ?, null, ?, null)')
  const random = new Random(7)
  const hex = (length: number): string =>
    Array.from({ length: length / 8 }, () =>
      random
        .int(0, 2 ** 31 - 1)
        .toString(16)
        .padStart(8, '0'),
    ).join('')
  const start = Date.UTC(2024, 0, 1) / 1000
  const path = (name: string): string => PYTHON({ __type__: 'PathSpec', location: name, type_indicator: 'OS' })
  putStream.run('4.2', hex(32), path('/var/log/syslog'), hex(64))
  let made = 0
  let streams = 1
  for (let data = 1; made < events; data++) {
    const seconds = start + made
    const date = PYTHON({ __class_name__: 'PosixTime', __type__: 'DateTimeValues', timestamp: seconds })
    const head = { __type__: 'AttributeContainer', __container_type__: 'event_data' }
    const kind = random.int(0, 99)
    const user = `user${random.int(0, 400)}`
    if (kind < 6 && made + 4 <= events) {
      const name = `/home/${user}/d${random.int(0, 999)}/f${data}.txt`
      putStream.run('5.1', hex(32), path(name), hex(64))
      streams += 1
      putData.run(
        deflateSync(
          PYTHON({
            ...{ ...head, _event_data_stream_identifier: `event_data_stream.${streams}`, _event_values_hash: hex(32) },
            ...{ _parser_chain: 'filestat', data_type: 'fs:stat', display_name: `OS:${name}`, file_entry_type: 'file' },
            ...{ file_size: random.int(0, 1e6), file_system_type: 'OS', filename: name, group_identifier: 1000 },
            ...{ inode: data, is_allocated: true, mode: 420, number_of_links: 1, owner_identifier: 1000 },
          }),
        ),
      )
      for (const what of [
        'Last Access Time',
        'Metadata Modification Time',
        'Content Modification Time',
        'Creation Time',
      ])
        putEvent.run(`event_data.${data}`, date, (seconds + 60 * what.length) * 1e6, what)
      made += 4
      continue
    }
    const isVisit = kind < 18
    const own = isVisit
      ? {
          ...{ _parser_chain: 'sqlite/chrome_27_history', data_type: 'chrome:history:page_visited', from_visit: 'N/A' },
          ...{ page_transition_type: 1, title: `Page ${random.int(0, 9999)}`, typed_count: 0, url_hidden: false },
          ...{
            url: `https://www.host${random.int(0, 3000)}.example.com/a/${data}?q=${user}`,
            username: user,
            visit_source: 0,
          },
        }
      : {
          ...{
            _parser_chain: 'text/syslog_traditional',
            data_type: 'syslog:line',
            hostname: `host${random.int(0, 60)}`,
          },
          message_body: `Accepted publickey for ${user} from 10.${random.int(0, 255)}.${random.int(0, 255)}.${random.int(1, 254)} port ${random.int(1024, 65_535)} ssh2`,
          ...{ pid: random.int(300, 60_000), reporter: 'sshd', severity: 'INFO' },
        }
    putData.run(
      deflateSync(
        PYTHON({ ...head, _event_data_stream_identifier: 'event_data_stream.1', _event_values_hash: hex(32), ...own }),
      ),
    )
    putEvent.run(`event_data.${data}`, date, seconds * 1e6, isVisit ? 'Last Visited Time' : 'Content Modification Time')
    made += 1
  }
  database.exec('commit')
  database.close()
  renameSync(unfinished, file)
  return file
}
