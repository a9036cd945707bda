/**
 * The report of an export, as text and JSON: one inside the bundle for who gets it, without paths of this site; one beside
 * it, complete, written in every case (P15, §1.9).
 */
import { join } from 'node:path'
import { printable } from '../../core/errors.ts'
import { bytesText, countText, textTable } from '../../core/terminalText.ts'
import { writeDurably } from '../../platform/files.ts'
import type { ExportSummary } from './summary.ts'

/** Beside the bundle: `<bundle>-sync-export.txt` and `.json`. E_FILE_WRITE. */
export function writeReports(directory: string, name: string, summary: ExportSummary) {
  const base = join(directory, `${name}-sync-export`)
  const reports = { text: `${base}.txt`, json: `${base}.json` }
  const complete = { ...summary, reports }
  writeDurably(reports.json, `${JSON.stringify({ ...complete, error: summary.error?.toJSON() }, null, 2)}\n`)
  writeDurably(reports.text, `${reportLines(complete).join('\n')}\n`)
  return reports
}

/** What travels: what is in the bundle and what stayed out, and nothing of where it was made. */
export function travellingReport(summary: ExportSummary): { readonly text: string; readonly json: string } {
  const { bundle, tables, totals, excluded, missing_blobs } = summary
  const report = { type: summary.type, bundle: { ...bundle, manifest_sha256: undefined }, tables, totals, excluded }
  const lines = [...headLines(summary), ...rowLines(summary)]
  return {
    text: `${lines.join('\n')}\n`,
    json: `${JSON.stringify({ ...report, missing_blobs }, null, 2)}\n`,
  }
}

export function reportLines(summary: ExportSummary): string[] {
  const { error, search } = summary
  const lines = [...headLines(summary)]
  lines.push(
    line('result', summary.result),
    line('run', summary.run),
    line('process', String(summary.pid)),
    line('started', summary.started),
    line('finished', summary.finished ?? ''),
    ...summary.files.map((file) => line('file', printable(file, 1_000))),
  )
  if (summary.bundle?.manifest_sha256) lines.push(line('manifest', summary.bundle.manifest_sha256))
  if (error) {
    lines.push('', line('error', `${printable(error.message, 10_000)} (${error.code})`))
    if (error.hint !== '') lines.push(line('hint', error.hint))
  }
  const options = Object.entries(summary.options).map(
    ([name, value]) => `  ${name} = ${printable(typeof value === 'string' ? value : JSON.stringify(value), 1_000)}`,
  )
  lines.push('', 'Options', ...options, ...rowLines(summary))
  if (search) {
    lines.push('', 'Search of the finished bundle for what is above the ceiling')
    lines.push(`  ${countText(search.values, 'value')} looked for, ${search.tooShort} too short to be`)
    lines.push(`  ${countText(search.mentions, 'mention')} in texts within the ceiling`)
    for (const { entry, table, uid } of search.places) lines.push(`  ${entry}: ${table} ${uid}`)
  }
  lines.push('', 'Performance')
  for (const { step, seconds } of summary.steps) lines.push(`  ${step.padEnd(16)}${seconds.toFixed(3)} s`)
  lines.push(
    `  ${'all'.padEnd(16)}${summary.seconds.toFixed(3)} s, ${summary.rows_per_s} rows/s, ${bytesText(summary.peak_rss_mb * 1e6)} of memory at most`,
  )
  lines.push('', 'Log', ...summary.log.map((text) => `  ${printable(text, 1_000)}`))
  return lines
}

// --- internal ---

const WIDTH = 160

const line = (name: string, value: string): string => `${`${name}:`.padEnd(16)}${value}`

function headLines({ bundle }: ExportSummary): string[] {
  const lines = ['Coldtrail sync export', '']
  if (!bundle) return lines
  const { name, site, audience, kind, seq, base_seq, created, horizon } = bundle
  lines.push(
    line('bundle', `${name} (${kind}, number ${seq} of its stream, on ${base_seq})`),
    line('from site', site),
    line('for site', audience ?? 'any'),
    line('made', created),
    line('complete to', `change ${horizon}`),
  )
  return lines
}

const EXCLUDED: Readonly<Record<string, string>> = {
  investigations: 'investigations and tasks (--include-investigations=Y takes them)',
  file_type: 'files whose content stays out by their type',
  tlp: 'rows above the ceiling',
  stubs: 'objects above the ceiling that go as stubs without their contents',
  without_tlp: 'source rows without a TLP: they pass every ceiling',
  where: 'objects that the expression does not match',
}

function rowLines({ tables, totals, excluded, missing_blobs }: ExportSummary): string[] {
  const lines = [
    '',
    'Rows',
    `  ${countText(totals.rows, 'row')}, ${totals.deleted} deleted, ${countText(totals.blobs, 'file')}, ${bytesText(totals.bytes)}`,
  ]
  if (missing_blobs > 0) lines.push(`  ${countText(missing_blobs, 'file')} whose content is not here`)
  if (tables.length > 0) {
    const rows = tables.map((table) => [table.table, table.rows, table.deleted, table.files])
    lines.push('', ...textTable(['table', 'rows', 'deleted', 'files'], rows, WIDTH).map((text) => `  ${text}`))
  }
  const out = Object.entries(excluded).filter(([, rows]) => rows > 0)
  if (out.length > 0) lines.push('', 'Not included', ...out.map(([why, rows]) => `  ${rows} ${EXCLUDED[why] ?? why}`))
  return lines
}
