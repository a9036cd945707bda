/** A file for a while, in a folder that is swept of what died processes left in it. */
import { accessSync, closeSync, constants, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { attempt, makeDirectory } from './files.ts'
import { isProcessAlive } from './processes.ts'

/** Where scratch files go: into the data directory where it can be written, else (undefined) to the system's place for them. */
export function scratchFolder(dataDir: string): string | undefined {
  try {
    accessSync(dataDir, constants.W_OK)
    return join(dataDir, 'scratch')
  } catch {
    return undefined
  }
}

export class ScratchFile {
  readonly path: string
  /** One of its own, which goes with it. */
  private readonly ownFolder: string | undefined
  private descriptor: number | undefined

  /** Throws E_FILE_WRITE, E_DISK_FULL. */
  constructor(given: string | undefined) {
    let folder = given
    if (folder === undefined) {
      const prefix = join(tmpdir(), 'coldtrail-scratch-')
      folder = attempt(prefix, () => mkdtempSync(prefix))
      this.ownFolder = folder
    } else {
      makeDirectory(folder)
      if (!swept.has(folder)) sweep(folder)
    }
    this.path = join(folder, `scratch-${process.pid}-${made++}`)
    this.descriptor = attempt(this.path, () => openSync(this.path, 'wx', 0o600))
  }

  write(bytes: Uint8Array): void {
    attempt(this.path, () => {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.descriptor!, bytes, at)
    })
  }

  close(): void {
    if (this.descriptor === undefined) return
    closeSync(this.descriptor)
    this.descriptor = undefined
  }

  remove(): void {
    this.close()
    rmSync(this.ownFolder ?? this.path, { recursive: true, force: true })
  }
}

// --- internal ---

let made = 0
const swept = new Set<string>()

function sweep(folder: string): void {
  swept.add(folder)
  for (const name of readdirSync(folder)) {
    const pid = Number(/^scratch-(\d+)-\d+$/.exec(name)?.[1] ?? Number.NaN)
    if (pid === process.pid || (pid > 0 && !isProcessAlive(pid))) rmSync(join(folder, name), { force: true })
  }
}
