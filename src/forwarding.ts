/** From configured destinations and what a person asks to runs of the forward job. */
import { type DestinationCheck, type Feed, type Stream, streamOf } from './components/destination.ts'
import type { Table } from './components/rows/table.ts'
import { tableText } from './components/rows/tableText.ts'
import { TABLES } from './components/tables/all.ts'
import type { Config, DestinationConfig } from './config.ts'
import { asColdtrailError, ColdtrailError, printable } from './core/errors.ts'
import type { Log } from './core/log.ts'
import { nearest } from './core/nearest.ts'
import { openDestination, resolveDestinations, unknownDestination } from './destinations.ts'
import { type ForwardOptions, forward, retryDeadLetters, type SelectedFeed } from './forward/forward.ts'
import { type ForwardProgress, type ForwardSummary, stoppedSummary } from './forward/summary.ts'
import { questionOf } from './questions.ts'
import type { DeadLetter, FeedState } from './store/catalog/outbox.ts'
import type { Catalog } from './store/catalog.ts'
import { collectionNames } from './store/collectionNames.ts'
import { type FeedSource, openFeedSource } from './store/feedReader.ts'
import type { StoreReader } from './store/search.ts'

export interface ForwardRequest {
  /** Names of configured destinations; none: all. */
  readonly destinations?: readonly string[]
  /** In place of the collection that the configuration names; a workbench too. Several: one after another. */
  readonly collection?: string
  /** Only events that match this too, besides what the configuration says. */
  readonly where?: string
  /** Microseconds: feeds that are new take no event before it. */
  readonly from?: number
  readonly dryRun?: boolean
  readonly follow?: boolean
  /** Findings in place of events; each has feeds of its own. */
  readonly stream?: Stream
  /** Pass over events whose files are not here. */
  readonly skipOffline?: boolean
  readonly signal?: AbortSignal
  /** `name`: the destination. */
  readonly onProgress?: (name: string, progress: ForwardProgress) => void
}

/** A feed and how far behind it is. */
export interface FeedStatus extends FeedState {
  /** False: the configuration has no destination of this name any more. */
  readonly configured: boolean
  /** Selected events that are not sent yet, those under way included. */
  readonly lagEvents: number
  /** Seconds since the oldest commit with such an event; 0 without. */
  readonly lagSecs: number
}

export interface ForwardParts {
  readonly config: Config
  readonly catalog: Catalog
  readonly reader: StoreReader
  readonly log: Log
}

/** One summary per destination, in the order asked for. */
export async function forwardTo(parts: ForwardParts, request: ForwardRequest): Promise<ForwardSummary[]> {
  if (request.collection === undefined) return forwardOne(parts, request)
  const collections = await feedCollections(parts.catalog, request.collection)
  if (collections.length > 1 && request.follow)
    throw new ColdtrailError('E_USAGE', { message: '--follow: a destination follows one collection; name one.' })
  const summaries: ForwardSummary[] = []
  for (const collection of collections) summaries.push(...(await forwardOne(parts, { ...request, collection })))
  return summaries
}

async function forwardOne(parts: ForwardParts, request: ForwardRequest): Promise<ForwardSummary[]> {
  return eachDestination(parts, request, [request.stream ?? 'events'], async (options) => {
    await sayUntaken(parts, options)
    await sayBeginnings(parts, options)
    return forward(options)
  })
}

export async function forwardRetry(
  parts: ForwardParts,
  request: Pick<ForwardRequest, 'destinations' | 'collection' | 'signal' | 'onProgress'>,
): Promise<ForwardSummary[]> {
  return eachDestination(parts, request, ['events', 'findings'], async (options) => {
    const states = await parts.catalog.feeds(options.name)
    const feeds: SelectedFeed[] = []
    for (const { feed: name, expression, collection, deadLetters } of states) {
      if (deadLetters === 0) continue
      const known = options.feeds.find(({ feed }) => feed.name === name)
      if (known && collection === options.collection) feeds.push({ feed: known.feed, expression })
      else {
        const values = { destination: options.name, feed: name, collection, dead_letters: deadLetters }
        parts.log('warn', 'dead letters stay: their feed is not configured any more', values)
      }
    }
    return retryDeadLetters({ ...options, feeds })
  })
}

