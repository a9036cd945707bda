/**
 * `coldtrail.yaml`: one zod schema gives the types, the checks, the JSON Schema for editors and the reference page.
 * Every fault names file, line, path and value; secret values are never shown.
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import {
  type Document,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
  type YAMLMap,
} from 'yaml'
import { z } from 'zod'
import { DESTINATIONS } from './components/destinations/all.ts'
import { PLUGINS } from './components/plugins/all.ts'
import { SOURCES } from './components/sources/all.ts'
import { s3Access } from './components/sources/s3.ts'
import { ColdtrailError, printable } from './core/errors.ts'
import { nearest } from './core/nearest.ts'
import { tierRules } from './tier/places.ts'

export const CONFIG_FILE = 'coldtrail.yaml'
export const DEFAULT_DATA_DIR = 'coldtrail-data'

const MIB = 1024 * 1024

const collectSchema = z
  .strictObject({
    max_workers: z.int().min(1).max(256).default(16).describe('Downloads at once.'),
    processes: z.int().min(1).max(256).optional().describe('Processes that parse; by default one per core.'),
    poll_secs: z.int().min(1).default(60).describe('Pause between two listings of collect --follow.'),
    max_object_bytes: z
      .int()
      .min(1024)
      .default(16 * 1024 * MIB)
      .describe('Decoded size from which an object is quarantined.'),
    max_ratio: z.int().min(2).default(200).describe('Ratio of decoded to received bytes from which it is quarantined.'),
    plaso_formatters: z
      .string()
      .min(1)
      .optional()
      .describe('Folder of formatters of a plaso (plaso/data/formatters): messages of .plaso timelines.'),
  })
  .prefault({})
  .describe('How objects are collected.')

const segmentSchema = z
  .strictObject({
    max_rows: z.int().min(1).default(1_000_000).describe('Events at which a segment is sealed.'),
    max_bytes: z
      .int()
      .min(MIB)
      .default(512 * MIB)
      .describe('Bytes at which a segment is sealed.'),
    idle_secs: z.int().min(1).default(60).describe('collect --follow seals a segment that got nothing for so long.'),
    max_open: z.int().min(1).default(32).describe('Segments open at once; one more seals the one longest idle.'),
    compact: z.boolean().default(true).describe('Merge small segments of one day and format into larger ones.'),
  })
  .prefault({})
  .describe('When segments are sealed and merged.')

const componentName = z.string().regex(/^[a-z][a-z0-9_-]{0,62}$/, 'a name is lower-case letters, digits, - and _')

const forwardSchema = z
  .strictObject({
    poll_secs: z.int().min(1).default(10).describe('Pause of forward --follow once everything is sent.'),
    patience_secs: z
      .int()
      .min(1)
      .default(600)
      .describe('How long a receiver may fail before a run without --follow gives up.'),
  })
  .prefault({})
  .describe('How events are forwarded.')

const SEVERITY = z.enum(['informational', 'low', 'medium', 'high', 'critical'])

const huntSchema = z
  .strictObject({
    standing: z
      .boolean()
      .default(false)
      .describe(
        "After collecting, the library's new indicators and the new segments are hunted; hits become findings.",
      ),
    poll_secs: z.int().min(1).default(60).describe('Pause between two rounds of hunt standing --follow.'),
    severity_confirmed: SEVERITY.default('high').describe('Of findings about events in which an indicator was found.'),
    severity_possible: SEVERITY.default('medium').describe('Of findings about offline segments that may hold one.'),
  })
  .prefault({})
  .describe('How indicators are hunted without being asked.')

const PLACES = 'as path=size;path==size: = makes a missing directory, == refuses to start; sizes like 500g or 2t'
const DAYS = z.number().positive().max(36_500)

const AGE_FIELDS = {
  warm_after_days: DAYS.optional().describe('Days since its last event after which a file moves to warm.'),
  cold_after_days: DAYS.optional().describe('Days since its last event after which it moves to cold.'),
  delete_after_days: DAYS.optional().describe('Days since its last event after which it is deleted; never without it.'),
}

const agesSchema = {
  ...AGE_FIELDS,
  databases: z
    .partialRecord(z.enum(['meta', 'log', 'index', 'reject']), z.strictObject(AGE_FIELDS))
    .optional()
    .describe('Ages of one database, for example log before meta; sessions go with the events (meta).'),
}

const tiersSchema = z
  .strictObject({
    hot: z
      .string()
      .optional()
      .describe(`Places of the first tier, ${PLACES}. A path left out is data_dir, where files are written first.`),
    warm: z.string().optional().describe('Places of slower disks, in the same form; questions read them too.'),
    cold: z
      .string()
      .optional()
      .describe('Places that volumes are taken away from, or s3://bucket/prefix; what lies there is restored first.'),
    label: z.string().min(1).max(200).optional().describe('Where a person finds what is in cold: tape, safe, bucket.'),
    ...agesSchema,
    collections: z
      .record(z.string(), z.strictObject(agesSchema))
      .optional()
      .describe('Ages of a collection, instead of those above.'),
    s3: s3Access.optional().describe('How the buckets of cold are reached.'),
  })
  .prefault({})
  .superRefine((tiers, context) => {
    try {
      tierRules(tiers, { base: '/', dataDir: '/coldtrail-data' })
    } catch (error) {
      const path = String((error as ColdtrailError).values.path)
        .split('.')
        .slice(1)
      context.addIssue({ code: 'custom', path, message: String((error as ColdtrailError).values.reason) })
    }
  })
  .describe('Where files of segments lie, for how long, and when they are deleted.')

const SITE_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/
const SITE_NAME_RULE = 'a site is named by lower-case letters, digits, ., - and _'

const syncSchema = z
  .strictObject({
    transfer_dir: z
      .string()
      .min(1)
      .optional()
      .describe('Where bundles are written and looked for by relative names; by default agds_transfer in data_dir.'),
    trust: z
      .enum(['first_use', 'listed_only'])
      .default('first_use')
      .describe('Whether the first bundle of an unknown site pins its key, or the key must have been given before.'),
    keys: z
      .record(z.string().regex(SITE_NAME, SITE_NAME_RULE), z.array(z.string().min(1)).min(1))
      .default({})
      .describe('By site: keys that it may sign with, each as id (32 hex digits) or as file of a public key.'),
    threshold: z.int().min(1).max(16).default(1).describe('How many trusted keys must have signed a bundle.'),
    identity: z
      .string()
      .min(1)
      .optional()
      .describe(
        'File of the age identities that encrypted bundles are opened with; sync import --identity adds others.',
      ),
    user_map: z
      .string()
      .min(1)
      .optional()
      .describe('CSV with the columns from and to: users of another site, and who owns their investigations here.'),
  })
  .prefault({})
  .describe('How the threat library is kept in step with other sites.')

/** Options of each plugin; what is absent here may come from the command line. */
const pluginSchemas: Readonly<Record<string, z.ZodOptional>> = Object.fromEntries(
  PLUGINS.filter((plugin) => !('hidden' in plugin)).map(({ name, summary, options }) => [
    name,
    z.strictObject(withoutDefaults(options)).optional().describe(summary),
  ]),
)

