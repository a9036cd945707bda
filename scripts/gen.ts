/**
 * Writes what is derived: the compiled byte modules, the component lists and docs/reference/. `--check` writes nothing and
 * fails, naming each stale file. The lists come first, since the rest imports them.
 */
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'

const root = dirname(import.meta.dirname)
const check = process.argv.includes('--check')
const stale: string[] = []

const { byteModuleFile } = await import('./gen/byteModule.ts')
put('src/core/byteModule.wasm.ts', await byteModuleFile(root, 'assembly/index.ts'))
put('src/core/deflater.wasm.ts', await byteModuleFile(root, 'assembly/deflate.ts'))
await componentList('source', 'sources', 'SOURCES')
await componentList('format', 'formats', 'FORMATS')
await componentList('table', 'tables', 'TABLES')
await componentList('destination', 'destinations', 'DESTINATIONS')
await componentList('plugin', 'plugins', 'PLUGINS')
const { configPage, configSchemaFile } = await import('./gen/configPage.ts')
const { commandsPage } = await import('./gen/commandsPage.ts')
const { errorsPage } = await import('./gen/errorsPage.ts')
const { columnsPage } = await import('./gen/columnsPage.ts')
const { tablesPage } = await import('./gen/tablesPage.ts')
const { libraryFormatsPage } = await import('./gen/libraryFormatsPage.ts')
const { manifestSchemaFile } = await import('./gen/manifestSchema.ts')
const { pluginsPage } = await import('./gen/pluginsPage.ts')
put('docs/reference/coldtrail.schema.json', configSchemaFile())
put('docs/reference/config.md', configPage())
put('docs/reference/commands.md', commandsPage())
put('docs/reference/errors.md', errorsPage())
put('docs/reference/columns.md', columnsPage())
put('docs/reference/tables.md', tablesPage())
put('docs/reference/library-formats.md', libraryFormatsPage())
put('docs/reference/manifest.schema.json', manifestSchemaFile())
put('docs/reference/plugins.md', pluginsPage())

if (stale.length > 0) {
  process.stderr.write(`Stale: ${stale.join(', ')}. Run npm run gen and commit the result.\n`)
  process.exitCode = 1
}

// --- internal ---

/** `src/components/<folder>/all.ts`: every exported component of that kind, found in the folder, by name. */
async function componentList(kind: string, folder: string, list: string): Promise<void> {
  const home = join(root, 'src/components', folder)
  const found: { name: string; exported: string; path: string }[] = []
  for (const path of globSync('**/*.ts', { cwd: home }).sort()) {
    if (path === 'all.ts') continue
    const module: Record<string, unknown> = await import(pathToFileURL(join(home, path)).href)
    for (const [exported, value] of Object.entries(module)) {
      if (isComponent(value, kind)) found.push({ name: value.name, exported, path: `./${path}` })
    }
  }
  found.sort((a, b) => (a.name < b.name ? -1 : 1))
  const imports = [...found].sort((a, b) => (a.path < b.path ? -1 : 1))
  put(
    relative(root, join(home, 'all.ts')),
    [
      `/** Every ${kind}; written by npm run gen from this folder. */`,
      ...imports.map(({ exported, path }) => `import { ${exported} } from '${path}'`),
      '',
      listLine(list, found),
      '',
    ].join('\n'),
  )
}

/** One line, or one a component where the formatter would break it. */
function listLine(list: string, found: readonly { exported: string }[]): string {
  const names = found.map(({ exported }) => exported)
  const line = `export const ${list} = [${names.join(', ')}] as const`
  return line.length <= 120
    ? line
    : `export const ${list} = [\n${names.map((name) => `  ${name},\n`).join('')}] as const`
}

function isComponent(value: unknown, kind: string): value is { kind: string; name: string } {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === kind && 'name' in value
}

function put(path: string, content: string): void {
  const file = join(root, path)
  if (existsSync(file) && readFileSync(file, 'utf8') === content) return
  if (check) {
    stale.push(path)
    return
  }
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, content)
  process.stdout.write(`wrote ${path}\n`)
}