export async function* forwardCheck(
  { config, log }: Pick<ForwardParts, 'config' | 'log'>,
  name: string,
  signal?: AbortSignal,
): AsyncGenerator<DestinationCheck> {
  const [settings] = resolveDestinations(config, [name])
  await requireExpressions(config, [settings!])
  const destination = await openDestination(config, settings!, log)
  try {
    yield* destination.check(signal)
  } finally {
    await destination.close()
  }
}

/** Feeds that have a position, with what is ahead of them. */
export async function forwardStatus(
  { config, catalog }: Pick<ForwardParts, 'config' | 'catalog'>,
  names: readonly string[] = [],
): Promise<FeedStatus[]> {
  const feeds = await feedsOf({ config, catalog }, names)
  const source = openFeedSource({ catalog, dataDir: config.data_dir })
  try {
    const found: FeedStatus[] = []
    for (const state of feeds) {
      const { collection, expression, startTime, position, open } = state
      let lagEvents = 0
      let oldestCommit: number | null = null
      for (const { begun, from, to } of [...open, { from: position, to: undefined, begun: Date.now() * 1_000 }]) {
        const { condition } = await questionOf({ expression, now: begun })
        const stream = streamOf(state.feed)
        const ahead = await source.count({ collection, stream, condition, startTime: startTime ?? undefined, from, to })
        lagEvents += ahead.events
        if (ahead.oldestCommit !== null) oldestCommit = Math.min(oldestCommit ?? Infinity, ahead.oldestCommit)
      }
      const lagSecs = oldestCommit === null ? 0 : Math.max(0, Date.now() / 1_000 - oldestCommit / 1e6)
      const configured = configuredNames(config).includes(state.destination)
      found.push({ ...state, configured, lagEvents, lagSecs })
    }
    return found
  } finally {
    await source.close()
  }
}

/** Dead letters with the feed that they belong to. */
export async function* deadLetters(
  parts: Pick<ForwardParts, 'config' | 'catalog'>,
  names: readonly string[] = [],
): AsyncGenerator<DeadLetter & { readonly destination: string; readonly feed: string }> {
  const { catalog } = parts
  for (const { feedId, destination, feed, deadLetters } of await feedsOf(parts, names))
    if (deadLetters > 0) for (const letter of await catalog.deadLetters(feedId)) yield { ...letter, destination, feed }
}

export interface TableRequest {
  /** A configured destination; else `tables`. */
  readonly destination?: string
  /** Names of built-in tables; by default those that a `sentinel` destination fills by itself, and Coldtrail_CL. */
  readonly tables?: readonly string[]
  readonly format: 'arm' | 'bicep'
}

/** Rule, tables and role as a template, from the declarations that rows are encoded by. */
export async function forwardTable(
  { config, log }: Pick<ForwardParts, 'config' | 'log'>,
  { destination: name, tables = [], format }: TableRequest,
): Promise<string> {
  if (name !== undefined && tables.length > 0)
    throw new ColdtrailError('E_USAGE', { message: '--destination and --table: give one of the two.' })
  if (name === undefined) return tableText((tables.length > 0 ? tables : USUAL_TABLES).map(tableNamed), format)
  const [setting] = resolveDestinations(config, [name])
  return opened(setting!, config, log, async (destination) => {
    if (destination.tables === undefined)
      throw new ColdtrailError('E_USAGE', {
        message: `Destination ${name} fills no tables; one of type sentinel does.`,
      })
    return tableText(destination.tables, format)
  })
}

// --- internal ---

/** A feed of a collection reads copies in its workbenches too, so these need none of their own beside it. */
async function feedCollections(catalog: Catalog, given: string): Promise<string[]> {
  const names = collectionNames(given)
  const homes = new Map((await catalog.workbenches()).map(({ name, home }) => [name, home]))
  return names.filter((name) => !homes.has(name) || !names.includes(homes.get(name)!))
}

