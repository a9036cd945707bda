/** Tables of Microsoft Sentinel (Log Analytics), by the Logs Ingestion API and a data collection rule. */
import { z } from 'zod'
import { COLUMN_BY_NAME, type EventColumnName } from '../../core/columns.ts'
import { isLoopback } from '../../platform/httpClient.ts'
import type { DestinationComponent } from '../component.ts'
import type { ColumnSource, TableColumn } from '../rows/table.ts'

const secret = { secret: true } as const

const credential = z
  .strictObject({
    type: z
      .enum(['environment', 'client_secret', 'certificate', 'managed_identity', 'workload_identity'])
      .default('environment')
      .describe(
        'How tokens are got. environment: by AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, ' +
          'AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE, else the managed identity.',
      ),
    tenant_id: z.string().trim().min(1).optional().describe('Tenant (directory) of the application.'),
    client_id: z
      .string()
      .trim()
      .min(1)
      .optional()
      .describe('Application; or which managed identity, when several are assigned.'),
    client_secret: z.string().trim().min(1).optional().describe('Value of the client secret.').meta(secret),
    certificate_path: z.string().min(1).optional().describe('PEM file with certificate and private key.'),
    certificate_password: z.string().optional().describe('Password of the private key.').meta(secret),
    token_file: z
      .string()
      .min(1)
      .optional()
      .describe('File with the token of a workload; by default as AZURE_FEDERATED_TOKEN_FILE names it.'),
  })
  .superRefine((form, context) => {
    for (const key of NEEDED[form.type]) {
      if (form[key] === undefined)
        context.addIssue({ code: 'custom', path: [key], message: `credential type ${form.type} needs it` })
    }
    for (const key of Object.keys(form) as (keyof typeof form)[]) {
      if (key === 'type' || form[key] === undefined || TAKEN[form.type].includes(key)) continue
      context.addIssue({ code: 'custom', path: [key], message: `credential type ${form.type} does not take it` })
    }
  })
  .prefault({})
  .describe(
    'Who sends: an application of Entra ID or a managed identity, with the role Monitoring Metrics Publisher on the rule.',
  )

type CredentialKey =
  | 'tenant_id'
  | 'client_id'
  | 'client_secret'
  | 'certificate_path'
  | 'certificate_password'
  | 'token_file'
type CredentialType = 'environment' | 'client_secret' | 'certificate' | 'managed_identity' | 'workload_identity'

const NEEDED: Readonly<Record<CredentialType, readonly CredentialKey[]>> = {
  environment: [],
  client_secret: ['tenant_id', 'client_id', 'client_secret'],
  certificate: ['tenant_id', 'client_id', 'certificate_path'],
  managed_identity: [],
  workload_identity: [],
}
const TAKEN: Readonly<Record<CredentialType, readonly CredentialKey[]>> = {
  environment: [],
  client_secret: NEEDED.client_secret,
  certificate: [...NEEDED.certificate, 'certificate_password'],
  managed_identity: ['client_id'],
  workload_identity: ['tenant_id', 'client_id', 'token_file'],
}

const scalar = z.union([z.string(), z.number(), z.boolean()])

const columnSource = z
  .strictObject({
    data: z
      .string()
      .min(1)
      .optional()
      .describe('Path into the JSON of the record: userIdentity.arn, resources[0].ARN.'),
    field: z.string().min(1).optional().describe('Field by the name in the header line of the object (flow logs).'),
    column: z
      .string()
      .refine((name) => COLUMN_BY_NAME.has(name as EventColumnName), {
        message: 'there is no such column; docs/reference/columns.md has all',
      })
      .optional()
      .describe('Column of the event.'),
    finding: z
      .enum(['kind', 'rule', 'label', 'plugin', 'severity', 'title', 'event_uid'])
      .optional()
      .describe('Of the finding, where findings are sent.'),
    event: z
      .enum(['time', 'uid', 'raw', 'dataType', 'source', 'bucket', 'key'])
      .optional()
      .describe('What every event has; raw is the record as it came.'),
    constant: scalar.optional().describe('Always this.'),
  })
  .refine((source) => Object.values(source).filter((value) => value !== undefined).length === 1, {
    message: 'exactly one of data, field, column, finding, event and constant gives the value',
  })
  .transform((source) => source as ColumnSource)

const column = z
  .strictObject({
    name: z.string().min(1).describe('Name of the column.'),
    type: z.enum(['string', 'int', 'long', 'real', 'boolean', 'datetime', 'dynamic']).describe('Its type.'),
    from: z.array(columnSource).min(1).describe('Where the value comes from; the first that is present gives it.'),
    values: z
      .record(z.string(), scalar)
      .optional()
      .describe('Texts that become others; * stands for all that are not listed.'),
    overflow: z.literal('clamp').optional().describe('A number beyond the type becomes the nearest that it has.'),
  })
  .transform((declared): TableColumn => ({ ...declared, added: true }) as TableColumn)

