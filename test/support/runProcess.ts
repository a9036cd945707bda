/**
 * Begins or resumes a run in a catalog of fake segments and commits it, for tests that kill it:
 * `runProcess.ts <dataDir> <url> <schema> <run, or 0 to begin one>`.
 */
import { openCatalog } from '../../src/store/catalog.ts'
import { committedRun } from './fakeRun.ts'

const [dataDir, url, schema, run] = process.argv.slice(2) as [string, string, string, string]
const catalog = await openCatalog({ dataDir, schema, ...(url ? { url } : {}) })
const owner = await catalog.owner('analyze')
await committedRun(catalog, owner, Number(run) || undefined)
await catalog.close()
