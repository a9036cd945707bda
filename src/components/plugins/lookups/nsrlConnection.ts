/**
 * The protocol of nsrlsvr: `QUERY <hash> <hash> …\n` is answered by `OK 0110…`, a digit per hash, or `NOT OK`. One
 * connection for all queries; a server that ends it after an answer, as old ones do, gets another for the next.
 */
import { connect, type Socket } from 'node:net'
import { LookupFault } from './lookUp.ts'

export interface NsrlConnection {
  /** Whether each hash is in the server's set. Throws LookupFault. One query at a time. */
  query(hashes: readonly string[]): Promise<boolean[]>
  close(): void
}

export interface NsrlPlace {
  readonly host: string
  readonly port: number
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}

export function nsrlConnection(place: NsrlPlace): NsrlConnection {
  let open: Line | undefined
  return {
    async query(hashes) {
      let isKept = open?.isOpen === true
      for (;;) {
        open = isKept ? open : await Line.connect(place)
        try {
          return answerOf(await open!.exchange(`QUERY ${hashes.join(' ')}\n`), hashes.length, place)
        } catch (error) {
          open?.end()
          open = undefined
          // A kept connection may have been ended from over there just now.
          if (!isKept || !(error instanceof LookupFault && error.retry)) throw error
          isKept = false
        }
      }
    },
    close() {
      open?.end()
      open = undefined
    },
  }
}

// --- internal ---

const MAX_ANSWER = 2 ** 16

const at = ({ host, port }: NsrlPlace): string => `${host}:${port}`

function answerOf(line: string, count: number, place: NsrlPlace): boolean[] {
  const digits = /^OK ([01]+)$/.exec(line.trim())?.[1]
  if (digits?.length === count) return [...digits].map((digit) => digit === '1')
  const shown = JSON.stringify(line.slice(0, 80))
  throw new LookupFault(`${at(place)} answered ${shown} to ${count} hashes: it is no nsrlsvr`, { retry: false })
}

/** One connection, from which an answer of a line is awaited at a time. */
class Line {
  private readonly socket: Socket
  private readonly place: NsrlPlace
  private received = ''
  private fault: LookupFault | undefined
  private settle: (() => void) | undefined
  isOpen = true

  static connect(place: NsrlPlace): Promise<Line> {
    const { host, port, timeoutMs, signal } = place
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, signal })
      const fail = (reason: string, cause?: unknown): void => {
        socket.destroy()
        reject(new LookupFault(`${at(place)}: ${reason}`, { retry: true, cause }))
      }
      const timer = setTimeout(() => fail(`no connection for ${timeoutMs / 1000} s`), timeoutMs)
      socket.once('error', (error: NodeJS.ErrnoException) => {
        clearTimeout(timer)
        fail(error.code === undefined ? error.message : `no connection (${error.code})`, error)
      })
      socket.once('connect', () => {
        clearTimeout(timer)
        socket.removeAllListeners('error')
        resolve(new Line(socket, place))
      })
    })
  }

  private constructor(socket: Socket, place: NsrlPlace) {
    this.socket = socket
    this.place = place
    socket.setEncoding('latin1').setNoDelay(true)
    socket.on('data', (text: string) => {
      this.received += text
      if (this.received.length > MAX_ANSWER) this.fail('its answer has no end')
      this.settle?.()
    })
    socket.on('error', (error: NodeJS.ErrnoException) =>
      this.fail(`the connection broke (${error.code ?? error.message})`),
    )
    socket.on('close', () => this.fail('the connection was closed without an answer'))
    socket.on('end', () => this.fail('the connection was closed without an answer'))
  }

  async exchange(query: string): Promise<string> {
    const { timeoutMs } = this.place
    this.received = ''
    this.socket.write(query)
    const timer = setTimeout(() => this.fail(`no answer for ${timeoutMs / 1000} s`), timeoutMs)
    try {
      for (;;) {
        const end = this.received.indexOf('\n')
        if (end >= 0) return this.received.slice(0, end)
        if (this.fault) throw this.fault
        await new Promise<void>((resolve) => {
          this.settle = resolve
        })
      }
    } finally {
      clearTimeout(timer)
      this.settle = undefined
    }
  }

  end(): void {
    this.isOpen = false
    this.socket.destroy()
  }

  private fail(reason: string): void {
    this.isOpen = false
    this.fault ??= new LookupFault(`${at(this.place)}: ${reason}`, { retry: true })
    this.socket.destroy()
    this.settle?.()
  }
}
