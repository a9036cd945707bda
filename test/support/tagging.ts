/** Runs as an analysis would make them: tag files and findings of given events, committed. */

import { join } from 'node:path'
import type { Catalog, Owner, RunRequest, SegmentRow } from '../../src/store/catalog.ts'
import { DuckDb } from '../../src/store/duckdb.ts'
import { type FindingHit, sealFindings } from '../../src/store/findings.ts'
import { type TagFile, TagFileWriter, type TagKind } from '../../src/store/tags.ts'

export type Tag = TagKind & { readonly id: number }

export const tag = (id: number, label: string, plugin = 'tagging', rule = `${label}_rule`): Tag => ({
  ...{ id, label, plugin, rule },
})

export const runRequest = (segments: readonly SegmentRow[], more: Partial<RunRequest> = {}): RunRequest => ({
  ...{ collection: 'main', kind: 'analyze', expression: '', mode: 'strict', time1: null, time2: null, taskRows: 10 },
  plugins: [{ name: 'tagging', version: 1, options: {} }],
  segments: segments.map(({ segment, rows }) => ({ segment, rows })),
  ...{ commandLine: 'coldtrail analyze', producer: 'coldtrail/test' },
  ...more,
})

/** Tag files of a begun run: each tag in the first segment whose ids enclose it. */
export function writeTags(run: number, segments: readonly SegmentRow[], tags: readonly Tag[]): TagFile[] {
  return segments.flatMap((segment) => {
    const own = tags.filter(({ id }) => segment.id1 !== null && id >= segment.id1 && id <= segment.id2!)
    const writer = new TagFileWriter({ segment, run, producer: 'coldtrail/test' })
    if (own.length > 0)
      writer.add(
        own,
        Float64Array.from(own, ({ id }) => id),
        Uint32Array.from(own, (_, i) => i),
      )
    return writer.seal() ?? []
  })
}

export interface RunParts {
  readonly catalog: Catalog
  readonly owner: Owner
  readonly dataDir: string
}

/** A whole run over live segments. Answers its number. */
export async function analyse(
  { catalog, owner, dataDir }: RunParts,
  tags: readonly Tag[],
  hits: readonly FindingHit[] = [],
  collection = 'main',
): Promise<number> {
  const segments = await catalog.segments({ collection, state: 'live' })
  const run = await catalog.beginRun(owner, runRequest(segments, { collection }))
  const tagFiles = writeTags(run, segments, tags)
  const directories = [dataDir, ...segments.map(({ directory }) => directory)]
  const duckdb = await DuckDb.open({ directories, tempDirectory: join(dataDir, 'spill') })
  try {
    const findings = await sealFindings({ catalog, duckdb, collection, run, segments, hits })
    const report = { plugins: [{ name: 'tagging', counters: [['tags', tags.length]] }] }
    await catalog.commitRun(owner, {
      run,
      state: 'finished',
      tagFiles,
      findings,
      report,
      counters: { tags: tags.length },
    })
    return run
  } finally {
    duckdb.close()
  }
}

export const hit = (event: number, label: string, more: Partial<FindingHit> = {}): FindingHit => ({
  ...{ event, label, plugin: 'sigma', rule: `${label}_rule`, severity: 'high', title: `Found ${label}` },
  ...more,
})
