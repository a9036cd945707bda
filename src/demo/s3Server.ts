/**
 * An S3-compatible server on loopback for the demo, the tests and the benchmarks: real HTTP, ListObjectsV2, GetObject,
 * HeadObject, PutObject (with If-None-Match) and DeleteObject, path style or virtual host, signatures checked when it is given credentials, and faults on
 * request. It keeps nothing on disk and is no storage product.
 */
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { Bucket, type StoredObject } from './s3Bucket.ts'
import { type FaultAction, type FaultRule, s3FaultPlan } from './s3Faults.ts'
import { checkSignature, type ServerCredentials, signedRegion } from './s3Signature.ts'

export interface S3ServerOptions {
  /** Signatures are checked against these; without any, everybody is let in. */
  readonly credentials?: readonly ServerCredentials[]
  /** The server's clock, in milliseconds; tests move it. */
  readonly now?: () => number
}

export interface S3Server {
  /** http://127.0.0.1:port */
  readonly endpoint: string
  readonly faults: ReturnType<typeof s3FaultPlan>
  /** Requests received, by operation. */
  readonly requests: ReadonlyMap<string, number>
  /** The bucket of that name, created when missing; the options hold from its creation. */
  bucket(name: string, options?: { readonly region?: string; readonly requesterPays?: boolean }): Bucket
  fail(rule: FaultRule): void
  resetCounts(): void
  close(): Promise<void>
}

export async function startS3Server(options: S3ServerOptions = {}): Promise<S3Server> {
  const buckets = new Map<string, Bucket>()
  const requests = new Map<string, number>()
  const faults = s3FaultPlan()
  const sockets = new Set<Socket>()
  const state: ServerState = { buckets, requests, faults, options, now: options.now ?? Date.now }
  const server = createServer((request, response) => {
    serve(state, request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy()
      else sendError(response, { code: 'InternalError', message: String(error) })
    })
  })
  server.keepAliveTimeout = 60_000
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    faults,
    requests,
    bucket(name, bucketOptions) {
      let bucket = buckets.get(name)
      if (!bucket) {
        bucket = new Bucket(name, bucketOptions)
        buckets.set(name, bucket)
      }
      return bucket
    },
    fail: (rule) => faults.add(rule),
    resetCounts: () => requests.clear(),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

// --- internal ---

interface ServerState {
  readonly buckets: Map<string, Bucket>
  readonly requests: Map<string, number>
  readonly faults: ReturnType<typeof s3FaultPlan>
  readonly options: S3ServerOptions
  readonly now: () => number
}

interface S3Fault {
  readonly code: string
  readonly status?: number
  readonly message?: string
  readonly details?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
}

/** Status and message of each error code, as in "Error responses" of the Amazon S3 API reference. */
const ERRORS: Readonly<Record<string, readonly [status: number, message: string]>> = {
  AccessDenied: [403, 'Access Denied'],
  AuthorizationHeaderMalformed: [400, 'The authorization header is malformed'],
  BadDigest: [400, 'The checksum you specified did not match what we received.'],
  ExpiredToken: [400, 'The provided token has expired.'],
  InternalError: [500, 'We encountered an internal error. Please try again.'],
  InvalidAccessKeyId: [403, 'The AWS Access Key Id you provided does not exist in our records.'],
  InvalidArgument: [400, 'Invalid Argument'],
  InvalidObjectState: [403, "The operation is not valid for the object's storage class"],
  InvalidRange: [416, 'The requested range is not satisfiable'],
  InvalidToken: [400, 'The provided token is malformed or otherwise invalid.'],
  'KMS.DisabledException': [400, 'The request was rejected because the specified KMS key is not enabled.'],
  MethodNotAllowed: [405, 'The specified method is not allowed against this resource.'],
  NoSuchBucket: [404, 'The specified bucket does not exist'],
  NoSuchKey: [404, 'The specified key does not exist.'],
  PermanentRedirect: [301, 'The bucket you are attempting to access must be addressed using the specified endpoint.'],
  PreconditionFailed: [412, 'At least one of the pre-conditions you specified did not hold'],
  RequestTimeout: [400, 'Your socket connection to the server was not read from or written to in time.'],
  RequestTimeTooSkewed: [403, 'The difference between the request time and the current time is too large.'],
  ServiceUnavailable: [503, 'Service is unable to handle request.'],
  SignatureDoesNotMatch: [403, 'The request signature we calculated does not match the signature you provided.'],
  SlowDown: [503, 'Please reduce your request rate.'],
  XAmzContentSHA256Mismatch: [400, "The provided 'x-amz-content-sha256' header does not match what was computed."],
}

const ARCHIVED = new Set(['GLACIER', 'DEEP_ARCHIVE'])
const MAX_KEYS = 1000
const RESTORED =
  '<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>' +
  '<RestoreExpiryDate>2099-01-01T00:00:00.000Z</RestoreExpiryDate></RestoreStatus>'

