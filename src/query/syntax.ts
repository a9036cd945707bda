/** What an expression says, before anything is known of its fields. Both modes share these nodes. Positions are UTF-16 offsets. */
export type Mode = 'strict' | 'plaso'

export type Operator =
  | '=='
  | '!='
  | '<'
  | '<='
  | '>'
  | '>='
  | 'contains'
  | 'startswith'
  | 'endswith'
  | 'regexp'
  | 'iregexp'
  | 'in'
  | 'inset'
  | 'exists'

export interface FieldName {
  /** `api.operation` is two segments; a quoted segment may hold any character. */
  readonly segments: readonly string[]
  readonly text: string
  readonly at: number
}

export type Literal = { readonly at: number } & (
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'integer'; readonly value: bigint }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'boolean'; readonly value: boolean }
  | { readonly kind: 'datetime'; readonly value: string | bigint }
  | { readonly kind: 'path'; readonly value: string }
  /** `FIELD(name)`: what stands there in the same event. */
  | { readonly kind: 'field'; readonly value: FieldName }
)

export interface Comparison {
  readonly kind: 'comparison'
  readonly field: FieldName
  readonly operator: Operator
  readonly operatorAt: number
  /** `not` before or after the operator. */
  readonly negated: boolean
  /** Text comparisons that say it: exact or ignoring case. */
  readonly caseFlag?: 'cased' | 'nocase'
  /** One value; any number of them with `in (…)`; none with `exists`. */
  readonly values: readonly Literal[]
  /** The values stood in parentheses. */
  readonly isList: boolean
}

export type Syntax =
  | Comparison
  | { readonly kind: 'and' | 'or'; readonly terms: readonly Syntax[] }
  | { readonly kind: 'not'; readonly term: Syntax; readonly at: number }
  /** The empty expression: everything matches. */
  | { readonly kind: 'all' }
