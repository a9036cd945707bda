/**
 * A process that forwards as far as the catalog sees it: `forwardProcess.ts DATA_DIR URL_OR_EMPTY SCHEMA MODE`. `hold`
 * keeps the outbox of `siem`; `send` settles what is open and then three batches of ten events each.
 */
import { openCatalog } from '../../src/store/catalog.ts'

const [dataDir, url, schema, mode] = process.argv.slice(2)
const catalog = await openCatalog({ dataDir: dataDir!, schema: schema!, ...(url ? { url } : {}) })
const outbox = await catalog.openOutbox('siem')
const { feedId, open, position } = await outbox.openFeed({ feed: 'events', collection: 'main', expression: '' })
const settlement = { accepted: 9, requests: 1, retried: 0, wireBytes: 100, decodedBytes: 1000, requestId: 'r' }
const settle = (number: number, id: number) =>
  outbox.settleBatch(feedId, number, { ...settlement, rejected: [{ id, uid: String(id), reason: 'no' }] })
if (mode === 'hold') {
  process.stdout.write('held\n')
  setInterval(() => {}, 1000)
} else {
  for (const { number, to } of open) await settle(number, to.id)
  for (let { id } = position; id < 30; id += 10) {
    const to = { sequence: 1, id: id + 10 }
    const { number } = await outbox.beginBatch(feedId, { from: { sequence: id ? 1 : 0, id }, to, records: 10 })
    await settle(number, to.id)
  }
  await outbox.release()
  await catalog.close()
}
