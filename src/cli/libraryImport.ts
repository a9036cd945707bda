/** Files of threat intelligence into the library. */
import { EXIT, printable } from '../core/errors.ts'
import { countText } from '../core/terminalText.ts'
import type { LibraryImportSummary as ImportSummary } from '../index.ts'
import { choiceOr, defineCommand, flag, text } from './command.ts'
import { withSteps } from './progress.ts'

export const libraryImportCommand = defineCommand({
  name: 'library import',
  summary: 'Take STIX 2.1 bundles, MISP events, ThreatQ exports, CSV and plain lists into the threat library',
  details:
    'A file is taken in whole or not at all, and becomes visible at once. Rows that cannot be taken are quarantined with ' +
    'their reason: library quarantine. A second import of the same file changes nothing.',
  arguments: [{ name: '<file…>', description: 'Files; - is standard input.' }],
  options: {
    format: choiceOr(['auto', 'stix', 'misp', 'threatq', 'csv', 'list'], 'auto', 'Form of the files.'),
    source: text('NAME', 'Who told it; by default what the file says of itself, else its name.'),
    tlp: text('TLP', 'How far rows may go whose file does not say so: white (clear), green, amber, amber+strict, red.'),
    mirror: flag('Delete what the same source brought earlier and has no longer, unless another brought it too.'),
    dryRun: flag('Say what would change, and write nothing.'),
  },
  examples: [
    { line: 'library import threats.stix.json --source example-feed --tlp green', note: 'A STIX bundle' },
    { line: 'library import ics-attack-18.1.json --mirror', note: 'The next release of ATT&CK, removals included' },
    { line: 'library import indicators.txt --source helpdesk --dry-run', note: 'What a list would bring' },
    { line: 'library import export/*.json --format threatq --source threatq', note: 'Pages of ThreatQ’s API' },
    { line: 'library import - --format csv --source partner', note: 'CSV on standard input' },
  ],
  exits: ['partial', 'conflict', 'store', 'refused'],
  async run(files, { format, source, tlp, mirror, dryRun }, io) {
    const coldtrail = await io.open()
    const summaries = await withSteps(io, 'importing', (onProgress) =>
      coldtrail.library.import({ files, format, source, tlp, mirror, dryRun, signal: io.signal, onProgress }),
    )
    for (const summary of summaries) {
      if (io.json) io.emit({ type: 'import', ...summaryJson(summary) })
      else for (const line of summaryLines(summary)) io.print(line)
    }
    return summaries.some(({ quarantined }) => quarantined > 0) ? EXIT.partial : EXIT.ok
  },
})

// --- internal ---

function summaryJson(summary: ImportSummary): object {
  const { dryRun, tables, ...rest } = summary
  return {
    ...rest,
    dry_run: dryRun,
    tables: Object.fromEntries(tables.map(({ table, staged: _, ...counts }) => [table, counts])),
  }
}

function summaryLines(summary: ImportSummary): string[] {
  const { source, read, inserted, updated, unchanged, deleted, quarantined, conflicts, dryRun, refusals, run } = summary
  const lines = [
    `${printable(source)}: read ${countText(read.objects, 'object')} and ${countText(read.links, 'link')}.`,
    `  ${dryRun ? 'would be ' : ''}added ${countText(inserted, 'row')}, changed ${updated.toLocaleString('en-US')}, ` +
      `deleted ${deleted.toLocaleString('en-US')}, unchanged ${unchanged.toLocaleString('en-US')}`,
  ]
  if (conflicts > 0) lines.push(`  ${countText(conflicts, 'field')} edited here met another value`)
  if (quarantined > 0) {
    lines.push(`  ${dryRun ? 'would be ' : ''}quarantined ${countText(quarantined, 'row')}:`)
    for (const { place, reason } of refusals.slice(0, 5))
      lines.push(`    ${printable(place, 100)}: ${printable(reason, 200)}`)
    if (!dryRun) lines.push('    ./coldtrail library quarantine shows all')
  }
  if (!dryRun && inserted + updated + deleted > 0) lines.push(`  run ${run}`)
  return lines
}
