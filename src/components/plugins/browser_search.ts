/**
 * What people searched for: terms in the URLs of search engines, counted and labelled. A URL of an engine that is no
 * search (a video, a mail) is passed over; one that is a search page without a term is counted.
 */
import { z } from 'zod'
import type { TextColumn } from '../../core/columnBatch.ts'
import { NULL_TEXT } from '../../core/columnBatch.ts'
import type { FoldPlugin, PluginComponent } from '../plugin.ts'
import { addCount, countsOf, dataTypeIn, mergeCounts, perValue } from './distinctValues.ts'

const options = z.strictObject({})

export const browserSearch: PluginComponent<typeof options, null> = {
  kind: 'plugin',
  name: 'browser_search',
  summary: 'Label searches in browser histories, and count their terms by search engine',
  version: 1,
  options,
  prepare: async () => null,
  start: searches,
}

export interface Search {
  readonly engine: string
  /** Empty: it is a search page, and there is no term in its URL. */
  readonly term: string
}

/** The searches that a URL stands for, by the engines' patterns; mostly none. */
export function searchesOf(url: string): Search[] {
  return ENGINES.flatMap(({ engine, pattern, term, isAlwaysSearch }) => {
    if (!pattern.test(url)) return []
    const found = term(url)
    if (found !== undefined && found !== '') return [{ engine, term: decode(found) }]
    return isAlwaysSearch ? [{ engine, term: '' }] : []
  })
}

// --- internal ---

interface Engine {
  readonly engine: string
  readonly pattern: RegExp
  /** As the URL writes it. */
  readonly term: (url: string) => string | undefined
  /** The pattern is that of a search page. */
  readonly isAlwaysSearch?: boolean
}

/** The first non-empty one of these parameters, by its whole name; fragments hold parameters too. */
const parameter =
  (...names: readonly string[]) =>
  (url: string): string | undefined => {
    const start = url.search(/[?#]/)
    if (start < 0) return undefined
    for (const pair of url.slice(start + 1).split(/[?&#]/)) {
      const at = pair.indexOf('=')
      if (at > 0 && names.includes(pair.slice(0, at)) && at + 1 < pair.length) return pair.slice(at + 1)
    }
    return undefined
  }

const ENGINES: readonly Engine[] = [
  { engine: 'Bing', pattern: /bing\.com\/search/, term: parameter('q'), isAlwaysSearch: true },
  { engine: 'DuckDuckGo', pattern: /duckduckgo\.com/, term: parameter('q') },
  { engine: 'GMail', pattern: /mail\.google\.com/, term: (url) => /search\/([^/?]*)/.exec(url)?.[1] },
  { engine: 'Google Docs', pattern: /docs\.google\.com/, term: parameter('q') },
  { engine: 'Google Drive', pattern: /drive\.google\.com\/drive\/search/, term: parameter('q'), isAlwaysSearch: true },
  {
    engine: 'Google Search',
    // Bounded, since a text of nothing but beginnings would be searched to its end from each of them.
    pattern: /(?:www\.|encrypted\.|\/)google\.[^/]{0,300}\/search/,
    term: parameter('q'),
    isAlwaysSearch: true,
  },
  { engine: 'Google Sites', pattern: /sites\.google\.com\/site/, term: parameter('q') },
  { engine: 'Yahoo', pattern: /yahoo\.com\/search/, term: parameter('p'), isAlwaysSearch: true },
  { engine: 'Yandex', pattern: /yandex\.com\/search/, term: parameter('text'), isAlwaysSearch: true },
  { engine: 'Youtube', pattern: /youtube\.com/, term: parameter('search_query', 'q') },
]

const DATA_TYPES = [
  'chrome:autofill:entry',
  'chrome:cache:entry',
  'chrome:cookie:entry',
  'chrome:extension_activity:activity_log',
  'chrome:history:file_downloaded',
  'chrome:history:page_visited',
  'cookie:google:analytics:utma',
  'cookie:google:analytics:utmb',
  'cookie:google:analytics:utmt',
  'cookie:google:analytics:utmz',
  'firefox:cache:record',
  'firefox:cookie:entry',
  'firefox:downloads:download',
  'firefox:places:bookmark',
  'firefox:places:bookmark_annotation',
  'firefox:places:bookmark_folder',
  'firefox:places:page_visited',
  'msie:webcache:container',
  'msie:webcache:containers',
  'msie:webcache:leak_file',
  'msie:webcache:partitions',
  'msiecf:leak',
  'msiecf:redirected',
  'msiecf:url',
  'opera:history:entry',
  'opera:history:typed_entry',
  'safari:cookie:entry',
  'safari:history:visit',
  'safari:history:visit_sqlite',
]

const HIT = { label: 'browser_search', rule: '' } as const
/** Between engine and term in a key: in no name of an engine. */
const SEPARATOR = '\n'
const MAX_TERM = 2_048
/** Terms of the report. */
const REPORTED = 100_000

/** `+` is a space; what is no UTF-8 shows as U+FFFD; at most 2,048 characters. */
function decode(term: string): string {
  const bytes = term.replaceAll('+', ' ').replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) => {
    return Buffer.from(run.replaceAll('%', ''), 'hex').toString('utf8')
  })
  return bytes.slice(0, MAX_TERM).toWellFormed()
}

/** Counts by engine and term; by engine alone where there was no term. */
function searches(): FoldPlugin<Map<string, number>> {
  const search = perValue(searchesOf)
  return {
    shape: 'fold',
    columns: ['data.url'],
    where: dataTypeIn(DATA_TYPES),
    empty: () => new Map(),
    add(counts, { columns, rows }, emit) {
      const urls = columns['data.url'] as TextColumn
      const found = search(urls)
      countsOf(urls).forEach((count, index) => {
        if (count > 0) for (const { engine, term } of found[index]!) addCount(counts, engine + SEPARATOR + term, count)
      })
      for (let row = 0; row < rows; row++) {
        const index = urls.indexes[row]!
        if (index !== NULL_TEXT && found[index]!.some(({ term }) => term !== '')) emit(row, HIT)
      }
      return counts
    },
    merge: mergeCounts,
    finish(counts) {
      const found = [...counts].map(([key, count]) => {
        const at = key.indexOf(SEPARATOR)
        return { search_engine: key.slice(0, at), search_term: key.slice(at + 1), number_of_queries: count }
      })
      const terms = found
        .filter(({ search_term }) => search_term !== '')
        .sort(
          (a, b) =>
            (a.search_engine < b.search_engine ? -1 : a.search_engine > b.search_engine ? 1 : 0) ||
            b.number_of_queries - a.number_of_queries ||
            (a.search_term < b.search_term ? -1 : 1),
        )
      const engines = new Map<string, number>()
      for (const { search_engine, number_of_queries } of terms) addCount(engines, search_engine, number_of_queries)
      const without = found.filter(({ search_term }) => search_term === '')
      const lost = without.reduce((sum, { number_of_queries }) => sum + number_of_queries, 0)
      const more = terms.length - REPORTED
      return {
        report: {
          counters: [
            ...[...engines].sort(([a], [b]) => (a < b ? -1 : 1)),
            ...(lost > 0 ? [['search pages without a term', lost] as const] : []),
          ],
          rows: terms.slice(0, REPORTED),
          ...(more > 0 && { text: `${more} more terms are not listed here.` }),
        },
      }
    },
  }
}
