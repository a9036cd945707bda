/**
 * A plaso storage file as text, one JSON object a line: what the file is, its sessions and accounts, every event with
 * the attributes of its data and its stream, and then warnings, reports and results. Values are those of the file, byte for
 * byte; what cannot be read becomes a line that says so. Which tables and columns there are is asked of the file, so that
 * storage of every version since it is SQLite is read (2018). Memory: one line.
 */
import { ColdtrailError } from '../../core/errors.ts'
import { type Cell, ForeignSqlite, ForeignSqliteFault, quoted } from '../../platform/database/foreignSqlite.ts'
import { Inflater } from '../../platform/inflater.ts'
import { KeySet } from '../json/keySet.ts'
import { visitMembers } from '../json/members.ts'

/** How the text begins. */
export const PLASO_HEAD = '{"__container_type__":"plaso_storage",'

/** Inflated bytes of one container; more of it is a reject. */
export const MAX_CONTAINER_BYTES = 16 * 2 ** 20
/** Bytes of one attribute that has a column of its own; a longer one is cut, and ends in `…`. */
export const MAX_CELL_BYTES = 64 * 1024
/** Rows kept of each kind of container that is no event. */
const MAX_FACTS = 1000
const MAX_ACCOUNTS = 10_000

/** How many bytes all containers may inflate to, whether they give text or rejects, and what is thrown when there are more. */
export interface InflateLimit {
  readonly bytes: number
  readonly error: ColdtrailError
}

/** The text in pieces of about 256 KiB. Throws E_OBJECT_SQLITE for what is no plaso storage file, or a damaged one. */
export function* plasoText(path: string, limit?: InflateLimit): Generator<Buffer> {
  let file: ForeignSqlite | undefined
  try {
    file = new ForeignSqlite(path)
    yield* new PlasoText(file, limit).pieces()
  } catch (error) {
    if (!(error instanceof ForeignSqliteFault)) throw error
    throw new ColdtrailError('E_OBJECT_SQLITE', { cause: error.message }, { cause: error })
  } finally {
    file?.close()
  }
}

// --- internal ---

const PIECE_BYTES = 256 * 1024
/** Containers before the events, and behind them. Their rows are few; of longer tables only the number is told. */
const BEFORE = [
  ...['session', 'session_configuration', 'session_start', 'session_completion', 'source_configuration'],
  ...['system_configuration', 'hostname', 'operating_system', 'time_zone', 'user_account'],
]
const BEHIND = [
  ...['extraction_warning', 'recovery_warning', 'timelining_warning', 'preprocessing_warning', 'analysis_warning'],
  ...['extraction_error', 'error', 'warning', 'analysis_report'],
  ...['browser_search_analysis_result', 'chrome_extension_analysis_result'],
]
const COUNTED = ['event_source', 'event_data', 'event_data_stream', 'event_tag', 'environment_variable']
/** Columns whose text is JSON. */
const JSON_COLUMNS: ReadonlySet<string> = new Set([
  ...['analysis_counter', 'artifact_filters', 'date_time', 'enabled_parser_names', 'labels', 'path_spec', 'yara_match'],
])
const STREAM_COLUMNS = ['file_entropy', 'md5_hash', 'path_spec', 'sha1_hash', 'sha256_hash', 'yara_match']
/** Of these an event has its own, whatever its data say; in the order in which plaso looks for attributes. */
const OF_THE_EVENT: ReadonlySet<string> = new Set([
  ...['__type__', '__container_type__', '_event_identifier', '_event_tag'],
  ...['timestamp', 'timestamp_desc', 'date_time'],
])
const TYPES: ReadonlySet<string> = new Set(['__type__', '__container_type__'])
const DATA_REFERENCES = ['_event_data_identifier', '_event_data_row_identifier', 'event_data_row_identifier']
const TAG_REFERENCES = ['_event_identifier', '_event_row_identifier', 'event_row_identifier']
const STREAM_REFERENCES = new KeySet(['_event_data_stream_identifier', '_event_data_stream_row_identifier'])
const STREAM_KEYS = new KeySet(STREAM_COLUMNS)
const EVENT_KEYS = new KeySet(OF_THE_EVENT)
/** The first format whose storage is SQLite with JSON. */
const OLDEST_FORMAT = 20170101
const COMMA = 0x2c
const NEWLINE = 0x0a
const EMPTY = Buffer.alloc(0)

