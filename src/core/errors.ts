/**
 * The one error table: code, text, hint, exit status, retry class. Throwing means naming a code and giving its values;
 * the CLI, the library and the workers read the same row. `docs/reference/errors.md` is generated from it.
 */
export type RetryClass = 'never' | 'backoff' | 'once'

export interface ErrorRow {
  readonly text: string
  readonly hint: string
  readonly exit: number
  readonly retry: RetryClass
}

/** Exit statuses, one meaning each. */
export const EXIT = {
  ok: 0,
  fault: 1,
  usage: 2,
  partial: 3,
  conflict: 4,
  source: 5,
  store: 6,
  incomplete: 7,
  destination: 8,
  refused: 9,
  interrupted: 130,
} as const

export const EXIT_MEANING: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'Everything asked for was done.',
  fault: 'A fault; the message names it.',
  usage: 'The command line, the expression or the configuration is wrong; nothing was done.',
  partial: 'Done in part: something failed and is named; running again retries it.',
  conflict: 'Another process holds or changed what was needed; nothing was lost.',
  source: 'The source refused or could not be reached.',
  store: 'The data directory, its catalog or a file of it is damaged, missing or full.',
  incomplete: 'The answer is not complete, and --require-complete was given.',
  destination: 'The destination refused or could not be reached; nothing was lost.',
  refused: 'A file from outside is damaged, not to be trusted, or not for here; nothing of it was taken.',
  interrupted: 'Interrupted by a signal; what was committed is kept.',
}

const row = (text: string, hint: string, exit: number, retry: RetryClass = 'never'): ErrorRow => ({
  text,
  hint,
  exit,
  retry,
})