const USUAL_TABLES = ['AWSCloudTrail', 'AWSVPCFlow', 'Coldtrail_CL']

function tableNamed(name: string): Table {
  const found = TABLES.find((table) => table.name === name)
  if (found) return found
  const known = TABLES.map((table) => table.name)
  const guess = nearest(name, known)
  const suggestion = guess === undefined ? '' : ` Did you mean ${guess}?`
  throw new ColdtrailError('E_USAGE', {
    message: `"${name}" is no built-in table.${suggestion} There are ${known.join(', ')}.`,
  })
}

/** Runs for every destination at once: one that is slow, or does not end, holds up no other. */
async function eachDestination(
  { config, catalog, log }: ForwardParts,
  request: ForwardRequest,
  streams: readonly Stream[],
  run: (options: ForwardOptions) => Promise<ForwardSummary>,
): Promise<ForwardSummary[]> {
  const settings = resolveDestinations(config, request.destinations)
  // An expression with a fault is told before anything is opened.
  await requireExpressions(config, settings)
  await selected([request.where])
  const source = openFeedSource({ catalog, dataDir: config.data_dir })
  try {
    let running = settings.length
    const runs = settings.map((setting) =>
      opened(setting, config, log, async (destination) => {
        for (const notice of destination.notices) log('warn', notice, { destination: setting.name })
        const options = jobOptions({ config, catalog, log }, source, setting, request)
        const taken = destination.feeds.filter(({ name }) => streams.includes(streamOf(name)))
        // Of all destinations those that take none have nothing to do; one that was named should.
        if (taken.length === 0 && (settings.length === 1 || request.destinations?.length))
          throw new ColdtrailError('E_FORWARD_STREAM', { destination: setting.name, stream: streams.join(' and ') })
        const feeds = await Promise.all(taken.map((feed) => selectedFeed(feed, [setting.where, request.where])))
        return run({ ...options, destination, feeds })
      })
        .catch((error: unknown) => {
          if (settings.length === 1) throw error
          return stoppedSummary(setting.name, asColdtrailError(error))
        })
        .then((summary) => {
          // With --follow the others go on for days.
          if (summary.error && running > 1) {
            const { code, message } = summary.error
            log('error', 'a destination stopped, the others go on', {
              destination: setting.name,
              code,
              reason: message,
            })
          }
          return summary
        })
        .finally(() => {
          running -= 1
        }),
    )
    const ended = await Promise.allSettled(runs)
    return ended.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
  } finally {
    await source.close()
  }
}

async function opened<T>(
  setting: DestinationConfig,
  config: Config,
  log: Log,
  use: (destination: Awaited<ReturnType<typeof openDestination>>) => Promise<T>,
): Promise<T> {
  const destination = await openDestination(config, setting, log)
  try {
    return await use(destination)
  } finally {
    await destination.close()
  }
}

function jobOptions(
  { config, catalog, log }: Pick<ForwardParts, 'config' | 'catalog' | 'log'>,
  source: FeedSource,
  setting: DestinationConfig,
  { collection: asked, from, dryRun, follow, skipOffline, signal, onProgress }: ForwardRequest,
): Omit<ForwardOptions, 'destination' | 'feeds'> {
  const { name, collection: configured = 'main' } = setting
  return {
    catalog,
    source,
    name,
    collection: asked ?? configured,
    startTime: from,
    dryRun,
    skipOffline,
    signal,
    log: (level, message, values) => log(level, message, { destination: name, ...values }),
    follow: follow ? { pollSeconds: config.forward.poll_secs } : undefined,
    patienceMs: follow ? undefined : config.forward.patience_secs * 1_000,
    onProgress: onProgress && ((progress) => onProgress(name, progress)),
  }
}

async function selectedFeed(feed: Feed, more: readonly (string | undefined)[]): Promise<SelectedFeed> {
  return { feed, ...(await selected([feed.where, ...more])) }
}

