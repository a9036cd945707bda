/**
 * A roll of the tiers, and the removal of what it leaves, in a process that tests kill:
 * `tierRun.ts <dataDir> <url> <schema> <yaml of the section tiers>`.
 */
import { join } from 'node:path'
import { type Config, parseConfig } from '../../src/config.ts'
import { openCatalog } from '../../src/store/catalog.ts'
import { tiers } from '../../src/tiers.ts'

const [dataDir, url, schema, yaml] = process.argv.slice(2) as [string, string, string, string]
const catalog = await openCatalog({ dataDir, schema, ...(url ? { url } : {}) })
const config = { ...parseConfig(`tiers:\n${yaml}`, { file: 'test', environment: {} }), data_dir: dataDir }
const place = { ...config, file: join(dataDir, 'coldtrail.yaml') } as Config
const log = () => undefined
const rolling = tiers(place, { catalog: async () => catalog, requireData: () => undefined, log })
await rolling.roll()
await catalog.sweep({ graceMs: 0 })
await catalog.close()
