/** A small web store of extensions on loopback: pages with titles by id, behind a redirect to an address with a name. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface WebStoreServer {
  /** With {id} in it. */
  readonly url: string
  readonly asked: readonly string[]
  close(): Promise<void>
}

export async function startWebStore(titles: Readonly<Record<string, string>>): Promise<WebStoreServer> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    const known = path.split('/').at(-1)!
    if (!path.startsWith('/detail/slug/')) {
      asked.push(known)
      if (!Object.hasOwn(titles, known)) {
        response.writeHead(404).end()
        return
      }
      response.writeHead(301, { Location: `/detail/slug/${known}` }).end()
      return
    }
    response.writeHead(200, { 'Content-Type': 'text/html' })
    response.end(
      `<!doctype html><html><head><meta charset="utf-8"><title>${titles[known]!} - Chrome Web Store</title></head></html>`,
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/detail/{id}`,
    asked,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
