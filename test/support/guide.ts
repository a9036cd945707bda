/** Fenced blocks of the guides, and their commands run by a shell as they stand there, in a site of their own. */
import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LAUNCHER } from '../cli/runColdtrail.ts'

export interface Block {
  /** What stands behind the fence: `sh`, or `sh low` for the site of that name. */
  readonly info: string
  readonly body: string
}

export const readGuide = (path: string): string => readFileSync(join(import.meta.dirname, '../..', path), 'utf8')

export function fencedBlocks(text: string): Block[] {
  const fences = text.matchAll(/^( *)```([^\n`]*)\n([\s\S]*?)^\1```/gm)
  return [...fences].map(([, , info, body]) => ({ info: info!.trim(), body: body! }))
}

/** Commands of a block: lines without their comments. */
export const commandsOf = (body: string): string[] =>
  body
    .split('\n')
    .map((line) => line.trim().replace(/(^|\s+)# .*$/, ''))
    .filter((line) => line !== '')

/** A directory in which `./coldtrail` is the real one. `wrapper`: shell lines before it. */
export function makeSite(directory: string, wrapper = ''): void {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'coldtrail'), `#!/bin/sh\n${wrapper}\nexec ${LAUNCHER} "$@"\n`)
  chmodSync(join(directory, 'coldtrail'), 0o755)
}

export interface ShellOutcome {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

export function shell(line: string, cwd: string, more: NodeJS.ProcessEnv = {}): Promise<ShellOutcome> {
  const env = { HOME: cwd, PATH: `${process.env.PATH}`, NO_COLOR: '1', ...more }
  return new Promise((resolve) =>
    execFile('sh', ['-c', line], { cwd, env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
      resolve({ status: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    ),
  )
}