/** Members of an event's data, ready to stand in a line; or why there are none. */
type EventData = { readonly members: Buffer; readonly stream: string | undefined } | { readonly fault: string }

class PlasoText {
  private readonly file: ForeignSqlite
  private readonly limit: InflateLimit | undefined
  private inflated = 0
  /** When the last piece was taken. */
  private inflatedBefore = 0
  private readonly inflater = new Inflater(MAX_CONTAINER_BYTES)
  private readonly streamInflater = new Inflater(MAX_CONTAINER_BYTES)
  private out = Buffer.allocUnsafe(PIECE_BYTES * 2)
  private length = 0
  /** Events share their data with those beside them. */
  private data: { readonly reference: string; readonly found: EventData } | undefined
  private readonly streams = new Map<string, Buffer>()
  private readonly descriptions = new Map<string, Buffer>()

  constructor(file: ForeignSqlite, limit: InflateLimit | undefined) {
    this.file = file
    this.limit = limit
  }

  *pieces(): Generator<Buffer> {
    this.head()
    for (const table of BEFORE) yield* this.facts(table)
    yield* this.events()
    for (const table of BEHIND) yield* this.facts(table)
    this.counts()
    if (this.length > 0) yield this.take()
  }

  // --- what the file is ---

  private head(): void {
    const { file } = this
    const refuse = (cause: string) => new ColdtrailError('E_OBJECT_SQLITE', { cause })
    if (!file.has('metadata', 'key') || !file.has('metadata', 'value'))
      throw refuse('it has no table "metadata", so it is no plaso storage file')
    const metadata = new Map<string, string>()
    for (const [key, value] of file.rows(
      'select key, value from metadata where octet_length(key) <= 100 and octet_length(value) <= 100 limit 100',
    ))
      if (typeof key === 'string' && typeof value === 'string') metadata.set(key, value)
    const version = metadata.get('format_version')
    if (version === undefined || !/^\d{8}$/.test(version)) throw refuse('its metadata name no plaso format version')
    if (Number(version) < OLDEST_FORMAT)
      throw refuse(`its plaso format ${version} is older than 2018; process its source again with a newer plaso`)
    const serialization = metadata.get('serialization_format') ?? 'json'
    if (serialization !== 'json') throw refuse(`its serialization format is ${serialization.slice(0, 20)}, not json`)
    const compression = metadata.get('compression_format') ?? 'zlib'
    if (compression !== 'zlib' && compression !== 'none')
      throw refuse(`its compression format is ${compression.slice(0, 20)}, neither zlib nor none`)
    if (file.tables.has('event') && !file.has('event', '_identifier'))
      throw refuse('its table "event" has no identifiers')
    if (metadata.get('storage_type') === 'task') throw refuse('it is the storage of one task, not of a session')
    this.text(PLASO_HEAD)
    const rest = ['format_version', 'compression_format', 'serialization_format']
    this.text(rest.map((key) => `${JSON.stringify(key)}:${JSON.stringify(metadata.get(key) ?? null)}`).join(','))
    this.text('}\n')
  }

  // --- events ---

  private *events(): Generator<Buffer> {
    const { file } = this
    if (!file.tables.has('event')) return
    this.checkIdentifiers('event')
    const hasColumns = file.has('event', 'timestamp') && file.has('event', '_event_data_identifier')
    const tags = this.tags()
    let tag = tags.next()
    const columns = hasColumns
      ? `cast(e.timestamp as text), ${capped('e', '_event_data_identifier')}, ${file.has('event', 'timestamp_desc') ? capped('e', 'timestamp_desc') : 'null'}, ${file.has('event', 'date_time') ? capped('e', 'date_time') : 'null'}`
      : `octet_length(e._data), case when octet_length(e._data) <= ${MAX_CONTAINER_BYTES} then e._data end`
    // The row of its data is found by its number, beside the event's own.
    const joined = hasColumns && file.has('event_data', '_data') && file.has('event_data', '_identifier')
    const join = joined
      ? ` left join event_data d on d._identifier = cast(substr(e._event_data_identifier, ${'event_data.'.length + 1}) as integer)`
      : ''
    const dataColumns = joined
      ? `, octet_length(d._data), case when octet_length(d._data) <= ${MAX_CONTAINER_BYTES} then d._data end`
      : ''
    const lookUp = joined ? undefined : this.dataByNumber()
    let before = 0
    for (const row of file.rows(
      `select e._identifier, ${columns}${dataColumns} from event e${join} order by e._identifier`,
    )) {
      const id = row[0] as number
      // A damaged tree can lead in circles.
      if (id <= before) throw new ForeignSqliteFault(`event ${id} stands behind event ${before}`)
      before = id
      while (!tag.done && tag.value.event < id) tag = this.orphanTag(tags)
      let labels: string | undefined
      while (!tag.done && tag.value.event === id) {
        labels = labels === undefined ? tag.value.labels : `${labels},${tag.value.labels}`
        tag = tags.next()
      }
      if (hasColumns) this.event(id, row, labels, joined ? undefined : lookUp)
      else this.olderEvent(id, row, labels, lookUp!)
      // Also where much was inflated and little came of it: who waits for pieces knows then that there is progress.
      if (this.length >= PIECE_BYTES || this.inflated - this.inflatedBefore > MAX_CONTAINER_BYTES) yield this.take()
    }
    while (!tag.done) tag = this.orphanTag(tags)
  }

