/**
 * A process that collects objects: `collectProcess.ts DATA_DIR URL_OR_EMPTY SCHEMA MODE NAME...`; `hold` waits with its claims,
 * `compact` makes a segment of each object, then one of all.
 */
import { openCatalog } from '../../src/store/catalog.ts'
import { collectObjects, fakeObject, fakeSegment } from './fakeSegment.ts'

const [dataDir, url, schema, mode, ...names] = process.argv.slice(2)
const catalog = await openCatalog({ dataDir: dataDir!, schema: schema!, ...(url ? { url } : {}) })
const owner = await catalog.owner('collect')
const objects = names.map((name) => fakeObject(name))
if (mode === 'hold') {
  const claims = await catalog.claim(owner, objects)
  process.stdout.write(`${claims.map(({ verdict }) => verdict).join(' ')}\n`)
  setInterval(() => {}, 1000)
} else if (mode === 'compact') {
  const parts = []
  for (const object of objects) parts.push((await collectObjects(catalog, owner, [object]))!.segment)
  const number = await catalog.draw(owner, 'segment', 1)
  const sessions = parts.flatMap((part) => part.sessions)
  const merged = fakeSegment(catalog, number, sessions, parts[0]!.id1!)
  const replaced = parts.map(({ segment }) => segment)
  await catalog.commitReplace(owner, merged, replaced)
  await catalog.sweep({ graceMs: 0 })
} else {
  const result = await collectObjects(catalog, owner, objects)
  process.stdout.write(`${result ? result.segment.sessions.length : 0}\n`)
  await owner.release()
  await catalog.close()
}
