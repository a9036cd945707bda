/** What a directory stands on: room, and whether it is a mount that other machines write to as well. */
import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

export interface FileSystem {
  readonly freeBytes: number
  readonly totalBytes: number
  /** Name of the network file system, when it is one. Known on Linux only. */
  readonly network?: string
}

/** Of the path itself or, where it does not exist yet, of its nearest parent. */
export function fileSystemOf(path: string): FileSystem {
  const { type, bsize, bavail, blocks } = statfsSync(nearestExisting(path))
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize, network: NETWORK.get(type >>> 0) }
}

/** The path, or the nearest parent of it that exists. */
export function nearestExisting(path: string): string {
  for (let at = path; ; at = dirname(at)) if (existsSync(at) || at === dirname(at)) return at
}

/** Whether this user may write the file, or into the directory. */
export function isWritable(path: string): boolean {
  try {
    const nearest = nearestExisting(path)
    accessSync(nearest, statSync(nearest).isDirectory() ? constants.W_OK | constants.X_OK : constants.W_OK)
    return true
  } catch {
    return false
  }
}

// --- internal ---

/** f_type of statfs(2), as linux/magic.h has them. */
const NETWORK: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xfe534d42, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0x01021997, '9P'],
  [0x5346414f, 'AFS'],
  [0x00c36400, 'Ceph'],
  [0x0bd00bd0, 'Lustre'],
  [0x47504653, 'GPFS'],
])
