/** A process that collects objects: `collectProcess.ts DATA_DIR URL_OR_EMPTY SCHEMA NAME...`; `hold` waits with its claims. */
import { openCatalog } from '../../src/store/catalog.ts'
import { collectObjects, fakeObject } from './fakeSegment.ts'

const [dataDir, url, schema, mode, ...names] = process.argv.slice(2)
const catalog = await openCatalog({ dataDir: dataDir!, schema: schema!, ...(url ? { url } : {}) })
const owner = await catalog.owner('collect')
const objects = names.map((name) => fakeObject(name))
if (mode === 'hold') {
  const claims = await catalog.claim(owner, objects)
  process.stdout.write(`${claims.map(({ verdict }) => verdict).join(' ')}\n`)
  setInterval(() => {}, 1000)
} else {
  const result = await collectObjects(catalog, owner, objects)
  process.stdout.write(`${result ? result.segment.sessions.length : 0}\n`)
  await owner.release()
  await catalog.close()
}
