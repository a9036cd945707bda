/** A command's door out: standard output, standard error, log, progress, interruption, and the library. */
import { EOL } from 'node:os'
import { ColdtrailError, printable } from '../core/errors.ts'
import type { Coldtrail, Log } from '../index.ts'
import type { GlobalOptions } from './command.ts'

export interface Io {
  readonly options: GlobalOptions
  readonly json: boolean
  /** Standard output is a terminal: values are cut to its width, and charts are drawn. */
  readonly terminal: boolean
  readonly width: number
  /** Ends with E_INTERRUPTED on SIGINT, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal
  readonly log: Log
  /** One line on standard output; the caller has made hostile values printable. */
  print(line: string): void
  /** One JSON object as a line on standard output. */
  emit(message: object): void
  /** Bytes as they are. */
  write(bytes: Uint8Array): void
  /** One line on standard error. */
  note(line: string): void
  /** Emphasis on a terminal, plain text elsewhere. */
  style(style: 'bold' | 'dim' | 'green' | 'red' | 'yellow', text: string): string
  /** The library over the data directory, opened at the first call and closed after the command. */
  open(): Promise<Coldtrail>
  /** Its search of manifests. Where no configuration has a say, nothing else of the library is loaded for it. */
  /** To search those of a collection (or several), or of all. */
  openManifests(collection?: string): Promise<Pick<Coldtrail['manifests'], 'query'>>
  flush(): void
}

/** Standard output in larger pieces: a search prints millions of lines. */
const PIECE = 65_536
/** Width of what is no terminal: nothing is cut for who reads it by program. */
const UNCUT = 10_000

export function createIo(
  options: GlobalOptions,
  signal: AbortSignal,
  { open, openManifests }: Pick<Io, 'open' | 'openManifests'>,
): Io {
  const terminal = process.stdout.isTTY === true
  const colored = terminal && options.color && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
  let waiting = ''
  const flush = (): void => {
    if (waiting === '') return
    const piece = waiting
    waiting = ''
    process.stdout.write(piece)
  }
  const print = (line: string): void => {
    waiting += line + EOL
    if (terminal || waiting.length >= PIECE) flush()
  }
  const note = (line: string): void => {
    flush()
    process.stderr.write(line + EOL)
  }
  return {
    options,
    json: options.json,
    terminal,
    // Some terminals say 0.
    width: terminal ? process.stdout.columns || 80 : UNCUT,
    signal,
    log: createLog(options, note),
    print,
    emit: (message) => print(JSON.stringify(message, withBigInts)),
    write(bytes) {
      flush()
      process.stdout.write(bytes)
    },
    note,
    style: (style, text) => (colored ? `\u001b[${STYLES[style]}m${text}\u001b[0m` : text),
    open,
    openManifests,
    flush,
  }
}

/** An error as its reader wants it: three lines for a person, one JSON object for a program. */
export function errorText(error: ColdtrailError, json: boolean): string {
  if (json) return JSON.stringify(error, withBigInts)
  const lines = [`coldtrail: ${error.message} (${error.code})`]
  if (error.hint !== '') lines.push(`  hint: ${error.hint}`)
  return lines.join(EOL)
}

// --- internal ---

const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const
const LEVELS = ['debug', 'info', 'warn', 'error'] as const

function withBigInts(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}

/** On a terminal one line for a person, elsewhere one JSON object a line. */
function createLog(options: GlobalOptions, note: (line: string) => void): Log {
  const terminal = process.stderr.isTTY === true
  const level = options.logLevel ?? (terminal || options.json ? 'warn' : 'info')
  const least = level === 'silent' ? LEVELS.length : LEVELS.indexOf(level)
  return (at, message, values = {}) => {
    if (LEVELS.indexOf(at) < least) return
    const time = new Date().toISOString()
    if (!terminal) return note(JSON.stringify({ time, level: at, message, ...values }, withBigInts))
    const details = Object.entries(values).map(([key, value]) => `${key}=${printable(String(value))}`)
    note([`${at}:`, printable(message, 1_000), ...details].join(' '))
  }
}

/** Ends quietly when the reader of standard output has gone (`| head`). */
export function endOnClosedOutput(json: boolean): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    const path = 'standard output'
    const fault =
      error.code === 'ENOSPC'
        ? new ColdtrailError('E_DISK_FULL', { path })
        : new ColdtrailError('E_FILE_WRITE', { path, cause: error.message })
    process.stderr.write(errorText(fault, json) + EOL)
    process.exit(fault.exit)
  })
}