export const ERRORS = {
  E_INTERNAL: row(
    'Unexpected fault: {message}',
    'This is a defect of Coldtrail; report it with the --json form of this error.',
    EXIT.fault,
  ),
  E_USAGE: row('{message}', 'Run the command with --help for runnable examples.', EXIT.usage),
  E_INTERRUPTED: row(
    'Interrupted by {signal}.',
    'Run the same command again: it goes on where this one ended, and what was committed is kept.',
    EXIT.interrupted,
  ),

  E_SETUP_NODE: row(
    'Coldtrail needs Node.js 24 or later, and none was found.',
    'Install Node.js 20 or later with npm; the newer runtime then comes by itself at the first start.',
    EXIT.fault,
  ),
  E_SETUP_NPM: row(
    'The set-up failed: npm ci ended with {status}.',
    'Check the network and the registry (npm ping), then run it again; across an air gap copy node_modules too.',
    EXIT.fault,
  ),
  E_SETUP_WRITE: row('Cannot write into {path}: {cause}.', 'Run it once as a user who may write there.', EXIT.fault),

  E_CONFIG_SYNTAX: row(
    '{where} is no YAML: {cause}.',
    'Correct the line; a value with : or # needs quotes.',
    EXIT.usage,
  ),
  E_CONFIG_KEY: row(
    '{where}: unknown key {path}.{suggestion}',
    'Known keys here: {known}. docs/reference/config.md explains them.',
    EXIT.usage,
  ),
  E_CONFIG_VALUE: row(
    '{where}: {path} is {value}: {reason}.',
    'docs/reference/config.md gives every value.',
    EXIT.usage,
  ),
  E_CONFIG_ENVIRONMENT: row(
    '{where}: the environment has no {name}, which {path} asks for.',
    'Set the variable, or write $${ for a literal ${.',
    EXIT.usage,
  ),
  E_SOURCE_MISSING: row(
    'There is nothing to collect from: no source was named and none is configured.',
    'Name one (s3://bucket/prefix, a folder, a file or -), or put it into coldtrail.yaml with `coldtrail init`.',
    EXIT.usage,
  ),
  E_SOURCE_EMPTY: row(
    '{source} holds no object that was asked for.',
    'See what is there with `coldtrail source list`; --from, --to, --include and --exclude may leave everything out.',
    EXIT.source,
  ),
  E_DATA_MISSING: row(
    'There is no data directory {path}: {reason}.',
    'Name the right one with --data-dir, or mount its disk. One is made by `coldtrail collect`, `library import`, `sync import` or `demo`.',
    EXIT.usage,
  ),
  E_INCOMPLETE: row(
    'The answer is not complete: {why}.',
    'Without --require-complete the same command answers with what is there, and says so.',
    EXIT.incomplete,
  ),
  E_DEMO_COUNT: row(
    'The demonstration found {count} events of {expected} with {expression}.',
    'Was something else collected into this data directory? Name a fresh one with --data-dir.',
    EXIT.fault,
  ),
  E_CONFIG_EXISTS: row('{path} exists already.', 'Edit it, or give another name with --config.', EXIT.conflict),

  E_TIME_FORMAT: row(
    '{where}: "{value}" is not a time.',
    'Write 2023-07-10, "2023-07-10 11:00:00", 2023-07-10T11:00:00Z, POSIX seconds, -24h, now or today (all UTC); for a year its first day.',
    EXIT.usage,
  ),
  E_TIME_ORDER: row('The range is inverted: {from} is later than {to}.', 'Exchange the two times.', EXIT.usage),

  E_EXPRESSION: row(
    'Column {column}: {reason}.\n  {excerpt}\n  {caret}',
    '{expected}docs/expressions.md explains the language.',
    EXIT.usage,
  ),
  E_EXPRESSION_FIELD: row(
    'Column {column}: {reason}.{suggestion}\n  {excerpt}\n  {caret}',
    'Columns of events are in docs/reference/columns.md (data.<path> reaches any field of a record), fields of the library in docs/expressions.md.',
    EXIT.usage,
  ),
  E_EXPRESSION_TYPE: row(
    'Column {column}: {reason}.\n  {excerpt}\n  {caret}',
    '{expected}docs/reference/columns.md gives the type of every column.',
    EXIT.usage,
  ),
  E_EXPRESSION_REGEX: row(
    'Column {column}: in the regular expression: {reason}.\n  {excerpt}\n  {caret}',
    'Regular expressions are those of RE2: no look-around, no back-references; docs/expressions.md lists what there is.',
    EXIT.usage,
  ),
  E_EXPRESSION_LIMIT: row(
    'The expression has {what}; the limit is {limit}.',
    'Split it, or put the values into fewer, wider conditions.',
    EXIT.usage,
  ),

  E_FILE_READ: row(
    'Cannot read {path}: {cause}.',
    'Check that the file exists and that this user may read it.',
    EXIT.fault,
  ),
  E_FILE_WRITE: row(
    'Cannot write {path}: {cause}.',
    'Check free space and permissions of that directory, then run again; nothing half-written is used.',
    EXIT.store,
    'backoff',
  ),
  E_BUNDLE_DAMAGED: row(
    '{file}, {entry} at byte {offset}: {reason}.',
    'Copy it again from where it was made and compare sizes; a bundle that `coldtrail sync verify` refuses there must be exported again.',
    EXIT.refused,
  ),
  E_BUNDLE_VERSION: row(
    '{file} has {found}; this program reads format {known}.',
    'Update Coldtrail here, or export with the version that runs here.',
    EXIT.refused,
  ),
  E_BUNDLE_KEY: row(
    '{file} of the site {site}: {reason}.',
    'Ask the site, by another way than this file, for the id of its key (`coldtrail sync keys list` there); if it is right, give it with --trust ID.',
    EXIT.refused,
  ),
  E_BUNDLE_PARTS: row(
    '{file}: {reason}.',
    'Put all parts of one bundle beside each other in one folder and name any of them.',
    EXIT.refused,
  ),
  E_BUNDLE_ENCRYPTED: row(
    '{file} is encrypted: {reason}.',
    'Give the file of the age identity that it was encrypted to with --identity FILE, or as sync.identity in coldtrail.yaml.',
    EXIT.refused,
  ),
  E_SYNC_RECIPIENT: row(
    '{recipient} is no recipient to encrypt to: {reason}.',
    'Give what `age-keygen` prints as public key (age1…), or a file with one such line for each recipient.',
    EXIT.usage,
  ),
  E_SITE_KEY: row(
    'Key {key} of this site: {reason}.',
    'Run as the user who exports; a damaged file in the keys folder of the data directory is restored from a copy.',
    EXIT.store,
  ),
  E_BUNDLE_AUDIENCE: row(
    'Bundle {bundle} is for the site {audience}; this one is {site}.',
    'Carry it to that site, or export one with --audience {site} (or without --audience, for any).',
    EXIT.refused,
  ),
  E_BUNDLE_OLD: row(
    'Bundle {bundle} is number {seq} of its stream from {site}, and number {applied} is applied here.',
    'There is nothing to do: what it brings is in already, or was replaced by what came later.',
    EXIT.refused,
  ),
  E_BUNDLE_GAP: row(
    'Bundle {bundle} builds on number {base} of its stream from {site}, and number {applied} is applied here. Missing: {missing}.',
    'Import what is missing first, or export with --full at the source.',
    EXIT.refused,
  ),
  E_MERGE_BUSY: row(
    'Run {change} of the library is under way in another process.',
    'Wait until it has ended; its rows become visible all at once.',
    EXIT.conflict,
  ),
  E_BUNDLE_EXPIRED: row(
    'Bundle {bundle} was valid until {expires}.',
    'Check the clock of this machine, or export again at the source.',
    EXIT.refused,
  ),
  E_SYNC_HASH: row(
    '{rows} rows of {table} have no sync_hash.',
    'Fill the column once with `coldtrail sync fill-hash`; maintenance mode is not needed.',
    EXIT.store,
  ),
  E_SYNC_SPACE: row(
    '{path} has {free} free; the import needs about {needed}.',
    'Free space on that file system, then run it again; nothing was written.',
    EXIT.store,
  ),
  E_SYNC_MEMORY: row(
    'The run uses {used} of memory, and {limit} are allowed.',
    'Give a lower --object-limit or a higher --memory-limit; the same command goes on where this one ended.',
    EXIT.fault,
  ),
  E_SYNC_BASE: row(
    'There is nothing to build a {wanted} on in this stream: {missing}.',
    'Without --{wanted} the export finds its base by itself; --full begins anew.',
    EXIT.usage,
  ),
  E_EXPORT_BUSY: row(
    'Another export of this library is under way.',
    'Wait until it has ended; `coldtrail sync runs` shows it.',
    EXIT.conflict,
    'backoff',
  ),
  E_SYNC_LEAK: row(
    '{entry} holds the row {uid}, which is above the TLP ceiling; no bundle was written.',
    'This is a defect of Coldtrail; report it with the --json form of this error.',
    EXIT.fault,
  ),
  E_SYNC_ACK: row(
    'The acknowledgement {path} is refused: {reason}.',
    'Make it again at the target with `coldtrail sync ack`, and import it where its bundle was exported.',
    EXIT.refused,
  ),
  E_STATE_FILE: row(
    '{path}, line {line}: {cause}.',
    'Write it at the other site with `coldtrail sync state --keys`, and copy it unchanged.',
    EXIT.usage,
  ),
  E_SYNC_BUSY: row(
    'Another import from the site {site} is under way.',
    'Wait until it has ended: `coldtrail sync runs` shows it.',
    EXIT.conflict,
    'backoff',
  ),
  E_SYNC_RUN: row('{message}', 'See `coldtrail sync runs`.', EXIT.usage),
  E_DISK_FULL: row(
    'No space left for {path}.',
    'Free space on that file system, then run again; nothing committed is lost.',
    EXIT.store,
  ),

  E_SOURCE_URI: row(
    'Cannot collect from "{uri}": {reason}.',
    'Write s3://bucket/prefix, a folder, a file, file:///path, or - for standard input.',
    EXIT.usage,
  ),
  E_DIRECTORY_READ: row(
    'Cannot list {path}: {cause}.',
    'Check that it exists and that this user may read it and every folder below.',
    EXIT.source,
  ),
  E_DIRECTORY_PARTIAL: row(
    'Not everything could be listed: {count} folders or files below could not, first {path}: {cause}.',
    'What could be listed was. Make the others readable for this user (the log names each), then run again.',
    EXIT.partial,
    'backoff',
  ),
  E_FILE_CHANGED: row(
    '{path} changed while it was read ({cause}).',
    'Collect again when its writer has finished; files named .tmp or .part are passed over until then.',
    EXIT.source,
    'once',
  ),
  E_FILE_GONE: row('{path} is gone since it was listed.', 'Nothing to do if it was rotated away.', EXIT.source),
  E_S3_CREDENTIALS: row(
    'No AWS credentials for {where}; tried {tried}. {cause}',
    'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, log in to a profile and name it, or give the source role_arn or web_identity_token_file; for a public bucket set anonymous.',
    EXIT.source,
  ),
  E_S3_ACCESS_DENIED: row('{operation} on {where} was denied: {message} (request {request})', '{advice}', EXIT.source),
  E_S3_REQUESTER_PAYS: row(
    '{operation} on {where} was denied: the bucket makes the requester pay (request {request})',
    'Set requester_pays: true; the account of these credentials is then billed for requests and transfer.',
    EXIT.source,
  ),
  E_S3_NO_BUCKET: row(
    'There is no bucket {bucket} at {endpoint} (request {request})',
    'Check the name, the account and the endpoint; the bucket may have been deleted.',
    EXIT.source,
  ),
  E_S3_NO_KEY: row(
    '{where} is gone since it was listed (request {request})',
    'Nothing to do if a lifecycle rule or a person deleted it; it is recorded as gone.',
    EXIT.source,
  ),
  E_S3_BAD_KEY_ID: row(
    '{operation} on {where}: the access key id is unknown or inactive (request {request})',
    'Check the access key id for typing errors and stray blanks, and that it is active and of this account.',
    EXIT.source,
  ),
  E_S3_SIGNATURE: row(
    '{operation} on {where}: the signature does not match (request {request})',
    'The secret access key is wrong: check it for stray blanks. A proxy that rewrites headers has the same effect.',
    EXIT.source,
  ),
  E_S3_EXPIRED_TOKEN: row(
    '{operation} on {where}: the session token is expired or invalid (request {request})',
    'Fetch a new session token, or log in again (aws sso login); roles and profiles are refreshed by themselves.',
    EXIT.source,
    'once',
  ),
  E_S3_CLOCK_SKEW: row(
    '{operation} on {where}: the clock of this machine ({local_time}) differs from that of the server ({server_time}) (request {request})',
    'Set the clock (NTP); S3 tolerates 15 minutes.',
    EXIT.source,
  ),
  E_S3_ARCHIVED: row(
    '{where} is in an archive tier ({storage_class}) (request {request})',
    'Restore it in S3 first, then collect again.',
    EXIT.source,
  ),
  E_S3_KMS: row(
    '{operation} on {where}: its encryption key cannot be used: {message} (request {request})',
    'Enable the KMS key, or cancel its deletion; the credentials need kms:Decrypt on it.',
    EXIT.source,
  ),
  E_S3_THROTTLED: row(
    '{operation} on {where} was throttled: {code} (request {request})',
    'Lower max_connections, or spread the work over time; every request is already retried with growing pauses.',
    EXIT.source,
    'backoff',
  ),
  E_S3_UNAVAILABLE: row(
    '{operation} on {where} failed: {code} {message} (request {request})',
    'A fault of the service or of the way to it; already retried. Run again later.',
    EXIT.source,
    'backoff',
  ),
  E_S3_UNREACHABLE: row(
    'Cannot reach {endpoint}: {code} {message}',
    'Check the endpoint, the region, DNS, proxy and firewall.',
    EXIT.source,
    'backoff',
  ),
  E_S3_TRUNCATED: row(
    '{where} ended after {received} of {expected} bytes (request {request})',
    'The connection was cut; already resumed as often as allowed. Run again later.',
    EXIT.source,
    'backoff',
  ),
  E_S3_STALLED: row(
    '{operation} on {where}: nothing arrived for {seconds} s (request {request})',
    'Raise request_timeout_secs for a slow line, or check proxy and network; already retried.',
    EXIT.source,
    'backoff',
  ),
  E_S3_CHECKSUM: row(
    '{where} does not have the checksum that S3 keeps for it (request {request})',
    'The bytes were changed on the way or in a proxy; run again, and distrust the line if it repeats.',
    EXIT.source,
    'backoff',
  ),
  E_S3_CHANGED: row(
    '{where} was replaced after it was listed (request {request})',
    'Collect again: the new version is listed as an object of its own.',
    EXIT.source,
    'once',
  ),
  E_S3_REGION: row(
    '{bucket} is in region {region} (request {request})',
    'Set region: {region} for this source.',
    EXIT.source,
    'once',
  ),
  E_S3_RESPONSE: row(
    '{operation} on {where}: unexpected answer: {code} {message} (request {request})',
    'Check that the endpoint is an S3 service and not a proxy or a web page.',
    EXIT.source,
  ),

  E_OBJECT_CORRUPT: row(
    'Its {codec} data are corrupt near byte {offset}: {cause}.',
    'The object is damaged where it lies; when it was uploaded again, it is collected as a new version.',
    EXIT.partial,
  ),
  E_OBJECT_TOO_LARGE: row(
    'It decodes to more than {limit} bytes.',
    'Raise collect.max_object_bytes if it is genuine, then collect with --retry.',
    EXIT.partial,
  ),
  E_OBJECT_RATIO: row(
    'It decodes to more than {limit} times its size, as a decompression bomb does ({received} bytes received).',
    'Raise collect.max_ratio if it is genuine, then collect with --retry.',
    EXIT.partial,
  ),
  E_OBJECT_CODEC: row(
    'Its codec is not supported yet: {codec}.',
    'Store it as gzip, zstd or plain; it stays quarantined, and nothing of it was collected.',
    EXIT.partial,
  ),
  E_OBJECT_SQLITE: row(
    'It is a SQLite file that cannot be read as a timeline: {cause}.',
    'plaso storage files (.plaso) from 2018 on are read; it stays quarantined, and nothing of it was collected.',
    EXIT.partial,
  ),
  E_FORMATTER_FILE: row(
    '{path} cannot be used as formatters of plaso: {reason}.',
    'collect.plaso_formatters names the folder of .yaml files of a plaso: plaso/data/formatters.',
    EXIT.usage,
  ),
  E_TIMELINE_UNKNOWN: row(
    'Collection {collection} has no events of {path}: no timeline with its bytes was collected.',
    'Collect that file first, or name the one that was collected.',
    EXIT.usage,
  ),
  E_TIMELINE_FILE: row(
    '{path} cannot take tags: {cause}.',
    'Name a plaso storage file of format 20260516, and with --out a file beside it; the original stays as it is.',
    EXIT.refused,
  ),
  E_OBJECT_PARSE: row(
    'The format {format} failed on it: {cause}',
    'This is a defect of the format; report it with the object. Its neighbours are not affected.',
    EXIT.partial,
  ),
  E_WORKER_DIED: row(
    'Twice a worker process died while it read this object: {reason}.',
    'Look at the object; collect with --retry after a change of limits or of the program.',
    EXIT.partial,
  ),
  E_PLUGIN_UNKNOWN: row(
    'There is no plugin {name}.{suggestion}',
    'There are {known}; `coldtrail analyze list` says what each does.',
    EXIT.usage,
  ),
  E_PLUGIN_OPTION: row(
    'Plugin {plugin}, option {option}: {reason}.',
    '`coldtrail analyze list` gives the options of every plugin, with their defaults.',
    EXIT.usage,
  ),
  E_PLUGIN_RULE: row(
    'Plugin {plugin}, rule {rule}: {reason}.',
    'docs/how-to/add-an-analysis.md says what labels, rules and columns may be.',
    EXIT.usage,
  ),
  E_PLUGIN_MODULE: row(
    '{path} is no plugin: {cause}.',
    'docs/how-to/add-an-analysis.md has a whole one; analysis.plugins_dir names the folder.',
    EXIT.usage,
  ),
  E_PLUGIN_LABEL: row(
    'Plugin {plugin} gave the label "{label}"; labels have letters, digits and _ only.',
    'This is a defect of the plugin: the event is skipped, and the run is partial.',
    EXIT.partial,
  ),
  E_LOOKUP_SERVICE: row(
    '{service} at {where} cannot be asked: {cause}.',
    'Nothing was analysed. Make the service reachable, correct the options of {plugin}, or leave that plugin out.',
    EXIT.source,
  ),
  E_LOOKUP_CACHE: row(
    'The cache of look-ups {path} cannot be used: {cause}.',
    'It holds nothing that cannot be asked again: delete it when it is damaged.',
    EXIT.store,
  ),
  E_BLOOM_FILE: row(
    '{path} is no bloom filter of the hashlookup project: {cause}.',
    'Give a file such as hashlookup-full.bloom, unpacked, whole and of format version 1.',
    EXIT.refused,
  ),
  E_EXPRESSION_EMPTY: row(
    'Nothing can match {expression}: {reason}.',
    'Correct the expression or the times; nothing was analysed.',
    EXIT.usage,
  ),
  E_TASK_FILE: row(
    'Task file {path}: {cause}.',
    'Resume the run: a piece of work whose file is not whole is done again.',
    EXIT.store,
  ),
  E_ANALYSIS_MEMORY: row(
    'The foreman of the run uses {used} bytes of memory, and {limit} are allowed.',
    'Give a higher --process-memory-limit (0 for none) and resume the run; fewer plugins at a time need less.',
    EXIT.fault,
  ),
  E_RUN_CHANGED: row(
    'Run {run} cannot go on: {reason}.',
    'Begin a new run; `coldtrail analyze remove {run}` removes what this one left.',
    EXIT.conflict,
  ),
  E_WORKER_START: row(
    'Worker processes cannot be kept alive: {reason}.',
    'Check memory and process limits of this machine; --log-level debug shows what a worker wrote.',
    EXIT.fault,
  ),

  E_SEGMENT_READ: row(
    'Cannot read {path}: {cause}.',
    '`coldtrail verify` names every damaged file; restore it from a copy.',
    EXIT.store,
  ),
  E_SEGMENT_GONE: row(
    '{path} is gone since the catalog was read.',
    'Run the command again; if it repeats, `coldtrail verify` names what is missing.',
    EXIT.store,
    'once',
  ),
  E_QUERY: row(
    'The question could not be answered: {cause}.',
    'Simplify the expression; report it if it is valid.',
    EXIT.fault,
  ),
  E_QUERY_MEMORY: row(
    'The question needs more memory than allowed: {cause}.',
    'Raise --memory-limit, ask for fewer columns or a shorter time, or give --limit.',
    EXIT.fault,
  ),
  E_COLLECTION_UNKNOWN: row('There is no collection {name}.', 'Collections here: {known}.', EXIT.usage),
  E_EVENT_UNKNOWN: row(
    'There is no event {id}.',
    'Ids are printed by search; an event of a replaced object is shown with --all-versions.',
    EXIT.usage,
  ),
  E_EVENT_OFFLINE: row(
    'Event {id} is in no segment that is here; {detail}.',
    'Restore them into a workbench with `coldtrail restore run`, then ask with --collection.',
    EXIT.incomplete,
  ),
  E_TIER_PLACES: row(
    '{path}: "{text}" is no list of places: {reason}.',
    'Write path=size;path==size with sizes like 500g or 2t; `==` refuses to start while the path is missing.',
    EXIT.usage,
  ),
  E_TIER_UNKNOWN: row(
    'There is no place in tier {tier}.',
    'Name places for it in the section tiers of the configuration.',
    EXIT.usage,
  ),
  E_TIER_MISSING: row(
    'The place {path} of tier {tier} is not there: {reason}.',
    'Mount the volume, or take the place out of the section tiers; what lies there is offline until then.',
    EXIT.store,
  ),
  E_TIER_FULL: row(
    'No place of tier {tier} has room for it.',
    'Give the tier another place or more size; nothing stops meanwhile, and files stay where they are.',
    EXIT.partial,
  ),
  E_TIER_BUSY: row('Another process moves files between tiers.', 'Wait until it has ended.', EXIT.conflict, 'backoff'),
  E_TIER_COLLISION: row(
    '{path} is there already, and is not what is to be copied there.',
    'Two installations may share a place only with folders of their own; look whose file it is before you remove it.',
    EXIT.store,
  ),
  E_TIER_COPY: row(
    'The copy {path} does not read back as it was written.',
    'The source is kept. Check the volume; the next `coldtrail tier roll` copies again.',
    EXIT.store,
  ),
  E_TIER_TOO_LARGE: row(
    '{path} has {size} bytes; one object of S3 takes at most {most} in one request.',
    'Keep it in a directory, or collect with a smaller segment.max_bytes.',
    EXIT.store,
  ),
  E_CLOCK_JUMP: row(
    'The clock says {now}, and the last commit was at {last}: nothing is moved or deleted by age.',
    'Set the clock (NTP). If it is right, say so with --trust-clock.',
    EXIT.conflict,
  ),
  E_HELD: row(
    'Segment {segment} of collection {collection} is held by {name}: nothing of it may be deleted.',
    'Release the hold first, if you may: `coldtrail hold release {name}`.',
    EXIT.conflict,
  ),
  E_HOLD_EXISTS: row('Collection {collection} has a hold {name} already.', 'Choose another name.', EXIT.conflict),
  E_HOLD_UNKNOWN: row('Collection {collection} has no hold {name}.', '`coldtrail hold list` lists them.', EXIT.usage),
  E_WORKBENCH_UNKNOWN: row('There is no workbench {name}.', '`coldtrail workbench list` lists them.', EXIT.usage),
  E_WORKBENCH_NAME: row(
    '{name} is no name for this workbench: it is that of {taken}.',
    'Choose another name with --workbench.',
    EXIT.usage,
  ),
  E_WORKBENCH_HELD: row(
    'Workbench {name} is held.',
    'Release it first: `coldtrail workbench release {name}`.',
    EXIT.conflict,
  ),
  E_WORKBENCH_READ_ONLY: row(
    '{name} is a workbench: it holds copies, and nothing else is put into it.',
    'Name a collection; what analyses find in a workbench goes to the collection of its segments.',
    EXIT.usage,
  ),
  E_WORKBENCH_STALE: row(
    'A segment to restore into {workbench} was replaced by another one meanwhile.',
    'Run the command again: it plans anew, and copies that are good are not made twice.',
    EXIT.conflict,
    'once',
  ),
  E_RESTORE_BUSY: row(
    'Another process restores into workbench {name}.',
    'Wait for it to end, or choose another name with --workbench.',
    EXIT.conflict,
  ),
  E_RESTORE_DIRECTORY: row(
    '{path} cannot take the copies: {reason}.',
    'Name another directory with --directory.',
    EXIT.usage,
  ),
  E_RESTORE_REQUEST: row(
    '{where}: {reason}.',
    'Give a time range, an answer of `coldtrail hunt --json`, numbers of segments, or names of their files.',
    EXIT.usage,
  ),
  E_RUN_UNKNOWN: row('There is no run {run}.', '`coldtrail analyze runs` lists them.', EXIT.usage),
  E_RUN_BUSY: row(
    'Run {run} belongs to a process that is running.',
    'Wait until it has ended, or end it.',
    EXIT.conflict,
  ),
  E_RUN_STATE: row(
    'Run {run} is {state}; this takes a run {wanted}.',
    '`coldtrail analyze runs` tells the state of each run.',
    EXIT.usage,
  ),
  E_RUN_FINDINGS: row(
    'The run has more than {limit} findings.',
    'A rule that matches so much is worth a tag, not a finding; narrow it, or the time.',
    EXIT.usage,
  ),
  E_HISTORY_FILE: row(
    '{path} is missing, or not as it was committed.',
    'Restore it from a copy; `coldtrail verify` names every such file.',
    EXIT.store,
  ),
  E_MANIFEST_FORMAT: row(
    '{where} is no manifest: {reason}.',
    'Restore the file from its copy in the history; `coldtrail verify` names every damaged file.',
    EXIT.store,
  ),
  E_MANIFEST_DIR: row(
    'The manifest directory {path} cannot be used: {reason}.',
    'Correct manifest_dir in the configuration, or make the directory writable for this user; nothing was done.',
    EXIT.store,
  ),
  E_MANIFEST_VERSION: row(
    '{where} has manifest version {version}, which this program does not know.',
    'Use the newer Coldtrail that wrote it.',
    EXIT.store,
  ),
  E_CATALOG_VERSION: row(
    'The catalog has schema version {found}; this program knows up to {known}.',
    'Use the newer Coldtrail that wrote it.',
    EXIT.store,
  ),
  E_CATALOG_OPEN: row(
    'Cannot open the catalog {path}: {cause}.',
    'Check the address, permissions and that the database is running; a lost SQLite file: `coldtrail catalog rebuild`.',
    EXIT.store,
  ),
  E_LIBRARY_OPEN: row(
    'Cannot open the threat library {path}: {cause}.',
    'Check the address, permissions and that the database is running. A damaged file comes back from a copy, or is made anew by importing the files and bundles again.',
    EXIT.store,
  ),
  E_LIBRARY_VERSION: row(
    'The threat library {path} has {found}; this program knows {known}.',
    'Use the newer Coldtrail that wrote it.',
    EXIT.store,
  ),
  E_CATALOG_READ_ONLY: row(
    '{path} can only be read by this user: {cause}.',
    'Ask again while a collector runs or when one has ended as usual, or do it as a user who may write the data directory.',
    EXIT.store,
  ),
  E_CATALOG_LOST: row(
    'The catalog is empty, but the history in {path} has commits.',
    'Run `coldtrail catalog rebuild`; collecting with an empty catalog would collect everything twice.',
    EXIT.store,
  ),
  E_BLOB_SIZE: row(
    'A file has more than {limit} bytes.',
    'Nothing of it was taken in; keep such a file elsewhere and refer to it.',
    EXIT.partial,
  ),
  E_BLOB_DIGEST: row(
    'A content does not have its digest {expected}, but {found}.',
    'It was damaged on its way; nothing of it was taken in. Get it again.',
    EXIT.store,
  ),
  E_CATALOG_BUSY: row(
    'The catalog is in use: {cause}.',
    'Run the command again when the other process has ended.',
    EXIT.conflict,
    'backoff',
  ),
  E_CATALOG_CONNECTION: row(
    'The connection to the catalog was lost: {cause}.',
    'Check the database server and the network, then run the same command again; nothing is collected twice.',
    EXIT.store,
    'backoff',
  ),
  E_CLAIM_LOST: row(
    'Refused to commit: {reason}.',
    'Nothing of it was committed; run the same command again.',
    EXIT.conflict,
    'once',
  ),
  E_COMMIT_UNKNOWN: row(
    'The connection was lost at commit, and whether it took place cannot be asked: {cause}.',
    'Run the same command again when the database answers; nothing is collected twice.',
    EXIT.store,
    'once',
  ),
  E_CHAIN_FAULT: row(
    'The chain of collection {collection} is not whole: {fault}.',
    'Run `coldtrail verify` for every fault; restore the missing links from a copy of the history.',
    EXIT.store,
  ),
  E_LINK_FORMAT: row(
    '{where} is no chain link: {reason}.',
    'Restore the file from a copy of the history; `coldtrail verify` names every damaged file.',
    EXIT.store,
  ),
  E_LINK_VERSION: row(
    '{where} has link version {version}, which this program does not know.',
    'Use the newer Coldtrail that wrote it.',
    EXIT.store,
  ),
  E_ANCHOR_FORMAT: row(
    '{where} is no anchor of chains: {reason}.',
    'Name a file that `coldtrail anchor --write` or the setting `anchor` made.',
    EXIT.store,
  ),
  E_ANCHOR_SIGNATURE: row(
    'The anchor {where} cannot be trusted: {reason}.',
    'Name an anchor of this data directory, and with --public-key the key that it was signed with.',
    EXIT.store,
  ),
  E_ANCHOR_AHEAD: row(
    'The anchor {path} knows link {number} of collection {collection}, and this catalog does not have it so.',
    'Run `coldtrail verify --anchor FILE`: links were cut off or written anew. Keep the anchor; it is not overwritten.',
    EXIT.store,
  ),
  E_CASE_EXISTS: row(
    '{path} is there already.',
    'Name another place: a case is never written over another one.',
    EXIT.usage,
  ),
  E_CASE_EMPTY: row(
    'No event matches: there is nothing to make a case of.',
    'Try the same expression with `coldtrail search`.',
    EXIT.usage,
  ),
  E_ERASE_NOTHING: row(
    'Collection {collection} has no object that is {what}.',
    '`coldtrail show ID` gives session and object key of an event; what was erased before is not found again.',
    EXIT.usage,
  ),
  E_PUBLIC_KEY: row(
    '{path} is no Ed25519 public key: {reason}.',
    'Name a file keys/sign-<id>.pub of the data directory, kept in another place.',
    EXIT.usage,
  ),
  E_LEDGER_FORMAT: row(
    '{where} is no session ledger: {reason}.',
    'Restore the file from a copy of the history; `coldtrail verify` names every damaged file.',
    EXIT.store,
  ),
  E_FORWARD_BUSY: row(
    'Another process forwards to destination {destination}: process {pid} on {host}.',
    'Wait until it has ended, or end it; each destination has one forwarder at a time.',
    EXIT.conflict,
  ),
  E_FORWARD_STREAM: row(
    'Destination {destination} takes no {stream}.',
    'Give it a table that does: `takes` of a table says what is sent to it, and Coldtrail_CL has columns of findings.',
    EXIT.usage,
  ),
  E_FORWARD_OFFLINE: row(
    'Events to forward are offline: segments {segments} of collection {collection}.',
    'Restore them with `coldtrail restore run {segments}`: copies in a workbench are read too. Or pass over their events with --skip-offline; they are then counted.',
    EXIT.store,
  ),
  E_RECEIPT_FORMAT: row(
    '{where} is no receipt of a forwarder: {reason}.',
    'Restore the file from a copy, or move it away: its feeds then begin anew.',
    EXIT.store,
  ),
  E_SIGNING_KEY: row(
    'Signing key {id}: {reason}.',
    'Run as the user who collects; a damaged file in the keys folder of the data directory is restored from a copy.',
    EXIT.store,
  ),

  E_KEYSET_VERSION: row(
    '{where} has keyset version {version}, which this program does not know.',
    'Use the newer Coldtrail that wrote it.',
    EXIT.store,
  ),
  E_KEYSET_CORRUPT: row(
    '{where} is no whole keyset: {reason}.',
    'Restore the file from its copy in the history; `coldtrail verify` names every damaged file.',
    EXIT.store,
  ),
  E_ROLLUP_CORRUPT: row(
    'The roll-up {path} of keysets is damaged: {reason}.',
    'Nothing is lost: it is made again from the keysets, by the next hunt of somebody who may write the data directory.',
    EXIT.store,
  ),
  E_HUNT_NOTHING: row(
    'There is nothing to hunt for: {reason}.',
    'Name addresses, domains, URLs, hashes or user:NAME, a list with --indicators FILE, or import some: `coldtrail library import`.',
    EXIT.usage,
  ),
  E_HUNT_BUSY: row(
    'Another process hunts the collection {collection} at this moment.',
    'Wait for it: what one finds, the other need not look for again.',
    EXIT.conflict,
    'backoff',
  ),
  E_HUNT_HITS: row(
    'The hunt found more than {limit} pairs of indicator and segment.',
    "Narrow it with --from and --to, or take indicators from the list that are in everybody's logs.",
    EXIT.fault,
  ),
  E_KEYSET_MIXED: row(
    'Keysets of {found} and of {expected} cannot be merged.',
    'Merge only keysets of one key epoch and extractor.',
    EXIT.fault,
  ),
  E_KEYSET_KEY: row(
    'Keyset key {epoch}: {reason}.',
    '`coldtrail keys list` shows what is here; a lost key comes back with `coldtrail keys import` of an exported one.',
    EXIT.store,
  ),

  E_TABLE_COLUMN: row(
    'Table {table} cannot have the column {column}: {problem}.',
    'docs/reference/tables.md gives the rules and the columns of every table.',
    EXIT.usage,
  ),
  E_TABLE_UNDECLARED: row(
    'The stream {stream} does not take what table {table} writes: {problems}.',
    'Add the columns with `coldtrail forward table`, or let them be left out with undeclared: drop.',
    EXIT.usage,
  ),
  E_TABLE_RULE: row(
    'This is no data collection rule with a stream {stream}: {problem}.',
    'Give the output of `az monitor data-collection rule show`; its streamDeclarations name the streams.',
    EXIT.usage,
  ),

  E_DESTINATION_MISSING: row(
    'There is nowhere to forward to: no destination is configured.',
    'Put one under destinations: in coldtrail.yaml; docs/reference/config.md gives every type.',
    EXIT.usage,
  ),
  E_DESTINATION_UNKNOWN: row(
    'There is no destination {name}.{suggestion}',
    'Configured are: {known}. They are listed under destinations: in coldtrail.yaml.',
    EXIT.usage,
  ),
  E_DESTINATION_BUSY: row(
    'Another process writes {path}.',
    'End it, or give each destination a folder or a form of file names of its own.',
    EXIT.conflict,
  ),
  E_RECEIVER_DENIED: row(
    'Destination {destination}: {host} refuses requests with {status}{detail}.',
    '{advice}',
    EXIT.destination,
  ),
  E_RECEIVER_REDIRECT: row(
    'Destination {destination}: {host} redirects to {target} ({status}), which is not followed.',
    'Events go only where the configuration says: give the new address as url when it is right.',
    EXIT.destination,
  ),
  E_RECEIVER_TLS: row(
    'Destination {destination}: {cause}.',
    'Give the authority that signed its certificate as ca_file, and check the name in url; verification is never off.',
    EXIT.destination,
  ),
  E_AZURE_CREDENTIALS: row(
    'Destination {destination}: no token from {from} with {tried}: {cause}',
    '{advice}',
    EXIT.destination,
  ),
  E_SENTINEL_TOKEN: row(
    'Destination {destination}: {endpoint} refuses the token of {tried}, also the newest: {cause} (request {request})',
    'The token is for {scope}: check cloud and scope, and that the application is of the tenant of the workspace.',
    EXIT.destination,
  ),
  E_SENTINEL_ROLE: row(
    'Destination {destination}: {tried} has no right to send to the data collection rule {rule}: {cause} (request {request})',
    'Assign it the role Monitoring Metrics Publisher (3913510d-42f4-4e42-8a64-420c390055eb) on that rule, not on the workspace; a new assignment takes up to 30 minutes to be in force.',
    EXIT.destination,
  ),
  E_SENTINEL_RULE: row(
    'Destination {destination}: {endpoint} has no data collection rule {rule}: {cause} (request {request})',
    'Give as rule its immutableId (dcr-…, in the JSON view of the portal), and as endpoint that of this rule.',
    EXIT.destination,
  ),
  E_SENTINEL_STREAM: row(
    'Destination {destination}: the data collection rule {rule} has no stream {stream}: {cause} (request {request})',
    'Add it to streamDeclarations and dataFlows of the rule (`coldtrail forward table` prints both), or name the stream that is there as stream of table {table}.',
    EXIT.destination,
  ),
  E_SENTINEL_ENDPOINT: row(
    'Destination {destination}: {endpoint} does not answer as a logs ingestion endpoint: {cause} (request {request})',
    'Give logsIngestion.endpoint of the rule or of its data collection endpoint: https://NAME.REGION-1.ingest.monitor.azure.com; a proxy or a portal page may have answered instead.',
    EXIT.destination,
  ),
  E_SENTINEL_TABLE: row(
    'Destination {destination}: there is no built-in table {table}.{suggestion}',
    'Built in are {known}. A table of your own has a name that ends in _CL, and lists its columns.',
    EXIT.usage,
  ),
  E_FORWARD_REFUSED: row(
    'Destination {destination}, feed {feed}: the receiver refused {count} records one by one and took none: {reason}',
    'Every record is refused, so the form is wrong and not a record: compare what the receiver takes with the settings of the destination (Sentinel: deploy `forward table` again). Nothing was lost; the next run goes on here.',
    EXIT.destination,
  ),
  E_FORWARD_UNREACHABLE: row(
    'Destination {destination}, feed {feed}: nothing was accepted for {time}: {reason}',
    'See `forward check` for the address, the network and the credentials; the next run sends what was under way again.',
    EXIT.destination,
    'backoff',
  ),
  E_OBJECT_UNKNOWN: row(
    'The library has no object "{name}".',
    'Give its value, uid or STIX id; `coldtrail library list` finds it.',
    EXIT.usage,
  ),
  E_OBJECT_AMBIGUOUS: row(
    '{name} means several objects: {meant}.',
    'Give the uid of the one that is meant.',
    EXIT.usage,
  ),
  E_LIBRARY_FILE: row(
    '{path}, line {line}, column {column}: {cause}.',
    'Nothing of the file was taken in. Correct it at its source, or split it.',
    EXIT.refused,
  ),
  E_LIBRARY_FORMAT: row(
    '{path}: {cause}.',
    'Name the format with --format stix, misp, threatq, csv or list; docs/reference/library-formats.md has an example of each.',
    EXIT.usage,
  ),
  E_CSV: row(
    '{name}, line {line}, column {column}: {reason}.',
    'Fields are separated by commas, lines end in LF, and text with a comma, quote or newline stands in double quotes.',
    EXIT.refused,
  ),
  E_RULE_FILE: row(
    '{file}, line {line}, column {column}: {reason}.{after}\n  {excerpt}\n  {caret}',
    'docs/how-to/write-rules.md explains rule files; nothing was analysed.',
    EXIT.usage,
  ),
  E_RULE_SET: row(
    'There are no rules in {path}: {cause}.',
    'Name a rule file, a folder of Sigma rules, or a shipped set: aws, linux, windows, macos.',
    EXIT.usage,
  ),
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

export type ErrorValues = Readonly<Record<string, unknown>>

export class ColdtrailError extends Error {
  readonly code: ErrorCode
  readonly values: ErrorValues
  constructor(code: ErrorCode, values: ErrorValues = {}, options?: { cause?: unknown }) {
    super(fill(ERRORS[code].text, values), options)
    this.name = 'ColdtrailError'
    this.code = code
    this.values = values
  }
  get hint(): string {
    return fill(ERRORS[this.code].hint, this.values)
  }
  get exit(): number {
    return ERRORS[this.code].exit
  }
  get retry(): RetryClass {
    return ERRORS[this.code].retry
  }
  toJSON() {
    return {
      type: 'error',
      code: this.code,
      message: this.message,
      hint: this.hint,
      exit: this.exit,
      retry: this.retry,
      values: this.values,
    }
  }
}

/** Any thrown value as a ColdtrailError; what we did not foresee is E_INTERNAL with the original as cause. */
export function asColdtrailError(thrown: unknown): ColdtrailError {
  if (thrown instanceof ColdtrailError) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return new ColdtrailError('E_INTERNAL', { message }, { cause: thrown })
}

// --- internal ---

function fill(template: string, values: ErrorValues): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) =>
    name in values ? printable(String(values[name])) : `{${name}}`,
  )
}

/** Values of errors come from logs, keys and servers: hostile. Control characters are escaped and the length is bounded. */
export function printable(text: string, max = 300): string {
  const escaped = text.replace(
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return escaped.length > max ? `${escaped.slice(0, max)}… (${escaped.length} characters)` : escaped
}
