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
  const sources = root.properties?.sources?.items
  return page(
    `# ${CONFIG_FILE}`,
    GENERATED,
    `Everything has a default; no file is needed. ${code('./coldtrail init')} writes one, with the line that makes ` +
      'editors check it against `coldtrail.schema.json`. An unknown key is refused with its line and the nearest ' +
      `known one. \`\${NAME}\` in a value is taken from the environment, which is where secrets belong; \`$\${\` is ` +
      'a literal dollar and brace.',
    rows(root),
    ...sections.flatMap(([name, node]) => [`## ${name}`, node.description ?? '', rows(node)]),
    ...(sources?.oneOf ?? sources?.anyOf ?? []).flatMap((node) => [
      `## sources, type ${node.properties?.type?.const}`,
      node.properties?.type?.description ?? '',
      rows(node),
    ]),
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

function typeOf(field: SchemaNode): string {
  if (field.const !== undefined) return code(JSON.stringify(field.const))
  if (field.enum) return field.enum.map((value) => code(String(value))).join(', ')
  if (field.type === 'array') return `list of ${field.items?.type ?? 'sections'}`
  if (field.type === 'object') return 'section'
  return field.type ?? (field.anyOf ?? field.oneOf ?? []).map(typeOf).join(' or ')
}
