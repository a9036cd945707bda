/** Files whose hash is in a bloom filter of the hashlookup project: probably known files, by the filter's rate of errors. */
import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { z } from 'zod'
import type { TextColumn } from '../../core/columnBatch.ts'
import { NULL_TEXT } from '../../core/columnBatch.ts'
import type { MapPlugin, PluginComponent } from '../plugin.ts'
import { dataTypeIn, perValue } from './distinctValues.ts'
import { type BloomFile, openBloomFile } from './lookups/bloomFile.ts'
import { eventsOption, hashColumns, hashOf, labelOption } from './lookups/fileHashes.ts'

const options = z.strictObject({
  file: z.string().min(1).default('hashlookup-full.bloom').describe('The filter.'),
  hash: z.enum(['sha1', 'md5', 'sha256']).default('sha1').describe('Kind of hash that is in the filter.'),
  label: labelOption('bloom_present'),
  events: eventsOption(dataTypeIn(['fs:stat', 'fs:stat:ntfs'])),
})

export interface Work extends Omit<z.output<typeof options>, 'file'> {
  readonly path: string
  /** So that a run with another filter is another one. */
  readonly size: number
  readonly modified: number
  readonly elements: number
  readonly falsePositives: number
}

export const bloom: PluginComponent<typeof options, Work> = {
  kind: 'plugin',
  name: 'bloom',
  summary: 'Label events of files whose hash is in a bloom filter (hashlookup format)',
  version: 1,
  options,
  async prepare({ file, ...rest }, { base }) {
    const path = resolve(base, file)
    const filter = openBloomFile(path)
    filter.close()
    const { size, mtimeMs } = statSync(path)
    const { elements, falsePositives } = filter.header
    return { ...rest, path, size, modified: mtimeMs, elements, falsePositives }
  },
  start: matches,
}

// --- internal ---

function matches({ path, hash, label, events, elements, falsePositives }: Work): MapPlugin {
  const columns = hashColumns(hash)
  let filter: BloomFile | undefined
  const isPresent = perValue((value) => {
    const digest = hashOf(hash, value)
    if (digest === undefined) return false
    filter ??= openBloomFile(path)
    return filter.has(digest.toUpperCase())
  })
  const hit = { label, rule: '' }
  return {
    shape: 'map',
    columns,
    ...(events.trim() !== '' && { where: events }),
    label(batch, emit) {
      const found = columns.map((name) => {
        const column = batch.columns[name] as TextColumn
        return { indexes: column.indexes, present: isPresent(column) }
      })
      for (let row = 0; row < batch.rows; row++)
        if (found.some(({ indexes, present }) => indexes[row] !== NULL_TEXT && present[indexes[row]!])) emit(row, hit)
    },
    report: (labels) => ({
      counters: [...labels],
      text: `The filter holds ${elements} hashes; of those that are not in it, it takes a part of ${falsePositives} for present.`,
    }),
  }
}