async function serve(state: ServerState, request: IncomingMessage, response: ServerResponse): Promise<unknown> {
  const url = request.url ?? '/'
  const cut = url.indexOf('?')
  const path = cut < 0 ? url : url.slice(0, cut)
  const query = cut < 0 ? '' : url.slice(cut + 1)
  const method = request.method ?? 'GET'
  const { bucketName, key } = address(state.buckets, request.headers.host ?? '', path)
  const operation = operationOf(method, key)
  state.requests.set(operation, (state.requests.get(operation) ?? 0) + 1)
  response.setHeader('x-amz-request-id', randomBytes(8).toString('hex').toUpperCase())
  response.setHeader('x-amz-id-2', randomBytes(24).toString('base64'))
  response.setHeader('Server', 'ColdtrailS3')

  const parameters = new URLSearchParams(query)
  const body = method === 'PUT' ? await readBody(request) : undefined
  const action = state.faults.take({
    operation,
    bucket: bucketName,
    key: key === '' ? (parameters.get('prefix') ?? '') : key,
  })
  if (action?.kind === 'run') action.run()
  if (action?.kind === 'delay') await new Promise((resolve) => setTimeout(resolve, action.milliseconds))
  if (action?.kind === 'error') return sendError(response, action)
  if (action?.kind === 'garbage') return send(response, 200, { 'Content-Type': 'application/xml' }, action.body)
  if (action?.kind === 'stall' && action.after === undefined) return undefined
  if (action?.kind === 'reset' && action.after === undefined) {
    return request.socket.resetAndDestroy()
  }

  const { credentials = [] } = state.options
  if (credentials.length > 0) {
    const fault = checkSignature({ method, path, query, headers: request.headers }, credentials, state.now())
    if (fault) return sendError(response, fault)
  }
  const bucket = state.buckets.get(bucketName)
  if (!bucket) return sendError(response, { code: 'NoSuchBucket', details: { BucketName: bucketName } })
  const region = signedRegion(request.headers)
  if (region !== undefined && region !== bucket.region) {
    const headers = { 'x-amz-bucket-region': bucket.region }
    return sendError(response, { code: 'PermanentRedirect', headers, details: { Bucket: bucketName } })
  }
  if (bucket.requesterPays && request.headers['x-amz-request-payer'] !== 'requester') {
    return sendError(response, { code: 'AccessDenied' })
  }
  if (operation === 'ListObjectsV2') return list(bucket, parameters, response)
  if (operation === 'GetObject' || operation === 'HeadObject') return get(bucket, key, request, response, action)
  if (operation === 'PutObject') return put(state, bucket, key, request, response, body!)
  if (operation === 'DeleteObject') {
    bucket.delete(key)
    return send(response, 204, {}, '')
  }
  return sendError(response, { code: 'MethodNotAllowed' })
}

function operationOf(method: string, key: string): string {
  if (method === 'GET') return key === '' ? 'ListObjectsV2' : 'GetObject'
  if (method === 'HEAD') return key === '' ? 'HeadBucket' : 'HeadObject'
  if (method === 'DELETE' && key !== '') return 'DeleteObject'
  return method === 'PUT' && key !== '' ? 'PutObject' : `${method} ${key === '' ? 'bucket' : 'object'}`
}

/** Virtual host when the host's first label is a bucket we have, else path style. Never normalised: `..` is a key. */
function address(
  buckets: ReadonlyMap<string, Bucket>,
  host: string,
  path: string,
): { bucketName: string; key: string } {
  const dot = host.indexOf('.')
  const label = dot > 0 && !/^[\d.]+(:\d+)?$/.test(host) ? host.slice(0, dot) : ''
  const bare = path.startsWith('/') ? path.slice(1) : path
  if (label !== '' && buckets.has(label)) return { bucketName: label, key: decodeURIComponent(bare) }
  const slash = bare.indexOf('/')
  if (slash < 0) return { bucketName: decodeURIComponent(bare), key: '' }
  return { bucketName: decodeURIComponent(bare.slice(0, slash)), key: decodeURIComponent(bare.slice(slash + 1)) }
}

