/** Manifests as one Parquet file, a row each, for other engines; `manifest` has the whole of it as JSON. */
import type { ImportedManifest } from '../importedManifests.ts'
import type { Manifest } from '../manifest.ts'
import { fieldOf, MANIFEST_FIELDS } from '../manifestFields.ts'
import type { ParquetColumn } from './fileWriter.ts'
import { type Cell, writeRowFile } from './rowFile.ts'

/** Columns are the fields of manifests under their names; labels are joined by commas. Answers the number of rows. */
export async function exportManifests(
  found: AsyncIterable<{ readonly manifest: Manifest | ImportedManifest; readonly by: string }>,
  path: string,
): Promise<number> {
  const columns = [...MANIFEST_FIELDS.columns, { name: 'manifest', type: 'text' } as const].map(
    ({ name, type }, at): ParquetColumn => ({
      name,
      fieldId: at + 1,
      type: type === 'ip' ? 'text' : type,
      nullable: true,
    }),
  )
  async function* rows(): AsyncGenerator<Cell[]> {
    for await (const { manifest, by } of found)
      yield columns.map(({ name }) => {
        if (name === 'manifest') return JSON.stringify(manifest)
        const value = fieldOf(manifest, by, name)
        if (Array.isArray(value)) return value.join(',')
        return typeof value === 'number' || typeof value === 'string' ? value : null
      })
  }
  return writeRowFile(path, columns, rows(), { 'coldtrail.file': 'manifests/1' })
}
