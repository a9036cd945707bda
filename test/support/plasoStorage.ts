/** plaso storage files, as plaso writes them or as it never would, made with SQLite. */
import { DatabaseSync } from 'node:sqlite'
import { deflateSync } from 'node:zlib'

export type Row = Readonly<Record<string, string | number | bigint | Uint8Array | null>>

export interface PlasoStorage {
  /** Of `metadata`; those of today unless given. */
  readonly metadata?: Readonly<Record<string, string>>
  /** Table -> rows; columns are those of the first row, besides `_identifier`. */
  readonly tables?: Readonly<Record<string, readonly Row[]>>
  /** More statements. */
  readonly sql?: string
}

const METADATA = { format_version: '20260516', compression_format: 'zlib', serialization_format: 'json' }

export function writePlasoStorage(path: string, { metadata = METADATA, tables = {}, sql = '' }: PlasoStorage): void {
  const database = new DatabaseSync(path)
  database.exec('pragma journal_mode = off; pragma synchronous = off; create table metadata (key text, value text)')
  for (const [key, value] of Object.entries(metadata))
    database.prepare('insert into metadata values (?, ?)').run(key, value)
  database.exec('begin')
  for (const [table, rows] of Object.entries(tables)) {
    const names = Object.keys(rows[0] ?? {}).filter((name) => name !== '_identifier')
    const columns = names.map((name) => `"${name}"${typeof rows[0]?.[name] === 'number' ? ' INTEGER' : ''}`)
    database.exec(
      `create table "${table}" (${['_identifier INTEGER PRIMARY KEY AUTOINCREMENT', ...columns].join(', ')})`,
    )
    const insert = database.prepare(
      `insert into "${table}" values (${Array(names.length + 1)
        .fill('?')
        .join(', ')})`,
    )
    for (const row of rows) insert.run(row._identifier ?? null, ...names.map((name) => row[name] ?? null))
  }
  database.exec('commit')
  database.exec(sql)
  database.close()
}

/** A container's `_data`. */
export const data = (container: string, attributes: object): Uint8Array => deflateSync(dataText(container, attributes))

export const dataText = (container: string, attributes: object): string =>
  // As Python writes it.
  JSON.stringify({ __type__: 'AttributeContainer', __container_type__: container, ...attributes })
    .replaceAll('":', '": ')
    .replaceAll(',"', ', "')

const LINE = {
  _event_data_stream_identifier: 'event_data_stream.1',
  _event_values_hash: 'ccc79824a20d097c299e9069d88d13bf',
  _parser_chain: 'text/syslog_traditional',
}
const POSIX = '{"__class_name__": "PosixTime", "__type__": "DateTimeValues", "timestamp": 1688990556}'
const PATH = '{"__type__": "PathSpec", "location": "/var/log/syslog", "type_indicator": "OS"}'
export const SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
const event = (number: number, second: number, description = 'Content Modification Time'): Row => ({
  _event_data_identifier: `event_data.${number}`,
  date_time: POSIX,
  timestamp: 1_688_990_556_000_000 + second * 1e6 + 1,
  timestamp_desc: description,
})

/** Five events of three event data, with a stream, labels, a report, accounts, a session and warnings. */
export function sampleStorage(): PlasoStorage {
  return {
    tables: {
      session: [
        {
          ...{ aborted: 0, command_line_arguments: 'log2timeline.py a.plaso', completion_time: 1_783_014_505_359_960 },
          ...{ enabled_parser_names: '["filestat"]', identifier: 'bf263ca6f3524480b06bd5849ba95d17' },
          ...{ product_name: 'plaso', product_version: '20260702', start_time: 1_783_014_494_943_433 },
        },
      ],
      event_source: [{ data_type: 'file_entry', path_spec: PATH }],
      user_account: [
        { full_name: 'Alice', identifier: '1000', user_directory: '/home/alice', username: 'alice' },
        { full_name: null, identifier: '1001', user_directory: '/home/bob', username: 'bob' },
      ],
      event_data_stream: [
        { file_entropy: '4.5', md5_hash: 'd41d8cd98f00b204e9800998ecf8427e', path_spec: PATH, sha256_hash: SHA256 },
      ],
      event_data: [
        {
          _data: data('event_data', { ...LINE, data_type: 'syslog:line', hostname: 'h1', message_body: 'one', pid: 7 }),
        },
        {
          _data: data('event_data', {
            ...{ _parser_chain: 'filestat', data_type: 'fs:stat', filename: '/home/alice/a.txt', inode: 11 },
            ...{ modification_time: JSON.parse(POSIX) as object, is_allocated: true },
          }),
        },
        {
          _data: data('event_data', {
            ...LINE,
            ...{ data_type: 'chrome:history:page_visited', url: 'https://example.org/a?q=1', username: 'alice' },
          }),
        },
      ],
      event: [
        event(1, 0),
        event(2, 1, 'Last Access Time'),
        event(2, 2, 'Metadata Modification Time'),
        event(2, 3),
        event(3, 4, 'Last Visited Time'),
      ],
      event_tag: [
        { _event_identifier: 'event.1', labels: '["login", "repeated"]' },
        { _event_identifier: 'event.5', labels: '["repeated"]' },
      ],
      event_label_count: [
        { label: 'login', number_of_events: 1 },
        { label: 'repeated', number_of_events: 2 },
        { label: 'total', number_of_events: 3 },
      ],
      analysis_report: [
        {
          _data: data('analysis_report', {
            ...{ plugin_name: 'tagging', time_compiled: 1_783_014_505_000_000, event_filter: null },
            analysis_counter: { __type__: 'collections.Counter', login: 1, repeated: 2, event_tags: 2 },
          }),
        },
      ],
      extraction_warning: [{ message: 'unable to open\u0007', parser_chain: 'sqlite/chrome', path_spec: PATH }],
    },
  }
}
