/**
 * What the receiver must have for the rows of a table, as a template to deploy: the data collection rule, the tables or
 * columns to add, and the role to send. From the declarations that the encoder uses, so that they cannot differ; and the
 * way back, the columns that an existing rule declares.
 */
import { ColdtrailError } from '../../core/errors.ts'
import { isCustomTable } from './columnRules.ts'
import type { DeclaredColumn } from './rowEncoder.ts'
import type { ColumnType, Table } from './table.ts'

/** Of a data collection rule. */
export const MAX_STREAMS = 10
/** Monitoring Metrics Publisher, in every tenant. */
export const PUBLISHER_ROLE = '3913510d-42f4-4e42-8a64-420c390055eb'

/** The stream that rows are sent to. */
export const inputStream = (table: Table): string => `Custom-${table.name}`

/** Where the rule puts them. */
export const outputStream = (table: Table): string =>
  isCustomTable(table.name) ? `Custom-${table.name}` : `Microsoft-${table.name}`

/** The whole text of a template for at most MAX_STREAMS tables. */
export function tableText(tables: readonly Table[], format: 'arm' | 'bicep'): string {
  if (tables.length > MAX_STREAMS)
    throw new ColdtrailError('E_USAGE', { message: `A data collection rule takes ${MAX_STREAMS} tables at most.` })
  return format === 'arm' ? `${JSON.stringify(armTemplate(tables), null, 2)}\n` : bicepText(tables)
}

/**
 * The columns of a stream, from the JSON of a rule as `az monitor data-collection rule show` or the REST interface gives
 * it, text or parsed. Throws E_TABLE_RULE when it is none, or has no such stream.
 */
export function declaredColumns(
  rule: unknown,
  stream: string,
): { readonly stream: string; readonly columns: readonly DeclaredColumn[] } {
  const refuse = (problem: string): never => {
    throw new ColdtrailError('E_TABLE_RULE', { stream, problem })
  }
  const parsed = typeof rule === 'string' ? parsedJson(rule) : rule
  if (!isObject(parsed)) return refuse('it is no JSON object')
  const inner = isObject(parsed.properties) ? parsed.properties : parsed
  const { streamDeclarations: streams } = inner
  if (!isObject(streams)) return refuse('it has no streamDeclarations')
  const found = Object.hasOwn(streams, stream) ? streams[stream] : undefined
  if (!isObject(found) || !Array.isArray(found.columns)) {
    const names = Object.keys(streams)
    return refuse(names.length > 0 ? `it declares ${names.slice(0, MAX_STREAMS).join(', ')}` : 'it declares no stream')
  }
  const columns = found.columns.map((column: unknown) => {
    if (!isObject(column) || typeof column.name !== 'string' || typeof column.type !== 'string')
      return refuse('a column has no name or no type')
    return { name: column.name, type: column.type }
  })
  return { stream, columns }
}

// --- internal ---

const RULE_API = '2023-03-11'
const TABLE_API = '2022-10-01'
const ROLE_API = '2022-04-01'
const RULE_TYPE = 'Microsoft.Insights/dataCollectionRules'
const TABLE_TYPE = 'Microsoft.OperationalInsights/workspaces/tables'
const WORKSPACE_TYPE = 'Microsoft.OperationalInsights/workspaces'
const ROLE_TYPE = 'Microsoft.Authorization/roleAssignments'
const DESTINATION = 'workspace'

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The table interface spells one type in its own way. */
const tableType = (type: ColumnType): string => (type === 'datetime' ? 'dateTime' : type)

/** Columns that the workspace does not have by itself: all of one's own table, the added ones of Azure's. */
const addedColumns = (table: Table) =>
  table.columns
    .filter(({ added }) => added || isCustomTable(table.name))
    .map(({ name, type }) => ({ name, type: tableType(type) }))

const streamColumns = (table: Table) => table.columns.map(({ name, type }) => ({ name, type }))

const PARAMETERS = {
  workspaceName: { type: 'string', description: 'Log Analytics workspace, in the resource group of this deployment' },
  location: {
    type: 'string',
    description: 'Region of the rule: that of the workspace',
    arm: '[resourceGroup().location]',
    bicep: 'resourceGroup().location',
  },
  ruleName: { type: 'string', description: 'Name of the data collection rule', arm: 'coldtrail', bicep: "'coldtrail'" },
  principalId: { type: 'string', description: 'Object id of the service principal or managed identity that sends' },
  principalType: {
    type: 'string',
    description: 'What the principal is',
    arm: 'ServicePrincipal',
    bicep: "'ServicePrincipal'",
  },
} as const satisfies Record<
  string,
  { readonly type: string; readonly description: string; readonly arm?: string; readonly bicep?: string }
>

