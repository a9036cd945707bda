import { EXIT, printable } from '../core/errors.ts'
import { defineCommand, text } from './command.ts'
import { writePieces } from './libraryExport.ts'

export const filesExportCommand = defineCommand({
  name: 'files export',
  summary: 'Write the content of a file of the threat library',
  details:
    'The name that a file has in the library is never a path: name one with --out. A file whose content was left out of a ' +
    'sync bundle is written as the text that says so.',
  arguments: [{ name: '<name>', description: 'Uid or name of the file.' }],
  options: { out: text('FILE', 'Write it there; default standard output.') },
  examples: [{ line: 'files export report.pdf --out /tmp/report.pdf', note: 'By its name' }],
  exits: ['partial', 'store'],
  async run([name], { out }, io) {
    const coldtrail = await io.open()
    const { object, excluded, bytes } = await coldtrail.library.fileContent(name!)
    await writePieces(bytes, out, io)
    if (excluded)
      io.note(
        `The content of ${printable(object.value)} is not here: it was left out of the bundle that brought the file.`,
      )
    if (out !== undefined) {
      if (io.json) io.emit({ type: 'file', file: out, uid: object.uid, excluded })
      else if (!excluded) io.print(`Wrote ${printable(object.value)} to ${printable(out)}.`)
    }
    return excluded ? EXIT.partial : EXIT.ok
  },
})
