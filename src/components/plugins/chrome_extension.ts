/** Browser extensions that were installed, by user: folders of extensions in the paths of file system timelines. */
import { resolve } from 'node:path'
import { z } from 'zod'
import type { TextColumn } from '../../core/columnBatch.ts'
import { ColdtrailError } from '../../core/errors.ts'
import { createHttpClient, isLoopback } from '../../platform/httpClient.ts'
import type { FoldPlugin, FoldResult, Foreman, PluginComponent, PluginContext, UserAccount } from '../plugin.ts'
import { addCount, countsOf, dataTypeIn, mergeCounts, perValue } from './distinctValues.ts'
import { LookupFault, lookUp } from './lookups/lookUp.ts'
import { EXTENSION_ID, webStore } from './lookups/webStore.ts'

const options = z.strictObject({
  names: z
    .boolean()
    .default(true)
    .describe('Ask the Chrome Web Store for the names of extensions; nothing but their ids leaves.'),
  store_url: z
    .url({ protocol: /^https?$/ })
    .default('https://chromewebstore.google.com/detail/{id}')
    .describe('Page of an extension; {id} is its id.'),
  ca_file: z.string().min(1).optional().describe('PEM file of authorities to trust besides those of the system.'),
  timeout_secs: z.number().positive().max(3_600).default(60).describe('Time from a request to the end of its answer.'),
  cache_days: z.number().min(0).default(90).describe('Names are asked for again when they are older.'),
})
type Options = z.output<typeof options>

export interface Work {
  readonly accounts: readonly UserAccount[]
}

export const chromeExtension: PluginComponent<typeof options, Work> = {
  kind: 'plugin',
  name: 'chrome_extension',
  summary: 'List installed Chrome extensions by user, with their names',
  version: 1,
  options,
  async prepare(given, context) {
    const { names, store_url } = given
    const accounts = await context.userAccounts()
    if (!names || !context.dataTypes.includes('fs:stat')) return { accounts }
    const { hostname, host, protocol } = new URL(store_url)
    if (!store_url.includes('{id}') || (protocol === 'http:' && !isLoopback(hostname)))
      throw new ColdtrailError('E_PLUGIN_OPTION', {
        ...{ plugin: 'chrome_extension', option: 'store_url' },
        reason: 'it must be an https address with {id} in it',
      })
    const client = clientOf(given, context)
    try {
      await webStore(client, store_url, context.signal).nameOf(KNOWN_ID)
    } catch (error) {
      context.signal?.throwIfAborted()
      if (!(error instanceof LookupFault)) throw error
      const cause = `${error.message} (without names: --chrome-extension-names false)`
      const values = { service: 'The Chrome Web Store', where: host, cause, plugin: 'chrome_extension' }
      throw new ColdtrailError('E_LOOKUP_SERVICE', values, { cause: error })
    } finally {
      client.close()
    }
    return { accounts }
  },
  start: ({ accounts }) => extensions(accounts),
}

/** The id and the owner of a path that is the folder of an extension. */
export function extensionOf(
  path: string,
  accounts: readonly UserAccount[],
): { readonly id: string; readonly username: string } | undefined {
  const segments = segmentsOf(path)
  const lower = segments.map((segment) => segment.toLowerCase())
  const id = segments.at(-1)!
  if (lower.at(-2) !== 'extensions' || !lower.some((one) => one === 'chrome' || one === 'chromium')) return undefined
  if (id === '' || lower.at(-1) === 'temp') return undefined
  return { id, username: ownerOf(segments, accounts) ?? `Not found (${path.slice(0, 25).toWellFormed()}...)` }
}

// --- internal ---

/** Google Docs Offline, which comes with the browser. */
const KNOWN_ID = 'ghbmnnjooekpmoecnnnilnnbdlolhkhi'
const MAX_PAGE_BYTES = 2 ** 20

/** `C:\Users\a` and `/Users/a` alike: without the letter of a drive. */
function segmentsOf(path: string): string[] {
  const segments = path.split(path.includes('/') ? '/' : '\\')
  return /^[A-Za-z]:$/.test(segments[0]!) ? ['', ...segments.slice(1)] : segments
}

/** Of the home directories that the path lies in, by whole names, the deepest. */
function ownerOf(path: readonly string[], accounts: readonly UserAccount[]): string | undefined {
  let owner: { readonly username: string; readonly depth: number } | undefined
  for (const { username, directory } of accounts) {
    const home = segmentsOf(directory.replace(/[\\/]+$/, ''))
    const isWindows = directory.includes('\\')
    const same = (a: string, b: string): boolean => (isWindows ? a.toLowerCase() === b.toLowerCase() : a === b)
    if (home.length < 2 || home.length >= path.length || !home.every((segment, at) => same(segment, path[at]!)))
      continue
    if (!owner || home.length > owner.depth) owner = { username, depth: home.length }
  }
  return owner?.username
}

/** Events by id and user, as JSON. */
type Found = Map<string, number>

function extensions(accounts: readonly UserAccount[]): FoldPlugin<Found> {
  const extension = perValue((path) => {
    const found = extensionOf(path, accounts)
    return found && JSON.stringify([found.id, found.username])
  })
  return {
    shape: 'fold',
    columns: ['data.filename'],
    where: dataTypeIn(['fs:stat']),
    empty: () => new Map(),
    add(found, { columns }) {
      const paths = columns['data.filename'] as TextColumn
      const keys = extension(paths)
      countsOf(paths).forEach((count, index) => {
        if (count > 0 && keys[index] !== undefined) addCount(found, keys[index], count)
      })
      return found
    },
    merge: mergeCounts,
    finish: (found, foreman) => finish(found, foreman),
  }
}

function clientOf({ ca_file, timeout_secs }: Options, { environment, base }: PluginContext) {
  const wholeMs = timeout_secs * 1_000
  return createHttpClient({
    ...{ environment, connectMs: Math.min(wholeMs, 10_000), idleMs: wholeMs, wholeMs, maxBodyBytes: MAX_PAGE_BYTES },
    ...(ca_file !== undefined && { caFile: resolve(base, ca_file) }),
  })
}

async function finish(found: Found, { options, context }: Foreman): Promise<FoldResult> {
  const { names, store_url, cache_days, ...rest } = options as Options
  const { signal, dataDir } = context
  const pairs = [...found.keys()].sort().map((key) => JSON.parse(key) as [id: string, username: string])
  const ids = [...new Set(pairs.map(([id]) => id))]
  const wanted = names ? ids.filter((id) => EXTENSION_ID.test(id)) : []
  const client = clientOf({ names, store_url, cache_days, ...rest }, context)
  try {
    const store = webStore(client, store_url, signal)
    const { answers, warnings } = await lookUp(wanted, {
      ...{ dataDir, title: 'Chrome Web Store', service: `chrome web store ${store_url}` },
      ...{ maxAgeDays: cache_days, batch: 1, signal },
      ask: async ([id]) => new Map([[id!, await store.nameOf(id!)]]),
    })
    return {
      report: {
        counters: [
          ['extensions', ids.length],
          ['users', new Set(pairs.map(([, username]) => username)).size],
          ['named', wanted.filter((id) => answers.get(id)).length],
        ],
        rows: pairs.map(([id, username]) => ({
          extension: answers.get(id) || id,
          extension_identifier: id,
          username,
        })),
        warnings,
      },
    }
  } finally {
    client.close()
  }
}
