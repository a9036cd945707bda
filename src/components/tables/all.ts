/** Every table; written by npm run gen from this folder. */
import { ASimAuditEventLogs } from './ASimAuditEventLogs.ts'
import { ASimAuthenticationEventLogs } from './ASimAuthenticationEventLogs.ts'
import { ASimDnsActivityLogs } from './ASimDnsActivityLogs.ts'
import { ASimNetworkSessionLogs } from './ASimNetworkSessionLogs.ts'
import { AWSCloudTrail } from './AWSCloudTrail.ts'
import { AWSVPCFlow } from './AWSVPCFlow.ts'
import { Coldtrail_CL } from './Coldtrail_CL.ts'

export const TABLES = [
  ASimAuditEventLogs,
  ASimAuthenticationEventLogs,
  ASimDnsActivityLogs,
  ASimNetworkSessionLogs,
  AWSCloudTrail,
  AWSVPCFlow,
  Coldtrail_CL,
] as const