const analysisSchema = z
  .object({
    workers: z.int().min(1).max(256).optional().describe('Worker processes; by default one per core.'),
    task_rows: z.int().min(1).default(500_000).describe('Events of a task.'),
    worker_memory_bytes: z
      .int()
      .min(0)
      .default(2048 * MIB)
      .describe('Resident memory at which a worker is replaced, and its task cut; 0 for no limit.'),
    worker_timeout_mins: z
      .number()
      .min(0)
      .default(15)
      .describe('Minutes without a sign of life after which a working worker is replaced; 0 for no limit.'),
    process_memory_bytes: z
      .int()
      .min(0)
      .default(4096 * MIB)
      .describe('Resident memory of the foreman at which a run ends, to be resumed; 0 for no limit.'),
    plugins_dir: z
      .string()
      .min(1)
      .optional()
      .describe("Folder of plugins of one's own; docs/how-to/add-an-analysis.md."),
    ...pluginSchemas,
  })
  // Sections of plugins from plugins_dir, which are checked when they are used.
  .catchall(z.record(z.string(), z.unknown()))
  .prefault({})
  .describe('How events are analysed, and the options of plugins, each in a section of its name.')

const sourceSchemas = SOURCES.map((component) =>
  (component.config as z.ZodObject).safeExtend({
    name: componentName.describe('How `coldtrail collect NAME` calls it.'),
    type: z.literal(component.name).describe(component.summary),
  }),
)

type SourceSchema = z.ZodObject<{ name: z.ZodString; type: z.ZodLiteral<string> }, z.core.$loose>

