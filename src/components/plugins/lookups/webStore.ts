/** Names of browser extensions by their ids, from the title of their page in the Chrome Web Store. */
import type { HttpClient, HttpResponse } from '../../../platform/httpClient.ts'
import { HttpFault } from '../../../platform/httpClient.ts'
import { LookupFault } from './lookUp.ts'

/** An id as the store gives them. Nothing else of a path is ever sent. */
export const EXTENSION_ID = /^[a-p]{32}$/

export interface WebStore {
  /** The name; empty when the store knows no such extension. Throws LookupFault. */
  nameOf(id: string): Promise<string>
}

/** `url` with `{id}` in it. */
export function webStore(client: HttpClient, url: string, signal?: AbortSignal): WebStore {
  return {
    async nameOf(id) {
      let at = new URL(url.replaceAll('{id}', id))
      const { host, protocol } = at
      for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
        const response = await get(client, at, signal)
        const { status, headers, body } = response
        if (status === 200) return titleOf(body.toString('utf8'))
        if (status === 404) return ''
        if (status === 429 || status >= 500) throw new LookupFault(`${host} answered ${status}`, { retry: true })
        if (status < 300 || status >= 400 || headers.location === undefined || !URL.canParse(headers.location, at.href))
          throw new LookupFault(`${host} answered ${status}`, { retry: false })
        at = new URL(headers.location, at)
        // The pages have addresses with the extension's name in them, on the same host.
        if (at.host !== host || at.protocol !== protocol)
          throw new LookupFault(`${host} sends elsewhere`, { retry: false })
      }
      throw new LookupFault(`${host} redirects without end`, { retry: false })
    },
  }
}

// --- internal ---

const MAX_REDIRECTS = 4
const MAX_NAME = 200

async function get(client: HttpClient, url: URL, signal: AbortSignal | undefined): Promise<HttpResponse> {
  try {
    return await client.request(url, { headers: { Accept: 'text/html', 'Accept-Language': 'en' }, signal })
  } catch (error) {
    if (!(error instanceof HttpFault)) throw error
    throw new LookupFault(error.message, { retry: error.kind === 'reset' || error.kind === 'timeout', cause: error })
  }
}

function titleOf(page: string): string {
  const title = /<title[^>]*>([^<]{1,2000})<\/title>/i.exec(page)?.[1] ?? ''
  const name = unescaped(title)
    .trim()
    .replace(/^Chrome Web Store - /, '')
    .replace(/ - Chrome Web Store$/, '')
  return name === 'Chrome Web Store' ? '' : name.slice(0, MAX_NAME).toWellFormed()
}

const ENTITIES: ReadonlyMap<string, string> = new Map([
  ['amp', '&'],
  ['lt', '<'],
  ['gt', '>'],
  ['quot', '"'],
  ['apos', "'"],
])

const unescaped = (text: string): string =>
  text.replace(/&(?:#(\d{1,7})|([a-z]+));/g, (whole, code: string | undefined, name: string) => {
    if (code === undefined) return ENTITIES.get(name) ?? whole
    return Number(code) > 0 && Number(code) <= 0x10ffff ? String.fromCodePoint(Number(code)) : whole
  })
