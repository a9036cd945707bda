/**
 * The threat library's tables, declared once: from this registry come DDL, dump files, sync tables, natural keys, merge
 * statements and state digests, so no table or column name ever comes from a file. Names and columns are ThreatQ's
 * where it has them; identity is ours (docs/design.md §11).
 */

/**
 * `time`: microseconds UTC. `flag`: Y or N. `json`: canonical JSON text. `reference`: the local id of a row of
 * `references`; `anyReference`: of an object table, which the column `typeColumn` names by its object code.
 */
export type ColumnType = 'text' | 'integer' | 'time' | 'flag' | 'json' | 'hex' | 'reference' | 'anyReference'

export interface Column {
  readonly name: string
  readonly type: ColumnType
  readonly references?: string
  readonly typeColumn?: string
  readonly required: boolean
  /** Part of a dump file; what is not is derived on each side. */
  readonly travels: boolean
  /** Part of the state digest: what two sites in step must agree on. */
  readonly compared: boolean
}

/** What a table's rows are, which decides selection, closure and order. */
export type TableKind = 'dictionary' | 'inert' | 'object' | 'context' | 'link' | 'linkContext'

export interface Table {
  readonly name: string
  readonly kind: TableKind
  /** Of an object table, and of the context of one. Custom objects share the code `custom_object`. */
  readonly objectCode?: string
  /** Without the common ones (COMMON_COLUMNS). Parents first. */
  readonly columns: readonly Column[]
  /**
   * The natural key: names of columns; a reference stands for the natural key of its row. Empty: the row's uid, since
   * nothing else tells two of them apart.
   */
  readonly naturalKey: readonly string[]
  /** Column of a referenced row without which this one has no meaning: it goes where that one goes. */
  readonly parent?: string
}

type Options = { required?: boolean; travels?: boolean; compared?: boolean }

const column = (name: string, type: ColumnType, options: Options & Partial<Column> = {}): Column => ({
  name,
  type,
  required: false,
  travels: true,
  compared: true,
  ...options,
})
const text = (name: string, options?: Options) => column(name, 'text', options)
const time = (name: string, options?: Options) => column(name, 'time', options)
const flag = (name: string) => column(name, 'flag')
const integer = (name: string, options?: Options) => column(name, 'integer', options)
const to = (name: string, references: string, options: Options = {}) =>
  column(name, 'reference', { references, ...options })
const toAny = (name: string, typeColumn: string) => column(name, 'anyReference', { typeColumn, required: true })

/** Who made a row is a matter of the site: it travels, and is not compared. */
const creator = to('creator_source_id', 'sources', { compared: false })

/**
 * Every table has these. `id` is local and never leaves: in a dump file it is the row's number in the bundle, as in
 * every reference to it. `nk` is computed on each side (identity.ts). `created_change` and `change` name rows of
 * `changes`: the row is seen when its `created_change` has a sequence number.
 */
export const COMMON_COLUMNS: readonly Column[] = [
  integer('id', { required: true, compared: false }),
  column('uid', 'hex', { required: true, compared: false }),
  column('nk', 'hex', { required: true, travels: false }),
  time('created_at', { required: true, compared: false }),
  time('updated_at', { required: true, compared: false }),
  time('deleted_at', { compared: false }),
  time('unpublished_at', { travels: false, compared: false }),
  integer('created_change', { required: true, travels: false, compared: false }),
  integer('change', { required: true, travels: false, compared: false }),
]

/** What every object may have besides its own columns. `stix`: what of a STIX object no column holds. */
const OBJECT_COLUMNS: readonly Column[] = [
  text('description'),
  time('published_at'),
  time('touched_at', { compared: false }),
  text('stix_id'),
  column('stix', 'json'),
]

const dictionary = (name: string, columns: readonly Column[], naturalKey: readonly string[] = ['name']): Table => ({
  name,
  kind: 'dictionary',
  columns,
  naturalKey,
})
const name = text('name', { required: true })

