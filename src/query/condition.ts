/**
 * A strict expression with its meaning settled: fields found, types checked, times resolved. The predicate, the SQL and
 * the pruning are three readings of this one tree, so they can only differ where a reading is wrong.
 *
 * Two-valued: a test of a missing value is false, `not` of it true; nothing is unknown.
 */
import type { SharedRegex } from './regex.ts'
import type { QueryColumn } from './vocabulary.ts'

export type Field =
  /** True when any value of it passes the test, where a column may have several. */
  | { readonly kind: 'column'; readonly column: QueryColumn }
  /** A place in the JSON of `data`; true when any value there passes the test. */
  | { readonly kind: 'json'; readonly segments: readonly string[] }
  /**
   * A key of the record, which must be an object, as plaso mode looks at it: a list is a value of its own, which only
   * `exists` and `truthy` know. With `items` the values are those of the list, and what is no list has none.
   */
  | { readonly kind: 'key'; readonly name: string; readonly items: boolean }

export type Order = '<' | '<=' | '>' | '>='

/** What one present value must pass; a value of another type never does. */
export type Test =
  | { readonly kind: 'exists' }
  /** Of keys: neither zero, false, '' nor empty, as plaso mode has it. */
  | { readonly kind: 'truthy' }
  | { readonly kind: 'integers'; readonly values: readonly bigint[] }
  | { readonly kind: 'integer'; readonly order: Order; readonly value: bigint }
  | { readonly kind: 'numbers'; readonly values: readonly number[] }
  | { readonly kind: 'number'; readonly order: Order; readonly value: number }
  | { readonly kind: 'boolean'; readonly value: boolean }
  /** Equal to one of them; with `folded` the values are folded already. */
  | { readonly kind: 'texts'; readonly values: readonly string[]; readonly folded: boolean }
  | { readonly kind: 'text'; readonly order: Order; readonly value: string }
  | {
      readonly kind: 'search'
      readonly where: 'anywhere' | 'start' | 'end'
      readonly value: string
      readonly folded: boolean
      /** On `data`: the same text written with JSON escapes. */
      readonly escaped?: { readonly regex: SharedRegex; readonly mark: string }
    }
  | { readonly kind: 'regex'; readonly regex: SharedRegex }
  /** Address blocks as ranges of the column's key. */
  | { readonly kind: 'blocks'; readonly ranges: readonly { readonly from: string; readonly to: string }[] }

export type Condition =
  | { readonly kind: 'and' | 'or'; readonly terms: readonly Condition[] }
  | { readonly kind: 'not'; readonly term: Condition }
  | { readonly kind: 'always' | 'never' }
  | { readonly kind: 'test'; readonly field: Field; readonly test: Test }
  /** Some text of one field and some text of the other, in the same event: the first is, or holds, the second. */
  | {
      readonly kind: 'pair'
      readonly one: Field
      readonly other: Field
      readonly where: 'whole' | 'anywhere' | 'start' | 'end'
      readonly folded: boolean
    }
