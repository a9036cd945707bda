/** Objects of an S3 bucket, by listing. */
import { S3Client } from '@aws-sdk/client-s3'
import { z } from 'zod'
import type { SourceComponent, SourceContext } from '../component.ts'
import type { Source } from '../source.ts'
import { S3Calls } from './s3/s3Calls.ts'
import { credentialsOf, requireCredentials } from './s3/s3Credentials.ts'
import { openObject, readObject } from './s3/s3Fetch.ts'
import { S3Listing } from './s3/s3Listing.ts'
import { SELECTION_FIELDS, selection } from './selection.ts'

const secret = { secret: true } as const

const config = z
  .strictObject({
    bucket: z.string().min(1).describe('Name of the bucket.'),
    prefix: z.string().default('').describe('Only keys that begin with this are collected.'),
    region: z
      .string()
      .optional()
      .describe('Region of the bucket. Default: of the environment or profile, and found out.'),
    endpoint: z.url().optional().describe('URL of an S3-compatible service instead of AWS.'),
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
    sts_endpoint: z.url().optional().describe('URL of the token service instead of that of AWS.'),
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

export const s3: SourceComponent<typeof config> = {
  kind: 'source',
  name: 's3',
  summary: 'Objects of an S3 bucket or of any S3-compatible service, listed by date where AWS wrote them.',
  config,
  create: createS3Source,
}

// --- internal ---

async function createS3Source(options: S3Config, context: SourceContext): Promise<Source> {
  const { bucket, prefix, anonymous } = options
  const region = options.region ?? (await defaultRegion(options.profile))
  const credentials = credentialsOf(options, region)
  const name = `s3://${bucket}`
  if (!anonymous) await requireCredentials(credentials, `${name}/${prefix}`)
  const calls = new S3Calls({
    bucket,
    endpoint: options.endpoint ?? `the S3 service of ${region}`,
    region,
    maxAttempts: options.max_attempts,
    maxConnections: options.max_connections,
    idleSeconds: options.request_timeout_secs,
    renewable: credentials.renewable && !anonymous,
    context,
    connect: (inRegion) => connect(options, inRegion, credentials.provider()),
  })
  const listing = new S3Listing(calls, {
    source: name,
    bucket,
    prefix,
    layout: options.layout,
    startAfter: options.start_after,
    requesterPays: options.requester_pays,
    parallel: options.max_list_requests,
    refreshMilliseconds: options.layout_refresh_secs * 1000,
  })
  const fetch = { requesterPays: options.requester_pays }
  return {
    name,
    list: (range, statistics, signal) => listing.list(selection(options, range, statistics), statistics, signal),
    open: (object, signal) => openObject(calls, object, fetch, signal),
    read: (object, signal) => readObject(calls, object, fetch, signal),
    statistics: calls.statistics,
    close: async () => calls.close(),
  }
}

/** One attempt a call: repeating is S3Calls' business, so that its counts are true. */
function connect(options: S3Config, region: string, credentials: () => Promise<Identity>): S3Client {
  const agent = { keepAlive: true, maxSockets: options.max_connections * 2 }
  return new S3Client({
    region,
    ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
    forcePathStyle: options.path_style ?? options.endpoint !== undefined,
    credentials: options.anonymous ? NOBODY : credentials,
    ...(options.anonymous && { signer: { sign: async (request) => request } }),
    maxAttempts: 1,
    requestHandler: { connectionTimeout: options.connect_timeout_secs * 1000, httpAgent: agent, httpsAgent: agent },
  })
}

type Identity = Awaited<ReturnType<ReturnType<ReturnType<typeof credentialsOf>['provider']>>>

/** The SDK wants an identity even where nothing is signed. */
const NOBODY: Identity = { accessKeyId: 'anonymous', secretAccessKey: 'anonymous' }

/** The SDK's own search (environment, profile files); the first request tells when the bucket is elsewhere. */
async function defaultRegion(profile: string | undefined): Promise<string> {
  const client = new S3Client(profile === undefined ? {} : { profile })
  try {
    return await client.config.region()
  } catch {
    return 'us-east-1'
  } finally {
    client.destroy()
  }
}
