/** The fields of manifests as words of the expression language; `data.` reaches everything else in a manifest. */
import type { QueryColumn, Vocabulary } from '../query/expression.ts'
import type { ImportedManifest } from './importedManifests.ts'
import type { Manifest } from './manifest.ts'

const column = (name: string, type: QueryColumn['type'], several?: true): QueryColumn => ({
  ...{ name, type, aliases: [], indexed: false },
  ...(several ? { several } : {}),
})

export const MANIFEST_FIELDS: Vocabulary = {
  columns: [
    ...['filename', 'kind', 'collection', 'format', 'day', 'compression', 'producer', 'sha256', 'schema'].map((name) =>
      column(name, 'text'),
    ),
    ...['service', 'origin', 'by'].map((name) => column(name, 'text')),
    column('label', 'text', true),
    ...['segment', 'size', 'id1', 'id2', 'session1', 'session2', 'metaId1', 'metaId2', 'packetId1', 'packetId2'].map(
      (name) => column(name, 'int'),
    ),
    ...['rows', 'rejects', 'rawBytes', 'run', 'missing', 'future'].map((name) => column(name, 'int')),
    ...['fileTime', 'sealTime', 'time1', 'time2', 'p01', 'p99'].map((name) => column(name, 'time')),
  ],
  elsewhere: {
    tier: 'where a file lies is not in its manifest; `tier status` and `manifest closure` say it',
    time: 'a manifest has time1 and time2; --time1 and --time2 search by overlap',
  },
}

/** Value of a field as the language has it: times in microseconds; undefined where the manifest has none. */
export function fieldOf(manifest: Manifest | ImportedManifest, by: string, name: string): unknown {
  if (name === 'by') return by
  const fields = manifest as unknown as Record<string, unknown>
  if (name === 'label') return fields.labels === undefined ? undefined : Object.keys(fields.labels as object)
  const value = FROM_TIMES.has(name) ? (manifest as Manifest).eventTime?.[name as 'p01'] : fields[name]
  return TIMES.has(name) && typeof value === 'number' ? value * 1e6 : value
}

// --- internal ---

const FROM_TIMES: ReadonlySet<string> = new Set(['p01', 'p99', 'missing', 'future'])
const TIMES: ReadonlySet<string> = new Set(
  MANIFEST_FIELDS.columns.filter(({ type }) => type === 'time').map(({ name }) => name),
)
