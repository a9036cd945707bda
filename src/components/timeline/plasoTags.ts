/**
 * Results of runs written into a copy of a plaso storage file, as plaso itself would: labels joined to those an event has,
 * counts made anew from all labels, a session with the command line, reports and warnings. In one transaction.
 */
import { deflateSync } from 'node:zlib'
import { ColdtrailError } from '../../core/errors.ts'
import {
  type Cell,
  ForeignSqlite,
  ForeignSqliteCopy,
  ForeignSqliteFault,
  quoted,
} from '../../platform/database/foreignSqlite.ts'
import { sqliteFault } from '../../platform/database/sqliteFault.ts'

/** The format whose tables are written; plaso reads no older one. */
export const WRITTEN_FORMAT = 20260516

export interface RunResults {
  readonly commandLine: string
  /** Of the program that made the run. */
  readonly version: string
  /** Microseconds. */
  readonly started: number
  readonly ended: number
  readonly reports: readonly {
    readonly plugin: string
    readonly counters: readonly (readonly [name: string, count: number])[]
    readonly text?: string
    readonly filter: string
  }[]
  readonly warnings: readonly { readonly plugin: string; readonly message: string }[]
}

export interface EventLabels {
  /** `event.12`. */
  readonly event: string
  readonly labels: readonly string[]
}

export interface WrittenTags {
  /** Events that got a label. */
  readonly events: number
  /** Labels that they had not. */
  readonly labels: number
  readonly reports: number
}

/** `path` is the copy; `original` is named where the file is at fault. Throws E_TIMELINE_FILE, E_DISK_FULL, E_FILE_WRITE. */
export async function writePlasoTags(
  path: string,
  original: string,
  labels: AsyncIterable<EventLabels>,
  runs: readonly RunResults[],
): Promise<WrittenTags> {
  try {
    const compressed = checkFormat(path)
    const copy = new ForeignSqliteCopy(path)
    try {
      const writer = new TagWriter(copy, compressed)
      let events = 0
      for await (const one of labels) if (writer.label(one)) events += 1
      writer.countLabels()
      for (const run of runs) writer.run(run)
      copy.commit()
      return { events, labels: writer.added, reports: writer.reports }
    } finally {
      copy.close()
    }
  } catch (error) {
    if (!(error instanceof ForeignSqliteFault)) throw error
    // The copy's disk may be full, which says nothing of the timeline.
    const fault = sqliteFault(error.cause, path)
    if (fault instanceof ColdtrailError && WRITE_FAULTS.has(fault.code)) throw fault
    throw new ColdtrailError('E_TIMELINE_FILE', { path: original, cause: error.message }, { cause: error })
  }
}

// --- internal ---

const WRITE_FAULTS: ReadonlySet<string> = new Set(['E_DISK_FULL', 'E_FILE_WRITE'])
/** Tables and columns as plaso declares them; what a file has beside them stays empty. */
const TABLES = {
  event_tag: ['_event_identifier TEXT', 'labels TEXT'],
  event_label_count: ['label TEXT', 'number_of_events INTEGER'],
  analysis_report: ['_data BLOB'],
  analysis_warning: ['message TEXT', 'plugin_name TEXT'],
  session: [
    ...['aborted INTEGER', 'artifact_filters TEXT', 'command_line_arguments TEXT', 'completion_time INTEGER'],
    ...['debug_mode INTEGER', 'enabled_parser_names TEXT', 'file_entropy TEXT', 'filter_file TEXT', 'identifier TEXT'],
    ...['parser_filter_expression TEXT', 'preferred_codepage TEXT', 'preferred_encoding TEXT'],
    ...['preferred_language TEXT', 'preferred_time_zone TEXT', 'preferred_year INTEGER', 'product_name TEXT'],
    ...['product_version TEXT', 'start_time INTEGER'],
  ],
} as const
type Table = keyof typeof TABLES
/** Its columns that are written. */
const SESSION = [
  ...['aborted', 'command_line_arguments', 'completion_time', 'identifier', 'product_name', 'product_version'],
  'start_time',
]
/** What a declaration may compute or check when a row is written. */
const DECLARED = ['check%(', ' as%(', ' where ', 'virtual', 'default%(']

