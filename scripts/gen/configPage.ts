import { CONFIG_FILE, configJsonSchema } from '../../src/config.ts'
import { code, GENERATED, page, table } from './page.ts'

interface SchemaNode {
  readonly type?: string
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly secret?: boolean
  readonly properties?: Readonly<Record<string, SchemaNode>>
  readonly required?: readonly string[]
  readonly items?: SchemaNode
  readonly oneOf?: readonly SchemaNode[]
  readonly anyOf?: readonly SchemaNode[]
}

export function configSchemaFile(): string {
  return `${JSON.stringify(configJsonSchema(), null, 2)}\n`
}

export function configPage(): string {
  const root = configJsonSchema() as SchemaNode
  const sections = Object.entries(root.properties ?? {}).filter(([, node]) => node.properties)
  return page(
    `# ${CONFIG_FILE}`,
    GENERATED,
    `Everything has a default; no file is needed. ${code('./coldtrail init')} writes one, with the line that makes ` +
      'editors check it against `coldtrail.schema.json`. An unknown key is refused with its line and the nearest ' +
      `known one. \`\${NAME}\` in a value is taken from the environment, which is where secrets belong; \`$\${\` is ` +
      'a literal dollar and brace.',
    rows(root),
    ...sections.flatMap(([name, node]) => [`## ${name}`, node.description ?? '', rows(node)]),
    ...['sources', 'destinations'].flatMap((list) => {
      const items = root.properties?.[list]?.items
      return (items?.oneOf ?? items?.anyOf ?? []).flatMap((node) => [
        `## ${list}, type ${node.properties?.type?.const}`,
        node.properties?.type?.description ?? '',
        rows(withInner(node)),
      ])
    }),
  )
}

// --- internal ---

function rows(node: SchemaNode): string {
  return table(
    ['key', 'type', 'default', 'meaning'],
    Object.entries(node.properties ?? {}).map(([key, field]) => [
      code(key),
      typeOf(field) + (field.secret ? ', secret' : ''),
      field.default === undefined || field.properties
        ? node.required?.includes(key)
          ? 'required'
          : ''
        : code(JSON.stringify(field.default)),
      field.description ?? '',
    ]),
  )
}

/** Keys of sections inside get lines of their own: `hmac.secret`, and `tables[].stream` of each in a list. */
function withInner(node: SchemaNode): SchemaNode {
  const fields = Object.entries(node.properties ?? {}).map(([key, field]) => [key, field] as const)
  const sections = (key: string, field: SchemaNode): [string, SchemaNode] =>
    field.items?.properties ? [`${key}[]`, field.items] : [key, field]
  const inner = (key: string, field: SchemaNode) =>
    Object.entries(withInner(field).properties ?? {}).map(([name, below]) => [`${key}.${name}`, below] as const)
  const below = fields.map(([key, field]) => sections(key, field))
  const required = below.flatMap(([key, field]) => (withInner(field).required ?? []).map((name) => `${key}.${name}`))
  return {
    ...node,
    properties: Object.fromEntries(fields.flatMap(([key, field]) => [[key, field], ...inner(...sections(key, field))])),
    required: [...(node.required ?? []), ...required],
  }
}

function typeOf(field: SchemaNode): string {
  if (field.const !== undefined) return code(JSON.stringify(field.const))
  if (field.enum) return field.enum.map((value) => code(String(value))).join(', ')
  if (field.type === 'array')
    return `list of ${field.items?.properties ? 'sections' : (field.items?.type ?? 'sections')}`
  if (field.type === 'object') return 'section'
  return field.type ?? (field.anyOf ?? field.oneOf ?? []).map(typeOf).join(' or ')
}
