import { printable } from '../core/errors.ts'
import { bytesText, countText } from '../core/terminalText.ts'
import { defineCommand, text, texts } from './command.ts'
import { type Bar, openBar } from './progress.ts'

export const syncVerifyCommand = defineCommand({
  name: 'sync verify',
  summary: 'Read every byte of a bundle, and say whose it is; nothing is taken in',
  details:
    'Joins parts, decrypts, checks signature and keys, every size and digest, and every record of the dump files. What ' +
    'this accepts, an import can only refuse because it is old, for another site, or because one before it is missing.',
  arguments: [
    {
      name: '<file>',
      description: 'The bundle, or any part of it; a relative one is also looked for in the transfer directory.',
    },
  ],
  options: {
    trust: text('KEY', 'Id or public key file that it must be signed with.'),
    identity: texts('FILE', 'File of age identities, for an encrypted bundle.'),
  },
  examples: [
    { line: 'sync verify /media/usb/tqSync-19-01-16-1547660837-8345.tar.gz', note: 'A bundle on a stick' },
    { line: 'sync verify tqSync-19-01-16-1547660837-8345.tar.gz.age --identity key.txt', note: 'An encrypted one' },
  ],
  exits: ['store', 'refused'],
  async run([file], { trust, identity }, io) {
    const coldtrail = await io.open()
    const bar: Bar | undefined = process.stderr.isTTY && !io.json ? await openBar('verifying', {}) : undefined
    const found = await coldtrail.sync
      .verify({
        file: file!,
        trust: trust === undefined ? [] : [trust],
        identities: identity,
        signal: io.signal,
        onProgress: ({ bytes, totalBytes }) => bar?.update(bytes, totalBytes, {}),
      })
      .finally(() => bar?.stop())
    if (io.json) {
      io.emit({ type: 'verified', ...found })
      return undefined
    }
    const { totals, signers, excluded } = found
    io.print(`${io.style('green', 'sound')}  ${printable(found.bundle)}`)
    io.print(
      `  ${found.kind} bundle ${found.seq} of site ${found.site}, for ${found.audience ?? 'any site'}, made ${found.created}` +
        `${found.expires === null ? '' : `, valid until ${found.expires}`}`,
    )
    io.print(
      `  ${countText(totals.rows, 'row')}, ${countText(totals.deleted, 'tombstone')}, ${countText(totals.blobs, 'file')}: ` +
        `${bytesText(found.bytes)}${found.parts > 1 ? ` in ${countText(found.parts, 'part')}` : ''}${found.encrypted ? ', encrypted' : ''}`,
    )
    for (const [reason, count] of Object.entries(excluded).filter(([, count]) => count > 0))
      io.print(`  left out: ${count} (${printable(reason)})`)
    io.print(`  signed by ${signers.join(', ')}`)
    if (found.first_of_site)
      io.print(
        io.style(
          'yellow',
          '  This site is unknown here: an import would pin that key. Compare it with what the site says.',
        ),
      )
    return undefined
  },
})