const table = z.strictObject({
  table: z.string().min(1).describe('Built-in table, or one of your own (`_CL`) with columns.'),
  stream: z
    .string()
    .regex(/^[A-Za-z][\w.-]{0,127}$/, 'a stream is named like Custom-AWSCloudTrail or Microsoft-AWSRoute53Resolver')
    .optional()
    .describe('Stream of the rule; by default Custom- and the name of the table.'),
  where: z
    .string()
    .optional()
    .describe('Events that it takes, as an expression; by default those that it is made for.'),
  takes: z
    .enum(['both', 'events', 'findings'])
    .default('both')
    .describe(
      'What `forward` sends to it; findings, with --stream findings, go only to tables that have columns of them ' +
        '(Coldtrail_CL, or one of your own).',
    ),
  plan: z
    .enum(['analytics', 'auxiliary'])
    .default('analytics')
    .describe(
      'auxiliary: a request then spans less than 30 minutes, as tables of the Auxiliary (data lake) plan need.',
    ),
  columns: z.array(column).min(1).optional().describe('Columns of a table of your own.'),
})

const httpsUrl = (what: string) =>
  z
    .url()
    .refine((text) => !URL.canParse(text) || isAllowed(new URL(text)), {
      message: `${what} is https:// (http:// only on loopback), without user, path and query`,
    })
    .transform((text) => text.replace(/\/+$/, ''))

const config = z.strictObject({
  endpoint: httpsUrl('a logs ingestion endpoint').describe(
    'Logs ingestion endpoint of the rule, or of its data collection endpoint.',
  ),
  rule: z
    .string()
    .trim()
    .regex(/^dcr-[A-Za-z0-9]{1,64}$/, 'it is the immutableId of the rule, which begins with dcr-')
    .describe('Immutable id of the data collection rule: dcr-…'),
  cloud: z
    .enum(['public', 'china', 'government'])
    .default('public')
    .describe('Gives authority and scope of tokens together.'),
  authority_host: httpsUrl('an authority').optional().describe('Where tokens are got, instead of that of the cloud.'),
  scope: z.string().min(1).optional().describe('What tokens are for, instead of that of the cloud.'),
  credential,
  tables: z
    .array(table)
    .min(1)
    .default([
      { table: 'AWSCloudTrail', plan: 'analytics', takes: 'both' },
      { table: 'AWSVPCFlow', plan: 'analytics', takes: 'both' },
    ])
    .refine((tables) => new Set(tables.map(({ table }) => table)).size === tables.length, {
      message: 'a table stands here twice',
    })
    .describe(
      'Where events go, each table by itself; by default AWSCloudTrail and AWSVPCFlow. Events that no table takes are not sent; Coldtrail_CL takes all.',
    ),
  dcr_file: z
    .string()
    .min(1)
    .optional()
    .describe(
      'The rule as JSON (`az monitor data-collection rule show`): columns are compared with it before anything is sent.',
    ),
  too_long: z
    .enum(['refuse', 'trim'])
    .default('refuse')
    .describe('A value over 64 KiB: the event becomes a dead letter, or the value is trimmed and marked.'),
  wrong_type: z
    .enum(['refuse', 'null'])
    .default('refuse')
    .describe('A value that its column cannot hold: the event becomes a dead letter, or the column is left out.'),
  undeclared: z
    .enum(['refuse', 'drop'])
    .default('refuse')
    .describe('A column that dcr_file does not declare: nothing starts, or it is left out.'),
  compression_level: z
    .int()
    .min(1)
    .max(9)
    .default(5)
    .describe(
      'Of gzip: up to 5 it is the fastest; 6 to 9 make up to a tenth less, for two to four times the CPU time.',
    ),
  max_in_flight: z.int().min(1).max(64).default(4).describe('Requests under way at once, of each table.'),
  ca_file: z.string().min(1).optional().describe('PEM file of an authority to trust besides those of the system.'),
  connect_timeout_secs: z.number().positive().default(10).describe('Time to establish a connection.'),
  idle_timeout_secs: z
    .number()
    .positive()
    .default(30)
    .describe('A request in which nothing moves for so long has failed.'),
  request_timeout_secs: z.number().positive().default(120).describe('Time for a whole request.'),
})

export type SentinelConfig = z.output<typeof config>

export const sentinel: DestinationComponent<typeof config> = {
  kind: 'destination',
  name: 'sentinel',
  summary: 'Tables of Microsoft Sentinel (Log Analytics), by the Logs Ingestion API and a data collection rule.',
  config,
  create: async (options, context) =>
    (await import('./sentinel/sentinelDestination.ts')).createSentinelDestination(options, context),
}

// --- internal ---

function isAllowed(url: URL): boolean {
  const secure = url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
  return secure && url.username + url.password + url.search + url.hash === '' && /^\/*$/.test(url.pathname)
}
