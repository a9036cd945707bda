/** Imports point down. Reads every import of src/ and fails with the reason for the rule that was broken. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'

const source = join(import.meta.dirname, '../src')

/** From the bottom to the top; folders of one floor do not know each other. */
const FLOORS: readonly (readonly string[])[] = [
  ['core'],
  ['platform'],
  ['query'],
  ['components', 'store', 'library', 'engine'],
  ['collect', 'analyze', 'forward', 'hunt', 'sync', 'tier'],
  [
    'index.ts',
    'config.ts',
    'doctor.ts',
    'sources.ts',
    'initialConfig.ts',
    'version.ts',
    'questions.ts',
    'timelineOutput.ts',
    'keys.ts',
    'destinations.ts',
    'forwarding.ts',
    'analysis.ts',
    'tiers.ts',
    'hunting.ts',
    'evidence.ts',
    'manifests.ts',
    'threatLibrary.ts',
    'synchronization.ts',
    'workbenches.ts',
    'bundleTrust.ts',
  ],
  ['demo'],
  ['cli', 'server'],
]

const WHY = {
  up: 'imports point down: what lies below must be readable, testable and usable without what lies above it',
  beside:
    'the halves (and the jobs) never import each other: only a job joins components with the store, and only ' +
    'index.ts joins the jobs, so that each half can change or move to another machine alone',
  pure: 'core is pure: types, errors and laws that every process, worker and test may use without side effects',
  offline: 'a site behind an air gap must not try to reach anything: bundles are files, and keys come with them',
  part: (folders: readonly string[]) =>
    `this package is known to ${folders.join(' and ')} only, so that it can be exchanged in one place`,
} as const

/** Packages that one place knows; a folder or a file. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  '@aws-sdk/': ['components/sources'],
  '@smithy/': ['components/sources'],
  '@azure/': ['components/destinations'],
  commander: ['cli'],
  'cli-progress': ['cli'],
  kysely: ['platform/database', 'store/catalog', 'library', 'sync'],
  'age-encryption': ['sync/bundle'],
  pg: ['platform/database'],
  'node:sqlite': ['platform'],
  '@duckdb/': ['store'],
  yaml: ['config.ts', 'initialConfig.ts', 'components/plugins/sigma', 'components/timeline'],
}

const IO =
  /^node:(fs|net|tls|http|https|http2|dgram|dns|child_process|cluster|worker_threads|sqlite|readline|tty)(\/|$)/

interface Import {
  readonly file: string
  readonly line: number
  readonly target: string
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(source, file), 'utf8')
  const found = text.matchAll(/(?:\bfrom\s+|\bimport\s*\(\s*|\bimport\s+)'([^'\n]+)'/g)
  return [...found].map((match) => {
    const line = text.slice(0, match.index).split('\n').length
    const target = match[1]!.startsWith('.') ? normalize(join(dirname(file), match[1]!)) : match[1]!
    return { file, line, target }
  })
}

const files = globSync('**/*.ts', { cwd: source }).sort()
const imports = files.flatMap(importsOf)
const top = (path: string): string => path.split('/')[0]!
const floorOf = (path: string): number => FLOORS.findIndex((floor) => floor.includes(top(path)))
const isInside = (target: string): boolean => files.includes(target)

function broken(rule: (found: Import) => string | undefined): string[] {
  return imports.flatMap((found) => {
    const reason = rule(found)
    return reason === undefined ? [] : [`src/${found.file}:${found.line} imports ${found.target}\n    ${reason}`]
  })
}

const none = (faults: readonly string[]) => assert.deepEqual(faults, [], `\n  ${faults.join('\n  ')}\n`)

test('every file of src belongs to a floor', () => {
  none(files.filter((file) => floorOf(file) < 0))
  assert.ok(imports.length > 50, 'the imports are found at all')
})

test('imports point down', () => {
  none(
    broken(({ file, target }) => {
      if (!isInside(target)) return undefined
      if (floorOf(target) > floorOf(file)) return WHY.up
      return floorOf(target) === floorOf(file) && top(target) !== top(file) && !isDoor(file) ? WHY.beside : undefined
    }),
  )
})

test('core does no I/O', () => {
  none(broken(({ file, target }) => (top(file) === 'core' && IO.test(target) ? WHY.pure : undefined)))
})

test('S3: library and sync open no connection: only the database that was configured is reached', () => {
  const network = /^(?:node:(?:net|tls|http|https|http2|dgram|dns)(?:\/|$)|undici$|platform\/http)/
  const rule = ({ file, target }: Import): string | undefined =>
    ['library', 'sync'].includes(top(file)) && network.test(target) ? WHY.offline : undefined
  none(broken(rule))
  const calling = files.filter(
    (file) => ['library', 'sync'].includes(top(file)) && /\bfetch\(/.test(readFileSync(join(source, file), 'utf8')),
  )
  none(calling)
})

test('a part is known where it is used, and nowhere else', () => {
  none(
    broken(({ file, target }) => {
      const part = Object.keys(PARTS).find((name) => target === name || (name.endsWith('/') && target.startsWith(name)))
      if (part === undefined) return undefined
      const folders = PARTS[part]!
      return folders.some((folder) => file === folder || file.startsWith(`${folder}/`)) ? undefined : WHY.part(folders)
    }),
  )
})

/** The files at the top of src together are the library's door: one floor, and they do know each other. */
function isDoor(file: string): boolean {
  return !file.includes('/')
}
