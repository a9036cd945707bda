import { EXIT, printable } from '../core/errors.ts'
import { textTable } from '../core/terminalText.ts'
import type { RunSummary } from '../index.ts'
import { defineCommand, integerOr } from './command.ts'

export const syncRunsCommand = defineCommand({
  name: 'sync runs',
  summary: 'List the runs of sync, or show one in full',
  details:
    'A run that failed has its reason, one that died says so. Of an import: the rows that came by it; sync import --undo takes it back.',
  arguments: [{ name: '[run]', description: 'Number of a run, or its beginning: everything that is known of it.' }],
  options: { limit: integerOr('N', 50, 'At most so many, newest first.', 1) },
  examples: [
    { line: 'sync runs', note: 'Newest first' },
    { line: 'sync runs --json --limit 1', note: 'The last one' },
  ],
  exits: ['store'],
  async run([run], { limit }, io) {
    const { sync } = await io.open()
    if (run === undefined) {
      const runs = await sync.runs(limit)
      if (io.json) for (const one of runs) io.emit({ ...one, ...timesOf(one) })
      else if (runs.length === 0) io.note('No run of sync yet.')
      else for (const line of textTable(HEAD, runs.map(cells), io.width)) io.print(line)
      return EXIT.ok
    }
    const details = await sync.run(run)
    const shown = { ...details, ...timesOf(details) }
    if (io.json) io.emit(shown)
    else for (const line of JSON.stringify(shown, null, 2).split('\n')) io.print(printable(line, 10_000))
    return EXIT.ok
  },
})

// --- internal ---

const HEAD = ['run', 'type', 'state', 'started', 'bundle', 'kind', 'number', 'acknowledged by']

const isoTime = (microseconds: number): string => new Date(microseconds / 1_000).toISOString()

const timesOf = ({ startedAt, finishedAt }: RunSummary) => ({
  startedAt: isoTime(startedAt),
  finishedAt: finishedAt === null ? null : isoTime(finishedAt),
})

function cells({ run, type, state, died, startedAt, bundle }: RunSummary): string[] {
  return [
    run,
    type,
    died ? 'died' : state,
    isoTime(startedAt),
    bundle?.name ?? '',
    bundle?.kind ?? '',
    bundle === undefined ? '' : String(bundle.seq),
    bundle?.acknowledged?.join(', ') ?? bundle?.site ?? '',
  ]
}
