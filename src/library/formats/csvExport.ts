/** The library as CSV, in pieces: a record an object. */
import type { Library } from '../library.ts'
import { CSV_HEADER, csvRecordOf } from './csvRows.ts'
import { EXPORT_ORDER, objectPages, readNames } from './libraryRows.ts'
import type { ExportCounts, ExportOptions } from './stixExport.ts'
import { BUNDLE_CODE } from './stixImport.ts'

export async function* exportCsv(
  library: Library,
  options: ExportOptions & { readonly asText: (text: string) => string },
  counts: ExportCounts,
): AsyncGenerator<string> {
  const { selects = () => true, asText, signal, onProgress } = options
  const names = await readNames(library)
  yield CSV_HEADER
  for (const table of EXPORT_ORDER)
    for await (const page of objectPages(library, table, names)) {
      signal?.throwIfAborted()
      const chosen = page.filter((object) => object.code !== BUNDLE_CODE && selects(object))
      counts.objects += chosen.length
      if (chosen.length > 0) yield chosen.map((object) => csvRecordOf(object, asText)).join('')
      onProgress?.(counts)
    }
}