  /** [id, timestamp, reference, description, date, (size of its data, data)] */
  private event(
    id: number,
    [, timestamp, reference, description, date, size, blob]: readonly Cell[],
    labels: string | undefined,
    lookUp: ((reference: string) => EventData) | undefined,
  ): void {
    const name = typeof reference === 'string' ? reference : String(reference)
    if (this.data?.reference !== name)
      this.data = { reference: name, found: lookUp ? lookUp(name) : this.eventData(size as number | null, blob!) }
    const { found } = this.data
    if ('fault' in found) {
      this.reject(`event ${id}: ${found.fault}`, { event: id, event_data: name.slice(0, 100) })
      return
    }
    const time = timestamp === null ? '' : `,"timestamp":${numberText(timestamp as string)}`
    this.text(`{"__container_type__":"event","_event_identifier":"event.${id}"${time}`)
    if (typeof description === 'string') this.bytes(this.description(description))
    if (typeof date === 'string') {
      this.bytes(DATE_KEY)
      this.json(date)
    }
    this.rest(found, labels)
  }

  /** An event whose attributes are JSON themselves: [id, size, data]. */
  private olderEvent(
    id: number,
    [, size, blob]: readonly Cell[],
    labels: string | undefined,
    lookUp: (reference: string) => EventData,
  ): void {
    const own = this.container(size as number | null, blob!)
    if (!Buffer.isBuffer(own)) {
      this.reject(`event ${id}: ${own.fault}`, { event: id })
      return
    }
    let reference: string | undefined
    const kept: Buffer[] = []
    const isObject = visitMembers(own, 0, own.length, (keyStart, keyEnd, start, end) => {
      const key = own.toString('latin1', keyStart, keyEnd)
      if (DATA_REFERENCES.includes(key)) reference = own.toString('latin1', start, Math.min(end, start + 100))
      else if (!TYPES.has(key)) kept.push(COMMA_BYTES, Buffer.from(own.subarray(keyStart - 1, end)))
    })
    const name = (reference ?? '').replaceAll('"', '')
    if (this.data?.reference !== name) this.data = { reference: name, found: lookUp(name) }
    const { found } = this.data
    const fault = isObject ? ('fault' in found ? found.fault : undefined) : 'its attributes are no JSON object'
    if (fault !== undefined) {
      this.reject(`event ${id}: ${fault}`, { event: id, event_data: name })
      return
    }
    this.text(`{"__container_type__":"event","_event_identifier":"event.${id}"`)
    for (const part of kept) this.bytes(part)
    this.rest(found as Extract<EventData, { members: Buffer }>, labels)
  }

  private rest({ members, stream }: Extract<EventData, { members: Buffer }>, labels: string | undefined): void {
    if (stream !== undefined) this.bytes(this.stream(stream))
    this.bytes(members)
    if (labels === undefined) this.bytes(END)
    else this.text(`,"_event_tag":{"labels":[${labels}]}}\n`)
  }

  /** The member that says it. */
  private description(text: string): Buffer {
    let bytes = this.descriptions.get(text)
    if (!bytes) {
      if (this.descriptions.size > 1000) this.descriptions.clear()
      bytes = Buffer.from(`,"timestamp_desc":${JSON.stringify(text.toWellFormed())}`)
      this.descriptions.set(text, bytes)
    }
    return bytes
  }

