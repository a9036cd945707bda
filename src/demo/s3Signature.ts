/**
 * Checks AWS Signature Version 4 of a request, as documented in "Authenticating Requests: Using the Authorization
 * Header (AWS Signature Version 4)" of the Amazon S3 API reference.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

export interface ServerCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  /** Milliseconds since 1970 after which the session token is refused. */
  readonly expires?: number
}

export interface SignedRequest {
  readonly method: string
  /** As sent, still percent-encoded. */
  readonly path: string
  readonly query: string
  readonly headers: IncomingHttpHeaders
}

export interface SignatureFault {
  readonly code: string
  readonly details?: Readonly<Record<string, string>>
}

const MAX_SKEW_MS = 15 * 60_000

/** The region that the request was signed for, or undefined when it is not signed. */
export function signedRegion(headers: IncomingHttpHeaders): string | undefined {
  return /Credential=[^/]+\/\d{8}\/([^/]+)\//.exec(headers.authorization ?? '')?.[1]
}

/** Undefined when the signature is right. `now` in milliseconds. */
export function checkSignature(
  request: SignedRequest,
  credentials: readonly ServerCredentials[],
  now: number,
): SignatureFault | undefined {
  const { headers } = request
  const parts =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      headers.authorization ?? '',
    )
  if (!parts) return { code: headers.authorization === undefined ? 'AccessDenied' : 'AuthorizationHeaderMalformed' }
  const [, accessKeyId, day, region, service, signedHeaders, signature] = parts as unknown as string[]
  const known = credentials.find((candidate) => candidate.accessKeyId === accessKeyId)
  if (!known) return { code: 'InvalidAccessKeyId', details: { AWSAccessKeyId: accessKeyId! } }
  const token = headers['x-amz-security-token']
  if (token !== known.sessionToken) return { code: 'InvalidToken' }
  if (known.expires !== undefined && known.expires <= now) return { code: 'ExpiredToken' }
  const date = String(headers['x-amz-date'] ?? '')
  const sentAt = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
  if (!(Math.abs(sentAt - now) <= MAX_SKEW_MS)) {
    const details = { RequestTime: date, ServerTime: new Date(now).toISOString() }
    return { code: 'RequestTimeTooSkewed', details: { ...details, MaxAllowedSkewMilliseconds: String(MAX_SKEW_MS) } }
  }
  const canonical = canonicalRequest(request, signedHeaders!)
  const scope = `${day}/${region}/${service}/aws4_request`
  const toSign = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${createHash('sha256').update(canonical).digest('hex')}`
  const key = signingKey(known.secretAccessKey, day!, region!, service!)
  const expected = createHmac('sha256', key).update(toSign).digest()
  return timingSafeEqual(expected, Buffer.from(signature!, 'hex')) ? undefined : { code: 'SignatureDoesNotMatch' }
}

// --- internal ---

function canonicalRequest({ method, path, query, headers }: SignedRequest, signedHeaders: string): string {
  const lines = signedHeaders.split(';').map((name) => {
    const value = headers[name]
    return `${name}:${(Array.isArray(value) ? value.join(',') : (value ?? '')).trim().replace(/ +/g, ' ')}\n`
  })
  const payload = headers['x-amz-content-sha256'] ?? 'UNSIGNED-PAYLOAD'
  return `${method}\n${path}\n${canonicalQuery(query)}\n${lines.join('')}\n${signedHeaders}\n${payload}`
}

function canonicalQuery(query: string): string {
  if (query === '') return ''
  const pairs = query.split('&').map((pair) => (pair.includes('=') ? pair : `${pair}=`))
  return pairs.sort().join('&')
}

const signingKeys = new Map<string, Buffer>()

function signingKey(secret: string, day: string, region: string, service: string): Buffer {
  const name = `${secret}\n${day}\n${region}\n${service}`
  let key = signingKeys.get(name)
  if (!key) {
    key = [day, region, service, 'aws4_request'].reduce(
      (previous, part) => createHmac('sha256', previous).update(part).digest(),
      Buffer.from(`AWS4${secret}`),
    )
    if (signingKeys.size >= 100) signingKeys.clear()
    signingKeys.set(name, key)
  }
  return key
}
