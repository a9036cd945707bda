import { ERRORS, type ErrorRow, EXIT, EXIT_MEANING } from '../../src/core/errors.ts'
import { code, GENERATED, page, table } from './page.ts'

const RETRY = { never: '', backoff: 'by itself, with growing pauses', once: 'by itself, once' }

export function errorsPage(): string {
  const exits = Object.keys(EXIT) as (keyof typeof EXIT)[]
  const rows = Object.entries<ErrorRow>(ERRORS).map(([name, { text, hint, exit, retry }]) =>
    [code(name), text, hint, String(exit), RETRY[retry]].map(escapeAngle),
  )
  return page(
    '# Errors and exit statuses',
    GENERATED,
    'Every error has a code, a text with the offending value, a hint with the next thing to try, and an exit status. ' +
      'With `--json` an error is one JSON object on standard error: `type`, `code`, `message`, `hint`, `exit`, ' +
      '`retry`, `values`.',
    '## Exit statuses',
    table(
      ['status', 'meaning'],
      exits.map((name) => [String(EXIT[name]), EXIT_MEANING[name]]),
    ),
    '## Errors',
    table(['code', 'text', 'hint', 'exit', 'retried'], rows),
  )
}

// --- internal ---

function escapeAngle(text: string): string {
  return text.replaceAll('<', '&lt;')
}
