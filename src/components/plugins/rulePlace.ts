/** Faults of rule files, with file, line, column and the line itself. */
import { ColdtrailError } from '../../core/errors.ts'
import { type ExpressionFault, expressionError } from '../../query/expressionError.ts'

/** E_RULE_FILE. `line` is 1-based, `at` an offset into `text`, which is that line. */
export function placeError(
  file: string,
  line: number,
  text: string,
  at: number,
  fault: Pick<ExpressionFault, 'reason' | 'expected'> & { readonly after?: string },
): ColdtrailError {
  const { column, reason, expected, excerpt, caret } = expressionError(text, at, fault).values
  const after = fault.after ?? (expected === '' ? '' : ` ${String(expected).trim()}`)
  return new ColdtrailError('E_RULE_FILE', { file, line, column, reason, after, excerpt, caret })
}
