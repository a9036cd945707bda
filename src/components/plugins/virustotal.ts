/** What VirusTotal knows about files, by their hashes. Nothing but hashes leaves. */
import { resolve } from 'node:path'
import { z } from 'zod'
import { ColdtrailError } from '../../core/errors.ts'
import { createHttpClient, type HttpClient, isLoopback } from '../../platform/httpClient.ts'
import type { Foreman, PluginComponent, PluginContext } from '../plugin.ts'
import { byCount } from './distinctValues.ts'
import { distinctHashes, eventsOption, type HashValues, hashFold, hitsByLabel } from './lookups/fileHashes.ts'
import { LookupFault, lookUp } from './lookups/lookUp.ts'
import { Pace } from './lookups/pace.ts'
import { virusTotal } from './lookups/virusTotalApi.ts'

/** What plaso's parsers of PE files emit, of today and of before. */
const PE_EVENTS = "data_type == 'pe' or data_type startswith 'pe:' or data_type startswith 'pe_coff:'"

const options = z.strictObject({
  api_key: z
    .string()
    .min(1)
    .optional()
    .meta({ secret: true })
    .describe(
      'API key. A command line can be seen by others: better VIRUSTOTAL_API_KEY in the environment, or ${…} in the configuration.',
    ),
  free_rate_limit: z.boolean().default(true).describe('Keep to the limit of free keys: 4 hashes a minute.'),
  hash: z.enum(['sha256', 'sha1', 'md5']).default('sha256').describe('Kind of hash that is looked up.'),
  url: z
    .url({ protocol: /^https?$/ })
    .default('https://www.virustotal.com/api/v3')
    .describe('Where the API is; plain http only on this machine.'),
  ca_file: z.string().min(1).optional().describe('PEM file of authorities to trust besides those of the system.'),
  timeout_secs: z.number().positive().max(3_600).default(60).describe('Time from a request to the end of its answer.'),
  cache_days: z.number().min(0).default(7).describe('Answers are asked for again when they are older.'),
  events: eventsOption(PE_EVENTS),
})
type Options = z.output<typeof options>
type Work = Pick<Options, 'hash' | 'events'>

export const virustotal: PluginComponent<typeof options, Work> = {
  kind: 'plugin',
  name: 'virustotal',
  summary: 'Label events of files by what VirusTotal knows about their hash',
  version: 1,
  options,
  async prepare(given, context) {
    const { hash, events, url } = given
    if (url.startsWith('http:') && !isLoopback(new URL(url).hostname))
      throw new ColdtrailError('E_PLUGIN_OPTION', {
        ...{ plugin: 'virustotal', option: 'url' },
        reason: 'plain http shows the key to whoever is between; use https',
      })
    const client = clientOf(given, context)
    try {
      // Known to every service that looks at files: EICAR's test file, as the original asks.
      await virusTotal(client, bare(url), keyOf(given, context), context.signal).file(EICAR[hash])
    } catch (error) {
      context.signal?.throwIfAborted()
      if (!(error instanceof LookupFault)) throw error
      const values = { service: 'VirusTotal', where: new URL(url).host, cause: error.message, plugin: 'virustotal' }
      throw new ColdtrailError('E_LOOKUP_SERVICE', values, { cause: error })
    } finally {
      client.close()
    }
    return { hash, events }
  },
  start: ({ hash, events }) => hashFold(hash, events, (state, foreman) => ask({ hash, events }, state, foreman)),
}

// --- internal ---

const EICAR = {
  md5: '44d88612fea8a8f36de82e1278abb02f',
  sha1: '3395856ce81f2b7382dee72602f798b642f14140',
  sha256: '275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f',
} as const

const FREE = { count: 4, spanMs: 60_000 } as const
const MAX_REPORT_BYTES = 4 * 2 ** 20

const bare = (url: string): string => url.replace(/\/+$/, '')

function keyOf({ api_key }: Options, { environment }: PluginContext): string {
  const key = api_key ?? environment.VIRUSTOTAL_API_KEY
  if (key !== undefined && /^[\x21-\x7e]+$/.test(key)) return key
  const reason = key === undefined ? 'it must be given, or VIRUSTOTAL_API_KEY in the environment' : 'it is no API key'
  throw new ColdtrailError('E_PLUGIN_OPTION', { plugin: 'virustotal', option: 'api_key', reason })
}

function clientOf({ ca_file, timeout_secs }: Options, { environment, base }: PluginContext): HttpClient {
  const wholeMs = timeout_secs * 1_000
  return createHttpClient({
    ...{ environment, connectMs: Math.min(wholeMs, 10_000), idleMs: wholeMs, wholeMs, maxBodyBytes: MAX_REPORT_BYTES },
    ...(ca_file !== undefined && { caFile: resolve(base, ca_file) }),
  })
}

async function ask({ hash, events }: Work, state: HashValues, foreman: Foreman) {
  const options = foreman.options as Options
  const { context } = foreman
  const { signal, dataDir } = context
  const { url, cache_days, free_rate_limit } = options
  const hashes = distinctHashes(hash, state)
  const client = clientOf(options, context)
  const service = virusTotal(client, bare(url), keyOf(options, context), signal)
  const pace = free_rate_limit ? new Pace(FREE) : undefined
  try {
    const { answers, cached, warnings } = await lookUp(hashes, {
      ...{ dataDir, title: 'VirusTotal', service: `virustotal ${bare(url)}`, maxAgeDays: cache_days, batch: 1, signal },
      begin(count) {
        const minutes = Math.floor((count - 1) / FREE.count)
        if (pace && minutes > 0)
          context.warn(`${count} hashes at ${FREE.count} a minute, the limit of free keys, take about ${minutes} min`)
      },
      keeps: (answer) => !/pending|unknown/.test(answer),
      async ask([one]) {
        await pace?.turn(signal)
        return new Map([[one!, await service.file(one!)]])
      },
    })
    const counts = new Map<string, number>()
    for (const answer of answers.values()) counts.set(answer, (counts.get(answer) ?? 0) + 1)
    return {
      values: hitsByLabel(hash, state, events, (one) => {
        const answer = answers.get(one)
        return answer === undefined ? undefined : `virustotal_${answer}`
      }),
      report: {
        counters: [
          ['hashes', hashes.length],
          ...byCount(counts),
          ['not looked up', hashes.length - answers.size],
          ['from the cache', cached],
        ] as const,
        warnings,
      },
    }
  } finally {
    client.close()
  }
}
