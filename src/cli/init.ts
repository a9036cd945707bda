import { printable } from '../core/errors.ts'
import { defineCommand } from './command.ts'
import { SOURCE_OPTIONS, sourceSettings } from './sourceOptions.ts'

export const initCommand = defineCommand({
  name: 'init',
  summary: 'Write a coldtrail.yaml to start from',
  details: 'No command needs one. The file names its JSON Schema, so that editors check and complete it.',
  arguments: [{ name: '[uri…]', description: 'Sources to put in: s3://bucket/prefix or a folder.' }],
  options: SOURCE_OPTIONS,
  examples: [
    { line: 'init', note: 'Defaults, with examples as comments' },
    { line: 'init s3://my-log-bucket/AWSLogs/ --region eu-central-1', note: 'A bucket, ready for collect' },
  ],
  exits: ['conflict', 'store'],
  async run(uris, options, io) {
    const { writeInitialConfig } = await import('../index.ts')
    const { config: file, dataDir } = io.options
    const path = writeInitialConfig({ file, dataDir }, uris, sourceSettings(options))
    if (io.json) io.emit({ type: 'init', path })
    else io.print(`Wrote ${printable(path, 1_000)}. Next: ./coldtrail doctor, then ./coldtrail collect`)
    return undefined
  },
})