const DICTIONARIES: readonly Table[] = [
  dictionary('tlp', [name]),
  dictionary('objects', [text('code', { required: true }), name, text('name_plural'), flag('is_custom')], ['code']),
  dictionary('indicator_types', [name, text('class'), flag('wildcard_matching'), integer('score')]),
  dictionary('indicator_statuses', [
    name,
    text('description'),
    ...['visible', 'protected', 'include_in_export', 'user_editable'].map(flag),
  ]),
  dictionary('event_types', [name, flag('user_editable')]),
  dictionary('attachment_types', [name, flag('is_parsable'), text('parser_class')]),
  dictionary('content_types', [name]),
  dictionary('signature_types', [name]),
  dictionary('signature_statuses', [name, flag('protected')]),
  dictionary('task_statuses', [name]),
  /** Types and statuses of generic objects, by object. */
  dictionary('object_types', [to('object_id', 'objects', { required: true }), name], ['object_id', 'name']),
  dictionary(
    'object_statuses',
    [to('object_id', 'objects', { required: true }), name, flag('protected')],
    ['object_id', 'name'],
  ),
  /** `type`: plugins, connectors, users or other_sources. `reference_uid`: of the user or connector. */
  dictionary(
    'sources',
    [text('type', { required: true }), name, column('reference_uid', 'hex', { compared: false }), to('tlp_id', 'tlp')],
    ['type', 'name'],
  ),
  dictionary('attributes', [name]),
  dictionary('tags', [name]),
]

/** They travel as rows and do nothing: no user can log in, no connector runs. */
const INERT: readonly Table[] = [
  {
    name: 'users',
    kind: 'inert',
    columns: [text('email', { required: true }), text('display_name')],
    naturalKey: ['email'],
  },
  { name: 'connectors', kind: 'inert', columns: [name, text('version')], naturalKey: ['name'] },
  { name: 'operations', kind: 'inert', columns: [name, text('version')], naturalKey: ['name'] },
]

const value = text('value', { required: true })

const object = (
  name: string,
  objectCode: string,
  columns: readonly Column[],
  naturalKey: readonly string[],
): Table => ({ name, kind: 'object', objectCode, columns: [...columns, ...OBJECT_COLUMNS], naturalKey })

const OWN_OBJECTS: readonly Table[] = [
  object(
    'indicators',
    'indicator',
    [
      to('type_id', 'indicator_types', { required: true }),
      to('status_id', 'indicator_statuses'),
      text('class'),
      value,
      /** The value's canonical form by its type (observables.ts); the value itself where the type has none. */
      text('normalized', { required: true, travels: false, compared: false }),
      column('hash', 'hex', { travels: false, compared: false }),
      column('sync_hash', 'hex', { travels: false, compared: false }),
      time('last_detected_at'),
      time('expires_at'),
    ],
    ['type_id', 'normalized'],
  ),
  object('adversaries', 'adversary', [text('name', { required: true })], ['name', 'stix_id']),
  object(
    'events',
    'event',
    [
      to('type_id', 'event_types'),
      text('title', { required: true }),
      time('happened_at', { required: true }),
      column('hash', 'hex', { travels: false, compared: false }),
      column('sync_hash', 'hex', { travels: false, compared: false }),
    ],
    ['happened_at', 'title', 'stix_id'],
  ),
  object(
    'attachments',
    'attachment',
    [
      to('type_id', 'attachment_types'),
      text('name', { required: true }),
      text('title'),
      to('content_type_id', 'content_types'),
      /** SHA-256 of the content, which lies in the blob store of each side, or does not. */
      column('sha256', 'hex', { required: true }),
      column('hash', 'hex'),
      integer('file_size'),
      integer('malware_locked'),
    ],
    ['sha256', 'type_id'],
  ),
  object(
    'signatures',
    'signature',
    [to('type_id', 'signature_types', { required: true }), to('status_id', 'signature_statuses'), text('name'), value],
    ['type_id', 'value', 'stix_id'],
  ),
  object(
    'tasks',
    'task',
    [
      name,
      to('status_id', 'task_statuses'),
      text('priority'),
      time('due_at'),
      time('assigned_at'),
      time('completed_at'),
      to('assignee_source_id', 'sources', { compared: false }),
      creator,
    ],
    [],
  ),
  object('investigations', 'investigation', [name, text('priority'), creator], []),
]

