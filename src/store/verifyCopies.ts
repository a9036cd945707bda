/** Copies in workbenches, and the custody log that says how they came there, against what the chain vouches for. */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Catalog } from './catalog.ts'
import type { ChainReport } from './chain.ts'
import { CUSTODY_LOG, custodyDigests, custodyOf } from './custody.ts'
import { throwIfAborted } from './duckdb.ts'
import { directoryDigest } from './manifest.ts'
import type { Fault } from './verify.ts'

/** Reads every copy in a workbench again. `onFile`: size of what was read. */
export async function* copyFaults(
  catalog: Catalog,
  name: string,
  { signal, onFile }: { readonly signal?: AbortSignal; readonly onFile: (bytes: number) => void },
): AsyncGenerator<Fault> {
  const [bench] = await catalog.workbenches(name)
  if (!bench) return
  const names = new Set((await catalog.workbenchFiles(name)).map((file) => file.name))
  for (const row of await catalog.segments({ collection: name }))
    for (const { name: file, size, sha256 } of [...row.files, ...row.tags]) {
      if (!names.has(file)) continue
      const path = join(bench.directory, file)
      const place = { collection: name, segment: row.segment, file: path }
      const actual = await digestOf(path, signal)
      if (!actual) {
        yield { ...place, fault: 'missing', detail: 'a copy that was restored is not there' }
        continue
      }
      onFile(actual.size)
      if (actual.size !== size || actual.sha256 !== sha256)
        yield { ...place, fault: 'damaged', detail: 'the copy is not what the home has sealed; restore it again' }
    }
}

/** Lines that links name and the custody log does not have. */
export function* custodyFaults(catalog: Catalog, { collection, links }: ChainReport): Generator<Fault> {
  const named = links.flatMap(({ link }) => {
    const digest = custodyOf(link.body)
    return digest === undefined ? [] : [{ digest, number: link.number }]
  })
  if (named.length === 0) return
  const directory = catalog.manifestDirectory(collection)
  const held = custodyDigests(directory)
  const file = join(directory, CUSTODY_LOG)
  for (const { digest, number } of named)
    if (!held.has(digest))
      yield {
        ...{ file, collection, fault: existsSync(file) ? 'damaged' : 'missing' },
        detail: `it lacks the line of link ${number} as it was committed`,
      }
}

// --- internal ---

const INDEX_FILES = ['values.parquet', 'keyset.ks']

/** Of a file, or of the index whose folder it is. */
async function digestOf(path: string, signal?: AbortSignal): Promise<{ size: number; sha256: string } | undefined> {
  const isIndex = existsSync(join(path, INDEX_FILES[0]!))
  if (!isIndex) return existsSync(path) ? fileDigest(path, signal) : undefined
  const parts: { name: string; size: number; sha256: string }[] = []
  for (const name of INDEX_FILES)
    if (existsSync(join(path, name))) parts.push({ name, ...(await fileDigest(join(path, name), signal)) })
  return directoryDigest(parts)
}

async function fileDigest(path: string, signal?: AbortSignal): Promise<{ size: number; sha256: string }> {
  const hash = createHash('sha256')
  let size = 0
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>) {
      throwIfAborted(signal)
      hash.update(piece)
      size += piece.length
    }
  } catch (error) {
    throwIfAborted(signal)
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
    return { size, sha256: '' }
  }
  return { size, sha256: hash.digest('hex') }
}
