/** Errors that point into the expression's text: column (1-based, in characters), the line, and a caret under the place. */
import { ColdtrailError } from '../core/errors.ts'
import { displayWidth } from '../core/terminalText.ts'

export type ExpressionErrorCode = 'E_EXPRESSION' | 'E_EXPRESSION_FIELD' | 'E_EXPRESSION_TYPE' | 'E_EXPRESSION_REGEX'

export interface ExpressionFault {
  readonly code?: ExpressionErrorCode
  readonly reason: string
  /** What may stand there. */
  readonly expected?: readonly string[]
  /** The nearest known name. */
  readonly suggestion?: string | undefined
}

/** `at` is a UTF-16 offset into `text`. */
export function expressionError(text: string, at: number, fault: ExpressionFault): ColdtrailError {
  const before = [...text.slice(0, at)]
  const left = before.slice(-CONTEXT).map(visible).join('')
  const right = [...text.slice(at, at + 2 * CONTEXT)].slice(0, CONTEXT).map(visible).join('')
  const cut = before.length > CONTEXT ? '…' : ''
  const expected = fault.expected?.length ? `Expected ${fault.expected.join(', ')}. ` : ''
  return new ColdtrailError(fault.code ?? 'E_EXPRESSION', {
    column: before.length + 1,
    reason: fault.reason,
    expected,
    suggestion: fault.suggestion === undefined ? '' : ` Did you mean ${fault.suggestion}?`,
    excerpt: `${cut}${left}${right}`,
    caret: `${' '.repeat(displayWidth(cut + left))}^`,
  })
}

// --- internal ---

const CONTEXT = 60

/** One character for one, so that the caret stands right. */
function visible(character: string): string {
  return /[\p{Cc}\p{Cf}\u2028\u2029]/u.test(character) ? '·' : character
}
