import { EXIT, printable } from '../core/errors.ts'
import { bytesText, countText } from '../core/terminalText.ts'
import type { ManifestClosure } from '../index.ts'
import { type Command, defineCommand, text, texts } from './command.ts'
import type { Io } from './io.ts'
import { MANIFEST_OPTIONS, manifestRequest, tellProblems, WORDS_ARGUMENT } from './manifestQuery.ts'
import { wordsByKey } from './manifestWords.ts'

const compressCommand = defineCommand({
  name: 'manifest compress',
  summary: 'Pack the manifests of the history into one searchable archive',
  details:
    'The history does this by itself whenever a thousand manifests have come together. Searches and commits go on ' +
    'meanwhile; running it again changes nothing. `/database manifest op=compress` does the same.',
  options: { collection: text('NAME', 'Only this collection.') },
  examples: [{ line: 'manifest compress', note: 'One archive a collection' }],
  exits: ['store'],
  async run(_args, { collection }, io) {
    const coldtrail = await io.open()
    for (const summary of await coldtrail.manifests.compress({ collection, signal: io.signal })) {
      if (io.json) io.emit(summary)
      else
        io.print(
          `${summary.collection}: ${summary.archived} lines packed; the archive has ${summary.records} in ` +
            `${summary.generations} ${summary.generations === 1 ? 'file' : 'files'}, ${bytesText(summary.bytes)}`,
        )
    }
    return undefined
  },
})

const closureCommand = defineCommand({
  name: 'manifest closure',
  summary: 'Everything that a restore of an answer needs, and what of it is missing',
  details:
    'Takes the question of `manifest query` and answers all files that it takes to ask the found segments again: ' +
    'session, meta, index, reject and tag files, and the raw logs that their sessions point to. For manifests of ' +
    'another store it follows the id ranges. Exit status 3 when something is missing.',
  arguments: [WORDS_ARGUMENT],
  options: MANIFEST_OPTIONS,
  examples: [
    { line: 'manifest closure --time1 "2023-07-10" --time2 "2023-07-11"', note: 'What a restore of two days takes' },
    { line: 'manifest closure --directory backup/manifests --json', note: 'Whether a backup of NetWitness is whole' },
  ],
  exits: ['store', 'partial'],
  async run(words, options, io) {
    const given = wordsByKey(words, ['op', 'time1', 'time2'])
    const coldtrail = await io.open()
    let problems = 0
    const onProblem = (problem: { readonly where: string; readonly reason: string }): void => {
      problems += 1
      io.log('warn', 'no manifest', problem)
    }
    const closure = await coldtrail.manifests.closure({ ...manifestRequest(given, options), onProblem })
    if (io.json) io.emit(closure)
    else printClosure(closure, io)
    return tellProblems(problems, io) ?? (closure.isComplete ? undefined : EXIT.partial)
  },
})

const verifyCommand = defineCommand({
  name: 'manifest verify',
  summary: 'Check chain, signatures and manifests of the history, without reading the data',
  details:
    'Every link and its signature, that every manifest is there as its link says, gaps in the numbers of links, and ' +
    'with --anchor whether the end of a chain was cut off. Of manifests of another store: gaps in numbers and ids.',
  options: {
    collection: text('NAME', 'Only this collection.'),
    anchor: text('FILE', 'Anchor from a second place.'),
    directory: texts('PATH', 'Manifests of another store instead.'),
  },
  examples: [
    { line: 'manifest verify', note: 'Whether the history is whole' },
    { line: 'manifest verify --anchor coldtrail.anchor --json', note: 'And whether its end is still there' },
  ],
  exits: ['store'],
  async run(_args, { collection, anchor, directory }, io) {
    const coldtrail = await io.open()
    const summary = await coldtrail.manifests.verify({
      ...{ collection, anchor, signal: io.signal },
      ...(directory.length === 0 ? {} : { directories: directory }),
      onFault: (fault) => {
        if (io.json) io.emit({ type: 'fault', ...fault })
        else io.print(`${fault.fault}: ${printable(fault.file)}: ${printable(fault.detail)}`)
      },
    })
    if (io.json) io.emit({ type: 'summary', ...summary })
    else
      io.print(
        `${countText(summary.links, 'link')} of ${countText(summary.collections, 'collection')}, ${countText(summary.manifests, 'manifest')}` +
          `${summary.imported === 0 ? '' : `, ${summary.imported} imported`}: ` +
          `${summary.faults === 0 ? 'all is well' : countText(summary.faults, 'fault')}`,
      )
    return summary.faults === 0 ? undefined : EXIT.store
  },
})

const exportCommand = defineCommand({
  name: 'manifest export',
  summary: 'Write manifests as one Parquet file, for other engines',
  details: 'A row a manifest; its fields are columns, and the column manifest has the whole of it as JSON.',
  arguments: [{ name: '<file>', description: 'Parquet file to write; an existing one is replaced once it is whole.' }],
  options: MANIFEST_OPTIONS,
  examples: [{ line: 'manifest export manifests.parquet', note: 'All of them, for DuckDB or Trino' }],
  exits: ['store', 'partial'],
  async run([path], options, io) {
    const coldtrail = await io.open()
    let problems = 0
    const onProblem = (problem: { readonly where: string; readonly reason: string }): void => {
      problems += 1
      io.log('warn', 'no manifest', problem)
    }
    const rows = await coldtrail.manifests.export(path!, { ...manifestRequest({}, options), onProblem })
    if (io.json) io.emit({ path, manifests: rows })
    else io.print(`${rows} manifests in ${printable(path!)}`)
    return tellProblems(problems, io)
  },
})

export const MANIFEST_COMMANDS: readonly Command[] = [compressCommand, closureCommand, verifyCommand, exportCommand]

// --- internal ---

function printClosure({ collections, imported, isComplete }: ManifestClosure, io: Io): void {
  for (const { collection, files, gaps, bytes, bytesAway, segments } of collections) {
    for (const { name, size, tier, state, label, directory } of files) {
      const place = state === 'here' ? '' : ` ${printable(label ?? directory)}`
      io.print(`${state.padEnd(8)} ${tier.padEnd(5)} ${bytesText(size).padStart(9)} ${name}${place}`)
    }
    for (const { segment, needs, reason } of gaps) io.print(`missing  ${needs} of segment ${segment}: ${reason}`)
    io.note(
      `${collection}: ${segments.length} segments, ${files.length} files, ${bytesText(bytes)}, of which ${bytesText(bytesAway)} not here`,
    )
  }
  if (imported) {
    for (const { filename, size, service } of imported.files)
      io.print(`imported ${bytesText(size ?? 0).padStart(15)} ${printable(filename)} ${printable(service)}`)
    for (const { needs, id1, id2, neededBy, service } of imported.missing)
      io.print(
        `missing  ${needs} ids ${id1} to ${id2}, needed by ${printable(neededBy.join(', '))} ${printable(service)}`,
      )
  }
  io.note(isComplete ? 'Complete.' : 'Incomplete: something that a restore needs is missing.')
}
