/** Any JSON: one object a line, concatenated, pretty-printed, or an array of objects. Common field names become columns. */
import { COLUMN_INDEX } from '../../core/columns.ts'
import type { EventSink } from '../../core/eventSink.ts'
import type { Format } from '../component.ts'
import { JsonObjectParser } from '../json/jsonObjectParser.ts'
import { compileTable, type JsonRecord } from '../json/jsonTable.ts'

const table = compileTable({
  slots: {
    timestamp: 'timestamp',
    atTimestamp: '@timestamp',
    time: 'time',
    eventTime: 'eventTime',
    datetime: 'datetime',
    date: 'date',
    ts: 'ts',
    message: 'message',
    msg: 'msg',
    log: 'log',
    level: 'level',
    severity: 'severity',
    host: 'host',
    hostname: 'hostname',
    hostName: 'host.name',
    user: 'user',
    userName: 'userName',
    username: 'username',
    userDotName: 'user.name',
    ip: 'ip',
    srcIp: 'src_ip',
    sourceIp: 'source_ip',
    sourceDotIp: 'source.ip',
    clientIp: 'client_ip',
    remoteAddr: 'remote_addr',
    dstIp: 'dst_ip',
    destIp: 'dest_ip',
    destinationDotIp: 'destination.ip',
    srcPort: 'src_port',
    dstPort: 'dst_port',
    destPort: 'dest_port',
    proto: 'proto',
    method: 'method',
    url: 'url',
    userAgent: 'user_agent',
    path: 'path',
    id: 'id',
    uuid: 'uuid',
    status: 'status',
  },
  columns: [
    { column: 'time', from: ['atTimestamp', 'timestamp', 'eventTime', 'time', 'datetime', 'ts', 'date'], as: 'time' },
    { column: 'message', from: ['message', 'msg', 'log'], as: 'text' },
    { column: 'device_hostname', from: ['hostName', 'hostname', 'host'], as: 'text' },
    { column: 'actor_user_name', from: ['userDotName', 'userName', 'username', 'user'], as: 'text' },
    { column: 'src_endpoint_ip', from: ['sourceDotIp', 'srcIp', 'sourceIp', 'clientIp', 'remoteAddr', 'ip'], as: 'ip' },
    { column: 'dst_endpoint_ip', from: ['destinationDotIp', 'dstIp', 'destIp'], as: 'ip' },
    { column: 'src_endpoint_port', from: ['srcPort'], as: 'port' },
    { column: 'dst_endpoint_port', from: ['dstPort', 'destPort'], as: 'port' },
    { column: 'connection_info_protocol_name', from: ['proto'], as: 'text' },
    { column: 'http_request_method', from: ['method'], as: 'text' },
    { column: 'http_request_url', from: ['url'], as: 'text' },
    { column: 'http_request_user_agent', from: ['userAgent'], as: 'text' },
    { column: 'file_path', from: ['path'], as: 'text' },
    { column: 'status_code', from: ['status'], as: 'text' },
    { column: 'metadata_uid', from: ['uuid', 'id'], as: 'text' },
  ],
  finish,
})

export const json_lines: Format = {
  kind: 'format',
  name: 'json_lines',
  version: 1,
  summary: 'Any JSON objects: NDJSON, concatenated, pretty-printed, or in an array',
  detect(head) {
    const text = head.toString('latin1')
    return /^(\xef\xbb\xbf)?\s*(\[\s*)?\{\s*("|\})/.test(text) ? 0.4 : 0
  },
  open: (sink, options) => new JsonObjectParser(table, sink, options),
}

// --- internal ---

const DATA_TYPE = COLUMN_INDEX.get('data_type')!
const TIMESTAMP_DESC = COLUMN_INDEX.get('timestamp_desc')!
const SEVERITY = COLUMN_INDEX.get('severity_id')!
const ENTRY = Buffer.from('json:line')
const DESCRIPTION = Buffer.from('Recorded Time')
const LEVEL = table.record.slot('level')
const SEVERITY_SLOT = table.record.slot('severity')

/** OCSF severity of the level names that loggers use. */
const LEVELS: ReadonlyMap<string, number> = new Map([
  ['trace', 1],
  ['debug', 1],
  ['info', 1],
  ['informational', 1],
  ['notice', 2],
  ['low', 2],
  ['warn', 3],
  ['warning', 3],
  ['medium', 3],
  ['error', 4],
  ['err', 4],
  ['high', 4],
  ['critical', 5],
  ['crit', 5],
  ['alert', 5],
  ['fatal', 6],
  ['emerg', 6],
])

function finish(record: JsonRecord, sink: EventSink): undefined {
  sink.constant(DATA_TYPE, ENTRY)
  sink.constant(TIMESTAMP_DESC, DESCRIPTION)
  const level = LEVELS.get((record.text(LEVEL) ?? record.text(SEVERITY_SLOT) ?? '').slice(0, 16).toLowerCase())
  if (level !== undefined) sink.int(SEVERITY, level)
}
