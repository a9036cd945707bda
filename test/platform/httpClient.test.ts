/** The HTTP client of destinations, against servers and proxies on loopback. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, createServer as createTcpServer, type Server as TcpServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  createHttpClient,
  type HttpClient,
  type HttpClientOptions,
  HttpFault,
  isLoopback,
} from '../../src/platform/httpClient.ts'

const TLS = join(import.meta.dirname, '../fixtures/tls')
const CERTIFICATE = join(TLS, 'cert.pem')
const tls = { key: readFileSync(join(TLS, 'key.pem')), cert: readFileSync(CERTIFICATE) }

function client(t: TestContext, options: Partial<HttpClientOptions> = {}): HttpClient {
  const made = createHttpClient({ environment: {}, connectMs: 5000, idleMs: 5000, wholeMs: 10_000, ...options })
  t.after(() => made.close())
  return made
}

async function listening(t: TestContext, server: Server | TcpServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    if ('closeAllConnections' in server) server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

const serve = async (t: TestContext, listener: RequestListener): Promise<string> =>
  `http://127.0.0.1:${await listening(t, createServer(listener))}`

async function fault(promise: Promise<unknown>): Promise<HttpFault> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof HttpFault, String(error))
  return error
}

test('a request and its answer; the connection is kept', async (t) => {
  const sockets = new Set<unknown>()
  const url = await serve(t, (request, response) => {
    sockets.add(request.socket)
    request.pipe(response.writeHead(201, { 'X-Method': request.method! }))
  })
  const http = client(t)
  for (const body of ['one', Buffer.from('two')]) {
    const response = await http.request(url, { method: 'POST', body, headers: { A: 'b' } })
    assert.deepEqual([response.status, String(response.body), response.cut], [201, String(body), false])
    assert.equal(response.headers['x-method'], 'POST')
  }
  assert.equal(sockets.size, 1)
})

test('a redirect is an answer, and not followed', async (t) => {
  let requests = 0
  const url = await serve(t, (_, response) => {
    requests += 1
    response.writeHead(307, { Location: '/other' }).end()
  })
  assert.equal((await client(t).request(url)).status, 307)
  assert.equal(requests, 1)
})

test('of a body without end only the beginning is read', async (t) => {
  const url = await serve(t, (_, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(10_000, 'x')));
      if (!response.destroyed) response.once('drain', more)
    }
    more()
  })
  const { body, cut, status } = await client(t, { maxBodyBytes: 25_000 }).request(url)
  assert.deepEqual([status, body.length, cut], [200, 25_000, true])
})

test('a status counts though its body breaks off or stalls', async (t) => {
  const url = await serve(t, (request, response) => {
    response.writeHead(413, { 'Content-Length': '100' })
    response.write('some', () => {
      if (request.url === '/break') response.socket!.resetAndDestroy()
    })
  })
  const http = client(t, { idleMs: 1000 })
  for (const path of ['/break', '/stall']) {
    const { status, body, cut } = await http.request(url + path)
    assert.deepEqual([status, String(body), cut], [413, 'some', true], path)
  }
})

test('faults have a kind, and name the host', async (t) => {
  const http = client(t)
  const hasty = client(t, { idleMs: 300, wholeMs: 900 })
  const free = createTcpServer()
  const port = await listening(t, free)
  await new Promise((resolve) => free.close(resolve))
  const of = async (url: string, http_ = http) => {
    const { kind, message } = await fault(http_.request(`${url}/secret-path?key=1`, { headers: { A: 'secret' } }))
    assert.ok(message.startsWith(new URL(url).host), message)
    assert.doesNotMatch(message, /secret|key/)
    return kind
  }
  assert.equal(await of(`http://127.0.0.1:${port}`), 'refused')
  assert.equal(await of('http://nowhere.invalid'), 'dns')
  assert.equal(await of(await serve(t, (request) => request.socket.resetAndDestroy())), 'reset')
  assert.equal(await of(await serve(t, () => undefined), hasty), 'timeout')
  const slow = await serve(t, (_, response) => {
    const timer = setInterval(() => response.writeProcessing(), 50)
    response.on('close', () => clearInterval(timer))
  })
  assert.equal(await of(slow, hasty), 'timeout', 'something moves, but there is no end')
  assert.equal(
    await of(await serve(t, (_, response) => response.setHeader('X', 'y'.repeat(100_000)).end())),
    'protocol',
  )
  const babble = createTcpServer((socket) => socket.on('error', () => {}).end('hello\r\n'))
  assert.equal(await of(`http://127.0.0.1:${await listening(t, babble)}`), 'protocol')
  const silent = `https://127.0.0.1:${await listening(
    t,
    createTcpServer((socket) => socket.on('error', () => {})),
  )}`
  assert.equal(await of(silent, client(t, { connectMs: 100 })), 'timeout', 'no TLS within the time to connect')
  assert.equal(await of(`https://127.0.0.1:${await listening(t, createServer())}`), 'tls')
})

test('an abort ends a request at any time', async (t) => {
  const url = await serve(t, () => undefined)
  const http = client(t)
  assert.equal((await fault(http.request(url, { signal: AbortSignal.abort() }))).kind, 'aborted')
  assert.equal((await fault(http.request(url, { signal: AbortSignal.timeout(50) }))).kind, 'aborted')
})

test('a fault says whether the whole request was sent', async (t) => {
  const url = await serve(t, (request) => {
    if (request.url === '/read') request.on('end', () => request.socket.resetAndDestroy()).resume()
    else request.once('data', () => request.socket.resetAndDestroy())
  })
  const http = client(t)
  const body = Buffer.alloc(24_000_000)
  assert.equal((await fault(http.request(`${url}/read`, { method: 'POST', body }))).sent, true)
  assert.equal((await fault(http.request(`${url}/cut`, { method: 'POST', body }))).sent, false)
})

test('TLS is verified; an own authority is trusted besides the others', async (t) => {
  const port = await listening(
    t,
    createTlsServer(tls, (_, response) => void response.end('hello')),
  )
  const url = `https://127.0.0.1:${port}`
  const untrusted = await fault(client(t).request(url))
  assert.equal(untrusted.kind, 'tls')
  assert.match(untrusted.message, /signed by itself and not trusted \(DEPTH_ZERO_SELF_SIGNED_CERT\)/)
  const trusting = client(t, { caFile: CERTIFICATE })
  assert.equal(String((await trusting.request(url)).body), 'hello')
  const other = await fault(trusting.request(`https://localhost:${port}`))
  assert.match(other.message, /for another name/)
  assert.throws(() => createHttpClient({ environment: {}, connectMs: 1, idleMs: 1, wholeMs: 1, caFile: '/none' }), {
    code: 'E_FILE_READ',
  })
})

test('proxies of the environment are used, but not for loopback and what NO_PROXY names', async (t) => {
  const target = await listening(
    t,
    createTlsServer(tls, (_, response) => void response.end('by tunnel')),
  )
  const asked: string[] = []
  const proxy = createServer((request, response) => {
    asked.push(`GET ${request.url}`)
    response.end('by proxy')
  })
  proxy.on('connect', (request, socket) => {
    asked.push(`CONNECT ${request.url}`)
    const onward = connect(target, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(onward).pipe(socket)
    })
    onward.on('error', () => socket.destroy())
    socket.on('error', () => onward.destroy())
    t.after(() => onward.destroy())
  })
  const address = `http://127.0.0.1:${await listening(t, proxy)}`
  const environment = { HTTPS_PROXY: address, HTTP_PROXY: address, NO_PROXY: 'nowhere.invalid' }
  const http = client(t, { environment, caFile: CERTIFICATE })
  assert.equal(String((await http.request('https://receiver.test/x')).body), 'by tunnel')
  assert.equal(String((await http.request('http://receiver.test/x')).body), 'by proxy')
  assert.deepEqual(asked, ['CONNECT receiver.test:443', 'GET http://receiver.test/x'])
  assert.equal((await fault(http.request('https://nowhere.invalid/'))).kind, 'dns')
  const direct = await serve(t, (_, response) => void response.end('direct'))
  for (const host of ['127.0.0.1', 'localhost']) {
    assert.equal(String((await http.request(direct.replace('127.0.0.1', host))).body), 'direct')
  }
  assert.equal(asked.length, 2)
  const broken = client(t, { environment: { HTTPS_PROXY: `http://127.0.0.1:${await closedPort(t)}` } })
  assert.equal((await fault(broken.request('https://receiver.test/'))).kind, 'refused')
})

test('loopback by name and address', () => {
  for (const host of ['localhost', 'a.localhost', '127.0.0.1', '127.9.9.9', '::1', '[::1]'])
    assert.ok(isLoopback(host), host)
  for (const host of ['10.0.0.1', 'localhost.example', '128.0.0.1', '::2', '', '127.0.0.1.example'])
    assert.ok(!isLoopback(host), host)
})

// --- internal ---

async function closedPort(t: TestContext): Promise<number> {
  const server = createTcpServer()
  const port = await listening(t, server)
  await new Promise((resolve) => server.close(resolve))
  return port
}
