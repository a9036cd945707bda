import { ColdtrailError } from '../core/errors.ts'
import { parseGivenTime } from '../core/givenTime.ts'
import type { ManifestRequest } from '../index.ts'
import { choice, choiceOr, defineCommand, type Options, type OptionValues, text, texts } from './command.ts'
import type { Io } from './io.ts'
import { wordsByKey } from './manifestWords.ts'

export const WORDS_ARGUMENT = {
  name: '[words…]',
  description: 'As in NetWitness: time1="2014-04-20 11:00:00" time2=… timeFormat=simple.',
} as const

export const MANIFEST_OPTIONS = {
  time1: text('TIME', 'Start: "2023-07-10 11:00:00", "2023-Jul-10 11:00:00", POSIX seconds, -24h; UTC.'),
  time2: text('TIME', 'End.'),
  where: text('EXPRESSION', 'Only manifests for which this holds: "kind == \'meta\' and size > 1000000".'),
  collection: text('NAME', 'Only this collection, or several by comma; of a workbench the copies.'),
  directory: texts('PATH', 'Manifests of another store instead: a folder, a *.manifest file, tar, gz or zip.'),
} as const satisfies Options

const KEYS = ['op', 'time1', 'time2', 'timeFormat'] as const

export const manifestQueryCommand = defineCommand({
  name: 'manifest query',
  summary: 'Find the database files that overlap a time range, wherever they are',
  details:
    'Searches the manifests of every segment ever sealed, those of files that went offline included; replaced ones are ' +
    'not answered. Both ends belong to the range. Manifests of another store that lie in manifest_dir beside the ' +
    'collections count too. What was matched by its creation time, for want of times of its own, is marked by=fileTime; ' +
    'by=meta: the meta files that hold its events are known; by=unknown: it may hold anything since its creation. ' +
    'The original form (--separator space) has no marks.',
  arguments: [WORDS_ARGUMENT],
  options: {
    ...MANIFEST_OPTIONS,
    timeFormat: choice(['posix', 'simple'], 'Times of the answer: seconds, and with simple "2023-Jul-10 11:00:00".'),
    separator: choiceOr(['newline', 'space'], 'newline', 'Between records; space gives the one line of NetWitness.'),
  },
  examples: [
    {
      line: 'manifest query --time1 "2023-07-10 11:00:00" --time2 "2023-07-10 13:00:00" --time-format simple',
      note: 'Which files hold events of these two hours',
    },
    {
      line: 'manifest query time1="2014-04-20 11:00:00" time2="2014-04-20 11:20:00" timeFormat=simple',
      note: 'In the words of NetWitness; /database manifest op=query … is taken too',
    },
    {
      line: 'manifest query --time1 -30d --where "kind == \'log\'" --json',
      note: 'Raw logs of the last 30 days, whole manifests, one JSON object per line',
    },
  ],
  exits: ['store', 'partial'],
  async run(words, { timeFormat, separator, ...options }, io) {
    const given = wordsByKey(words, KEYS)
    const { printManifest } = await import('../store/manifestText.ts')
    const manifests = await io.openManifests(options.collection)
    const format = oneFormat(timeFormat ?? given.timeFormat)
    let problems = 0
    const request = {
      ...manifestRequest(given, options),
      onProblem: (problem: { readonly where: string; readonly reason: string }) => {
        problems += 1
        io.log('warn', 'no manifest', problem)
      },
    }
    let isFirst = true
    for await (const { manifest, by } of manifests.query(request)) {
      io.signal.throwIfAborted()
      if (io.json) io.emit({ ...manifest, by })
      else if (separator === 'newline') io.print(printManifest(manifest, { timeFormat: format, by }))
      else {
        io.write(Buffer.from(`${isFirst ? '' : ' '}${printManifest(manifest, { timeFormat: format })}`))
        isFirst = false
      }
    }
    if (!isFirst) io.print('')
    return tellProblems(problems, io)
  },
})

/** The request of words and flags together; what both give is E_USAGE. */
export function manifestRequest(
  given: Partial<Record<'op' | 'time1' | 'time2', string>>,
  { time1, time2, where, collection, directory }: OptionValues<typeof MANIFEST_OPTIONS>,
): ManifestRequest {
  for (const [key, flag] of [
    ['time1', time1],
    ['time2', time2],
  ] as const)
    if (given[key] !== undefined && flag !== undefined)
      throw new ColdtrailError('E_USAGE', { message: `${key} is given twice: as a word and as a flag.` })
  if (given.op !== undefined && given.op !== 'query' && given.op !== 'closure')
    throw new ColdtrailError('E_USAGE', { message: `op=${given.op} is a command of its own: manifest ${given.op}.` })
  const now = Date.now() * 1_000
  const seconds = (text: string | undefined, name: string, end: boolean): number | undefined =>
    text === undefined ? undefined : Math.floor(parseGivenTime(text, { where: name, now, end }).time / 1e6)
  return {
    time1: seconds(time1 ?? given.time1, time1 === undefined ? 'time1' : '--time1', false),
    time2: seconds(time2 ?? given.time2, time2 === undefined ? 'time2' : '--time2', true),
    ...{ where, collection },
    ...(directory.length === 0 ? {} : { directories: directory }),
  }
}

/** Exit status when something was no manifest: the answer may lack what it was. */
export function tellProblems(problems: number, io: Io): number | undefined {
  if (problems === 0) return undefined
  io.note(
    `${problems} imported ${problems === 1 ? 'file is' : 'files are'} no manifest or cannot be read; the log names them.`,
  )
  return PARTIAL
}

// --- internal ---

const PARTIAL = 3

function oneFormat(given: string | undefined): 'posix' | 'simple' {
  if (given === undefined || given === 'posix') return 'posix'
  if (given === 'simple') return 'simple'
  throw new ColdtrailError('E_USAGE', { message: `timeFormat: "${given}" is none of posix, simple.` })
}
