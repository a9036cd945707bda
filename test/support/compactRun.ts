/** A run of `collect` that merges small segments, and removes what they replaced, in a process that tests kill. */
import { collect } from '../../src/collect/collect.ts'
import { openCatalog } from '../../src/store/catalog.ts'

const [dataDir, path] = process.argv.slice(2) as [string, string]
const catalog = await openCatalog({ dataDir })
const summary = await collect({
  catalog,
  collection: 'main',
  producer: 'test/1',
  processes: 1,
  compact: true,
  sources: [{ name: 'logs', type: 'directory', path, include: [], exclude: [], lookback_days: 2 }],
})
await catalog.sweep({ graceMs: 0 })
await catalog.close()
process.stdout.write(JSON.stringify(summary))
