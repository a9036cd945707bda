/** Sigma rules from a folder: each match is a label and a finding. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import { z } from 'zod'
import { ColdtrailError } from '../../core/errors.ts'
import type { PluginComponent, PluginContext, Rule, Severity } from '../plugin.ts'
import type { Placeholders } from './sigma/fieldTests.ts'
import { ruleDocuments, SIGMA_FILE_BYTES, SigmaSource } from './sigma/ruleDocuments.ts'
import { readSigmaRules, type SigmaOutcome } from './sigma/sigmaRule.ts'

const SEVERITIES = ['informational', 'low', 'medium', 'high', 'critical'] as const satisfies readonly Severity[]

const options = z.strictObject({
  rules: z
    .string()
    .min(1)
    .optional()
    .describe('Folder of Sigma rules (.yml, .yaml), with its subfolders, or one such file; the plugin needs it.'),
  min_level: z
    .enum(SEVERITIES)
    .default('informational')
    .describe('Rules of a lower level are left out; a rule without level is informational.'),
  placeholders: z
    .string()
    .min(1)
    .optional()
    .describe('YAML file of the texts that %placeholders% of the modifier expand stand for: a list under each name.'),
})

export const sigma: PluginComponent<typeof options, { readonly rules: readonly Rule[] }> = {
  kind: 'plugin',
  name: 'sigma',
  summary: 'Find what Sigma rules describe; each match is a finding',
  version: 1,
  options,
  async prepare({ rules: given, min_level, placeholders }, context) {
    if (given === undefined)
      throw new ColdtrailError('E_RULE_SET', { path: 'the option rules of sigma', cause: 'it is not given' })
    const known = placeholders === undefined ? new Map() : readPlaceholders(placeholders, context.base)
    const found = readFolder(given, context.base, known)
    const rules = usable(found, given, min_level, context)
    return { rules }
  },
  describe({ rules: given, placeholders }, base) {
    if (given === undefined) return []
    const known = placeholders === undefined ? new Map() : readPlaceholders(placeholders, base)
    const found = readFolder(given, base, known)
    const left = found.filter((one) => one.kind === 'unsupported')
    const used = found.length - left.length
    return [
      `${given}: ${used} rules, all by columns, and ${left.length} that are left out`,
      ...left.map(
        ({ file, line, title, what }) => `${file}, line ${line}: "${title}" asks for what is not supported: ${what}`,
      ),
    ]
  },
  start: ({ rules }) => ({ shape: 'rules', rules }),
}

export type FileOutcome = SigmaOutcome & { readonly file: string }

/** What became of every rule of a folder, by file name. E_RULE_SET, E_RULE_FILE for the first that is damaged. */
export function readFolder(given: string, base: string, placeholders: Placeholders): FileOutcome[] {
  const root = resolve(base, given)
  const files = ruleFiles(root, given)
  if (files.length === 0)
    throw new ColdtrailError('E_RULE_SET', { path: given, cause: 'no file ends in .yml or .yaml' })
  return files.flatMap((path) => {
    const name = path === root ? given : join(given, relative(root, path))
    const source = sourceOf(path, name)
    const key = path === root ? given.split(sep).at(-1)! : relative(root, path)
    return readSigmaRules(source, key.replace(/\.ya?ml$/, ''), placeholders).map((one) => ({ ...one, file: name }))
  })
}

// --- internal ---

const FILES = 50_000
const DEPTH = 20

/** Sorted, so that the rules have one order everywhere. */
function ruleFiles(root: string, given: string): string[] {
  const found: string[] = []
  const visit = (path: string, depth: number): void => {
    const stat = attemptRead(path, () => statSync(path))
    if (stat.isFile()) {
      if (/\.ya?ml$/i.test(path)) found.push(path)
    } else if (stat.isDirectory() && depth < DEPTH)
      for (const name of attemptRead(path, () => readdirSync(path)).sort())
        if (!name.startsWith('.')) visit(join(path, name), depth + 1)
    if (found.length > FILES)
      throw new ColdtrailError('E_RULE_SET', { path: given, cause: `there are more than ${FILES} files` })
  }
  visit(root, 0)
  return found
}

function attemptRead<T>(path: string, action: () => T): T {
  try {
    return action()
  } catch (error) {
    throw new ColdtrailError('E_RULE_SET', { path, cause: (error as Error).message }, { cause: error })
  }
}

function sourceOf(path: string, name: string): SigmaSource {
  const bytes = attemptRead(path, () => readFileSync(path))
  if (bytes.length > SIGMA_FILE_BYTES)
    throw new SigmaSource(name, '').fault(0, `it has ${bytes.length} bytes; the limit is ${SIGMA_FILE_BYTES}`)
  const text = bytes.toString('utf8')
  const source = new SigmaSource(name, text)
  const wrong = text.indexOf('\ufffd')
  if (wrong >= 0 && !Buffer.from(text).equals(bytes)) throw source.fault(wrong, 'this is no UTF-8')
  return source
}

function readPlaceholders(given: string, base: string): Placeholders {
  const source = sourceOf(resolve(base, given), given)
  const found = new Map<string, readonly string[]>()
  for (const document of ruleDocuments(source)) {
    if (document.kind !== 'map') throw source.fault(document.at, 'placeholders are a map of lists')
    for (const { key, value } of document.entries) {
      if (value.kind !== 'list') throw source.fault(value.at, `${key} is a list of texts`)
      found.set(
        key,
        value.items.map((item) => {
          // A placeholder within a placeholder could go on for ever.
          if (item.kind === 'scalar' && !String(item.value).includes('%')) return String(item.value)
          throw source.fault(item.at, 'this is no text without %')
        }),
      )
    }
  }
  return found
}

/** The rules of the level asked for; what cannot be used is said, each with its place. */
function usable(found: readonly FileOutcome[], given: string, least: Severity, { warn }: PluginContext): Rule[] {
  const names = new Map<string, string>()
  const rules: Rule[] = []
  for (const one of found) {
    const place = `${one.file}, line ${one.line}`
    if (one.kind === 'unsupported') {
      warn(`${place}: the rule "${one.title}" is left out, since it asks for what is not supported: ${one.what}`)
      continue
    }
    if (SEVERITIES.indexOf(one.severity) < SEVERITIES.indexOf(least)) continue
    const { rule } = one.rule
    const before = names.get(rule)
    if (before !== undefined) warn(`${place}: the rule ${rule} is in ${before} already; both are used`)
    names.set(rule, place)
    rules.push(before === undefined ? one.rule : { ...one.rule, rule: `${rule} (${one.file})` })
  }
  if (rules.length > 0) return rules
  throw new ColdtrailError('E_RULE_SET', {
    path: given,
    cause: found.some(({ kind }) => kind === 'rule') ? `none has level ${least} or above` : 'none of them can be used',
  })
}
