/**
 * The report of an import: text for people and the same as JSON, written in every case (P34, P46). Values come from
 * another site: control characters are escaped, and in the text what a spreadsheet would take for a formula (S6).
 */
import { basename, join } from 'node:path'
import { printable } from '../../core/errors.ts'
import { bytesText, countText, textTable } from '../../core/terminalText.ts'
import { writeDurably } from '../../platform/files.ts'
import type { ImportSummary } from './summary.ts'

/** `tqSync-….tar.gz` -> `tqSync-…-sync-import`: of the file's own name, never of one that stands in it. */
export function reportName(file: string): string {
  const name = basename(file).replace(/(\.tar)?(\.gz)?(\.age)?(\.part\d+)?$/i, '')
  return `${name === '' ? 'bundle' : name}-sync-import`
}

/** Both files; an earlier report of the same bundle is replaced. E_FILE_WRITE. */
export function writeReports(directory: string, file: string, summary: ImportSummary) {
  const base = join(directory, reportName(file))
  const reports = { text: `${base}.txt`, json: `${base}.json` }
  const complete = { ...summary, error: summary.error?.toJSON(), reports }
  writeDurably(reports.json, `${JSON.stringify(complete, null, 2)}\n`)
  writeDurably(reports.text, `${reportLines({ ...summary, reports }).join('\n')}\n`)
  return reports
}

