/** An erasure in a process that tests kill: repairs what the last one left, then erases an object. */
import { openCatalog } from '../../src/store/catalog.ts'
import { eraseSessions } from '../../src/store/erase.ts'

const [dataDir, key, url, schema] = process.argv.slice(2) as [string, string, string?, string?]
const catalog = await openCatalog({ dataDir, url: url || undefined, schema })
await catalog.repairDerived()
const choice = { collection: 'main', objects: [key], reason: 'a test' }
const { segments } = await eraseSessions({ catalog, dataDir, producer: 'coldtrail/test' }, choice)
await catalog.sweep({ graceMs: 0 })
await catalog.close()
process.stdout.write(JSON.stringify(segments.length))
