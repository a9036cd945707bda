/** Runs the real ./coldtrail as a person would: own process, own directory, empty home. */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CommandRequest } from '../support/commandServer.ts'

export const LAUNCHER = join(import.meta.dirname, '../../coldtrail')

export interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd: string
  readonly launcher?: string
  readonly input?: string | Buffer
  readonly environment?: Readonly<Record<string, string>>
  /** Sent when this text has come on standard error. */
  readonly interruptAt?: string
}

export function runColdtrail(args: readonly string[], options: RunOptions): Promise<Outcome> {
  const { cwd, launcher = LAUNCHER, input, environment = {}, interruptAt } = options
  const env = { HOME: cwd, PATH: process.env.PATH ?? '', ...environment }
  const child = spawn(launcher, args, { cwd, env, stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] })
  child.stdin?.end(input)
  let stdout = ''
  let stderr = ''
  let interrupted = false
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    if (interruptAt === undefined || interrupted || !stderr.includes(interruptAt)) return
    interrupted = true
    child.kill('SIGINT')
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, stdout, stderr }))
  })
}

/**
 * For files with many command lines: the first of each command, and each that needs a process of its own, is a real
 * ./coldtrail; the others run one after another in one process, through the same function. Starting costs more than most
 * commands, so what is proved by a process (its start, its end, its streams) is proved once.
 */
export async function runCommand(args: readonly string[], options: RunOptions): Promise<Outcome> {
  const { cwd, launcher, input, environment = {}, interruptAt } = options
  const command = args.slice(0, GROUPS.has(args[0] ?? '') ? 2 : 1).join(' ')
  const isSpecial = [launcher, input, environment.COLDTRAIL_FAULT, interruptAt].some((each) => each !== undefined)
  if (isSpecial || isBusy || !met.has(command)) {
    met.add(command)
    return runColdtrail(args, options)
  }
  isBusy = true
  try {
    server ??= await startServer()
    server.ref()
    server.channel?.ref()
    const request: CommandRequest = { args, cwd, env: { HOME: cwd, PATH: process.env.PATH ?? '', ...environment } }
    server.send(request)
    const ended = new AbortController()
    const [outcome] = await Promise.race([
      once(server, 'message', { signal: ended.signal }),
      once(server, 'exit', { signal: ended.signal }).then(([status, signal]) => {
        server = undefined
        throw new Error(`${args.join(' ')} ended its process: ${signal ?? status}`)
      }),
    ]).finally(() => ended.abort())
    return outcome as Outcome
  } finally {
    isBusy = false
    server?.unref()
    server?.channel?.unref()
  }
}

/** A directory for one test, removed after it. */
export async function inTemporary<T>(action: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-cli-'))
  try {
    return await action(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

export const jsonLines = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

// --- internal ---

/** Words before the name of a command. */
const GROUPS = new Set(
  'analyze catalog export files forward hold hunt keys library manifest restore source sync tier workbench'.split(' '),
)
const met = new Set<string>()
let server: ChildProcess | undefined
let isBusy = false

async function startServer(): Promise<ChildProcess> {
  const script = join(import.meta.dirname, '../support/commandServer.ts')
  const child = fork(script, { execArgv: ['--disable-warning=ExperimentalWarning'], stdio: ['ignore', 2, 2, 'ipc'] })
  await once(child, 'message')
  return child
}
