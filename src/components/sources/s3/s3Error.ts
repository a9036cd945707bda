/** Whatever the AWS SDK or the network throws, as one row of the error table with bucket, key and request id. */
import { ColdtrailError, type ErrorCode } from '../../../core/errors.ts'

export interface S3Target {
  readonly operation: 'ListObjectsV2' | 'GetObject' | 'HeadObject' | 'PutObject' | 'DeleteObject'
  readonly bucket: string
  /** Prefix of a LIST, else the key. */
  readonly key: string
  readonly endpoint: string
}

/** A body that ended early, with what had arrived. */
export class TruncatedBody extends Error {
  readonly received: number
  readonly expected: number
  constructor(received: number, expected: number) {
    super(`body ended after ${received} of ${expected} bytes`)
    this.received = received
    this.expected = expected
  }
}

/** Nothing arrived for the idle time. */
export class StalledRequest extends Error {
  readonly seconds: number
  constructor(seconds: number) {
    super(`nothing arrived for ${seconds} s`)
    this.seconds = seconds
  }
}

export function s3Error(thrown: unknown, target: S3Target): ColdtrailError {
  if (thrown instanceof ColdtrailError) return thrown
  const failure = describe(thrown)
  const { code, status, message } = failure
  const values = {
    operation: target.operation,
    bucket: target.bucket,
    key: target.key,
    where: `s3://${target.bucket}/${target.key}`,
    endpoint: target.endpoint,
    code,
    status,
    message,
    request: failure.request ?? 'not answered',
  }
  const as = (errorCode: ErrorCode, extra: Readonly<Record<string, unknown>> = {}) =>
    new ColdtrailError(errorCode, { ...values, ...extra }, { cause: thrown })

  if (thrown instanceof TruncatedBody) {
    return as('E_S3_TRUNCATED', { received: thrown.received, expected: thrown.expected })
  }
  if (thrown instanceof StalledRequest) return as('E_S3_STALLED', { seconds: thrown.seconds })
  if (/^Checksum mismatch/i.test(message)) return as('E_S3_CHECKSUM')
  if (failure.region !== undefined && REGION_CODES.has(code)) return as('E_S3_REGION', { region: failure.region })
  if (code === 'AccessDenied' || code === 'Forbidden') return as(...denial(message, target))
  if (code === 'InvalidObjectState') return as(CODES[code]!, { storage_class: failure.storageClass ?? 'archived' })
  if (code === 'RequestTimeTooSkewed') {
    return as(CODES[code]!, { local_time: new Date().toISOString(), server_time: failure.serverTime ?? 'unknown' })
  }
  if (/^KMS\./.test(code)) return as(/Throttling/.test(code) ? 'E_S3_THROTTLED' : 'E_S3_KMS')
  if (/^(?:CredentialsProviderError|TokenProviderError)$/.test(code)) {
    return as('E_S3_CREDENTIALS', { tried: 'the configured form', cause: message })
  }
  const known = CODES[code]
  if (known) return as(known)
  if (status !== undefined && status >= 500) return as('E_S3_UNAVAILABLE')
  if (status === 404 && target.operation !== 'ListObjectsV2') return as('E_S3_NO_KEY')
  if (status === 412) return as('E_S3_CHANGED')
  if (status === 429) return as('E_S3_THROTTLED')
  return as('E_S3_RESPONSE')
}

// --- internal ---

const REGION_CODES = new Set(['PermanentRedirect', 'AuthorizationHeaderMalformed', 'TemporaryRedirect', '301', '307'])