function list(bucket: Bucket, parameters: URLSearchParams, response: ServerResponse): ServerResponse {
  const prefix = parameters.get('prefix') ?? ''
  const delimiter = parameters.get('delimiter') ?? ''
  const startAfter = parameters.get('start-after') ?? ''
  const token = parameters.get('continuation-token')
  const encoded = parameters.get('encoding-type') === 'url'
  const asked = Number(parameters.get('max-keys') ?? MAX_KEYS)
  if (!Number.isInteger(asked) || asked < 0) return sendError(response, { code: 'InvalidArgument' })
  const maxKeys = Math.min(asked, MAX_KEYS)
  const after = token === null ? startAfter : Buffer.from(token, 'base64url').toString()
  const page = bucket.list({ prefix, delimiter, after, maxKeys })
  const text = encoded ? (key: string) => urlEncode(key) : escapeXml
  const parts = [
    '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
    `<Name>${escapeXml(bucket.name)}</Name><Prefix>${text(prefix)}</Prefix>`,
    delimiter === '' ? '' : `<Delimiter>${text(delimiter)}</Delimiter>`,
    startAfter === '' ? '' : `<StartAfter>${text(startAfter)}</StartAfter>`,
    token === null ? '' : `<ContinuationToken>${escapeXml(token)}</ContinuationToken>`,
    page.next === undefined
      ? ''
      : `<NextContinuationToken>${Buffer.from(page.next).toString('base64url')}</NextContinuationToken>`,
    encoded ? '<EncodingType>url</EncodingType>' : '',
    `<KeyCount>${page.objects.length + page.commonPrefixes.length}</KeyCount><MaxKeys>${maxKeys}</MaxKeys>`,
    `<IsTruncated>${page.next !== undefined}</IsTruncated>`,
  ]
  for (const object of page.objects) {
    parts.push(
      `<Contents><Key>${text(object.key)}</Key><LastModified>${new Date(object.lastModified).toISOString()}</LastModified>` +
        `<ETag>${escapeXml(object.etag)}</ETag><Size>${object.size}</Size>` +
        `<StorageClass>${object.storageClass ?? 'STANDARD'}</StorageClass>${object.restored ? RESTORED : ''}</Contents>`,
    )
  }
  for (const common of page.commonPrefixes) {
    parts.push(`<CommonPrefixes><Prefix>${text(common)}</Prefix></CommonPrefixes>`)
  }
  parts.push('</ListBucketResult>')
  return send(response, 200, { 'Content-Type': 'application/xml' }, parts.join(''))
}

function get(
  bucket: Bucket,
  key: string,
  request: IncomingMessage,
  response: ServerResponse,
  action: FaultAction | undefined,
): ServerResponse {
  const object = bucket.get(key)
  if (!object) return sendError(response, { code: 'NoSuchKey', details: { Key: key } })
  const { headers } = request
  const ifMatch = headers['if-match']
  if (ifMatch !== undefined && ifMatch !== '*' && unquoted(ifMatch) !== unquoted(object.etag)) {
    return sendError(response, { code: 'PreconditionFailed', details: { Condition: 'If-Match' } })
  }
  if (headers['if-none-match'] !== undefined && unquoted(headers['if-none-match']) === unquoted(object.etag)) {
    return send(response, 304, { ETag: object.etag }, '')
  }
  const archived = object.storageClass !== undefined && ARCHIVED.has(object.storageClass) && !object.restored
  if (request.method === 'GET' && archived) {
    return sendError(response, { code: 'InvalidObjectState', details: { StorageClass: object.storageClass! } })
  }
  const range = byteRange(headers.range, object.size)
  if (range === 'unsatisfiable') return sendError(response, { code: 'InvalidRange' })
  const [start, end] = range ?? [0, object.size]
  const answer = objectHeaders(object)
  answer['Content-Length'] = String(end - start)
  if (range) answer['Content-Range'] = `bytes ${start}-${end - 1}/${object.size}`
  else if (object.checksumCrc32 && headers['x-amz-checksum-mode'] === 'ENABLED') {
    answer['x-amz-checksum-crc32'] = object.checksumCrc32
  }
  response.writeHead(range ? 206 : 200, answer)
  if (request.method === 'HEAD') return response.end()
  return sendBody(object.body().subarray(start, end), response, action)
}

function sendBody(body: Buffer, response: ServerResponse, action: FaultAction | undefined): ServerResponse {
  if (action?.kind === 'corrupt') {
    const copy = Buffer.from(body)
    copy[action.at] = copy[action.at]! ^ 1
    return response.end(copy)
  }
  const cut =
    action?.kind === 'truncate' || action?.kind === 'stall' || action?.kind === 'reset' ? action.after : undefined
  if (cut === undefined) return response.end(body)
  response.write(body.subarray(0, cut), () => {
    if (action?.kind === 'truncate') response.socket?.end()
    if (action?.kind === 'reset') response.socket?.resetAndDestroy()
  })
  return response
}

