import { printable } from '../core/errors.ts'
import { parseGivenRange } from '../core/givenTime.ts'
import { timeText } from '../core/terminalText.ts'
import { defineCommand } from './command.ts'
import { RANGE_OPTIONS, SOURCE_OPTIONS, sourceSettings } from './sourceOptions.ts'

export const sourceListCommand = defineCommand({
  name: 'source list',
  summary: 'List what a source holds: size, LastModified and key of each object',
  details: 'The listing half of collect by itself: nothing is fetched, and no data directory is needed.',
  arguments: [
    { name: '<uri>', description: 's3://bucket/prefix, a folder, a file, or the name of a configured source.' },
  ],
  options: { ...RANGE_OPTIONS, ...SOURCE_OPTIONS },
  examples: [
    {
      line: 'source list s3://my-log-bucket/AWSLogs/ --from -2d',
      note: 'The last two days of all accounts and regions',
    },
    { line: 'source list ./logs --include "*.json.gz" --json', note: 'One JSON object per file' },
  ],
  exits: ['source'],
  async run([source], options, io) {
    const coldtrail = await io.open()
    const { zoneAssumed: _, ...range } = parseGivenRange(options.from, options.to, Date.now() * 1_000)
    const request = { source: source!, settings: sourceSettings(options), range, signal: io.signal }
    for await (const object of coldtrail.listSource(request)) {
      const { key, version, size, lastModified } = object
      if (io.json) io.emit({ key, version, size, last_modified: new Date(lastModified / 1_000).toISOString() })
      else io.print(`${String(size).padStart(12)}  ${timeText(lastModified).slice(0, 19)}  ${printable(key, 2_000)}`)
    }
    return undefined
  },
})
