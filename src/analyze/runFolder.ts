/** Where the files of a run lie until it is committed. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { namesIfThere } from '../platform/files.ts'
import { runNumber } from '../store/runs.ts'

export const runFolder = (dataDir: string, run: number): string => join(dataDir, 'analyze', runNumber(run))

export const removeRunFolder = (dataDir: string, run: number): void =>
  rmSync(runFolder(dataDir, run), { recursive: true, force: true })

export const runsWithFolders = (dataDir: string): number[] =>
  namesIfThere(join(dataDir, 'analyze'))
    .filter((name) => /^\d{9}$/.test(name))
    .map(Number)
