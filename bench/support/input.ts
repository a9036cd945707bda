/** Generated input, kept in the ignored folder `.bench` so that a second run does not make it again. */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { cloudTrailFiles } from '../../src/demo/awsLogs.ts'

export const BENCH = resolve(import.meta.dirname, '../../.bench')
export const ROOT = resolve(import.meta.dirname, '../..')

/** A folder of gzipped CloudTrail files of `megabytes` decoded. */
export function cloudTrailFolder(megabytes: number): string {
  const folder = join(BENCH, `cloudtrail-${megabytes}mb`)
  if (existsSync(folder)) return folder
  const unfinished = `${folder}.unfinished`
  rmSync(unfinished, { recursive: true, force: true })
  for (const { key, body } of cloudTrailFiles({ bytes: megabytes * 1e6, seed: 1 })) {
    const path = join(unfinished, key)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, body)
  }
  renameSync(unfinished, folder)
  return folder
}

/** A fresh data directory with a configuration in it. */
export function freshData(name: string, configuration = ''): { data: string; config: string } {
  const data = join(BENCH, `data-${name}`)
  rmSync(data, { recursive: true, force: true })
  mkdirSync(data, { recursive: true })
  const config = join(BENCH, `${name}.yaml`)
  writeFileSync(config, `data_dir: ${JSON.stringify(data)}\n${configuration}`)
  return { data, config }
}

export const COLDTRAIL = join(ROOT, 'coldtrail')

export function lastLine<T>(stdout: string): T {
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as T
}
