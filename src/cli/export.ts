import { ColdtrailError, printable } from '../core/errors.ts'
import { countText } from '../core/terminalText.ts'
import { choiceOr, defineCommand, integer, text } from './command.ts'

export const exportCommand = defineCommand({
  name: 'export',
  summary: 'Write tags and reports into a copy of a plaso timeline',
  details:
    'The timeline is the file that was collected, told by its bytes; it is only read. Labels join those that its events have, ' +
    'and are counted anew; each run becomes a session with its reports. plaso reads the copy as one of its own.',
  arguments: [{ name: '<file>', description: 'A .plaso file that was collected.' }],
  options: {
    format: choiceOr(['plaso-tags'], 'plaso-tags', 'What is written.'),
    run: integer('RUN', 'Only this run; default all but those that came with timelines.', 1),
    out: text('FILE', 'Name of the copy; the default is <name>.tagged.plaso in the current directory.'),
    collection: text('NAME', 'Collection that holds the timeline; the default is main.'),
  },
  examples: [
    { line: 'export host.plaso', note: 'Every label of every run, into host.tagged.plaso' },
    { line: 'export host.plaso --format plaso-tags --run 3 --out /tmp/host.plaso', note: 'Those of one run' },
  ],
  exits: ['store', 'incomplete', 'refused'],
  async run([file], { format: _, run, out, collection }, io) {
    if (file === undefined) throw new ColdtrailError('E_USAGE', { message: 'Name a timeline.' })
    const coldtrail = await io.open()
    const written = await coldtrail.analysis.exportPlasoTags({ file, out, run, collection })
    if (io.json) io.emit({ type: 'export', ...written })
    else
      io.print(
        `Wrote ${printable(written.out)}: ${countText(written.labels, 'new label')} of ${countText(written.events, 'event')}, ` +
          `${countText(written.reports, 'report')} of ${countText(written.runs.length, 'run')}.`,
      )
    return undefined
  },
})
