/** Files whose hash a server of the National Software Reference Library knows. */
import { z } from 'zod'
import { ColdtrailError } from '../../core/errors.ts'
import type { Foreman, PluginComponent } from '../plugin.ts'
import { dataTypeIn } from './distinctValues.ts'
import {
  distinctHashes,
  eventsOption,
  type HashValues,
  hashFold,
  hitsByLabel,
  labelOption,
} from './lookups/fileHashes.ts'
import { LookupFault, lookUp } from './lookups/lookUp.ts'
import { nsrlConnection } from './lookups/nsrlConnection.ts'

const options = z.strictObject({
  hash: z.enum(['md5', 'sha1']).default('md5').describe('Kind of hash that is looked up.'),
  host: z.string().min(1).default('localhost').describe('Name or address of the nsrlsvr.'),
  port: z.int().min(1).max(65_535).default(9_120).describe('Its TCP port.'),
  label: labelOption('nsrl_present'),
  timeout_secs: z.number().positive().max(3_600).default(3).describe('Time for a connection, and for an answer.'),
  batch: z.int().min(1).max(4_000).default(1_000).describe('Hashes of a query.'),
  cache_days: z.number().min(0).default(30).describe('Answers are asked for again when they are older.'),
  events: eventsOption(dataTypeIn(['fs:stat', 'fs:stat:ntfs'])),
})
type Options = z.output<typeof options>
type Work = Pick<Options, 'hash' | 'label' | 'events'>

export const nsrlsvr: PluginComponent<typeof options, Work> = {
  kind: 'plugin',
  name: 'nsrlsvr',
  summary: 'Label events of files that an nsrlsvr server knows',
  version: 1,
  options,
  async prepare({ hash, label, events, ...place }, { signal }) {
    const connection = nsrlConnection({ ...place, timeoutMs: place.timeout_secs * 1_000, signal })
    try {
      await connection.query([EMPTY_FILE[hash]])
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof LookupFault)) throw error
      const where = `${place.host}:${place.port}`
      const values = { service: 'nsrlsvr', where, cause: error.message, plugin: 'nsrlsvr' }
      throw new ColdtrailError('E_LOOKUP_SERVICE', values, { cause: error })
    } finally {
      connection.close()
    }
    return { hash, label, events }
  },
  start: ({ hash, label, events }) =>
    hashFold(hash, events, (state, foreman) => ask({ hash, label, events }, state, foreman)),
}

// --- internal ---

const EMPTY_FILE = {
  md5: 'd41d8cd98f00b204e9800998ecf8427e',
  sha1: 'da39a3ee5e6b4b0d3255bfef95601890afd80709',
} as const

async function ask({ hash, label, events }: Work, state: HashValues, { options, context }: Foreman) {
  const { host, port, timeout_secs, batch, cache_days } = options as Options
  const { signal, dataDir } = context
  const hashes = distinctHashes(hash, state)
  const connection = nsrlConnection({ host, port, timeoutMs: timeout_secs * 1_000, signal })
  try {
    const { answers, cached, warnings } = await lookUp(hashes, {
      ...{
        dataDir,
        title: 'nsrlsvr',
        service: `nsrlsvr ${host}:${port}`,
        maxAgeDays: cache_days,
        batch,
        pauseMs: 200,
        signal,
      },
      async ask(part) {
        const present = await connection.query(part)
        return new Map(part.map((one, index) => [one, present[index] ? '1' : '0']))
      },
    })
    const present = hashes.filter((one) => answers.get(one) === '1').length
    return {
      values: hitsByLabel(hash, state, events, (one) => (answers.get(one) === '1' ? label : undefined)),
      report: {
        counters: [
          ['hashes', hashes.length],
          ['present', present],
          ['not present', answers.size - present],
          ['not looked up', hashes.length - answers.size],
          ['from the cache', cached],
        ] as const,
        warnings,
      },
    }
  } finally {
    connection.close()
  }
}
