import { printable } from '../core/errors.ts'
import { parseGivenRange } from '../core/givenTime.ts'
import { defineCommand, flag } from './command.ts'
import { RANGE_OPTIONS, SOURCE_OPTIONS, sourceSettings } from './sourceOptions.ts'

export const sourceCatCommand = defineCommand({
  name: 'source cat',
  summary: 'Print an object of a source, fetched and inflated',
  details: 'The fetching half of collect by itself. A prefix or a folder gives its objects one after another.',
  arguments: [{ name: '<uri>', description: 's3://bucket/key, a file, a prefix or a folder, or -.' }],
  options: { received: flag('As received, not inflated.'), ...RANGE_OPTIONS, ...SOURCE_OPTIONS },
  examples: [
    { line: 'source cat s3://my-log-bucket/AWSLogs/example.json.gz | head -c 300', note: 'How a file begins' },
    { line: 'source cat ./logs --include "*.json.gz" > all.json', note: 'A folder, inflated' },
  ],
  exits: ['source', 'partial'],
  async run([source], options, io) {
    const coldtrail = await io.open()
    const { zoneAssumed: _, ...range } = parseGivenRange(options.from, options.to, Date.now() * 1_000)
    const settings = sourceSettings(options)
    const request = { source: source!, settings, range, received: options.received, signal: io.signal }
    // On a terminal the object is hostile text like any other.
    const decoder = new TextDecoder()
    const harmless = (text: string) => text.replace(/[^\n\t]+/g, (part) => printable(part, Number.POSITIVE_INFINITY))
    for await (const bytes of coldtrail.catSource(request)) {
      io.write(io.terminal ? Buffer.from(harmless(decoder.decode(bytes, { stream: true }))) : bytes)
    }
    return undefined
  },
})