/** For people; no line is longer than WIDTH but by a value of one cell. */
export function reportLines(summary: ImportSummary): string[] {
  const { bundle, key, totals, shards, blobs, state, error } = summary
  const line = (name: string, value: string): string => `${`${name}:`.padEnd(16)}${value}`
  const lines = [
    'Coldtrail sync import',
    '',
    line('file', safe(summary.file, 1_000)),
    line('result', RESULTS[summary.result]),
    ...(summary.run === null ? [] : [line('run', summary.run)]),
    line('process', String(summary.pid)),
    line('started', summary.started),
    line('finished', summary.finished ?? ''),
  ]
  if (bundle) {
    lines.push(
      line(
        'bundle',
        `${safe(bundle.name)} (${bundle.kind}, number ${bundle.seq} of its stream, on ${bundle.base_seq})`,
      ),
      line('from site', safe(bundle.site)),
      line('for site', bundle.audience === null ? 'any' : safe(bundle.audience)),
      line('made', `${safe(bundle.created)} by ${safe(bundle.tool)}`),
      line('manifest', bundle.manifest_sha256),
    )
  }
  if (key)
    lines.push(
      line(
        'signed by',
        `${safe(key.id)}${key.pinned_now ? ', pinned by this import: compare it with the source' : ''}`,
      ),
    )
  if (summary.resumed_run !== undefined) lines.push(line('goes on with', `run ${summary.resumed_run}`))
  if (summary.skipped_bundles.length > 0) {
    const names = summary.skipped_bundles.map(({ name }) => safe(name)).join(', ')
    lines.push(line('made up for', `${names}: never imported here, covered by this bundle`))
  }
  if (error) {
    lines.push('', line('error', `${safe(error.message, 10_000)} (${error.code})`))
    if (error.hint !== '') lines.push(line('hint', error.hint))
  }

  lines.push(
    '',
    'Options',
    ...Object.entries(summary.options).map(([name, value]) => `  ${name} = ${safe(optionText(value), 1_000)}`),
  )
  lines.push(
    '',
    'Rows',
    `  ${countText(totals.staged, 'row')} read: ${totals.inserted} inserted, ${totals.updated} updated, ${totals.deleted} deleted, ` +
      `${totals.kept} kept, ${totals.quarantined} quarantined`,
    `  dump files: ${shards.loaded} loaded, ${shards.loaded_before} loaded by an earlier run, ${shards.ids_only} for their ids only, ` +
      `${shards.unchanged} unchanged and passed over`,
  )
  const tables = summary.tables.filter((table) => table.staged + table.deleted + table.kept + table.quarantined > 0)
  if (tables.length > 0) {
    const rows = tables.map((t) => [
      t.table,
      t.staged,
      t.inserted,
      t.updated,
      t.unchanged,
      t.deleted,
      t.kept,
      t.quarantined,
    ])
    const head = ['table', 'read', 'inserted', 'updated', 'unchanged', 'deleted', 'kept', 'quarantined']
    lines.push('', ...textTable(head, rows, WIDTH).map((text) => `  ${text}`))
  }
  if (blobs.stored + blobs.present + blobs.missing > 0) {
    lines.push('', 'Files', `  ${blobs.stored} stored, ${blobs.present} here before, ${blobs.missing} without content`)
    for (const name of blobs.missing_names) lines.push(`  without content: ${safe(name)}`)
  }
  if (summary.owners.length > 0) {
    lines.push('', 'Owners of investigations and tasks')
    for (const { object, field, owner, instead_of } of summary.owners)
      lines.push(
        `  ${safe(object)}: ${field} ${safe(owner)}${instead_of === undefined ? ' (as at the source)' : ` (instead of ${safe(instead_of)})`}`,
      )
  }
  if (summary.conflict_count > 0) {
    lines.push('', `Conflicts: ${summary.conflict_count}`)
    const rows = summary.conflicts
      .slice(0, MOST_CONFLICTS)
      .map((c) => [
        c.table,
        safe(c.name, 60),
        c.field,
        safe(c.local ?? '(none)', 60),
        safe(c.incoming ?? '(none)', 60),
        c.decision,
        c.reason,
      ])
    lines.push(
      ...textTable(['table', 'row', 'field', 'here', 'incoming', 'taken', 'why'], rows, WIDTH).map(
        (text) => `  ${text}`,
      ),
    )
    if (summary.conflict_count > rows.length) lines.push(`  … the JSON report has ${summary.conflicts.length} of them`)
  }
  if (summary.difference_count > 0) {
    lines.push('', `Fields that would change: ${summary.difference_count}`)
    const rows = summary.differences
      .slice(0, MOST_CONFLICTS)
      .map((d) => [d.table, safe(d.name, 60), d.field, safe(d.local ?? '(none)', 60), safe(d.incoming ?? '(none)', 60)])
    lines.push(...textTable(['table', 'row', 'field', 'here', 'incoming'], rows, WIDTH).map((text) => `  ${text}`))
    if (summary.difference_count > rows.length)
      lines.push(`  … the JSON report has ${summary.differences.length} of them`)
  }
  if (state) {
    lines.push('', 'State')
    if (state.identical) lines.push(`  identical with the source as of this bundle: ${state.digest}`)
    for (const { table, why } of state.different) lines.push(`  ${table} differs: ${why}`)
  }
  lines.push('', 'Performance')
  for (const { step, seconds } of summary.steps) lines.push(`  ${step.padEnd(16)}${seconds.toFixed(3)} s`)
  lines.push(
    `  ${'all'.padEnd(16)}${summary.seconds.toFixed(3)} s, ${summary.rows_per_s} rows/s, ${bytesText(summary.peak_rss_mb * 1e6)} of memory at most`,
  )
  return lines
}

// --- internal ---

const WIDTH = 160
const MOST_CONFLICTS = 1_000

const RESULTS = {
  imported: 'imported',
  unchanged: 'imported; everything in it was here already',
  known: 'this bundle is in already: nothing was read, nothing was done',
  'dry run': 'dry run: nothing was written to the library',
  failed: 'failed; nothing of it is visible in the library',
} as const satisfies Record<ImportSummary['result'], string>

const optionText = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

/** Escaped, bounded, and no formula. */
function safe(text: string, most = 200): string {
  const shown = printable(text, most)
  return /^[=+\-@\t]/.test(shown) ? `'${shown}` : shown
}
