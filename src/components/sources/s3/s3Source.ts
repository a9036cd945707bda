/** A bucket as a source: credentials, calls, listing and fetching put together. */
import { S3Client } from '@aws-sdk/client-s3'
import type { SourceContext } from '../../component.ts'
import type { Source } from '../../source.ts'
import type { S3Config } from '../s3.ts'
import { selection } from '../selection.ts'
import { S3Calls } from './s3Calls.ts'
import { credentialsOf, requireCredentials } from './s3Credentials.ts'
import { openObject, readObject } from './s3Fetch.ts'
import { S3Listing } from './s3Listing.ts'
import { Sha256 } from './sha256.ts'

export async function createS3Source(options: S3Config, context: SourceContext): Promise<Source> {
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

// --- internal ---

/**
 * One attempt a call: repeating is S3Calls' business, so that its counts are true. What the SDK does per request for its
 * own repeating, for a log that nobody reads and for functions that call themselves is left out: with small objects most
 * of a collector's time is the SDK's.
 */
function connect(options: S3Config, region: string, credentials: () => Promise<Identity>): S3Client {
  const agent = { keepAlive: true, maxSockets: options.max_connections * 2 }
  const client = new S3Client({
    region,
    ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
    forcePathStyle: options.path_style ?? options.endpoint !== undefined,
    credentials: options.anonymous ? NOBODY : credentials,
    ...(options.anonymous && { signer: { sign: async (request) => request } }),
    maxAttempts: 1,
    sha256: Sha256,
    requestHandler: { connectionTimeout: options.connect_timeout_secs * 1000, httpAgent: agent, httpsAgent: agent },
  })
  for (const unused of ['loggerMiddleware', 'recursionDetectionMiddleware']) client.middlewareStack.remove(unused)
  // Others are placed relative to it, so its name stays.
  client.middlewareStack.add((next) => next, {
    name: 'retryMiddleware',
    step: 'finalizeRequest',
    priority: 'high',
    override: true,
  })
  return client
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
