/** A small nsrlsvr on loopback: it knows some hashes, counts connections and queries, and can fail as it is told. */

import type { AddressInfo } from 'node:net'
import { createServer, type Socket } from 'node:net'

/** What becomes of a query: its number counts from 1. */
export type NsrlFault = 'reset' | 'silence' | 'not_ok' | 'short' | 'garbage' | 'bye'

export interface NsrlServer {
  readonly port: number
  readonly connections: number
  /** Hashes of each query, in order. */
  readonly queries: readonly (readonly string[])[]
  /** By number of the query. */
  fail(faults: Readonly<Record<number, NsrlFault>>): void
  close(): Promise<void>
}

export async function startNsrlServer(known: readonly string[], endsAfterAnswer = false): Promise<NsrlServer> {
  const set = new Set(known.map((hash) => hash.toUpperCase()))
  const queries: string[][] = []
  const sockets = new Set<Socket>()
  let faults: Readonly<Record<number, NsrlFault>> = {}
  let connections = 0
  const server = createServer((socket) => {
    connections += 1
    sockets.add(socket)
    let received = ''
    socket.setEncoding('latin1')
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (text: string) => {
      received += text
      for (let end = received.indexOf('\n'); end >= 0; end = received.indexOf('\n')) {
        answer(socket, received.slice(0, end).trim())
        received = received.slice(end + 1)
      }
    })
  })
  function answer(socket: Socket, line: string): void {
    const [command, ...hashes] = line.toUpperCase().split(/\s+/)
    queries.push(hashes)
    const digits = hashes.map((hash) => (set.has(hash) ? '1' : '0')).join('')
    const isValid = command === 'QUERY' && hashes.every((hash) => /^(?:[0-9A-F]{32}|[0-9A-F]{40})$/.test(hash))
    const fault = faults[queries.length]
    if (fault) FAULTS[fault](socket, digits)
    else reply(socket, isValid ? `OK ${digits}\r\n` : 'NOT OK\r\n')
  }
  /** In two packets, as a network may cut it. */
  function reply(socket: Socket, text: string): void {
    socket.write(text.slice(0, 4))
    setImmediate(() => {
      if (socket.destroyed) return
      if (endsAfterAnswer) socket.end(text.slice(4))
      else socket.write(text.slice(4))
    })
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections
    },
    queries,
    fail(given) {
      faults = given
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

// --- internal ---

const FAULTS: Readonly<Record<NsrlFault, (socket: Socket, digits: string) => void>> = {
  reset: (socket) => socket.resetAndDestroy(),
  silence: () => {},
  not_ok: (socket) => socket.write('NOT OK\r\n'),
  short: (socket, digits) => socket.write(`OK ${digits.slice(1)}\r\n`),
  garbage: (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'),
  bye: (socket) => socket.end(),
}
