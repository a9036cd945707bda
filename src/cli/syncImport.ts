/** `sync import`, and the original's name for it with the original's defaults. */
import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { countText } from '../core/terminalText.ts'
import type { SyncImportSummary } from '../index.ts'
import { type Command, choice, defineCommand, flag, integerOr, text, texts } from './command.ts'
import type { Io } from './io.ts'
import { printUndo } from './libraryUndo.ts'
import { withSteps } from './progress.ts'
import { memory, yesNo } from './syncOptions.ts'

interface Form {
  readonly name: string
  readonly summary: string
  readonly details: string
  readonly conflicts: 'newest' | 'source'
  readonly deletions: 'sync-created-only' | 'report'
}

const MEMORY_LIMIT = 2 * 2 ** 30

const importCommandOf = (form: Form): Command =>
  defineCommand({
    name: form.name,
    summary: form.summary,
    details: form.details,
    options: {
      file: text('FILE', 'The bundle (or a part of it): absolute, or relative to the transfer directory.'),
      keepCreatedAt: yesNo(
        true,
        'Y: the older created_at of both sides wins, and a new row keeps the source’s. N: an existing one stays, a new row gets now.',
      ),
      objectLimit: integerOr('N', 1_000, 'Rows inserted at a time.', 1),
      memoryLimit: memory('2G', 'Memory above which the run ends; the next one goes on.'),
      overrideDescription: yesNo(
        true,
        'Replace descriptions of existing rows. Missing ones are filled in either case.',
      ),
      dryRun: flag('Show what would be done, field by field; the library is left as it is.'),
      resume: flag('Go on where a run of this bundle ended: done anyway, unless --restart is given.'),
      restart: flag('Begin anew instead.'),
      deletions: choice(
        ['sync-created-only', 'apply', 'unpublish', 'report'],
        `What becomes of rows that the source deleted; the default is ${form.deletions}.`,
      ),
      conflicts: choice(
        ['newest', 'source'],
        `Whose field wins where both sides have one; the default is ${form.conflicts}. newest keeps what was edited here, and reports it.`,
      ),
      trust: texts('KEY', 'Id or file of a key that the site of the bundle is trusted by from now on.'),
      identity: texts('FILE', 'age identity for an encrypted bundle.'),
      userMap: text('FILE', 'CSV with from,to: users of the source and who owns their investigations here.'),
      reportDir: text('DIR', 'Where the reports go; the default is the current directory.'),
      undo: text('RUN', 'Take a run back instead of importing; its number is in sync runs.'),
    },
    examples: [
      {
        line: `${form.name} --file=imports/tqSync-19-01-16-1547660837-8345.tar.gz`,
        note: 'From the transfer directory',
      },
      {
        line: `${form.name} --file=/media/usb/tqSync-19-01-16-1547660837-8345.tar.gz --dry-run`,
        note: 'What would change, field by field',
      },
      {
        line: `${form.name} --file=imports/tqSync-19-01-16-1547660837-8345.tar.gz --keep-created-at=N --object-limit=50000`,
        note: 'In larger batches, with dates of import',
      },
    ],
    exits: ['partial', 'conflict', 'store'],
    async run(_args, options, io) {
      const coldtrail = await io.open()
      if (options.undo !== undefined) {
        const undone = await coldtrail.sync.undo(options.undo)
        if (io.json) io.emit(undone)
        else printUndo(io, undone)
        return EXIT.ok
      }
      const { file } = options
      if (file === undefined || file === '')
        throw new ColdtrailError('E_USAGE', { message: '--file is needed: the bundle to be imported.' })
      const summary = await withSteps(io, 'importing', (onProgress) =>
        coldtrail.sync.import({
          file,
          keepCreatedAt: options.keepCreatedAt ?? true,
          overrideDescription: options.overrideDescription ?? true,
          objectLimit: options.objectLimit,
          memoryLimit: options.memoryLimit ?? MEMORY_LIMIT,
          dryRun: options.dryRun,
          resume: !options.restart,
          deletions: options.deletions ?? form.deletions,
          conflicts: options.conflicts ?? form.conflicts,
          trust: options.trust,
          identities: options.identity,
          userMap: options.userMap,
          reportDir: options.reportDir,
          signal: io.signal,
          onProgress,
        }),
      )
      if (io.json) io.emit({ ...summary, error: summary.error?.toJSON() })
      else printSummary(io, summary)
      if (summary.error) throw summary.error
      return summary.totals.quarantined > 0 ? EXIT.partial : EXIT.ok
    },
  })

