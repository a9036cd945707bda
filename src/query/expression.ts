/**
 * Coldtrail's one expression language: search, analysis filters, tagging rules and forward filters compile here.
 * docs/expressions.md is its guide. `strict` mode has defined semantics (condition.ts) and compiles to a predicate and
 * to SQL that agree; `plaso` mode answers as the psort filter does (plaso.ts), and compiles to SQL where a condition says the
 * same (plasoCondition.ts).
 */
import { check } from './check.ts'
import type { Condition } from './condition.ts'
import { contradiction } from './contradiction.ts'
import { type Difference, differences } from './differences.ts'
import { parse } from './parse.ts'
import { plasoPredicate } from './plaso.ts'
import { plasoCondition } from './plasoCondition.ts'
import { type EventAccess, predicate } from './predicate.ts'
import { columns, type Needle, needles, needlesSuffice, type TimeRange, timeRange } from './prune.ts'
import { type SqlText, sql } from './sql.ts'
import type { Mode, Syntax } from './syntax.ts'
import { EVENTS, type Vocabulary } from './vocabulary.ts'

export type { Condition } from './condition.ts'
export type { Difference } from './differences.ts'
export type { EventAccess } from './predicate.ts'
export type { Needle, TimeRange } from './prune.ts'
export type { SqlText, SqlValue } from './sql.ts'
export type { Mode } from './syntax.ts'
export type { QueryColumn, Vocabulary } from './vocabulary.ts'

export interface CompileOptions {
  /** Default strict. */
  readonly mode?: Mode
  /** Microseconds since 1970: what `-24h`, `today` and `now()` count from. Default: the clock. */
  readonly now?: number
  /** Whose columns are meant; default those of events, which alone have plaso mode and SQL. */
  readonly vocabulary?: Vocabulary
}

export interface Expression {
  readonly text: string
  readonly mode: Mode
  /** Whether the event matches. Never throws. */
  predicate(event: EventAccess): boolean
  /**
   * The same as a DuckDB expression over quoted columns of EVENT_COLUMNS, never NULL; parameters are `$<prefix>1`, ….
   * Undefined for what plaso mode cannot say in SQL, and for another vocabulary than that of events.
   */
  sql(prefix?: string): SqlText | undefined
  /** What predicate and SQL read; undefined for what plaso mode cannot say so. Of events. */
  condition(): Condition | undefined
  /** All of them hold for every match. */
  needles(): readonly Needle[]
  /** An event for which all needles hold is a match. */
  needlesSuffice(): boolean
  /** Holds for every match; undefined: any time, or none. */
  timeRange(): TimeRange | undefined
  /** Columns that the SQL reads; undefined where there is none: then a name may be any attribute. */
  columns(): ReadonlySet<string> | undefined
  /** Where the other mode would answer differently, by condition. */
  differences(): readonly Difference[]
  /** Why no event can match, where that can be told from the expression alone. Of events. */
  contradiction(): string | undefined
}

/** Why no event of this range, microseconds, can match; undefined when some may. */
export function emptiness(compiled: Expression, time1 = -Infinity, time2 = Infinity): string | undefined {
  const { from = -Infinity, to = Infinity } = compiled.timeRange() ?? {}
  const isOutside = from > time2 || to < time1
  return compiled.contradiction() ?? (isOutside ? 'its times lie outside of --from and --to' : undefined)
}

/** E_EXPRESSION, _FIELD, _TYPE, _REGEX with the column and a caret; E_EXPRESSION_LIMIT. An empty text matches all. */
export function compile(text: string, options: CompileOptions = {}): Expression {
  const { mode = 'strict', now = Date.now() * 1_000, vocabulary = EVENTS } = options
  if (mode === 'plaso' && vocabulary !== EVENTS) throw new RangeError('plaso mode is about events')
  const syntax = parse(text, mode)
  return mode === 'plaso' ? new PlasoExpression(text, syntax, now) : new StrictExpression(text, syntax, now, vocabulary)
}

// --- internal ---

class StrictExpression implements Expression {
  readonly mode = 'strict'
  readonly text: string
  private readonly syntax: Syntax
  private readonly meaning: Condition
  private readonly now: number
  private readonly vocabulary: Vocabulary
  private readonly matches: (event: EventAccess) => boolean

  constructor(text: string, syntax: Syntax, now: number, vocabulary: Vocabulary) {
    this.text = text
    this.syntax = syntax
    this.now = now
    this.vocabulary = vocabulary
    this.meaning = check(syntax, text, now, vocabulary)
    this.matches = predicate(this.meaning)
  }

  predicate(event: EventAccess): boolean {
    return this.matches(event)
  }

  condition(): Condition | undefined {
    return this.vocabulary === EVENTS ? this.meaning : undefined
  }

  sql(prefix?: string): SqlText | undefined {
    return this.vocabulary === EVENTS ? sql(this.meaning, prefix) : undefined
  }

  needles(): readonly Needle[] {
    return needles(this.meaning)
  }

  needlesSuffice(): boolean {
    return needlesSuffice(this.meaning)
  }

  timeRange(): TimeRange | undefined {
    return timeRange(this.meaning)
  }

  columns(): ReadonlySet<string> {
    return columns(this.meaning)
  }

  differences(): readonly Difference[] {
    if (this.vocabulary !== EVENTS) return []
    return differences(this.syntax, this.text, this.mode, this.now)
  }

  contradiction(): string | undefined {
    return this.vocabulary === EVENTS ? contradiction(this.meaning) : undefined
  }
}

class PlasoExpression implements Expression {
  readonly mode = 'plaso'
  readonly text: string
  private readonly syntax: Syntax
  private readonly now: number
  private readonly matches: (event: EventAccess) => boolean
  /** The same, where there is one. */
  private readonly meaning: Condition | undefined

  constructor(text: string, syntax: Syntax, now: number) {
    this.text = text
    this.syntax = syntax
    this.now = now
    this.matches = plasoPredicate(syntax, text)
    this.meaning = plasoCondition(syntax, text)
  }

  predicate(event: EventAccess): boolean {
    return this.matches(event)
  }

  condition(): Condition | undefined {
    return this.meaning
  }

  sql(prefix?: string): SqlText | undefined {
    return this.meaning && sql(this.meaning, prefix)
  }

  needles(): readonly Needle[] {
    return this.meaning ? needles(this.meaning) : []
  }

  needlesSuffice(): boolean {
    return this.meaning !== undefined && needlesSuffice(this.meaning)
  }

  timeRange(): TimeRange | undefined {
    return this.meaning && timeRange(this.meaning)
  }

  columns(): ReadonlySet<string> | undefined {
    return this.meaning && columns(this.meaning)
  }

  differences(): readonly Difference[] {
    return differences(this.syntax, this.text, this.mode, this.now)
  }

  contradiction(): string | undefined {
    return this.meaning && contradiction(this.meaning)
  }
}