  // --- data and streams of events ---

  private dataByNumber(): (reference: string) => EventData {
    const { file } = this
    if (!file.tables.has('event_data') || !file.has('event_data', '_identifier'))
      return () => ({ fault: 'the file has no event data' })
    if (!file.has('event_data', '_data')) {
      const names = file.tables.get('event_data')!.filter((name) => name !== '_identifier')
      const select = file.lookUp(
        `select ${names.map((name) => capped('d', name)).join(', ') || 'null'} from event_data d where d._identifier = ?`,
      )
      return (reference) => {
        const row = select(numberOf(reference))
        if (!row) return { fault: MISSING }
        const text = Buffer.from(`{${names.flatMap((name, i) => member(name, row[i]!)).join(',')}}`)
        return this.membersOf(text)
      }
    }
    const select = file.lookUp(
      `select octet_length(_data), case when octet_length(_data) <= ${MAX_CONTAINER_BYTES} then _data end from event_data where _identifier = ?`,
    )
    return (reference) => {
      const row = select(numberOf(reference))
      return row ? this.eventData(row[0] as number | null, row[1]!) : { fault: MISSING }
    }
  }

  private eventData(size: number | null, blob: Cell): EventData {
    if (size === null) return { fault: MISSING }
    const text = this.container(size, blob)
    return Buffer.isBuffer(text) ? this.membersOf(text) : { fault: text.fault }
  }

  /** What stands in an event's line of its data: all but what the event or its stream says itself. */
  private membersOf(text: Buffer): EventData {
    let stream: string | undefined
    const watched: string[] = []
    const places: number[] = []
    const isObject = visitMembers(text, 0, text.length, (keyStart, keyEnd, start, end) => {
      if (EVENT_KEYS.has(text, keyStart, keyEnd)) return
      if (STREAM_REFERENCES.has(text, keyStart, keyEnd)) stream = unquoted(text, start, end)
      else if (STREAM_KEYS.has(text, keyStart, keyEnd)) watched.push(text.toString('latin1', keyStart, keyEnd))
      // Members that follow one another are copied as one.
      const last = places.length - 1
      if (last > 0 && isSeparated(text, places[last]!, keyStart - 1)) places[last] = end
      else places.push(keyStart - 1, end)
    })
    if (!isObject) return { fault: 'its data are no JSON object' }
    const ofStream = stream === undefined ? undefined : this.streamNames(stream)
    const taken = watched.filter((key) => ofStream?.has(key))
    if (taken.length > 0) return { members: without(text, new Set(taken)), stream }
    if (places.length === 2) {
      // One run of members: only its comma is missing.
      const members = Buffer.allocUnsafe(places[1]! - places[0]! + 1)
      members[0] = COMMA
      text.copy(members, 1, places[0]!, places[1]!)
      return { members, stream }
    }
    const parts: Buffer[] = []
    for (let i = 0; i < places.length; i += 2) parts.push(COMMA_BYTES, text.subarray(places[i]!, places[i + 1]!))
    return { members: Buffer.concat(parts), stream }
  }

  private readonly namesOfStreams = new Map<string, ReadonlySet<string>>()

  private streamNames(reference: string): ReadonlySet<string> {
    this.stream(reference)
    return this.namesOfStreams.get(reference)!
  }

  /** Attributes of a stream as they stand in an event's line; empty when there is no such stream. */
  private stream(reference: string): Buffer {
    const known = this.streams.get(reference)
    if (known) return known
    if (this.streams.size > 8192) {
      this.streams.clear()
      this.namesOfStreams.clear()
    }
    const { members, names } = this.readStream(numberOf(reference))
    this.streams.set(reference, members)
    this.namesOfStreams.set(reference, names)
    return members
  }