const configuredNames = ({ destinations, withheld = [] }: Pick<Config, 'destinations' | 'withheld'>): string[] =>
  [...destinations, ...withheld].map(({ name }) => name)

/** Feeds with a position: of these destinations, configured or not, or of all. E_DESTINATION_UNKNOWN. */
async function feedsOf(
  { config, catalog }: Pick<ForwardParts, 'config' | 'catalog'>,
  names: readonly string[],
): Promise<readonly FeedState[]> {
  const feeds = await catalog.feeds()
  if (names.length === 0) return feeds
  const begun = new Set(feeds.map(({ destination }) => destination))
  const unknown = names.find((name) => !begun.has(name) && !configuredNames(config).includes(name))
  if (unknown !== undefined) {
    const all = [...new Set([...configuredNames(config), ...begun])]
    throw unknownDestination(unknown, all)
  }
  return feeds.filter(({ destination }) => names.includes(destination))
}

/** The fault of an expression in the configuration has the name of its destination. E_CONFIG_VALUE. */
async function requireExpressions({ file }: Pick<Config, 'file'>, settings: readonly DestinationConfig[]) {
  for (const { name, where } of settings) {
    try {
      await selected([where])
    } catch (error) {
      const { values } = asColdtrailError(error)
      if (values.reason === undefined) throw error
      throw new ColdtrailError(
        'E_CONFIG_VALUE',
        {
          where: file ?? 'The configuration',
          path: `destinations.${name}.where`,
          value: printable(JSON.stringify(where)),
          reason: `column ${values.column}: ${values.reason}`,
        },
        { cause: error },
      )
    }
  }
}

/** All of them hold. */
async function selected(parts: readonly (string | undefined)[]) {
  const given = parts.filter((part) => part !== undefined && part.trim() !== '').map((part) => part!.trim())
  // Each by itself first, so that a fault is told at the column of the text that a person wrote.
  for (const part of given) await questionOf({ expression: part })
  const expression = given.length > 1 ? given.map((part) => `(${part})`).join(' and ') : (given[0] ?? '')
  const conditionAt = async (now: number) => (await questionOf({ expression, now })).condition
  return { expression, conditionAt }
}

/** A person who gives --from, or edits an expression, may not expect where the feed begins. */
async function sayBeginnings({ catalog, log }: ForwardParts, options: ForwardOptions) {
  const { name: destination, feeds, collection, startTime } = options
  const known = (await catalog.feeds(destination)).filter((state) => state.collection === collection)
  for (const { feed, expression } of feeds) {
    const same = known.filter((state) => state.feed === feed.name)
    const values = { destination, feed: feed.name }
    if (same.some((state) => state.expression === expression)) {
      if (startTime !== undefined)
        log('warn', '--from is for feeds that are new: this one goes on where it ended', values)
    } else if (same.length > 0 && startTime === undefined) {
      const message =
        'another selection is another feed: this one begins with the first event ever collected, and sends again what ' +
        'an earlier one has sent; --from begins later'
      log('warn', message, values)
    }
  }
}

/** Events that no feed of the destination takes would go nowhere without a word. */
async function sayUntaken({ reader, log }: ForwardParts, { feeds, collection, name, signal }: ForwardOptions) {
  const takesAll = feeds.some(({ feed }) => feed.where === undefined || streamOf(feed.name) === 'findings')
  if (feeds.length === 0 || takesAll) return
  const expression = `not (${feeds.map(({ feed }) => `(${feed.where})`).join(' or ')})`
  const question = await questionOf({ expression, collection, signal })
  const { values } = await reader.values({ ...question, field: 'data_type' })
  if (values.length === 0) return
  log('warn', 'no table of this destination takes some events of the collection; they are not sent', {
    destination: name,
    events: values.reduce((sum, { count }) => sum + count, 0),
    data_types: values
      .slice(0, 10)
      .map(({ value }) => value)
      .join(', '),
  })
}