function put(
  state: ServerState,
  bucket: Bucket,
  key: string,
  request: IncomingMessage,
  response: ServerResponse,
  received: Buffer,
): ServerResponse {
  const { headers } = request
  const sha256 = String(headers['x-amz-content-sha256'] ?? '')
  const chunked = sha256.startsWith('STREAMING-') || (headers['content-encoding'] ?? '').includes('aws-chunked')
  const { body, trailers } = chunked ? decodeAwsChunked(received) : { body: received, trailers: new Map() }
  if (/^[0-9a-f]{64}$/.test(sha256) && createHash('sha256').update(received).digest('hex') !== sha256) {
    return sendError(response, { code: 'XAmzContentSHA256Mismatch' })
  }
  if (headers['if-none-match'] === '*' && bucket.get(key))
    return sendError(response, { code: 'PreconditionFailed', details: { Condition: 'If-None-Match' } })
  const expected = headers['x-amz-checksum-sha256']
  if (expected !== undefined && createHash('sha256').update(body).digest('base64') !== expected)
    return sendError(response, { code: 'BadDigest' })
  const checksum = headers['x-amz-checksum-crc32'] ?? trailers.get('x-amz-checksum-crc32')
  const storageClass = headers['x-amz-storage-class']
  const object = bucket.put(key, body, {
    lastModified: state.now(),
    ...(typeof checksum === 'string' && { checksum: true }),
    ...(typeof storageClass === 'string' && storageClass !== 'STANDARD' && { storageClass }),
  })
  if (typeof checksum === 'string' && checksum !== object.checksumCrc32) {
    bucket.delete(key)
    return sendError(response, { code: 'BadDigest' })
  }
  return send(response, 200, { ETag: object.etag }, '')
}

/**
 * The body of a streaming upload: `<hex length>[;chunk-signature=…]\r\n<bytes>\r\n` repeated, a chunk of length 0, then
 * trailing headers ("Signature calculations for the Authorization header: transferring a payload in multiple chunks").
 */
function decodeAwsChunked(bytes: Buffer): { body: Buffer; trailers: Map<string, string> } {
  const chunks: Buffer[] = []
  let at = 0
  for (;;) {
    const line = bytes.indexOf('\r\n', at)
    const size = line < 0 ? Number.NaN : Number.parseInt(bytes.toString('latin1', at, line), 16)
    if (Number.isNaN(size) || line + 2 + size > bytes.length) throw new Error('malformed aws-chunked body')
    at = line + 2
    if (size === 0) break
    chunks.push(bytes.subarray(at, at + size))
    at += size + 2
  }
  const trailers = new Map<string, string>()
  for (const line of bytes.toString('latin1', at).split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) trailers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim())
  }
  return { body: Buffer.concat(chunks), trailers }
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function byteRange(
  header: string | undefined,
  size: number,
): [start: number, end: number] | 'unsatisfiable' | undefined {
  const parts = /^bytes=(\d*)-(\d*)$/.exec(header ?? '')
  if (!parts || (parts[1] === '' && parts[2] === '')) return undefined
  if (parts[1] === '') return size === 0 ? 'unsatisfiable' : [Math.max(0, size - Number(parts[2])), size]
  const start = Number(parts[1])
  const end = parts[2] === '' ? size : Math.min(size, Number(parts[2]) + 1)
  return start >= size || end <= start ? 'unsatisfiable' : [start, end]
}

function objectHeaders(object: StoredObject): Record<string, string> {
  return {
    ETag: object.etag,
    'Last-Modified': new Date(object.lastModified).toUTCString(),
    'Accept-Ranges': 'bytes',
    'Content-Type': 'application/octet-stream',
    ...(object.storageClass !== undefined && { 'x-amz-storage-class': object.storageClass }),
  }
}

function sendError(response: ServerResponse, fault: S3Fault): ServerResponse {
  const [status, text] = ERRORS[fault.code] ?? [400, fault.code]
  const details = Object.entries(fault.details ?? {}).map(([name, value]) => `<${name}>${escapeXml(value)}</${name}>`)
  const body =
    `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${escapeXml(fault.code)}</Code>` +
    `<Message>${escapeXml(fault.message ?? text)}</Message>${details.join('')}` +
    `<RequestId>${response.getHeader('x-amz-request-id')}</RequestId><HostId>${response.getHeader('x-amz-id-2')}</HostId></Error>`
  return send(response, fault.status ?? status, { 'Content-Type': 'application/xml', ...fault.headers }, body)
}

function send(response: ServerResponse, status: number, headers: Record<string, string>, body: string): ServerResponse {
  response.writeHead(status, { ...headers, 'Content-Length': String(Buffer.byteLength(body)) })
  return response.end(response.req.method === 'HEAD' ? undefined : body)
}

function unquoted(etag: string): string {
  return etag.replace(/^"|"$/g, '')
}

/** As S3 encodes keys in a listing: everything but unreserved characters and `/`, with `+` for a space. */
function urlEncode(key: string): string {
  const encoded = encodeURIComponent(key).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  return encoded.replace(/%2F/g, '/').replace(/%20/g, '+')
}

function escapeXml(text: string): string {
  return text.replace(
    /[&<>"']|[^\t\n\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu,
    (c) => `&#x${c.codePointAt(0)!.toString(16)};`,
  )
}
