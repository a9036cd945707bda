/** Opens the database, the locks and the keys that a catalog works with. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../../core/errors.ts'
import { mayWrite, openDatabase } from '../../platform/database/database.ts'
import { isWritable, nearestExisting } from '../../platform/fileSystem.ts'
import type { CatalogOptions } from '../catalog.ts'
import { linkNumbers } from '../chain.ts'
import { historyCollections } from '../history.ts'
import { loadSigningKey } from '../signingKeys.ts'
import { CatalogContext } from './context.ts'
import { prepareSchema, type Tables } from './schema.ts'

export const catalogPath = (dataDir: string): string => join(dataDir, 'catalog.db')

export const defaultHistoryDir = (dataDir: string): string => join(dataDir, 'history')

export async function openContext(options: CatalogOptions): Promise<CatalogContext> {
  const { dataDir, historyDir = defaultHistoryDir(dataDir) } = options
  const path = catalogPath(dataDir)
  const key = options.signingKey ?? (mayWrite(options, path) ? loadSigningKey(dataDir) : undefined)
  if (key) prepareManifestDirectory(historyDir)
  const database = await openDatabase<Tables>(options, path)
  const { dialect, db, name } = database
  try {
    await prepareSchema(db, dialect, () => {
      const lost = historyCollections(historyDir).find(
        (name) => linkNumbers(join(historyDir, name, 'chain')).length > 0,
      )
      if (lost !== undefined) throw new ColdtrailError('E_CATALOG_LOST', { path: join(historyDir, lost) })
    })
  } catch (error) {
    await database.close().catch(() => undefined)
    if (error instanceof ColdtrailError) throw error
    const cause = error instanceof Error ? error.message : String(error)
    throw new ColdtrailError('E_CATALOG_OPEN', { path: name, cause }, { cause: error })
  }
  return new CatalogContext({ database, dataDir, historyDir, key, anchorPath: options.anchor })
}

// --- internal ---

/** Before anything is collected that could not be put down there. A missing one is made when it is first written to. */
function prepareManifestDirectory(path: string): void {
  const refuse = (reason: string): never => {
    throw new ColdtrailError('E_MANIFEST_DIR', { path, reason })
  }
  if (statSync(nearestExisting(path), { throwIfNoEntry: false })?.isDirectory() !== true)
    refuse(existsSync(path) ? 'it is no directory' : `${nearestExisting(path)} is no directory`)
  if (!isWritable(path)) refuse(existsSync(path) ? 'it is not writable' : 'it does not exist and cannot be made')
}
