import { EVENT_COLUMNS } from '../../src/core/columns.ts'
import { code, GENERATED, page, table } from './page.ts'

const TYPE = { text: 'text', int: '64-bit integer', time: 'microseconds UTC', ip: 'address' }

export function columnsPage(): string {
  return page(
    '# Event columns',
    GENERATED,
    'The columns of `meta-N.parquet`, one row per event. Names are OCSF 1.8 attribute paths with `_` for `.`; an ' +
      'expression takes the column, the dotted path (`api.operation`) or an alias. Every field of a record is also ' +
      'reached by its own path: `data.requestParameters.bucketName`.',
    table(
      ['field id', 'column', 'type', 'aliases', 'in `values`', 'meaning'],
      EVENT_COLUMNS.map((column) => [
        String(column.fieldId),
        code(column.name),
        `${TYPE[column.type]}${column.nullable ? '' : ', always there'}`,
        column.aliases.map(code).join(', '),
        column.indexed ? 'yes' : '',
        column.description,
      ]),
    ),
  )
}
