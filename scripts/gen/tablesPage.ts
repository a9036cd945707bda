import { MAX_COLUMNS, MAX_NAME, RESERVED } from '../../src/components/rows/columnRules.ts'
import { MAX_VALUE_BYTES } from '../../src/components/rows/rowEncoder.ts'
import type { ColumnSource, Table, TableColumn } from '../../src/components/rows/table.ts'
import { TABLES } from '../../src/components/tables/all.ts'
import { code, GENERATED, page, table } from './page.ts'

export function tablesPage(): string {
  const tables: readonly Table[] = TABLES
  return page(
    '# Tables',
    GENERATED,
    'The tables of Log Analytics that `coldtrail forward` fills, each from one declaration: the encoder of rows, the check ' +
      'of values before they are sent, and what `coldtrail forward table` prints are made of it.',
    table(
      ['table', 'events', 'columns', 'takes by default'],
      tables.map(({ name, summary, columns, where }) => [
        `[${name}](#${name.toLowerCase()})`,
        summary,
        String(columns.length),
        where === '' ? 'everything' : code(where),
      ]),
    ),
    RULES,
    ...tables.flatMap(({ name, columns }) => [
      `## ${name}`,
      table(
        ['column', 'type', 'from'],
        columns.map((column) => [code(column.name), column.type, fromText(column)]),
      ),
    ]),
  )
}

// --- internal ---

const RULES = `## What becomes of a value

- A value that the record does not have is left out of its row, and so is JSON \`null\`. The first source that is present
  gives the value.
- Objects and arrays in a \`string\` column are JSON text, without white space between tokens; numbers keep the digits they
  were written with.
- \`TimeGenerated\` is the event's time, in microseconds. An event without a time has no such column in its row (a note
  says so, once per run and with a count): the service then fills in the time of receipt, and no time is invented here. It
  does the same with times older than two days or more than a day ahead; the true time is in \`EventTime_CF\`, \`Start\`,
  \`EventStartTime\` or \`EventTime\`, which are then absent or true.
- A value longer than 64 KiB (${MAX_VALUE_BYTES.toLocaleString('en-US')} bytes of UTF-8) would be cut without a word. \`too_long\`: \`refuse\` (the event is a dead
  letter), or \`trim\`: JSON after a whole member, closed again and with \`"_trimmed": true\` at its end, other text after a
  whole character, with \`…[trimmed]\`.
- A value that its column cannot hold would become null without a word: text that is no number, time or boolean, a number
  beyond the type's range, NaN, half of a surrogate pair. \`wrong_type\`: \`refuse\`, or \`null\`: the column is left out.
- A column that the rule's stream does not declare, or declares with another type, would be dropped without a word.
  \`undeclared\`: \`refuse\` (before anything is sent), or \`drop\`.
- Everything that was changed is counted by column in the receipt; values never are in it.
- Texts of times are ISO 8601, or epoch seconds, milliseconds, microseconds or nanoseconds by their size.

Names of columns start with a letter and have at most ${MAX_NAME} of A-Z, a-z, 0-9 and _; ${[...RESERVED].map(code).join(', ')}
are the service's own; a table has at most ${MAX_COLUMNS} columns; those added to a table of Azure end in \`_CF\`.`

function fromText({ from, values, overflow, added }: TableColumn): string {
  const parts = [from.map(sourceText).join(', else ')]
  if (values) {
    const entries = Object.entries(values)
    parts.push(
      entries.map(([text, value]) => `${text === '*' ? 'any other' : code(text)}: ${code(String(value))}`).join(', '),
    )
  }
  if (overflow) parts.push('beyond its range: the bound')
  if (added) parts.push('added')
  return parts.join('; ')
}

const EVENT = {
  time: "the event's time",
  uid: "the event's uid",
  raw: 'the record itself',
  dataType: code('data_type'),
  source: "its object's source",
  bucket: "its object's bucket",
  key: "its object's key",
}

function sourceText(source: ColumnSource): string {
  if ('data' in source) return code(`data.${source.data}`)
  if ('field' in source) return `field ${code(source.field)}`
  if ('finding' in source) return `of the finding: ${code(source.finding)}`
  if ('column' in source) return `column ${code(source.column)}`
  if ('constant' in source) return `always ${code(String(source.constant))}`
  return EVENT[source.event]
}