export const syncImportCommand = importCommandOf({
  name: 'sync import',
  summary: 'Take in a bundle that another site exported',
  details:
    'The whole file is verified before anything is written; the library stays in use, and sees the rows of a run all at ' +
    'once. A bundle that is in already is answered at once; a run that died is gone on with. Reports are written in every case.',
  conflicts: 'newest',
  deletions: 'sync-created-only',
})

export const threatqImportCommand = importCommandOf({
  name: 'threatq:sync-import',
  summary: 'sync import under the original’s name, with its defaults',
  details: 'As sync import, but the source wins, and deletions are reported only.',
  conflicts: 'source',
  deletions: 'report',
})

// --- internal ---

function printSummary(io: Io, summary: SyncImportSummary): void {
  const { bundle, totals, result, state, key, blobs } = summary
  const name = bundle ? printable(bundle.name) : printable(summary.file)
  if (key?.pinned_now) {
    const pinned = result === 'dry run' ? 'an import would pin its key' : 'pinned now is its key'
    io.print(
      `First bundle of site ${printable(bundle!.site)}: ${pinned} ${printable(key.id)}. Compare it with the source.`,
    )
  }
  for (const { name: skipped, seq } of summary.skipped_bundles)
    io.print(`Bundle ${printable(skipped)} (number ${seq}) was never imported here; this one covers it.`)
  if (summary.resumed_run !== undefined) io.print(`Went on where run ${summary.resumed_run} ended.`)
  if (result === 'known') io.print(`${name} is in already; there is nothing to do.`)
  else if (result !== 'failed') {
    const done = result === 'dry run' ? 'would be ' : ''
    io.print(
      `${name}: ${countText(totals.staged, 'row')} read; ${done}${totals.inserted} inserted, ${totals.updated} updated, ` +
        `${totals.deleted} deleted; ${totals.kept} kept, ${totals.quarantined} quarantined; ` +
        `${countText(summary.conflict_count, 'conflict')}. ${summary.seconds.toFixed(1)} s, ${summary.rows_per_s} rows/s.`,
    )
    for (const conflict of summary.conflicts.slice(0, MOST_CONFLICTS)) {
      const { table, name, field, local, incoming, decision, reason } = conflict
      const sides = `${printable(local ?? '(none)', 60)} here, ${printable(incoming ?? '(none)', 60)} incoming`
      io.print(`  ${table} ${printable(name, 60)} ${field}: ${sides}; ${decision} (${reason})`)
    }
    if (summary.conflict_count > MOST_CONFLICTS) io.print('  … all of them are in the report')
    for (const { table, name, field, local, incoming } of summary.differences.slice(0, MOST_CONFLICTS))
      io.print(
        `  ${table} ${printable(name, 60)} ${field}: ${printable(local ?? '(none)', 60)} -> ${printable(incoming ?? '(none)', 60)}`,
      )
    if (summary.difference_count > MOST_CONFLICTS)
      io.print(`  … ${summary.difference_count} fields would change; they are in the report`)
    if (blobs.missing > 0) io.print(`${countText(blobs.missing, 'file')} came without content.`)
    if (state?.identical) io.print(`Identical with the source as of this bundle: ${state.digest}`)
    for (const { table, why } of state?.different ?? []) io.print(`${table} differs from the source: ${why}.`)
  }
  if (summary.run !== null) io.print(`Run ${summary.run}`)
  if (summary.reports) io.print(`Report ${printable(summary.reports.text, 1_000)}`)
}

const MOST_CONFLICTS = 20