const CODES: Readonly<Record<string, ErrorCode>> = {
  AllAccessDisabled: 'E_S3_ACCESS_DENIED',
  BadDigest: 'E_S3_CHECKSUM',
  ExpiredToken: 'E_S3_EXPIRED_TOKEN',
  ExpiredTokenException: 'E_S3_EXPIRED_TOKEN',
  InvalidToken: 'E_S3_EXPIRED_TOKEN',
  TokenRefreshRequired: 'E_S3_EXPIRED_TOKEN',
  InternalError: 'E_S3_UNAVAILABLE',
  InvalidAccessKeyId: 'E_S3_BAD_KEY_ID',
  InvalidObjectState: 'E_S3_ARCHIVED',
  InvalidRange: 'E_S3_CHANGED',
  ConditionalRequestConflict: 'E_S3_UNAVAILABLE',
  NoSuchBucket: 'E_S3_NO_BUCKET',
  NoSuchKey: 'E_S3_NO_KEY',
  NoSuchVersion: 'E_S3_NO_KEY',
  PreconditionFailed: 'E_S3_CHANGED',
  RequestTimeout: 'E_S3_UNAVAILABLE',
  RequestTimeTooSkewed: 'E_S3_CLOCK_SKEW',
  RequestLimitExceeded: 'E_S3_THROTTLED',
  ServiceUnavailable: 'E_S3_UNAVAILABLE',
  SignatureDoesNotMatch: 'E_S3_SIGNATURE',
  SlowDown: 'E_S3_THROTTLED',
  Throttling: 'E_S3_THROTTLED',
  ThrottlingException: 'E_S3_THROTTLED',
  TooManyRequests: 'E_S3_THROTTLED',
  // Node's names for what happens on the way.
  ECONNRESET: 'E_S3_UNAVAILABLE',
  EPIPE: 'E_S3_UNAVAILABLE',
  ETIMEDOUT: 'E_S3_UNAVAILABLE',
  TimeoutError: 'E_S3_UNAVAILABLE',
  ERR_STREAM_PREMATURE_CLOSE: 'E_S3_UNAVAILABLE',
  HPE_INVALID_CONSTANT: 'E_S3_RESPONSE',
  EAI_AGAIN: 'E_S3_UNREACHABLE',
  ECONNREFUSED: 'E_S3_UNREACHABLE',
  EHOSTUNREACH: 'E_S3_UNREACHABLE',
  ENETUNREACH: 'E_S3_UNREACHABLE',
  ENOTFOUND: 'E_S3_UNREACHABLE',
}

interface Failure {
  readonly code: string
  readonly message: string
  readonly status: number | undefined
  readonly request: string | undefined
  readonly region: string | undefined
  readonly storageClass: string | undefined
  readonly serverTime: string | undefined
}

/** The parts of an SDK exception that are documented in no one type. */
function describe(thrown: unknown): Failure {
  const error = (typeof thrown === 'object' && thrown !== null ? thrown : { message: String(thrown) }) as {
    readonly name?: string
    readonly Code?: string
    readonly code?: unknown
    readonly message?: string
    readonly Region?: string
    readonly StorageClass?: string
    readonly ServerTime?: unknown
    readonly $metadata?: { readonly httpStatusCode?: number; readonly requestId?: string }
    readonly $response?: { readonly statusCode?: number; readonly headers?: Readonly<Record<string, string>> }
  }
  const headers = error.$response?.headers
  const fromService = error.$metadata !== undefined && error.name !== undefined && error.name !== 'Error'
  const code = fromService ? error.name : typeof error.code === 'string' ? error.code : error.name
  return {
    code: error.Code ?? code ?? 'Error',
    // The SDK adds lines of advice for programmers.
    message: (error.message ?? '').split('\n', 1)[0]!,
    status: error.$metadata?.httpStatusCode ?? error.$response?.statusCode,
    request: error.$metadata?.requestId ?? headers?.['x-amz-request-id'],
    region: headers?.['x-amz-bucket-region'] ?? error.Region,
    storageClass: error.StorageClass,
    serverTime: error.ServerTime === undefined ? headers?.date : String(error.ServerTime),
  }
}

const ACTIONS: Readonly<Record<S3Target['operation'], string>> = {
  ListObjectsV2: 's3:ListBucket',
  GetObject: 's3:GetObject',
  HeadObject: 's3:GetObject',
  PutObject: 's3:PutObject',
  DeleteObject: 's3:DeleteObject',
}

/** AccessDenied has several causes; the message of the service usually tells which. */
function denial(message: string, target: S3Target): [ErrorCode, { advice: string }] {
  if (/request(?:er)?[- ]?pay/i.test(message)) return ['E_S3_REQUESTER_PAYS', { advice: '' }]
  const action = ACTIONS[target.operation]
  const resource = `arn:aws:s3:::${target.bucket}${action === 's3:ListBucket' ? '' : '/*'}`
  if (/kms:/i.test(message)) {
    return [
      'E_S3_ACCESS_DENIED',
      { advice: 'Allow kms:Decrypt on the key that encrypts the object, in its key policy too.' },
    ]
  }
  if (/VPC endpoint policy/i.test(message)) {
    return ['E_S3_ACCESS_DENIED', { advice: `Allow ${action} on ${resource} in the policy of the VPC endpoint.` }]
  }
  const missing = target.operation === 'GetObject' ? ' Without s3:ListBucket a deleted key answers like this too.' : ''
  const advice = `Allow ${action} on ${resource} in the policy of these credentials and of the bucket; an encrypted object also needs kms:Decrypt, a VPC endpoint its own permission, a requester-pays bucket requester_pays: true.${missing}`
  return ['E_S3_ACCESS_DENIED', { advice }]
}
