/**
 * Domains that browsers visited, with their counts: the network location of each URL, as Python's urlparse finds it, so
 * that user, port and case stay as they are.
 */
import { z } from 'zod'
import type { TextColumn } from '../../core/columnBatch.ts'
import type { FoldPlugin, PluginComponent } from '../plugin.ts'
import { addCount, byCount, countsOf, dataTypeIn, mergeCounts, perValue } from './distinctValues.ts'

const options = z.strictObject({})

export const uniqueDomainsVisited: PluginComponent<typeof options, null> = {
  kind: 'plugin',
  name: 'unique_domains_visited',
  summary: 'Count the domains that browsers visited',
  version: 1,
  options,
  prepare: async () => null,
  start: domains,
}

/** The part of a URL between `//` and the path; empty where there is none. */
export function networkLocation(url: string): string {
  const text = url.replace(/^[\x00-\x20]+/, '').replace(/[\t\r\n]/g, '')
  const match = /^(?:[A-Za-z][A-Za-z0-9+.-]*:)?\/\/([^/?#]*)/.exec(text)
  return match?.[1] ?? ''
}

// --- internal ---

/** plaso's, and those that its parsers emit for Opera and Safari today, which its own list does not have. */
const DATA_TYPES = [
  'chrome:history:file_downloaded',
  'chrome:history:page_visited',
  'firefox:downloads:download',
  'firefox:places:page_visited',
  'macos:lsquarantine',
  'msie:webcache:container',
  'msiecf:redirected',
  'msiecf:url',
  'opera:history',
  'opera:history:entry',
  'opera:history:typed_entry',
  'safari:history:visit',
  'safari:history:visit_sqlite',
]

/** Domains that the report counts one by one. */
const REPORTED = 100_000

function domains(): FoldPlugin<Map<string, number>> {
  const locate = perValue(networkLocation)
  return {
    shape: 'fold',
    columns: ['data.url'],
    where: dataTypeIn(DATA_TYPES),
    empty: () => new Map(),
    add(counts, { columns }) {
      const urls = columns['data.url'] as TextColumn
      const locations = locate(urls)
      countsOf(urls).forEach((count, index) => {
        if (count > 0 && locations[index] !== '') addCount(counts, locations[index]!, count)
      })
      return counts
    },
    merge: mergeCounts,
    finish(counts) {
      const sorted = byCount(counts)
      const more = sorted.length - REPORTED
      return {
        report: {
          counters: sorted.slice(0, REPORTED),
          ...(more > 0 && { text: `${more} more domains are not listed here.` }),
        },
      }
    },
  }
}
