/** Restores from a folder into a workbench, or removes it, for tests that kill it: `restoreProcess.ts <dataDir> <folder, or remove>`. */
import { openCatalog } from '../../src/store/catalog.ts'
import { restore } from '../../src/tier/restore.ts'

const [dataDir, folder] = process.argv.slice(2) as [string, string]
const catalog = await openCatalog({ dataDir })
if (folder === 'remove') {
  const owner = await catalog.owner('restore')
  await catalog.removeWorkbench(owner, 'case1', 'done')
  await owner.release()
  await catalog.sweep({ graceMs: 0 })
} else {
  const expires = (Date.now() + 86_400_000) * 1_000
  await restore({ catalog, collection: 'main', workbench: 'case1', folder, reason: 'a kill', expires })
}
await catalog.close()
