/**
 * All rules of a run as one SQL statement: each event gets a number of bits, one a rule, and only the few distinct numbers
 * are looked at one by one. Rules are grouped by the data types that they can match, so that an event is tried by those
 * of its own; bits are counted within the group, 52 a number, which a double holds exactly.
 */
import type { Rule } from '../components/plugin.ts'
import { compile, type Expression } from '../query/expression.ts'
import { type Parameters, sqlText } from '../store/duckdb.ts'
import { dataTypesOf } from './selection.ts'

/** Rules a word; a double holds 53 bits. */
export const WORD_BITS = 52

export interface CompiledRule extends Rule {
  readonly plugin: string
  readonly compiled: Expression
  /** Else it looks at whole events. */
  readonly hasSql: boolean
  /** Undefined: any. */
  readonly dataTypes: readonly string[] | undefined
}

export interface RuleStatement {
  /** Columns of the answer: `group` and `word0`, `word1`, …, all numbers. */
  readonly select: string
  readonly parameters: Parameters
  readonly words: number
  /** By group: rules by bit. */
  readonly groups: readonly (readonly number[])[]
  /** Some rule asks for `tag`. */
  readonly needsTags: boolean
}

export function compileRule(rule: Rule & { readonly plugin: string }, now: number): CompiledRule {
  const compiled = compile(rule.expression, { mode: rule.mode, now })
  return { ...rule, compiled, hasSql: compiled.sql() !== undefined, dataTypes: dataTypesOf(compiled) }
}

/**
 * The statement over events of these data types (undefined: any), for the rules that have SQL; undefined when none of
 * them can match. Numbers in `groups` are indexes into `rules`.
 */
export function ruleStatement(
  rules: readonly CompiledRule[],
  present: readonly string[] | undefined,
): RuleStatement | undefined {
  const named = new Set(rules.flatMap(({ dataTypes }) => dataTypes ?? []))
  const types = [...named].filter((type) => present === undefined || present.includes(type)).sort()
  const ofAny = indexesWhere(rules, ({ dataTypes, hasSql }) => hasSql && dataTypes === undefined)
  const groups = [
    ofAny,
    ...types.map((type) =>
      indexesWhere(rules, ({ dataTypes, hasSql }) => hasSql && (dataTypes === undefined || dataTypes.includes(type))),
    ),
  ]
  const words = Math.ceil(Math.max(...groups.map(({ length }) => length)) / WORD_BITS)
  if (words === 0) return undefined

  const used = new Set(groups.flat())
  const texts = new Map<number, string>()
  const parameters: Record<string, Parameters[string]> = {}
  for (const index of used) {
    const { text, named } = rules[index]!.compiled.sql(`r${index}_`)!
    texts.set(index, text)
    Object.assign(parameters, named)
  }
  const word = (group: readonly number[], at: number): string => {
    const bits = group.slice(at * WORD_BITS, (at + 1) * WORD_BITS)
    return (
      bits.map((index, bit) => `(CASE WHEN ${texts.get(index)} THEN ${2 ** bit}::DOUBLE ELSE 0 END)`).join(' + ') || '0'
    )
  }
  const byType = (of: (group: readonly number[], number: number) => string): string => {
    const cases = types.map((type, i) => `WHEN ${sqlText(type)} THEN ${of(groups[i + 1]!, i + 1)}`)
    return cases.length > 0 ? `CASE data_type ${cases.join(' ')} ELSE ${of(ofAny, 0)} END` : of(ofAny, 0)
  }
  const columns = Array.from(
    { length: words },
    (_, at) => `(${byType((group) => word(group, at))})::DOUBLE AS word${at}`,
  )
  return {
    select: [`(${byType((_group, number) => String(number))})::DOUBLE AS "group"`, ...columns].join(', '),
    parameters,
    words,
    groups,
    needsTags: [...used].some((index) => rules[index]!.compiled.columns()?.has('tag')),
  }
}

/** Bits of a word that are set. */
export function bitsOf(word: number): number[] {
  const bits: number[] = []
  for (let bit = 0; word > 0; bit++) {
    if (word % 2 === 1) bits.push(bit)
    word = Math.floor(word / 2)
  }
  return bits
}

// --- internal ---

function indexesWhere<T>(items: readonly T[], test: (item: T, index: number) => boolean): number[] {
  return items.flatMap((item, index) => (test(item, index) ? [index] : []))
}