const DESTINATION_FIELDS = {
  where: z.string().min(1).optional().describe('Only events that match this expression; by default all.'),
  collection: z.string().min(1).optional().describe('Collection that the events are of; by default main.'),
}

const destinationSchemas = DESTINATIONS.map((component) =>
  (component.config as z.ZodObject).safeExtend({
    name: componentName.describe('How `coldtrail forward --destination NAME` calls it.'),
    type: z.literal(component.name).describe(component.summary),
    ...DESTINATION_FIELDS,
  }),
)

type DestinationSchema = z.ZodObject<
  { name: z.ZodString; type: z.ZodLiteral<string> } & typeof DESTINATION_FIELDS,
  z.core.$loose
>

export const configSchema = z.strictObject({
  data_dir: z
    .string()
    .min(1)
    .default(DEFAULT_DATA_DIR)
    .describe('Where everything is kept. Relative to the directory of this file.'),
  manifest_dir: z.string().min(1).optional().describe('The history; by default the directory history of data_dir.'),
  catalog_url: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'a PostgreSQL catalog has the form postgres://user@host/database')
    .optional()
    .meta({ description: 'PostgreSQL catalog; without it a SQLite file in data_dir.', secret: true }),
  site: z
    .string()
    .regex(SITE_NAME, SITE_NAME_RULE)
    .optional()
    .describe('Name of this site in sync bundles; by default the fingerprint of its key.'),
  sources: z
    .array(z.discriminatedUnion('type', sourceSchemas as [SourceSchema]))
    .default([])
    .describe('Named sources; `coldtrail collect` without arguments collects them all.'),
  destinations: z
    .array(z.discriminatedUnion('type', destinationSchemas as [DestinationSchema]))
    .default([])
    .superRefine((destinations, context) => {
      const names = destinations.map(({ name }) => name)
      const at = names.findIndex((name, index) => names.indexOf(name) < index)
      // Positions and receipts are kept by name.
      if (at >= 0)
        context.addIssue({ code: 'custom', path: [at, 'name'], message: 'another destination has this name already' })
    })
    .describe('Named receivers; `coldtrail forward` without --destination forwards to them all.'),
  collect: collectSchema,
  segment: segmentSchema,
  tiers: tiersSchema,
  forward: forwardSchema,
  sync: syncSchema,
  analysis: analysisSchema,
  hunt: huntSchema,
  anchor: z
    .string()
    .min(1)
    .optional()
    .describe(
      'File in a second place that gets the signed head of every chain after each commit; its folder must exist.',
    ),
  keep_log: z.boolean().default(true).describe('Keep every object as received, for proof (the log database).'),
  keyset: z.boolean().default(true).describe('Write keysets, so that segments can be hunted after they left.'),
})

export type Config = z.output<typeof configSchema> & {
  /** Absolute. */
  readonly data_dir: string
  /** File that it came from, when there is one. */
  readonly file?: string
  /** Destinations that ask for variables that the environment has not: only who forwards to one needs its secrets. */
  readonly withheld?: readonly WithheldDestination[]
}
export interface WithheldDestination {
  readonly name: string
  /** E_CONFIG_ENVIRONMENT. */
  readonly error: ColdtrailError
}

export type SourceConfig = Config['sources'][number]
export type DestinationConfig = Config['destinations'][number]

export interface ConfigPlace {
  /** From --config; must exist. Without it ./coldtrail.yaml is read when there is one. */
  readonly file?: string
  /** From --data-dir; relative to the current directory. */
  readonly dataDir?: string
  readonly environment?: Readonly<Record<string, string | undefined>>
}

