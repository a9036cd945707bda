/** A catalog that does not exist yet, for suites that run over both databases. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Catalog, type CatalogOptions, openCatalog } from '../../src/store/catalog.ts'
import { postgresUrl } from './postgres.ts'

export type Dialect = 'sqlite' | 'postgres'

let schemas = 0

/** Options of a new data directory, which is put on the list of those to be removed, and a schema of its own. */
export async function freshCatalog(dialect: Dialect, directories: string[]): Promise<CatalogOptions> {
  const dataDir = mkdtempSync(join(tmpdir(), 'coldtrail-catalog-'))
  directories.push(dataDir)
  const schema = `t${++schemas}_${process.pid}`
  return dialect === 'sqlite' ? { dataDir, schema } : { dataDir, schema, url: await postgresUrl() }
}

export async function withFreshCatalog(
  dialect: Dialect,
  directories: string[],
  action: (catalog: Catalog, options: CatalogOptions) => Promise<void>,
): Promise<void> {
  const options = await freshCatalog(dialect, directories)
  const catalog = await openCatalog(options)
  try {
    await action(catalog, options)
  } finally {
    await catalog.close()
  }
}
