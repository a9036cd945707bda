/** The file that `coldtrail init` writes: what was asked for, and the rest as comments with its defaults. */
import { existsSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { CONFIG_FILE, type ConfigPlace, DEFAULT_DATA_DIR } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import { writeDurably } from './platform/files.ts'
import { resolveSources, type SourceSettings } from './sources.ts'

/** Writes a configuration with these sources and returns its path. An existing file is kept: E_CONFIG_EXISTS. */
export function writeInitialConfig(
  { file = CONFIG_FILE, dataDir }: ConfigPlace,
  names: readonly string[],
  settings: SourceSettings = {},
): string {
  const path = resolve(file)
  if (existsSync(path)) throw new ColdtrailError('E_CONFIG_EXISTS', { path })
  const sources = names.map((name, at) => ({ name: `source-${at + 1}`, ...namedSource(name, settings) }))
  const body = stringify({ data_dir: dataDir ?? DEFAULT_DATA_DIR, ...(sources.length > 0 && { sources }) })
  const lines = [
    `# yaml-language-server: $schema=${relative(dirname(path), SCHEMA)}`,
    '# Every key: docs/reference/config.md. ${NAME} is taken from the environment, which is where secrets belong.',
    body.trimEnd(),
    ...(sources.length > 0 ? [] : EXAMPLE_SOURCES),
    ...DEFAULTS,
    '',
  ]
  writeDurably(path, lines.join('\n'))
  return path
}

// --- internal ---

const SCHEMA = fileURLToPath(new URL('../docs/reference/coldtrail.schema.json', import.meta.url))

const EXAMPLE_SOURCES = [
  '# sources:',
  '#   - name: trail',
  '#     type: s3',
  '#     bucket: my-log-bucket',
  '#     prefix: AWSLogs/',
  '#   - name: folder',
  '#     type: directory',
  '#     path: logs',
]

const DEFAULTS = [
  '# destinations:          # where `coldtrail forward` sends events; also types sentinel and http',
  '#   - name: files',
  '#     type: file',
  '#     path: out',
  '#     compression: gzip',
  '# keep_log: true          # keep every object as received, for proof',
  '# keyset: true            # so that segments can be hunted after they left',
  '# collect:',
  '#   max_workers: 16',
  '# segment:',
  '#   max_rows: 1000000',
]

/** As given, without the schema's defaults: they belong to the program, not to the file. */
function namedSource(name: string, settings: SourceSettings): Record<string, unknown> {
  const { type, ...resolved } = resolveSources({ sources: [] }, [name], settings)[0]!
  const given = ['bucket', 'prefix', 'path', ...Object.keys(settings)]
  return {
    type,
    ...Object.fromEntries(Object.entries(resolved).filter(([key, value]) => given.includes(key) && value !== '')),
  }
}
