/** What the tables of the Advanced Security Information Model (ASIM) have in common. */
import type { EventColumnName } from '../../core/columns.ts'
import type { ColumnSource, ColumnType, TableColumn } from '../rows/table.ts'

type Values = TableColumn['values']

export const of = (
  name: string,
  type: ColumnType,
  from: ColumnSource | readonly ColumnSource[],
  values?: Values,
): TableColumn => {
  const sources = 'length' in from ? from : [from]
  return values ? { name, type, from: sources, values } : { name, type, from: sources }
}

export const constant = (name: string, value: string): TableColumn => of(name, 'string', { constant: value })

export const event = (name: string, column: EventColumnName, values?: Values): TableColumn =>
  of(name, 'string', { column }, values)

/** The columns that every schema begins with. `product` is one of ASIM's list of products of its vendor. */
export const asimStart = (vendor: string, product: string, schemaVersion: string): TableColumn[] => [
  of('TimeGenerated', 'datetime', { event: 'time' }),
  of('EventCount', 'int', { constant: 1 }),
  of('EventStartTime', 'datetime', { event: 'time' }),
  constant('EventVendor', vendor),
  constant('EventProduct', product),
  constant('EventSchemaVersion', schemaVersion),
]

export const asimEnd: readonly TableColumn[] = [of('ColdtrailUid_CF', 'string', { event: 'uid' })].map((column) => ({
  ...column,
  added: true,
}))

/** Who acts, of CloudTrail's userIdentity. */
export const USER_TYPES: Values = {
  Root: 'Admin',
  IAMUser: 'Regular',
  AssumedRole: 'Service',
  Role: 'Service',
  FederatedUser: 'Regular',
  SAMLUser: 'Regular',
  WebIdentityUser: 'Regular',
  IdentityCenterUser: 'Regular',
  Directory: 'Other',
  AWSAccount: 'Guest',
  AWSService: 'Application',
  '*': 'Other',
}

/** OCSF severity as ASIM's. */
export const SEVERITIES: Values = {
  '1': 'Informational',
  '2': 'Low',
  '3': 'Medium',
  '4': 'High',
  '5': 'High',
  '6': 'High',
  '*': 'Informational',
}

/** One text for whatever is there: the type of an id that is present. */
export const whenPresent = (text: string): Values => ({ '*': text })

/** Who acts, of a CloudTrail record. */
export const CLOUDTRAIL_ACTOR: readonly TableColumn[] = [
  of('ActorUserId', 'string', { data: 'userIdentity.principalId' }),
  of('ActorUserIdType', 'string', { data: 'userIdentity.principalId' }, whenPresent('AWSId')),
  event('ActorUsername', 'actor_user_name'),
  event('ActorUsernameType', 'actor_user_name', whenPresent('Simple')),
  event('ActorUserType', 'actor_user_type', USER_TYPES),
  event('ActorOriginalUserType', 'actor_user_type'),
  of('ActorScopeId', 'string', { data: 'userIdentity.accountId' }),
  event('ActorSessionId', 'actor_user_credential_uid'),
]