export function loadConfig({ file, dataDir, environment = {} }: ConfigPlace = {}): Config {
  const path = resolve(file ?? CONFIG_FILE)
  const read = file !== undefined || existsSync(path)
  const parsed = parseConfig(read ? readConfig(path) : '', { file: path, environment })
  const base = read ? dirname(path) : process.cwd()
  return {
    ...parsed,
    data_dir: dataDir === undefined ? resolve(base, parsed.data_dir) : resolve(dataDir),
    sources: parsed.sources.map((source) => atBase(source, base, 'path')),
    ...(parsed.manifest_dir === undefined ? {} : { manifest_dir: resolve(base, parsed.manifest_dir) }),
    ...(parsed.anchor === undefined ? {} : { anchor: resolve(base, parsed.anchor) }),
    analysis: atBase(parsed.analysis, base, 'plugins_dir'),
    collect: atBase(parsed.collect, base, 'plaso_formatters'),
    sync: {
      ...parsed.sync,
      ...(parsed.sync.transfer_dir !== undefined && { transfer_dir: resolve(base, parsed.sync.transfer_dir) }),
      keys: Object.fromEntries(
        Object.entries(parsed.sync.keys).map(([site, keys]) => [
          site,
          keys.map((key) => (/^[0-9a-f]{32}$/.test(key) ? key : resolve(base, key))),
        ]),
      ),
      ...(parsed.sync.identity !== undefined && { identity: resolve(base, parsed.sync.identity) }),
      ...(parsed.sync.user_map !== undefined && { user_map: resolve(base, parsed.sync.user_map) }),
    },
    ...(read ? { file: path } : {}),
  }
}

