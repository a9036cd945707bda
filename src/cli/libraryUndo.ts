/** Takes runs back: of `library import`, `add` and `delete`, and of `sync import`, which has it as an option too. */
import { printable } from '../core/errors.ts'
import type { SyncUndoSummary } from '../index.ts'
import { defineCommand } from './command.ts'
import type { Io } from './io.ts'

export const libraryUndoCommand = defineCommand({
  name: 'library undo',
  summary: 'Take back what a run of library import, add, delete or sync import did',
  details:
    'Fields become what they were, what the run made goes, what it took away comes back. What was changed later stays, and ' +
    'is counted. The undo is a change of its own: other sites get to know it by the next sync.',
  arguments: [{ name: '<run>', description: 'Number of the run: an import prints it, library show has it.' }],
  options: {},
  examples: [
    { line: 'library undo ff6bc7b1-c801-4c48-914d-d34b3d4c2247', note: 'As if that file had not been imported' },
  ],
  exits: ['conflict', 'store'],
  async run([run], _options, io) {
    const { sync } = await io.open()
    const undone = await sync.undo(run!)
    if (io.json) io.emit(undone)
    else printUndo(io, undone)
    return undefined
  },
})

export function printUndo(io: Io, { undone, run, report, bundle, later }: SyncUndoSummary): void {
  io.print(`Run ${printable(undone)} is undone, by run ${run}.`)
  for (const { table, deleted, restored, kept } of report.tables)
    if (deleted + restored + kept > 0)
      io.print(
        `  ${table}: ${deleted} taken away, ${restored} brought back, ${kept} kept since they were changed later`,
      )
  if (bundle !== null) io.print(`  ${printable(bundle)} can be imported again.`)
  for (const { name } of later) io.print(`  ${printable(name)} came later; import it again too.`)
}
