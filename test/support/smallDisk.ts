import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface SmallDisk {
  readonly path: string
  resize(bytes: number): void
  remove(): void
}

/** A file system of that size in bytes, or why there cannot be one. */
export function smallDisk(bytes: number): SmallDisk | string {
  const path = mkdtempSync(join(tmpdir(), 'coldtrail-disk-'))
  const mount = (options: string) =>
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path], { stdio: 'pipe' })
  try {
    mount(`size=${bytes}`)
  } catch (error) {
    rmdirSync(path)
    return `no small file system can be mounted here: ${(error as Error).message.trim()}`
  }
  return {
    path,
    resize: (size) => mount(`remount,size=${size}`),
    remove() {
      execFileSync('umount', ['--lazy', path])
      rmdirSync(path)
    },
  }
}