/** Code, singular and plural of the generic objects: they differ in name only. */
export const GENERIC_OBJECTS: readonly (readonly [code: string, singular: string, plural: string])[] = [
  ['campaign', 'Campaign', 'Campaigns'],
  ['course_of_action', 'Course of Action', 'Courses of Action'],
  ['exploit_target', 'Exploit Target', 'Exploit Targets'],
  ['incident', 'Incident', 'Incidents'],
  ['ttp', 'TTP', 'TTPs'],
  ['attack_pattern', 'Attack Pattern', 'Attack Patterns'],
  ['identity', 'Identity', 'Identities'],
  ['intrusion_set', 'Intrusion Set', 'Intrusion Sets'],
  ['malware', 'Malware', 'Malware'],
  ['report', 'Report', 'Reports'],
  ['tool', 'Tool', 'Tools'],
  ['vulnerability', 'Vulnerability', 'Vulnerabilities'],
  ['asset', 'Asset', 'Assets'],
  ['note', 'Note', 'Notes'],
  ['infrastructure', 'Infrastructure', 'Infrastructure'],
  ['stix_pattern', 'STIX Pattern', 'STIX Patterns'],
]

const GENERIC_EXTRAS: Readonly<Record<string, readonly Column[]>> = {
  incident: [time('started_at'), time('ended_at')],
  campaign: [time('started_at'), time('ended_at')],
  intrusion_set: [time('first_seen'), time('last_seen')],
  identity: [text('point_of_contact')],
}

const GENERIC: readonly Table[] = [
  ...GENERIC_OBJECTS.map(([code]) =>
    object(
      code,
      code,
      [value, to('type_id', 'object_types'), to('status_id', 'object_statuses'), ...(GENERIC_EXTRAS[code] ?? [])],
      ['value', 'stix_id'],
    ),
  ),
  /** Objects of types that a site or a STIX producer defined: rows of `objects` with `is_custom` Y. */
  object(
    'custom_objects',
    'custom_object',
    [
      to('object_id', 'objects', { required: true }),
      value,
      to('type_id', 'object_types'),
      to('status_id', 'object_statuses'),
    ],
    ['object_id', 'value', 'stix_id'],
  ),
]

export const OBJECT_TABLES: readonly Table[] = [...OWN_OBJECTS, ...GENERIC]

/** Attributes, their sources, sources and comments of a table's rows; `prefix` is that of table and column names. */
function contextOf(owner: Table, prefix: string, kind: 'context' | 'linkContext'): Table[] {
  const ownerColumn = to(`${prefix}_id`, owner.name, { required: true })
  const common = { kind, objectCode: owner.objectCode }
  const source = to('source_id', 'sources', { required: true })
  const tlp = to('tlp_id', 'tlp')
  return [
    {
      ...common,
      name: `${prefix}_attributes`,
      columns: [ownerColumn, to('attribute_id', 'attributes', { required: true }), text('value')],
      naturalKey: [ownerColumn.name, 'attribute_id', 'value'],
      parent: ownerColumn.name,
    },
    {
      ...common,
      name: `${prefix}_attribute_sources`,
      columns: [
        to(`${prefix}_attribute_id`, `${prefix}_attributes`, { required: true }),
        source,
        creator,
        tlp,
        time('published_at'),
      ],
      naturalKey: [`${prefix}_attribute_id`, 'source_id'],
      parent: `${prefix}_attribute_id`,
    },
    {
      ...common,
      name: `${prefix}_sources`,
      columns: [ownerColumn, source, creator, tlp, time('published_at')],
      naturalKey: [ownerColumn.name, 'source_id'],
      parent: ownerColumn.name,
    },
    {
      ...common,
      name: `${prefix}_comments`,
      columns: [ownerColumn, value, creator, text('source_name', { compared: false })],
      naturalKey: [],
      parent: ownerColumn.name,
    },
  ]
}

