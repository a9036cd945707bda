/**
 * What the log sources and fields of Sigma are here: the events that a rule is about, and where a field of it stands in
 * them. A field that no table names is the place of that name in the record.
 */

export type FieldPlace =
  | {
      readonly kind: 'column'
      readonly name: string
      readonly type: 'text' | 'ip' | 'int'
      /** What the source's words for a value are here. */
      readonly words?: Readonly<Record<string, string>>
    }
  /** A place in the record's JSON. */
  | { readonly kind: 'json'; readonly path: readonly string[] }
  /** An object of the record: a text is looked for anywhere in the record, as it stands there. */
  | { readonly kind: 'object'; readonly path: readonly string[] }
  /** The whole record. */
  | { readonly kind: 'record' }

export interface LogSource {
  readonly dataTypes: readonly string[]
  /** Holds for every event of the source. */
  readonly where?: string
  /** Undefined: the events have no such field. */
  field(name: string): FieldPlace | undefined
}

export interface LogSourceName {
  readonly product?: string
  readonly service?: string
  readonly category?: string
}

/** Undefined: none of what is collected. */
export function logSourceOf({ product, service, category }: LogSourceName): LogSource | undefined {
  const found = SOURCES.find(
    (source) =>
      (source.product === undefined || source.product === product?.toLowerCase()) &&
      (source.service === undefined || source.service === (service?.toLowerCase() ?? '')) &&
      (source.category === undefined || source.category === (category?.toLowerCase() ?? '')),
  )
  return found?.events(service?.toLowerCase())
}

// --- internal ---

interface SourceRow extends LogSourceName {
  events(service: string | undefined): LogSource
}

const column = (name: string, type: 'text' | 'ip' | 'int' = 'text'): FieldPlace => ({ kind: 'column', name, type })
const json = (path: string): FieldPlace => ({ kind: 'json', path: path.split('.') })

/** Only columns that hold exactly the field; others (who acted) are put together from several. */
const CLOUDTRAIL: Readonly<Record<string, FieldPlace>> = {
  eventName: column('api_operation'),
  eventSource: column('api_service_name'),
  awsRegion: column('cloud_region'),
  sourceIPAddress: column('src_endpoint_ip', 'ip'),
  userAgent: column('http_request_user_agent'),
  errorCode: column('status_code'),
  eventID: column('metadata_uid'),
  'userIdentity.type': column('actor_user_type'),
  'userIdentity.accessKeyId': column('actor_user_credential_uid'),
  // No field of CloudTrail's; rules mean whether the call was carried out.
  status: column('status'),
}
const CLOUDTRAIL_OBJECTS = new Set([
  ...['userIdentity', 'requestParameters', 'responseElements', 'additionalEventData', 'serviceEventDetails'],
  ...['resources', 'tlsDetails', 'userIdentity.sessionContext', 'insightDetails'],
])

const cloudTrail: LogSource = {
  dataTypes: ['aws:cloudtrail:entry'],
  field(name) {
    const known = CLOUDTRAIL[name]
    if (known && Object.hasOwn(CLOUDTRAIL, name)) return known
    return CLOUDTRAIL_OBJECTS.has(name) ? { kind: 'object', path: name.split('.') } : json(name)
  },
}

