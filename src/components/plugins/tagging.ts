/** Labels by rule files: the tagging files of plaso with its semantics, and our own in strict mode. */
import { readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { z } from 'zod'
import { ColdtrailError } from '../../core/errors.ts'
import type { PluginComponent, PluginContext, Rule } from '../plugin.ts'
import { parseTaggingFile, TAGGING_FILE_BYTES, type TaggingRule } from './tagging/taggingFile.ts'

/** Rule files that come with Coldtrail, by name. */
export const SHIPPED_RULES = ['aws', 'linux', 'windows', 'macos'] as const

const options = z.strictObject({
  file: z
    .string()
    .min(1)
    .optional()
    .describe(
      `File of labels and their rules, or the name of a shipped one (${SHIPPED_RULES.join(', ')}); by default the shipped rules of the data types that are there.`,
    ),
})

export const tagging: PluginComponent<typeof options, { readonly rules: readonly Rule[] }> = {
  kind: 'plugin',
  name: 'tagging',
  summary: 'Label events by the rules of a tagging file',
  version: 1,
  options,
  async prepare({ file }, context) {
    const rules = file === undefined ? rulesOfPresent(context) : readRules(file, context.base)
    warnOf(rules, context)
    return {
      rules: rules.map(({ label, rule, expression, mode, finding }) => ({
        ...{ label, rule, expression, mode },
        ...(finding && { finding }),
      })),
    }
  },
  describe({ file }, base) {
    const sets = file === undefined ? SHIPPED_RULES.map(shippedRules) : [readRules(file, base)]
    return sets.map((rules) => {
      const labels = new Set(rules.map(({ label }) => label)).size
      return `${rules[0]!.file}: ${rules.length} rules of ${labels} labels, ${pace(rules)}`
    })
  },
  start: ({ rules }) => ({ shape: 'rules', rules }),
}

/** The rules of a shipped file. */
export function shippedRules(name: (typeof SHIPPED_RULES)[number]): TaggingRule[] {
  const file = `${name}.txt`
  return parseTaggingFile(bytesOf(join(RULES_DIR, file)), `rules/${file}`, name)
}

// --- internal ---

/** Beside src/ and dist/ alike. */
const RULES_DIR = join(import.meta.dirname, '../../../rules')
/** Rules that a warning names. */
const NAMED = 5

function readRules(given: string, base: string): TaggingRule[] {
  const shipped = SHIPPED_RULES.find((name) => name === given)
  if (shipped) return shippedRules(shipped)
  const name = basename(given).replace(/\.[^.]*$/, '')
  const rules = parseTaggingFile(bytesOf(resolve(base, given)), given, name)
  if (rules.length > 0) return rules
  throw new ColdtrailError('E_RULE_SET', { path: given, cause: 'it holds no rule' })
}

function bytesOf(path: string): Buffer {
  try {
    return readFileSync(path).subarray(0, TAGGING_FILE_BYTES + 1)
  } catch (error) {
    throw new ColdtrailError('E_RULE_SET', { path, cause: (error as Error).message }, { cause: error })
  }
}

function rulesOfPresent({ dataTypes, warn }: PluginContext): TaggingRule[] {
  const rules = SHIPPED_RULES.flatMap(shippedRules).filter(({ compiled }) => canMatch(compiled.needles(), dataTypes))
  if (rules.length === 0) warn(`No shipped rule is about any of the data types that are there: ${dataTypes.join(', ')}`)
  return rules
}

function canMatch(needles: ReturnType<TaggingRule['compiled']['needles']>, dataTypes: readonly string[]): boolean {
  return needles.every(
    ({ column, values }) => column !== 'data_type' || values.some((type) => dataTypes.includes(type)),
  )
}

/** What a rule file promises and cannot hold, and what makes it slow. */
function warnOf(rules: readonly TaggingRule[], { warn }: PluginContext): void {
  for (const { file, line, label, compiled } of rules) {
    const reason = compiled.contradiction()
    if (reason !== undefined) warn(`${file}, line ${line}: a rule of ${label} can match nothing: ${reason}`)
  }
  if (rules.some(isSlow)) warn(`Of ${rules.length} rules ${pace(rules)}`)
}

const isSlow = ({ compiled }: TaggingRule): boolean => compiled.sql() === undefined

/** Whether rules run over columns, and which do not. */
function pace(rules: readonly TaggingRule[]): string {
  const slow = rules.filter(isSlow)
  if (slow.length === 0) return 'all by columns'
  const places = slow.slice(0, NAMED).map(({ file, line }) => `${file}, line ${line}`)
  const more = slow.length > NAMED ? `; and ${slow.length - NAMED} more` : ''
  return `${slow.length} event by event and not by columns: ${places.join('; ')}${more}`
}