  private readStream(number: number): { members: Buffer; names: ReadonlySet<string> } {
    const { file } = this
    const names = new Set<string>()
    const none = { members: EMPTY, names }
    const table = file.tables.get('event_data_stream')
    if (!table?.includes('_identifier')) return none
    if (table.includes('_data')) {
      this.streamRow ??= file.lookUp(
        `select octet_length(_data), case when octet_length(_data) <= ${MAX_CELL_BYTES} then _data end from event_data_stream where _identifier = ?`,
      )
      const row = this.streamRow(number)
      // Data of an event are at hand meanwhile.
      const text = row ? this.container(row[0] as number | null, row[1]!, this.streamInflater) : undefined
      if (!Buffer.isBuffer(text)) return none
      const parts: Buffer[] = []
      const isObject = visitMembers(text, 0, text.length, (keyStart, keyEnd, _start, end) => {
        const key = text.toString('latin1', keyStart, keyEnd)
        if (TYPES.has(key) || OF_THE_EVENT.has(key)) return
        names.add(key)
        parts.push(COMMA_BYTES, text.subarray(keyStart - 1, end))
      })
      return isObject ? { members: Buffer.concat(parts), names } : { members: EMPTY, names: new Set() }
    }
    const columns = STREAM_COLUMNS.filter((name) => table.includes(name))
    if (columns.length === 0) return none
    this.streamRow ??= file.lookUp(
      `select ${columns.map((name) => capped('s', name)).join(', ')} from event_data_stream s where s._identifier = ?`,
    )
    const row = this.streamRow(number)
    if (!row) return none
    const text = columns.flatMap((name, i) => {
      const written = member(name, row[i]!)
      if (written.length > 0) names.add(name)
      return written.map((one) => `,${one}`)
    })
    return { members: Buffer.from(text.join('')), names }
  }

  private streamRow: ((...parameters: number[]) => Cell[] | undefined) | undefined

  /** The text of a container's `_data`, which holds until the next call, or why there is none. */
  private container(
    size: number | null,
    blob: Cell,
    inflater: Inflater = this.inflater,
  ): Buffer | { readonly fault: string } {
    if (size !== null && size > MAX_CONTAINER_BYTES)
      return { fault: `its data have more than ${MAX_CONTAINER_BYTES} bytes` }
    if (typeof blob === 'string') return Buffer.from(blob)
    if (!(blob instanceof Uint8Array)) return { fault: 'it has no data' }
    // Uncompressed data are text, also where a program stored them as bytes.
    if (blob[0] === OPEN_BRACE) return Buffer.from(blob.buffer, blob.byteOffset, blob.length)
    const inflated = inflater.inflate(blob)
    this.inflated +=
      typeof inflated === 'string' ? (inflated === 'too long' ? MAX_CONTAINER_BYTES : 0) : inflated.length
    if (this.limit && this.inflated > this.limit.bytes) throw this.limit.error
    if (inflated === 'damaged') return { fault: 'its data do not inflate' }
    if (inflated === 'too long') return { fault: `its data inflate to more than ${MAX_CONTAINER_BYTES} bytes` }
    return inflated
  }

  // --- tags ---

  /** By event. Labels are the inside of a JSON list. */
  private *tags(): Generator<{ event: number; labels: string }> {
    const { file } = this
    const columns = file.tables.get('event_tag')
    if (!columns?.includes('_identifier')) return
    const reference = TAG_REFERENCES.find((name) => columns.includes(name))
    if (reference !== undefined && columns.includes('labels')) {
      const number = `case typeof(t.${reference}) when 'integer' then t.${reference} else cast(substr(t.${reference}, instr(t.${reference}, '.') + 1) as integer) end`
      // 0 is no event, and the first in order.
      const event = 'case when n between 1 and 9007199254740991 then n else 0 end'
      for (const [tagged, labels] of file.rows(
        `select ${event} as e, l from (select ${number} as n, ${capped('t', 'labels')} as l from event_tag t) order by e`,
      )) {
        const list = this.labelList(typeof labels === 'string' ? labels : '')
        if (list !== undefined) yield { event: tagged as number, labels: list }
      }
      return
    }
    if (columns.includes('_data')) yield* this.olderTags()
  }

  /** Those whose attributes are JSON have to be read before they can be sorted. */
  private olderTags(): { event: number; labels: string }[] {
    const tags: { event: number; labels: string }[] = []
    for (const [size, blob] of this.file.rows(
      `select octet_length(_data), case when octet_length(_data) <= ${MAX_CELL_BYTES} then _data end from event_tag order by _identifier limit ${MAX_OLDER_TAGS + 1}`,
    )) {
      const text = this.container(size as number | null, blob!)
      let event = Number.NaN
      let labels: string | undefined
      if (Buffer.isBuffer(text))
        visitMembers(text, 0, text.length, (keyStart, keyEnd, start, end) => {
          const key = text.toString('latin1', keyStart, keyEnd)
          if (TAG_REFERENCES.includes(key)) event = numberOf(text.toString('latin1', start, Math.min(end, start + 100)))
          else if (key === 'labels') labels = this.labelList(text.toString('utf8', start, end))
        })
      if (labels === undefined || !(event > 0)) this.strangeTags++
      else if (tags.length < MAX_OLDER_TAGS) tags.push({ event, labels })
      else this.strangeTags++
    }
    return tags.sort((a, b) => a.event - b.event)
  }