function armTemplate(tables: readonly Table[]): unknown {
  const extended = tables.filter((table) => addedColumns(table).length > 0)
  const tableId = ({ name }: Table) => `[resourceId('${TABLE_TYPE}', parameters('workspaceName'), '${name}')]`
  const ruleId = `resourceId('${RULE_TYPE}', parameters('ruleName'))`
  const reference = `reference(${ruleId}, '${RULE_API}')`
  return {
    $schema: 'https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#',
    contentVersion: '1.0.0.0',
    parameters: Object.fromEntries(
      Object.entries(PARAMETERS).map(([name, { type, description, ...rest }]) => {
        const defaultValue = 'arm' in rest ? { defaultValue: rest.arm } : {}
        return [name, { type, ...defaultValue, metadata: { description } }]
      }),
    ),
    resources: [
      ...extended.map((table) => ({
        type: TABLE_TYPE,
        apiVersion: TABLE_API,
        name: `[format('{0}/{1}', parameters('workspaceName'), '${table.name}')]`,
        properties: { schema: { name: table.name, columns: addedColumns(table) } },
      })),
      {
        type: RULE_TYPE,
        apiVersion: RULE_API,
        name: "[parameters('ruleName')]",
        location: "[parameters('location')]",
        kind: 'Direct',
        dependsOn: extended.map(tableId),
        properties: {
          streamDeclarations: Object.fromEntries(
            tables.map((table) => [inputStream(table), { columns: streamColumns(table) }]),
          ),
          destinations: {
            logAnalytics: [
              {
                workspaceResourceId: `[resourceId('${WORKSPACE_TYPE}', parameters('workspaceName'))]`,
                name: DESTINATION,
              },
            ],
          },
          dataFlows: tables.map((table) => ({
            streams: [inputStream(table)],
            destinations: [DESTINATION],
            transformKql: 'source',
            outputStream: outputStream(table),
          })),
        },
      },
      {
        type: ROLE_TYPE,
        apiVersion: ROLE_API,
        scope: `[${ruleId}]`,
        name: `[guid(${ruleId}, parameters('principalId'), '${PUBLISHER_ROLE}')]`,
        dependsOn: [`[${ruleId}]`],
        properties: {
          roleDefinitionId: `[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '${PUBLISHER_ROLE}')]`,
          principalId: "[parameters('principalId')]",
          principalType: "[parameters('principalType')]",
        },
      },
    ],
    outputs: {
      immutableId: { type: 'string', value: `[${reference}.immutableId]` },
      endpoint: { type: 'string', value: `[${reference}.endpoints.logsIngestion]` },
    },
  }
}

function bicepText(tables: readonly Table[]): string {
  const extended = tables.filter((table) => addedColumns(table).length > 0)
  const symbol = ({ name }: Table): string => `table${name}`
  const blocks = [
    Object.entries(PARAMETERS)
      .map(([name, { type, description, ...rest }]) => {
        const value = 'bicep' in rest ? ` = ${rest.bicep}` : ''
        return `@description('${description}')\nparam ${name} ${type}${value}`
      })
      .join('\n\n'),
    `resource workspace '${WORKSPACE_TYPE}@${TABLE_API}' existing = {\n  name: workspaceName\n}`,
    ...extended.map((table) =>
      resource(symbol(table), `${TABLE_TYPE}@${TABLE_API}`, {
        parent: raw('workspace'),
        name: table.name,
        properties: { schema: { name: table.name, columns: addedColumns(table) } },
      }),
    ),
    resource('rule', `${RULE_TYPE}@${RULE_API}`, {
      name: raw('ruleName'),
      location: raw('location'),
      kind: 'Direct',
      properties: {
        streamDeclarations: Object.fromEntries(
          tables.map((table) => [inputStream(table), { columns: streamColumns(table) }]),
        ),
        destinations: { logAnalytics: [{ workspaceResourceId: raw('workspace.id'), name: DESTINATION }] },
        dataFlows: tables.map((table) => ({
          streams: [inputStream(table)],
          destinations: [DESTINATION],
          transformKql: 'source',
          outputStream: outputStream(table),
        })),
      },
      ...(extended.length > 0 ? { dependsOn: extended.map((table) => raw(symbol(table))) } : {}),
    }),
    resource('publisher', `${ROLE_TYPE}@${ROLE_API}`, {
      scope: raw('rule'),
      name: raw(`guid(rule.id, principalId, '${PUBLISHER_ROLE}')`),
      properties: {
        roleDefinitionId: raw(`subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '${PUBLISHER_ROLE}')`),
        principalId: raw('principalId'),
        principalType: raw('principalType'),
      },
    }),
    'output immutableId string = rule.properties.immutableId\noutput endpoint string = rule.properties.endpoints.logsIngestion',
  ]
  return `${blocks.join('\n\n')}\n`
}

/** An expression of Bicep, not a text. */
class Raw {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}
const raw = (text: string): Raw => new Raw(text)

function resource(symbol: string, type: string, body: Readonly<Record<string, unknown>>): string {
  return `resource ${symbol} '${type}' = ${bicepValue(body, '')}`
}

function bicepValue(value: unknown, indent: string): string {
  const inner = `${indent}  `
  if (value instanceof Raw) return value.text
  if (typeof value === 'string') return `'${value}'`
  if (Array.isArray(value)) return `[\n${value.map((one) => `${inner}${bicepValue(one, inner)}\n`).join('')}${indent}]`
  const members = Object.entries(value as Record<string, unknown>).map(([name, one]) => {
    const key = /^[A-Za-z_]\w*$/.test(name) ? name : `'${name}'`
    return `${inner}${key}: ${bicepValue(one, inner)}\n`
  })
  return `{\n${members.join('')}${indent}}`
}
