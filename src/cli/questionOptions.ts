/** Options of the commands that ask, and how an answer says whether it is complete. */
import { ColdtrailError, printable } from '../core/errors.ts'
import { parseGivenRange } from '../core/givenTime.ts'
import type { Answer, QuestionRequest } from '../index.ts'
import { flag, type OptionValues, text } from './command.ts'
import type { Io } from './io.ts'
import { RANGE_OPTIONS } from './sourceOptions.ts'

export const QUESTION_OPTIONS = {
  ...RANGE_OPTIONS,
  collection: text('A,B,…', 'Collections and workbenches to ask as one; the default is main.'),
  allVersions: flag('Events of objects that were replaced later, too.'),
  requireComplete: flag('Fail when the answer is not complete.'),
  explain: flag('Say how many segments were passed over, and why.'),
} as const

export const EXPRESSION_ARGUMENT = {
  name: '[expression]',
  description: "What to match: \"api.operation == 'CreateUser' and ip in '10.0.0.0/8'\"; nothing matches everything.",
}

export function questionRequest(
  expression: string | undefined,
  options: OptionValues<typeof QUESTION_OPTIONS>,
  io: Io,
): QuestionRequest {
  const { from, to, zoneAssumed } = parseGivenRange(options.from, options.to, Date.now() * 1_000)
  if (zoneAssumed) io.log('info', 'A time without a zone was taken as UTC.')
  const { collection, allVersions } = options
  return { expression, from, to, collection, allVersions, signal: io.signal }
}

/** What is said about an answer after it; E_INCOMPLETE when that was asked for. */
export function tellCompleteness(
  answer: Answer,
  { requireComplete, explain }: Pick<OptionValues<typeof QUESTION_OPTIONS>, 'requireComplete' | 'explain'>,
  io: Io,
): void {
  const { complete, why, explanation } = answer
  const reasons = why.map(({ reason, count, detail }) => `${count} ${reason} (${detail})`).join('; ')
  if (io.json) io.note(JSON.stringify({ type: 'completeness', complete, why, ...(explain && { explanation }) }))
  else {
    if (explain) {
      const stages = explanation.stages.map(({ stage, kept }) => `${stage} left ${kept}`).join(', ')
      io.note(`Opened ${explanation.opened} of ${explanation.segments} segments: ${stages}.`)
    }
    if (!complete && !requireComplete) io.note(`Not complete: ${printable(reasons, 1_000)}`)
  }
  if (!complete && requireComplete) throw new ColdtrailError('E_INCOMPLETE', { why: reasons })
}
