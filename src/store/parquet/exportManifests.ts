/** Manifests as one Parquet file, a row each, for other engines; `manifest` has the whole of it as JSON. */
import { createDurableFile } from '../../platform/files.ts'
import type { ImportedManifest } from '../importedManifests.ts'
import type { Manifest } from '../manifest.ts'
import { fieldOf, MANIFEST_FIELDS } from '../manifestFields.ts'
import { type ParquetColumn, ParquetFileWriter } from './fileWriter.ts'
import { RowTable } from './rowTable.ts'

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
  const file = createDurableFile(path)
  let count = 0
  try {
    const parquet = new ParquetFileWriter(file, columns, { 'coldtrail.file': 'manifests/1' })
    const table = new RowTable(columns)
    for await (const { manifest, by } of found) {
      table.add(
        columns.map(({ name }) => {
          if (name === 'manifest') return JSON.stringify(manifest)
          const value = fieldOf(manifest, by, name)
          if (Array.isArray(value)) return value.join(',')
          return typeof value === 'number' || typeof value === 'string' ? value : null
        }),
      )
      count += 1
      if (table.rows === ROW_GROUP) table.flush(parquet)
    }
    table.flush(parquet)
    parquet.finish()
    file.publish()
  } catch (error) {
    file.discard()
    throw error
  }
  return count
}

// --- internal ---

const ROW_GROUP = 10_000