const ACTIONS = { accept: 'Allowed', allow: 'Allowed', allowed: 'Allowed', permit: 'Allowed' }
const REFUSALS = { reject: 'Blocked', deny: 'Blocked', denied: 'Blocked', drop: 'Blocked', blocked: 'Blocked' }
const FLOW: Readonly<Record<string, FieldPlace>> = Object.assign(
  Object.create(null),
  Object.fromEntries([
    ...['srcaddr', 'src_ip', 'SourceIp', 'sourceip'].map((name) => [name, column('src_endpoint_ip', 'ip')]),
    ...['dstaddr', 'dst_ip', 'DestinationIp', 'destip'].map((name) => [name, column('dst_endpoint_ip', 'ip')]),
    ...['srcport', 'src_port', 'SourcePort'].map((name) => [name, column('src_endpoint_port', 'int')]),
    ...['dstport', 'dst_port', 'DestinationPort'].map((name) => [name, column('dst_endpoint_port', 'int')]),
    ...['protocol', 'proto'].map((name) => [name, column('connection_info_protocol_name')]),
    ...['account-id', 'account_id'].map((name) => [name, column('cloud_account_uid')]),
    ...['interface-id', 'interface_id'].map((name) => [name, column('resource_uid')]),
    ['bytes', column('traffic_bytes', 'int')],
    ['packets', column('traffic_packets', 'int')],
    ['region', column('cloud_region')],
    ['log-status', column('status_code')],
    ['action', { kind: 'column', name: 'disposition', type: 'text', words: { ...ACTIONS, ...REFUSALS } }],
  ]),
)
const flows: LogSource = { dataTypes: ['aws:vpcflow:entry'], field: (name) => FLOW[name] }

const SYSLOG: Readonly<Record<string, FieldPlace>> = {
  hostname: column('device_hostname'),
  host: column('device_hostname'),
  Computer: column('device_hostname'),
  program: column('api_service_name'),
  process: column('api_service_name'),
  message: column('message'),
  msg: column('message'),
}
/** Programs that write what Sigma calls a service. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  sshd: ['sshd', 'sshd-session'],
  sudo: ['sudo'],
  cron: ['cron', 'CRON', 'crond'],
}

const syslog = (service: string | undefined): LogSource => {
  const programs = Object.hasOwn(PROGRAMS, service ?? '') ? PROGRAMS[service!]! : undefined
  const list = programs?.map((name) => `'${name}'`).join(', ')
  return {
    dataTypes: ['syslog:line'],
    ...(list && { where: `(api_service_name in (${list}) or data.reporter in (${list}))` }),
    field: (name) => (Object.hasOwn(SYSLOG, name) ? SYSLOG[name] : undefined),
  }
}

/** Audit records as plaso has them: the type, and the rest as one text. */
const auditd: LogSource = {
  dataTypes: ['selinux:line'],
  field: (name) => (name === 'type' ? json('audit_type') : undefined),
}

/** Provider of the channel that Sigma calls a service. */
const PROVIDERS: Readonly<Record<string, string>> = { security: 'Microsoft-Windows-Security-Auditing' }
const EVTX: Readonly<Record<string, FieldPlace>> = {
  EventID: json('event_identifier'),
  Provider_Name: json('source_name'),
  Computer: json('computer_name'),
  ComputerName: json('computer_name'),
  Level: json('event_level'),
}

/** Event logs that plaso read: what an event says beyond these fields is a list without names. */
const windowsEvents = (service: string | undefined): LogSource => ({
  dataTypes: ['windows:evtx:record'],
  ...(service !== undefined && Object.hasOwn(PROVIDERS, service)
    ? { where: `data.source_name == '${PROVIDERS[service]}'` }
    : {}),
  field: (name) => (Object.hasOwn(EVTX, name) ? EVTX[name] : undefined),
})

/** Whatever was collected as JSON, by the names that stand there. */
const jsonLines: LogSource = { dataTypes: ['json:line'], field: json }

const SOURCES: readonly SourceRow[] = [
  { product: 'aws', service: 'cloudtrail', events: () => cloudTrail },
  { product: 'aws', service: 'vpcflow', events: () => flows },
  { category: 'firewall', product: 'aws', events: () => flows },
  { category: 'firewall', events: () => flows },
  { product: 'linux', service: 'auditd', events: () => auditd },
  ...['', 'sshd', 'sudo', 'cron', 'auth', 'syslog'].map((service) => ({
    ...{ product: 'linux', service, category: '', events: syslog },
  })),
  ...['security', 'system', 'application'].map((service) => ({ product: 'windows', service, events: windowsEvents })),
  { product: 'json', events: () => jsonLines },
]
