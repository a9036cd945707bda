/**
 * Contents of ThreatQ's files, fetched by hand into the folder `files` beside its pages. A content is found by the MD5 that
 * the API tells, so no name and no path of a row is ever opened.
 */
import { createHash } from 'node:crypto'
import { createReadStream, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { BlobStore } from '../blobs.ts'

export interface FileContents {
  /** By MD5 as 32 hex digits; the content is in the store then, but of a dry run. */
  find(md5: string): Promise<{ readonly sha256: string; readonly size: number } | undefined>
}

/** `pages`: paths of the files given. Nothing is read before the first question. */
export function fileContents(pages: readonly string[], blobs: BlobStore, dryRun: boolean): FileContents {
  let known: Promise<ReadonlyMap<string, Content>> | undefined
  const stored = new Set<string>()
  return {
    async find(md5) {
      known ??= contentsIn([...new Set(pages.filter((path) => path !== '-').map(dirname))])
      const found = (await known).get(md5)
      if (!found) return undefined
      if (!dryRun && !stored.has(md5)) {
        await blobs.put(createReadStream(found.path), Buffer.from(found.sha256, 'hex'))
        stored.add(md5)
      }
      return found
    },
  }
}

// --- internal ---

interface Content {
  readonly path: string
  readonly sha256: string
  readonly size: number
}

async function contentsIn(folders: readonly string[]): Promise<ReadonlyMap<string, Content>> {
  const found = new Map<string, Content>()
  for (const folder of folders) {
    const names = filesOf(join(folder, 'files'))
    for (const name of names) {
      const path = join(folder, 'files', name)
      const md5 = createHash('md5')
      const sha256 = createHash('sha256')
      let size = 0
      for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
        md5.update(chunk)
        sha256.update(chunk)
        size += chunk.length
      }
      found.set(md5.digest('hex'), { path, sha256: sha256.digest('hex'), size })
    }
  }
  return found
}

function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isFile() ? [entry.name] : []))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
