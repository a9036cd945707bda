import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { bytesText, countText } from '../core/terminalText.ts'
import type { Fault, OfflineRequest, OfflineSummary, VerifyProgress, VerifySummary } from '../index.ts'
import { defineCommand, flag, text, texts } from './command.ts'
import type { Io } from './io.ts'
import { openBar } from './progress.ts'

export const verifyCommand = defineCommand({
  name: 'verify',
  summary: 'Read every file again, and name each that is not as it was committed',
  details:
    'Compares segments, manifests, indexes, history and keys with the signed chain, and every object with its digest as ' +
    'received and decoded. Files that no commit made are told and are no fault; private signing keys vouch for nothing ' +
    'that was kept and are not read. With --public-key nothing of the data directory is trusted: keys are those that you ' +
    'bring, places of files are those that the links say, and no catalog is needed.',
  options: {
    collection: text('NAME', 'Only this collection; the default is all.'),
    publicKey: texts('FILE', 'Trust only this public key (keys/sign-<id>.pub, kept elsewhere).'),
    anchor: text('FILE', 'Anchor from a second place: a tail that was cut off, or a chain written anew, is named.'),
    historyOnly: flag('With --public-key: only chain and history, not the files of segments.'),
  },
  examples: [
    { line: 'verify', note: 'The whole data directory' },
    {
      line: 'verify --public-key sign.pub --anchor coldtrail.anchor',
      note: 'Offline, with what was kept elsewhere',
    },
    { line: 'verify --collection main --json', note: 'One JSON object per fault, and a summary' },
  ],
  exits: ['store'],
  async run(_args, { collection, publicKey, anchor, historyOnly }, io) {
    if (publicKey.length > 0) return verifyOffline({ collection, publicKeys: publicKey, anchor, historyOnly }, io)
    if (historyOnly) throw new ColdtrailError('E_USAGE', { message: '--history-only needs --public-key.' })
    const coldtrail = await io.open()
    const display = await progressLine(io)
    const faults: Fault[] = []
    const orphans: string[] = []
    let summary: VerifySummary
    try {
      summary = await coldtrail.verify({
        ...{ collection, anchor },
        signal: io.signal,
        onFault(fault) {
          faults.push(fault)
          if (io.json) io.emit({ type: 'fault', ...fault })
        },
        onOrphan(file) {
          orphans.push(file)
          if (io.json) io.emit({ type: 'orphan', file })
        },
        onProgress: display.update,
      })
    } finally {
      display.stop()
    }
    if (io.json) io.emit({ type: 'summary', ...summary })
    else {
      for (const fault of faults) printFault(fault, io)
      for (const file of orphans) io.print(io.style('dim', `orphan   ${printable(file, 1_000)}`))
      const { segments, files, bytes, objects, links, offline } = summary
      const away = offline === 0 ? '' : `; ${countText(offline, 'file')} offline, not looked at`
      io.print(
        `${verdict(faults, io)} in ${countText(segments, 'segment')}: ${countText(files, 'file')}, ${bytesText(bytes)}, ` +
          `${countText(objects, 'object')}, ${countText(links, 'link')}${away}`,
      )
    }
    return faults.length === 0 ? EXIT.ok : EXIT.store
  },
})

// --- internal ---

async function verifyOffline(request: OfflineRequest, io: Io): Promise<number> {
  const coldtrail = await io.open()
  const display = await progressLine(io)
  const faults: Fault[] = []
  let summary: OfflineSummary
  try {
    summary = await coldtrail.evidence.verifyOffline({
      ...{ ...request, signal: io.signal, onProgress: display.update },
      onFault(fault) {
        faults.push(fault)
        if (io.json) io.emit({ type: 'fault', ...fault })
      },
    })
  } finally {
    display.stop()
  }
  if (io.json) io.emit({ type: 'summary', ...summary })
  else {
    for (const fault of faults) printFault(fault, io)
    const { segments, files, bytes, links, offline } = summary
    io.print(
      `${verdict(faults, io)} in ${countText(links, 'link')}, ${countText(segments, 'segment')}: ` +
        `${countText(files, 'file')}, ${bytesText(bytes)}; ${countText(offline, 'file')} offline`,
    )
  }
  return faults.length === 0 ? EXIT.ok : EXIT.store
}

const verdict = (faults: readonly Fault[], io: Io): string =>
  faults.length === 0 ? io.style('green', 'no fault') : io.style('red', countText(faults.length, 'fault'))

function printFault({ file, fault, object, detail }: Fault, io: Io): void {
  io.print(`${io.style('red', fault)}  ${printable(file, 1_000)}`)
  if (object !== undefined) io.print(`    object ${printable(object, 1_000)}`)
  io.print(`    ${printable(detail, 1_000)}`)
}

interface Display {
  update(progress: VerifyProgress): void
  stop(): void
}

async function progressLine(io: Io): Promise<Display> {
  if (!process.stderr.isTTY || io.json) return { update: () => undefined, stop: () => undefined }
  const bar = await openBar('{segments} segments | {faults} faults', { segments: '0', faults: 0 })
  return {
    update({ segments, totalSegments, bytes, totalBytes, faults }) {
      bar.update(bytes, totalBytes, { segments: `${segments}/${totalSegments}`, faults })
    },
    stop: () => bar.stop(),
  }
}
