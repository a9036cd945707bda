/** The library, or a part of it, as a file for others. */
import { once } from 'node:events'
import { ColdtrailError, EXIT } from '../core/errors.ts'
import { countText } from '../core/terminalText.ts'
import { createDurableFile } from '../platform/files.ts'
import { choiceOr, defineCommand, flag, text, texts } from './command.ts'
import { isFormula } from './eventOutput.ts'
import type { Io } from './io.ts'

export const OBJECTS_OPTION = texts('TYPE', 'Only objects of this type: indicator, malware, …')

export const libraryExportCommand = defineCommand({
  name: 'library export',
  summary: 'Write the threat library as a STIX 2.1 bundle or as CSV',
  details:
    'What came as STIX goes out as it came, with what changed here. For another installation of Coldtrail use sync export: ' +
    'it carries deletions and everything else, and is signed.',
  arguments: [{ name: '[expression]', description: 'Which objects; all without it.' }],
  options: {
    format: choiceOr(['stix', 'csv'], 'stix', 'Form of the file.'),
    object: OBJECTS_OPTION,
    out: text('FILE', 'Write it there, whole or not at all; default standard output.'),
    spreadsheet: flag('In CSV mark values that a spreadsheet would take for formulas as text.'),
  },
  examples: [
    { line: 'library export --out library.stix.json', note: 'Everything, as a STIX bundle' },
    {
      line: `library export "type == 'FQDN' && tlp == 'green'" --format csv --out hosts.csv`,
      note: 'Hosts that may be shared',
    },
    { line: 'library export --object malware --object tool', note: 'On standard output' },
  ],
  exits: ['store'],
  async run([where], { format, object, out, spreadsheet }, io) {
    const coldtrail = await io.open()
    const asText = spreadsheet ? (text: string) => (isFormula(text) ? `'${text}` : text) : undefined
    let objects = 0
    const pieces = coldtrail.library.export({
      ...{ format, where, objects: object, asText, signal: io.signal },
      onProgress: (counts) => {
        objects = counts.objects
      },
    })
    await writePieces(pieces, out, io)
    if (out !== undefined) {
      if (io.json) io.emit({ type: 'export', file: out, objects })
      else io.print(`Wrote ${countText(objects, 'object')} to ${out}.`)
    }
    return EXIT.ok
  },
})

/** To a file, under its name only once it is whole, or to standard output as fast as that takes it. */
export async function writePieces(
  pieces: AsyncIterable<string | Uint8Array>,
  out: string | undefined,
  io: Io,
): Promise<void> {
  if (out === undefined) {
    for await (const piece of pieces) {
      io.write(typeof piece === 'string' ? Buffer.from(piece) : piece)
      if (process.stdout.writableNeedDrain) await once(process.stdout, 'drain')
    }
    return
  }
  const file = createDurableFile(out)
  try {
    for await (const piece of pieces) file.write(typeof piece === 'string' ? Buffer.from(piece) : piece)
    file.publish()
  } catch (error) {
    file.discard()
    if (error instanceof ColdtrailError || !(error as NodeJS.ErrnoException).code) throw error
    throw new ColdtrailError('E_FILE_WRITE', { path: out, cause: (error as Error).message }, { cause: error })
  }
}