/** Whether its containers are compressed. */
function checkFormat(path: string): boolean {
  const file = new ForeignSqlite(path)
  try {
    const refuse = (cause: string) => new ForeignSqliteFault(cause)
    if (!file.has('metadata', 'key')) throw refuse('it is no plaso storage file')
    const metadata = new Map([...file.rows('select key, value from metadata limit 100')] as [string, string][])
    const version = metadata.get('format_version') ?? 'unknown'
    if (!(Number(version) >= WRITTEN_FORMAT))
      throw refuse(`its format is ${version.slice(0, 20)}, and plaso reads tags of ${WRITTEN_FORMAT} and later only`)
    for (const [table, columns] of Object.entries(TABLES)) {
      const there = file.tables.get(table)
      const written = table === 'session' ? SESSION : columns.map((column) => column.split(' ')[0]!)
      const missing = there && written.find((name) => !there.includes(name))
      if (missing !== undefined) throw refuse(`its table ${table} has no column ${missing}`)
    }
    // Writing evaluates what a table's declaration computes or checks.
    const written = Object.keys(TABLES).map((name) => `'${name}'`)
    for (const [name] of file.rows(
      `select name from sqlite_schema where tbl_name in (${written.join(', ')}) and (type not in ('table', 'index') or octet_length(sql) > 10000 or ${DECLARED.map((what) => `sql like '%${what}%'`).join(' or ')}) limit 1`,
    ))
      throw refuse(`"${String(name).slice(0, 50)}" is declared as plaso declares nothing`)
    return (metadata.get('compression_format') ?? 'zlib') === 'zlib'
  } finally {
    file.close()
  }
}

class TagWriter {
  private readonly copy: ForeignSqliteCopy
  private readonly compressed: boolean
  private readonly ofEvent: ReturnType<ForeignSqliteCopy['prepare']>
  private readonly insert: ReturnType<ForeignSqliteCopy['prepare']>
  private readonly update: ReturnType<ForeignSqliteCopy['prepare']>
  added = 0
  reports = 0

  constructor(copy: ForeignSqliteCopy, compressed: boolean) {
    this.copy = copy
    this.compressed = compressed
    for (const table of Object.keys(TABLES) as Table[])
      copy.exec(
        `create table if not exists ${table} (${['_identifier INTEGER PRIMARY KEY AUTOINCREMENT', ...TABLES[table]].join(', ')})`,
      )
    copy.exec('create index if not exists event_tag_per_event on event_tag (_event_identifier)')
    this.ofEvent = copy.prepare(
      'select _identifier, labels from event_tag where _event_identifier = ? order by _identifier',
    )
    this.insert = copy.prepare('insert into event_tag (_event_identifier, labels) values (?, ?)')
    this.update = copy.prepare('update event_tag set labels = ? where _identifier = ?')
  }

  /** False when the event has them all. */
  label({ event, labels }: EventLabels): boolean {
    const known = this.ofEvent.get(event)
    const before = known ? labelsIn(known[1]!) : []
    const more = labels.filter((label) => !before.includes(label))
    if (more.length === 0) return false
    const text = listText([...before, ...more])
    if (known) this.update.run(text, known[0] as number)
    else this.insert.run(event, text)
    this.added += more.length
    return true
  }

  /** From the labels themselves: counting on would count twice what is written twice. */
  countLabels(): void {
    const counts = new Map<string, number>()
    let total = 0
    for (const [text, events] of this.copy.rows('select labels, count(*) from event_tag group by labels'))
      for (const label of new Set(labelsIn(text!))) {
        counts.set(label, (counts.get(label) ?? 0) + (events as number))
        total += events as number
      }
    this.copy.exec('delete from event_label_count')
    const insert = this.copy.prepare('insert into event_label_count (label, number_of_events) values (?, ?)')
    for (const [label, events] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1))) insert.run(label, events)
    if (total > 0) insert.run('total', total)
  }

  run({ commandLine, version, started, ended, reports, warnings }: RunResults): void {
    const session: Readonly<Record<string, Cell>> = {
      ...{ aborted: 0, command_line_arguments: commandLine, completion_time: ended },
      ...{ identifier: crypto.randomUUID().replaceAll('-', '') },
      ...{ product_name: 'coldtrail', product_version: version, start_time: started },
    }
    this.put('session', session)
    for (const { plugin, counters, text, filter } of reports) {
      const attributes = {
        ...{ __type__: 'AttributeContainer', __container_type__: 'analysis_report' },
        analysis_counter: Object.fromEntries(counters),
        ...(filter !== '' && { event_filter: filter }),
        ...{ plugin_name: plugin, time_compiled: Math.floor(ended / 1e6) * 1e6 },
        ...(text !== undefined && { text }),
      }
      const json = JSON.stringify(attributes)
      this.put('analysis_report', { _data: this.compressed ? deflateSync(json) : json })
      this.reports += 1
    }
    for (const { plugin, message } of warnings) this.put('analysis_warning', { message, plugin_name: plugin })
  }

  private put(table: Table, values: Readonly<Record<string, Cell>>): void {
    const names = Object.keys(values)
    const places = names.map(() => '?').join(', ')
    this.copy
      .prepare(`insert into ${table} (${names.map(quoted).join(', ')}) values (${places})`)
      .run(...Object.values(values))
  }
}

function labelsIn(text: Cell): string[] {
  try {
    const labels: unknown = JSON.parse(String(text))
    return Array.isArray(labels) ? labels.filter((label) => typeof label === 'string') : []
  } catch {
    return []
  }
}

/** As Python writes a list. */
const listText = (labels: readonly string[]): string => `[${labels.map((label) => JSON.stringify(label)).join(', ')}]`