  private readonly lists = new Map<string, string | undefined>()
  /** Tags without labels or event. */
  private strangeTags = 0

  private labelList(text: string): string | undefined {
    if (!this.lists.has(text)) {
      if (this.lists.size > 10_000) this.lists.clear()
      this.lists.set(text, labelsOf(text))
    }
    const list = this.lists.get(text)
    if (list === undefined) this.strangeTags++
    return list
  }

  private orphanTag(
    tags: Iterator<{ event: number; labels: string }>,
  ): IteratorResult<{ event: number; labels: string }> {
    this.strangeTags++
    return tags.next()
  }

  // --- what is no event ---

  private *facts(table: string): Generator<Buffer> {
    const { file } = this
    const columns = file.tables.get(table)
    if (!columns?.includes('_identifier')) return
    const hasData = columns.includes('_data')
    const names = columns.filter((name) => name !== '_identifier' && name !== '_data')
    const data = hasData
      ? [`octet_length(t._data)`, `case when octet_length(t._data) <= ${MAX_CONTAINER_BYTES} then t._data end`]
      : []
    const selected = ['t._identifier', ...data, ...names.map((name) => capped('t', name))]
    for (const row of file.rows(
      `select ${selected.join(', ')} from ${quoted(table)} t order by t._identifier limit ${table === 'user_account' ? MAX_ACCOUNTS : MAX_FACTS}`,
      [],
      true,
    )) {
      const members = names.flatMap((name, i) => member(name, row[i + 1 + data.length]!))
      if (hasData) {
        const text = this.container(Number(row[1]), row[2]!)
        const isObject =
          Buffer.isBuffer(text) &&
          visitMembers(text, 0, text.length, (keyStart, keyEnd, _start, end) => {
            if (TYPES.has(text.toString('latin1', keyStart, keyEnd))) return
            members.push(text.toString('utf8', keyStart - 1, end))
          })
        if (!isObject) {
          const fault = Buffer.isBuffer(text) ? 'its attributes are no JSON object' : text.fault
          this.reject(`${table} ${row[0]}: ${fault}`, { container: table })
          continue
        }
      }
      const head = [`"__container_type__":${JSON.stringify(table)}`, `"_identifier":${row[0]}`]
      this.text(`{${[...head, ...members].join(',')}}\n`)
      if (this.length >= PIECE_BYTES) yield this.take()
    }
  }

  private counts(): void {
    const { file } = this
    const tables = [...BEFORE, ...BEHIND, ...COUNTED].filter((name) => file.has(name, '_identifier'))
    const counts = tables.map((name) => {
      const [row] = [...file.rows(`select count(*) from ${quoted(name)}`)]
      return [name, row![0] as number] as const
    })
    const kept = counts.filter(([, rows]) => rows > 0)
    this.text(
      `{"__container_type__":"plaso_counts","tags_left_out":${this.strangeTags},"rows":${JSON.stringify(Object.fromEntries(kept))}}\n`,
    )
  }

  private checkIdentifiers(table: string): void {
    const [row] = [
      ...this.file.rows(
        `select cast(min(_identifier) as text), cast(max(_identifier) as text) from ${quoted(table)}`,
        [],
      ),
    ]
    const [least, most] = [Number(row![0] ?? 1), Number(row![1] ?? 1)]
    if (least < 1 || most > Number.MAX_SAFE_INTEGER)
      throw new ForeignSqliteFault(`identifiers of ${table} are from ${row![0]} to ${row![1]}`)
  }

  // --- the text ---

  private reject(reason: string, details: Readonly<Record<string, unknown>>): void {
    this.text(`${JSON.stringify({ __container_type__: 'plaso_reject', reason, ...details })}\n`)
  }

  /** Text of the file that should be JSON; when it is no object, it becomes a string. */
  private json(text: string): void {
    const before = this.length
    this.text(text)
    if (visitMembers(this.out, before, this.length, () => undefined)) return
    this.length = before
    this.text(JSON.stringify(text.toWellFormed()))
  }