/** Paths stay as written. `${NAME}` in a string is the environment's value, `$${` a literal `${`. */
export function parseConfig(
  text: string,
  { file, environment }: { file: string; environment: Readonly<Record<string, string | undefined>> },
): z.output<typeof configSchema> & Pick<Config, 'withheld'> {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${Math.max(line, 1)}:${Math.max(col, 1)}`
  }
  const fault = document.errors[0]
  if (fault) throw new ColdtrailError('E_CONFIG_SYNTAX', { where: at(fault.pos[0]), cause: fault.message })

  const hidden = new Set<Node>()
  const withheld = new Map<Node, WithheldDestination>()
  visit(document, {
    Scalar(_key, node, ancestors) {
      if (typeof node.value !== 'string') return
      const value = node.value.replace(/\$\$\{|\$\{([A-Za-z_]\w*)\}/g, (whole, name: string | undefined) => {
        if (name === undefined) return whole.slice(1)
        hidden.add(node)
        const found = environment[name]
        if (found !== undefined) return found
        const item = destinationAround(ancestors)
        const asking = item?.get('name')
        const path = typeof asking === 'string' ? `destination ${printable(asking)}` : 'a value'
        const error = new ColdtrailError('E_CONFIG_ENVIRONMENT', { where: at(node.range?.[0] ?? 0), name, path })
        if (item === undefined || typeof asking !== 'string') throw error
        if (!withheld.has(item)) withheld.set(item, { name: asking, error })
        return whole
      })
      node.value = value
    },
  })

  const list = document.get('destinations')
  if (isSeq(list)) list.items = list.items.filter((item) => !withheld.has(item as Node))
  const given = plainValue(document, at(0))
  const result = configSchema.safeParse(given ?? {})
  if (result.success) return { ...result.data, ...(withheld.size > 0 && { withheld: [...withheld.values()] }) }
  const { issues } = result.error
  // A misspelt key is why another one is absent.
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)))
  const node = nodeAt(document.contents, path)
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!
    const pair = isMap(node) ? node.items.find((item) => isScalar(item.key) && item.key.value === key) : undefined
    const known = knownKeys(path, given)
    const guess = nearest(key, known)
    throw new ColdtrailError('E_CONFIG_KEY', {
      where: at((pair?.key as Node | undefined)?.range?.[0] ?? 0),
      path: [...path, key].join('.'),
      suggestion: guess === undefined ? '' : ` Did you mean ${guess}?`,
      known: known.join(', '),
    })
  }
  // A file that is no configuration at all may be anything, a key file too.
  const secretPath = path.length === 0 || hidden.has(node as Node) || path.some((key) => SECRET_KEYS.has(String(key)))
  const value = isScalar(node) ? node.value : undefined
  throw new ColdtrailError('E_CONFIG_VALUE', {
    where: at(node?.range?.[0] ?? 0),
    path: path.join('.') || 'the file',
    value: isAbsent(given, path)
      ? 'absent'
      : secretPath
        ? 'a hidden value'
        : isScalar(node)
          ? withoutLogin(JSON.stringify(value))
          : 'not what is needed',
    reason: reasonOf(issue),
  })
}

/** For editors and for the reference page: what may stand in the file. */
export function configJsonSchema(): Record<string, unknown> {
  return {
    $id: 'coldtrail.schema.json',
    title: 'Coldtrail configuration',
    ...z.toJSONSchema(configSchema, { io: 'input', target: 'draft-2020-12' }),
  }
}

/** A copy for people and programs: secret fields say so instead of their value. */
export function redacted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(redacted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, SECRET_KEYS.has(key) ? '(hidden)' : redacted(inner)]),
  )
}

// --- internal ---

/** A default here would look as if it were given, and an option that the command line gives would be missed. */
function withoutDefaults({ shape }: z.ZodObject): Record<string, z.ZodOptional> {
  return Object.fromEntries(
    Object.entries(shape).map(([key, field]) => {
      const inner = field instanceof z.ZodDefault ? (field.unwrap() as z.ZodType) : (field as z.ZodType)
      const described = field.description === undefined ? inner : inner.describe(field.description)
      return [key, described.meta({ ...field.meta(), ...inner.meta() }).optional()]
    }),
  )
}

/** Aliases are resolved here: one without its anchor, or more of them than any person writes, is a fault of the file. */
function plainValue(document: Document, where: string): unknown {
  try {
    return document.toJS()
  } catch (error) {
    throw new ColdtrailError('E_CONFIG_SYNTAX', { where, cause: (error as Error).message }, { cause: error })
  }
}

/** The item of `destinations` that a value is in; `ancestors` begin with the document. */
function destinationAround([, , pair, , item]: readonly unknown[]): YAMLMap | undefined {
  const isOne = isPair(pair) && isScalar(pair.key) && pair.key.value === 'destinations' && isMap(item)
  return isOne ? item : undefined
}

/** A URL without the user and password in it. */
const withoutLogin = (text: string): string => text.replace(/\/\/[^/\s]*@/, '//(hidden)@')

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>
  readonly items?: SchemaNode
  readonly anyOf?: readonly SchemaNode[]
  readonly oneOf?: readonly SchemaNode[]
  readonly const?: unknown
  readonly secret?: boolean
}

const ROOT = configJsonSchema() as SchemaNode
const SECRET_KEYS: ReadonlySet<string> = new Set(secretKeys(ROOT))

function secretKeys(node: SchemaNode): string[] {
  const own = Object.entries(node.properties ?? {}).flatMap(([key, inner]) => [
    ...(inner.secret ? [key] : []),
    ...secretKeys(inner),
  ])
  const below = [node.items, ...(node.anyOf ?? []), ...(node.oneOf ?? [])].flatMap((n) => (n ? secretKeys(n) : []))
  return [...own, ...below]
}

/** A folder named in a file is relative to that file, wherever the command is run. */
function atBase<T extends Readonly<Record<string, unknown>>>(section: T, base: string, key: string): T {
  const path = section[key]
  return typeof path === 'string' && path !== '-' ? { ...section, [key]: resolve(base, path) } : section
}

function readConfig(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
}

function nodeAt(root: Node | null, path: readonly (string | number)[]): Node | undefined {
  let node: Node | undefined = root ?? undefined
  for (const part of path) {
    const inner: unknown =
      node && 'get' in node ? (node as { get(k: unknown, keep: true): unknown }).get(part, true) : 0
    if (typeof inner !== 'object' || inner === null) return node
    node = inner as Node
  }
  return node
}

function isAbsent(given: unknown, path: readonly (string | number)[]): boolean {
  let value = given
  for (const part of path) value = (value as Record<string | number, unknown> | null | undefined)?.[part]
  return value === undefined
}

/** Keys that the schema knows at a path of the given document. */
function knownKeys(path: readonly (string | number)[], document: unknown): string[] {
  let node: SchemaNode | undefined = ROOT
  let value = document
  for (const part of path) {
    value = (value as Record<string | number, unknown> | undefined)?.[part]
    node = typeof part === 'number' ? node?.items : node?.properties?.[part]
    const type = (value as { type?: unknown } | undefined)?.type
    const variant: SchemaNode | undefined = [...(node?.oneOf ?? []), ...(node?.anyOf ?? [])].find(
      (n) => n.properties?.type?.const === type,
    )
    node = variant ?? node
  }
  return Object.keys(node?.properties ?? {})
}

function reasonOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_key') return reasonOf(issue.issues[0]!)
  if (issue.code === 'invalid_union' && issue.path.at(-1) === 'type') {
    const types = issue.path[0] === 'destinations' ? DESTINATIONS : SOURCES
    return `it must be one of ${types.map((component) => component.name).join(', ')}`
  }
  return issue.message.replace(/^Invalid input: /, '').replace(/^Invalid string: /, '')
}
