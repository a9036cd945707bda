/** The rules of a run, of all its plugins, compiled together: what they share is looked at once. */
import type { Rule } from '../components/plugin.ts'
import { BlockMatcher } from '../query/blockMatcher.ts'
import { compile, type Expression } from '../query/expression.ts'
import { common, dataTypesOf } from './selection.ts'

export interface CompiledRule extends Rule {
  readonly plugin: string
  readonly compiled: Expression
  /** Undefined: any. */
  readonly dataTypes: readonly string[] | undefined
}

export function compileRule(rule: Rule & { readonly plugin: string }, now: number): CompiledRule {
  const compiled = compile(rule.expression, { mode: rule.mode, now })
  return { ...rule, compiled, dataTypes: dataTypesOf(compiled) }
}

export class RuleSet {
  readonly rules: readonly CompiledRule[]
  readonly matcher: BlockMatcher

  constructor(rules: readonly (Rule & { readonly plugin: string })[], now: number) {
    this.rules = rules.map((rule) => compileRule(rule, now))
    this.matcher = new BlockMatcher(this.rules.map(({ compiled }) => compiled))
  }

  /** Numbers of the rules that can match an event of these data types (undefined: any), those of some plugins left out. */
  asked(present: readonly string[] | undefined, without: readonly string[]): readonly number[] {
    return this.rules.flatMap(({ plugin, dataTypes }, number) =>
      without.includes(plugin) || common(present, dataTypes)?.length === 0 ? [] : [number],
    )
  }
}