  private text(text: string): void {
    this.room(text.length * 3)
    this.length += this.out.write(text, this.length, 'utf8')
  }

  private bytes(bytes: Buffer): void {
    this.room(bytes.length)
    bytes.copy(this.out, this.length)
    this.length += bytes.length
  }

  private room(more: number): void {
    if (this.length + more <= this.out.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.out.length * 2, this.length + more))
    this.out.copy(larger, 0, 0, this.length)
    this.out = larger
  }

  /** The receiver has done with a piece before it asks for the next one. */
  private take(): Buffer {
    const piece = this.out.subarray(0, this.length)
    this.length = 0
    this.inflatedBefore = this.inflated
    if (this.out.length > PIECE_BYTES * 8) this.out = Buffer.allocUnsafe(PIECE_BYTES * 2)
    return piece
  }
}

const OPEN_BRACE = 0x7b
const QUOTE = 0x22
const COMMA_BYTES = Buffer.from(',')
const DATE_KEY = Buffer.from(',"date_time":')
const END = Buffer.from('}\n')
const MISSING = 'its data are not there'
const MAX_OLDER_TAGS = 2_000_000

/** A column, of whose value only the beginning is read when it is too long. */
function capped(table: string, name: string): string {
  const column = `${table}.${quoted(name)}`
  return `case when octet_length(${column}) <= ${MAX_CELL_BYTES} or ${column} is null then ${column} else substr(${column}, 1, 1000) || '…' end`
}

/** The number behind the dot of `event_data.12`, or a number itself; NaN and beyond 2^53: 0, which no row has. */
function numberOf(reference: string): number {
  const number = Number(/^"?(?:[a-z_]+\.)?(\d{1,15})"?$/.exec(reference)?.[1] ?? 0)
  return Number.isSafeInteger(number) ? number : 0
}

/** A string of JSON, or anything else, as it is written; its beginning is enough. */
const unquoted = (text: Buffer, start: number, end: number): string =>
  text.toString(
    'latin1',
    text[start] === QUOTE ? start + 1 : start,
    Math.min(text[start] === QUOTE ? end - 1 : end, start + 100),
  )

const numberText = (text: string): string =>
  /^-?(?:0|[1-9]\d{0,18})$/.test(text) ? text : JSON.stringify(text.toWellFormed())

/** `"name":value`, or nothing for a value that is absent. */
function member(name: string, value: Cell): string[] {
  if (value === null) return []
  const key = JSON.stringify(name.toWellFormed())
  if (typeof value === 'bigint') return [`${key}:${value}`]
  if (typeof value === 'number') return [`${key}:${Number.isFinite(value) ? value : null}`]
  if (typeof value === 'string')
    return [`${key}:${JSON_COLUMNS.has(name) && isJson(value) ? value : JSON.stringify(value.toWellFormed())}`]
  return [`${key}:${JSON.stringify(Buffer.from(value).toString('base64'))}`]
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** The inside of a list of labels; undefined when it is none. */
function labelsOf(text: string): string | undefined {
  try {
    const labels: unknown = JSON.parse(text)
    if (!Array.isArray(labels) || labels.length === 0 || labels.length > 1000) return undefined
    if (!labels.every((label) => typeof label === 'string' && label.length > 0 && label.length <= 1000))
      return undefined
    return labels.map((label: string) => JSON.stringify(label.toWellFormed())).join(',')
  } catch {
    return undefined
  }
}

/** Members of an event's data without those that are its own or its stream's. */
function without(text: Buffer, left: ReadonlySet<string>): Buffer {
  const parts: Buffer[] = []
  visitMembers(text, 0, text.length, (keyStart, keyEnd, _start, end) => {
    const key = text.toString('latin1', keyStart, keyEnd)
    if (!OF_THE_EVENT.has(key) && !left.has(key)) parts.push(COMMA_BYTES, text.subarray(keyStart - 1, end))
  })
  return Buffer.concat(parts)
}

/** Nothing but a comma and spaces stands between two places. */
function isSeparated(text: Buffer, from: number, to: number): boolean {
  if (to - from > 3) return false
  for (let p = from; p < to; p++) if (text[p] !== COMMA && text[p] !== 0x20 && text[p] !== NEWLINE) return false
  return true
}
