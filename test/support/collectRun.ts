/** A whole run of `collect` in a process of its own, for tests that kill it: data directory, folder of logs. */
import { collect } from '../../src/collect/collect.ts'
import { openCatalog } from '../../src/store/catalog.ts'

const [dataDir, path] = process.argv.slice(2) as [string, string]
const catalog = await openCatalog({ dataDir })
const summary = await collect({
  catalog,
  collection: 'main',
  producer: 'test/1',
  processes: 2,
  segmentLimits: { maxRows: 100 },
  sources: [{ name: 'logs', type: 'directory', path, include: [], exclude: [], lookback_days: 2 }],
})
await catalog.close()
process.stdout.write(JSON.stringify(summary))
