/** `sync export`, and the original's name for it. */
import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { bytesText, countText } from '../core/terminalText.ts'
import type { SyncExportSummary } from '../index.ts'
import { type Command, defineCommand, flag, integerOr, text, texts } from './command.ts'
import type { Io } from './io.ts'
import { withSteps } from './progress.ts'
import { memory, size, yesNo } from './syncOptions.ts'

const exportCommandOf = (name: string, summary: string, details: string): Command =>
  defineCommand({
    name,
    summary,
    details,
    options: {
      target: text('DIR', 'Where the bundle goes, made when missing: absolute, or below the transfer directory.'),
      startDate: text('TIME', 'Objects updated then or later, "YYYY-MM-DD hh:mm:ss" UTC; without dates, what changed.'),
      endDate: text('TIME', 'Objects updated before it; their context and links go whatever their dates.'),
      includeDeleted: yesNo(false, 'Soft-deleted rows go as rows too; that they are gone travels in any case.'),
      includeInvestigations: yesNo(false, 'Investigations and tasks, with all that hangs on them.'),
      ignoreFileTypes: texts('TYPES', 'File types whose contents stay out, separated by commas; their rows travel.'),
      objectLimit: integerOr('N', 50_000, 'Rows of a dump file, 50000 at most.', 1),
      memoryLimit: memory('2G', 'Memory above which the run ends.'),
      tlp: text(
        'TLP',
        'Ceiling: white, green, amber, amber+strict or red. What is above it stays out, or goes as a stub.',
      ),
      where: text(
        'EXPRESSION',
        "Only objects that match, with their context and the links between them: tag == 'phishing'.",
      ),
      full: flag('Everything, whatever was exported before.'),
      delta: flag('What came after the last acknowledged bundle; refused when there is none.'),
      differential: flag('What came after the last full bundle.'),
      audience: text('SITE', 'Only that site may import it; by default any.'),
      sign: texts('FILE', 'Private Ed25519 key (PEM) that signs beside the key of the site.'),
      encryptTo: texts('RECIPIENT', 'age recipient (age1…) or file of them.'),
      splitSize: size('Size of the parts that the bundle is written in, for media that are smaller.'),
      stateDigests: {
        ...yesNo(true, ''),
        description:
          'State digests in a full bundle, by which the target proves that it holds the same. The default is Y up to 200,000 rows, else N: sync state compares too.',
      },
      expires: text('TIME', 'It is not to be imported after that.'),
    },
    examples: [
      { line: name, note: 'Into the transfer directory: all at first, later what changed' },
      { line: `${name} --target=/media/usb`, note: 'To a stick' },
      {
        line: `${name} --start-date="2018-01-01 00:00:00" --end-date="2018-01-02 00:00:00" --target=one-day`,
        note: 'A window of dates',
      },
      { line: `${name} --tlp green --audience high --split-size 4G`, note: 'Within a ceiling, for one site, in parts' },
    ],
    exits: ['conflict', 'store'],
    async run(_args, options, io) {
      const chosen = (['full', 'delta', 'differential'] as const).filter((base) => options[base])
      if (chosen.length > 1)
        throw new ColdtrailError('E_USAGE', { message: `--${chosen[0]} and --${chosen[1]} do not go together.` })
      const { full: _full, delta: _delta, differential: _differential, ...given } = options
      const coldtrail = await io.open()
      const summary = await withSteps(io, 'exporting', (onProgress) =>
        coldtrail.sync.export({
          ...given,
          memoryLimit: given.memoryLimit ?? MEMORY_LIMIT,
          base: chosen[0] ?? 'auto',
          signal: io.signal,
          onProgress,
        }),
      )
      if (io.json) io.emit({ ...summary, error: summary.error?.toJSON() })
      else printSummary(io, summary)
      if (summary.error) throw summary.error
      return EXIT.ok
    },
  })

const MEMORY_LIMIT = 2 * 2 ** 30

export const syncExportCommand = exportCommandOf(
  'sync export',
  'Write what other sites need of the threat library into a bundle',
  'The first bundle of a configuration holds everything; later ones what changed since the last full one, or, once acknowledgements ' +
    'came back, since the last acknowledged. The library stays in use. A report is written beside the bundle.',
)

export const threatqExportCommand = exportCommandOf(
  'threatq:sync-export',
  'sync export under the original’s name',
  'As sync export, with the same defaults.',
)

// --- internal ---

function printSummary(io: Io, summary: SyncExportSummary): void {
  const { bundle, totals, files, excluded, search, reports } = summary
  if (bundle && summary.result === 'exported') {
    const base = bundle.base_seq === 0 ? '' : `, on number ${bundle.base_seq}`
    io.print(`${bundle.name}: ${bundle.kind}, number ${bundle.seq} of its stream${base}.`)
    io.print(
      `${countText(totals.rows, 'row')}, ${totals.deleted} deleted, ${countText(totals.blobs, 'file')}; ` +
        `${bytesText(totals.compressed_bytes)}, ${summary.seconds.toFixed(1)} s.`,
    )
    for (const [why, rows] of Object.entries(excluded)) if (rows > 0) io.print(`  ${rows} ${EXCLUDED[why] ?? why}`)
    if (summary.missing_blobs > 0) io.print(`  ${countText(summary.missing_blobs, 'file')} without content here`)
    if (search) {
      io.print(`  ${countText(search.values, 'value')} above the ceiling looked for in the bundle: none leaves`)
      if (search.mentions > 0)
        io.print(
          io.style(
            'yellow',
            `  ${countText(search.mentions, 'text')} within the ceiling mention one; the report names them`,
          ),
        )
    }
    for (const file of files) io.print(printable(file, 1_000))
  }
  if (reports) io.print(`Report ${printable(reports.text, 1_000)}`)
}

const EXCLUDED: Readonly<Record<string, string>> = {
  investigations: 'investigations and tasks stay out',
  file_type: 'files go without their contents',
  tlp: 'rows are above the ceiling',
  stubs: 'of these go as stubs, since others refer to them',
  without_tlp: 'source rows have no TLP and pass every ceiling',
  where: 'objects do not match',
}
