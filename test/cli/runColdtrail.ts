/** Runs the real ./coldtrail as a person would: own process, own directory, empty home. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

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