const LINKS: Table = {
  name: 'object_links',
  kind: 'link',
  columns: [
    text('src_type', { required: true }),
    toAny('src_object_id', 'src_type'),
    text('dest_type', { required: true }),
    toAny('dest_object_id', 'dest_type'),
    text('relationship'),
    text('description'),
    time('published_at'),
    text('stix_id'),
    column('stix', 'json'),
    column('sync_hash', 'hex', { travels: false, compared: false }),
  ],
  naturalKey: ['src_object_id', 'relationship', 'dest_object_id', 'stix_id'],
}

const OTHER_CONTEXT: readonly Table[] = [
  /** A manual score is a claim of who set it; what is computed from scores never travels. */
  {
    name: 'indicator_scores',
    kind: 'context',
    objectCode: 'indicator',
    columns: [to('indicator_id', 'indicators', { required: true }), integer('manual_score')],
    naturalKey: ['indicator_id'],
    parent: 'indicator_id',
  },
  {
    name: 'adversary_descriptions',
    kind: 'context',
    objectCode: 'adversary',
    columns: [to('adversary_id', 'adversaries', { required: true }), value, to('source_id', 'sources')],
    naturalKey: ['adversary_id', 'source_id', 'value'],
    parent: 'adversary_id',
  },
  {
    name: 'tagged_objects',
    kind: 'context',
    columns: [
      to('tag_id', 'tags', { required: true }),
      text('object_type', { required: true }),
      toAny('object_id', 'object_type'),
    ],
    naturalKey: ['tag_id', 'object_id'],
    parent: 'object_id',
  },
  {
    name: 'investigation_nodes',
    kind: 'context',
    objectCode: 'investigation',
    columns: [
      to('investigation_id', 'investigations', { required: true }),
      text('object_type', { required: true }),
      toAny('object_id', 'object_type'),
      text('position'),
    ],
    naturalKey: ['investigation_id', 'object_id'],
    parent: 'investigation_id',
  },
  {
    name: 'investigation_timelines',
    kind: 'context',
    objectCode: 'investigation',
    columns: [
      to('investigation_id', 'investigations', { required: true }),
      time('happened_at'),
      text('title'),
      text('body'),
      creator,
    ],
    naturalKey: [],
    parent: 'investigation_id',
  },
]

/** Every table that travels, parents before children: the order of load, resolution and insertion. */
export const TABLES: readonly Table[] = [
  ...DICTIONARIES.filter(({ name }) => name !== 'sources'),
  ...INERT,
  DICTIONARIES.find(({ name }) => name === 'sources')!,
  ...OBJECT_TABLES,
  ...OBJECT_TABLES.flatMap((table) => contextOf(table, table.objectCode!, 'context')),
  ...OTHER_CONTEXT,
  LINKS,
  ...contextOf(LINKS, 'object_link', 'linkContext'),
]

export const TABLE_BY_NAME: ReadonlyMap<string, Table> = new Map(TABLES.map((table) => [table.name, table]))

/** Object tables by code, as columns such as `src_type` hold it. */
export const OBJECT_TABLE_BY_CODE: ReadonlyMap<string, Table> = new Map(
  OBJECT_TABLES.map((table) => [table.objectCode!, table]),
)

/** All columns of a base table, in the order of its DDL. */
export const columnsOf = (table: Table): readonly Column[] => [
  ...COMMON_COLUMNS.slice(0, 3),
  ...table.columns,
  ...COMMON_COLUMNS.slice(3),
]

/** Columns of a dump file, in its order: `id`, `uid`, the table's own, `created_at`, `updated_at`, `deleted_at`. */
export const dumpColumns = (table: Table): readonly Column[] => columnsOf(table).filter(({ travels }) => travels)
