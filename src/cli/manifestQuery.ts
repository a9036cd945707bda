import { parseGivenTime } from '../core/givenTime.ts'
import { choiceOr, defineCommand, text } from './command.ts'

export const manifestQueryCommand = defineCommand({
  name: 'manifest query',
  summary: 'Find the database files that overlap a time range, wherever they are',
  details:
    'Searches the manifests of every segment ever sealed, those of files that went offline included; replaced ones are ' +
    'not answered. Both ends belong to the range.',
  options: {
    time1: text('TIME', 'Start: "2023-07-10 11:00:00", "2023-Jul-10 11:00:00", POSIX seconds, -24h; UTC.'),
    time2: text('TIME', 'End.'),
    timeFormat: choiceOr(['posix', 'simple'], 'posix', 'Times of the answer: seconds, or "2023-Jul-10 11:00:00".'),
    separator: choiceOr(['newline', 'space'], 'newline', 'Between records; space gives the one line of NetWitness.'),
    collection: text('NAME', 'Only this collection.'),
  },
  examples: [
    {
      line: 'manifest query --time1 "2023-07-10 11:00:00" --time2 "2023-07-10 13:00:00" --time-format simple',
      note: 'Which files hold events of these two hours',
    },
    {
      line: 'manifest query --time1 -30d --json',
      note: 'Whole manifests of the last 30 days, one JSON object per line',
    },
  ],
  exits: ['store'],
  async run(_args, { time1, time2, timeFormat, separator, collection }, io) {
    const { printManifest } = await import('../index.ts')
    const coldtrail = await io.open()
    const now = Date.now() * 1_000
    const seconds = (given: string | undefined, where: string, end: boolean): number | undefined =>
      given === undefined ? undefined : Math.floor(parseGivenTime(given, { where, now, end }).time / 1e6)
    const query = { time1: seconds(time1, '--time1', false), time2: seconds(time2, '--time2', true), collection }
    const found = coldtrail.manifestQuery(query)
    if (io.json) for (const { manifest, by } of found) io.emit({ ...manifest, by })
    else {
      const records = found.map(({ manifest, by }) => printManifest(manifest, { timeFormat, by }))
      if (separator === 'newline') for (const record of records) io.print(record)
      else if (records.length > 0) io.print(records.join(' '))
    }
    return undefined
  },
})
