/** The client of a bucket: credentials found, region told, calls retried and counted. */
import { S3Client } from '@aws-sdk/client-s3'
import type { SourceContext } from '../../component.ts'
import type { S3Config } from '../s3.ts'
import { S3Calls } from './s3Calls.ts'
import { credentialsOf, requireCredentials } from './s3Credentials.ts'
import { Sha256 } from './sha256.ts'

/** E_S3_CREDENTIALS where none are found. */
export async function openCalls(options: S3Config, context: SourceContext): Promise<S3Calls> {
  const { bucket, prefix, anonymous } = options
  const region = options.region ?? (await defaultRegion(options.profile))
  const credentials = credentialsOf(options, region)
  if (!anonymous) await requireCredentials(credentials, `s3://${bucket}/${prefix}`)
  return new S3Calls({
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
