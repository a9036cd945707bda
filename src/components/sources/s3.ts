/** Objects of an S3 bucket, by listing. */
import { z } from 'zod'
import type { SourceComponent, SourceContext } from '../component.ts'
import type { S3Storage } from './s3/s3Storage.ts'
import { SELECTION_FIELDS } from './selection.ts'

const secret = { secret: true } as const

/** Endpoints are named in errors and logs. */
const endpointUrl = z
  .url()
  .refine((url) => !URL.canParse(url) || new URL(url).username + new URL(url).password === '', {
    message: 'an endpoint has no user and password; give access_key_id and secret_access_key',
  })

const config = z
  .strictObject({
    bucket: z.string().min(1).describe('Name of the bucket.'),
    prefix: z.string().default('').describe('Only keys that begin with this are collected.'),
    region: z
      .string()
      .optional()
      .describe('Region of the bucket. Default: of the environment or profile, and found out.'),
    endpoint: endpointUrl.optional().describe('URL of an S3-compatible service instead of AWS.'),
    path_style: z
      .boolean()
      .optional()
      .describe('Put the bucket into the path instead of the host name. Default: true with an endpoint.'),
    requester_pays: z.boolean().default(false).describe('Accept to be billed for requests and transfer.'),
    anonymous: z.boolean().default(false).describe('Send unsigned requests, for public buckets.'),
    profile: z.string().optional().describe('Profile of the AWS configuration files, SSO included.'),
    access_key_id: z.string().trim().optional().describe('Access key id, where no profile or role is used.'),
    secret_access_key: z.string().trim().optional().describe('Secret of the access key.').meta(secret),
    session_token: z.string().trim().optional().describe('Session token of temporary keys.').meta(secret),
    role_arn: z.string().optional().describe('Role to assume with the other credentials.'),
    external_id: z.string().optional().describe('External id that the role asks for.'),
    role_session_name: z.string().default('coldtrail').describe('Name of the role session, as CloudTrail shows it.'),
    web_identity_token_file: z.string().optional().describe('File with an OIDC token to exchange for role_arn (IRSA).'),
    sts_endpoint: endpointUrl.optional().describe('URL of the token service instead of that of AWS.'),
    layout: z
      .enum(['auto', 'aws', 'flat'])
      .default('auto')
      .describe('How to list: find AWS log trees near the top, look for them everywhere, or take the prefix as it is.'),
    layout_refresh_secs: z
      .number()
      .min(0)
      .default(3600)
      .describe('How often accounts and regions are enumerated anew.'),
    start_after: z.string().optional().describe('Only keys that sort after this one are collected.'),
    ...SELECTION_FIELDS,
    max_list_requests: z.int().min(1).max(64).default(8).describe('LIST requests at a time.'),
    max_connections: z.int().min(1).max(1024).default(64).describe('Requests at a time; halved when S3 throttles.'),
    max_attempts: z.int().min(1).max(20).default(6).describe('Attempts of a request before its fault is reported.'),
    request_timeout_secs: z
      .number()
      .positive()
      .default(30)
      .describe('A request is given up and repeated when nothing has arrived for this long.'),
    connect_timeout_secs: z.number().positive().default(10).describe('Time to establish a connection.'),
  })
  .refine((c) => (c.access_key_id === undefined) === (c.secret_access_key === undefined), {
    message: 'access_key_id and secret_access_key belong together',
    path: ['secret_access_key'],
  })
  .refine((c) => c.web_identity_token_file === undefined || c.role_arn !== undefined, {
    message: 'web_identity_token_file needs role_arn',
    path: ['role_arn'],
  })

export type S3Config = z.output<typeof config>

const ACCESS = [
  ...(['region', 'endpoint', 'path_style', 'requester_pays', 'profile', 'access_key_id', 'secret_access_key'] as const),
  ...(['session_token', 'role_arn', 'external_id', 'role_session_name', 'web_identity_token_file'] as const),
  ...(['sts_endpoint', 'max_attempts', 'request_timeout_secs', 'connect_timeout_secs'] as const),
] as const

/** How a bucket is reached, without what a source alone asks for; all of it may be absent. */
export const s3Access = z.strictObject(
  Object.fromEntries(
    ACCESS.map((name) => {
      const field: z.ZodType = config.shape[name]
      const inner = field instanceof z.ZodDefault ? (field.unwrap() as z.ZodType) : field
      return [name, inner.optional().meta({ ...inner.meta(), ...field.meta() })]
    }),
  ),
)

export type S3Access = z.output<typeof s3Access>

/** A bucket to keep files in. E_S3_CREDENTIALS. */
export async function openStorage(bucket: string, access: S3Access, context: SourceContext): Promise<S3Storage> {
  const options = config.parse({ ...access, bucket })
  return (await import('./s3/s3Storage.ts')).createS3Storage(options, context)
}

export const s3: SourceComponent<typeof config> = {
  kind: 'source',
  name: 's3',
  summary: 'Objects of an S3 bucket or of any S3-compatible service, listed by date where AWS wrote them.',
  config,
  // The AWS SDK is loaded by the first command that needs it: a search does not wait for it.
  create: async (options, context) => (await import('./s3/s3Source.ts')).createS3Source(options, context),
}
