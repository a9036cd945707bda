/** DuckDB and the sessions read through it, for those who ask the segments of a store. */
import { join } from 'node:path'
import type { SegmentRow } from './catalog.ts'
import { DuckDb } from './duckdb.ts'
import { localDirectories } from './heldFile.ts'
import { SessionCache } from './sessions.ts'

export interface Engine {
  readonly duckdb: DuckDb
  readonly sessions: SessionCache
}

export interface EngineOptions {
  readonly dataDir: string
  /** Bytes DuckDB may take; default 1 GiB. */
  readonly memoryLimit?: number
  readonly threads?: number
}

/** What DuckDB may read is fixed once it is open: another one when segments lie elsewhere. The last is in use. */
export class Engines {
  private readonly options: EngineOptions
  private readonly opened: { readonly directories: ReadonlySet<string>; readonly engine: Promise<Engine> }[] = []

  constructor(options: EngineOptions) {
    this.options = options
  }

  for(segments: readonly SegmentRow[]): Promise<Engine> {
    const { dataDir, memoryLimit, threads } = this.options
    const directories = new Set([dataDir, ...localDirectories(segments)])
    const held = this.opened.at(-1)
    if (held && [...directories].every((directory) => held.directories.has(directory))) return held.engine
    const tempDirectory = join(dataDir, 'spill')
    const engine = DuckDb.open({ directories: [...directories], tempDirectory, memoryLimit, threads }).then(
      (duckdb) => ({ duckdb, sessions: new SessionCache(duckdb) }),
    )
    this.opened.push({ directories, engine })
    return engine
  }

  async close(): Promise<void> {
    for (const { engine } of this.opened.splice(0)) (await engine).duckdb.close()
  }
}
