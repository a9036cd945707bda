/** Events as a table of a real DuckDB, to see whether the SQL of an expression says what its predicate says. */
import assert from 'node:assert/strict'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { EVENT_COLUMNS, type EventColumn } from '../../src/core/columns.ts'
import type { EventAccess, Expression } from '../../src/query/expression.ts'

export type EventRow = Readonly<Record<string, string | number | null>>

export const accessOf = (row: EventRow): EventAccess => ({
  get: (name) => row[name],
  data: () => String(row.data ?? ''),
})

export class EventTable {
  private readonly instance: DuckDBInstance
  private readonly duckdb: DuckDBConnection
  private rows = 0

  private constructor(instance: DuckDBInstance, duckdb: DuckDBConnection) {
    this.instance = instance
    this.duckdb = duckdb
  }

  static async open(): Promise<EventTable> {
    const settings = { threads: '1', autoinstall_known_extensions: 'false', autoload_known_extensions: 'false' }
    const instance = await DuckDBInstance.create(':memory:', settings)
    const duckdb = await instance.connect()
    await duckdb.run(`SET TimeZone = 'UTC'; SET enable_external_access = false`)
    return new EventTable(instance, duckdb)
  }

  /** In place of what it held. */
  async hold(rows: readonly EventRow[]): Promise<void> {
    this.rows = rows.length
    const columns = EVENT_COLUMNS as readonly EventColumn[]
    const types = columns.map(({ name, type }) => `"${name}" ${SQL_TYPE[type]}`)
    await this.duckdb.run(`CREATE OR REPLACE TABLE events ("row" INTEGER, ${types.join(', ')})`)
    const shape = { row: 'INTEGER', ...Object.fromEntries(columns.map(({ name, type }) => [name, JSON_TYPE[type]])) }
    const list = columns.map(({ name, type }) => (type === 'time' ? `make_timestamptz(x."${name}")` : `x."${name}"`))
    await this.duckdb.run(
      `INSERT INTO events SELECT x."row", ${list.join(', ')} FROM (SELECT unnest(from_json($1::JSON, $2)) AS x)`,
      [JSON.stringify(rows.map((row, i) => ({ ...row, row: i }))), JSON.stringify([shape])],
    )
  }

  /** By row; the expression must have SQL, and never be NULL. */
  async matches(expression: Expression): Promise<boolean[]> {
    const { text, params } = expression.sql()!
    const reader = await this.duckdb.runAndReadAll(`SELECT "row", ${text} FROM events`, [...params])
    const answers: boolean[] = Array.from({ length: this.rows }, () => false)
    for (const [row, matches] of reader.getRows()) {
      assert.equal(typeof matches, 'boolean', `NULL or no boolean for ${expression.text}`)
      answers[Number(row)] = matches === true
    }
    return answers
  }

  close(): void {
    this.duckdb.closeSync()
    this.instance.closeSync()
  }
}

// --- internal ---

const SQL_TYPE = { text: 'VARCHAR', ip: 'VARCHAR', int: 'BIGINT', time: 'TIMESTAMPTZ' } as const
const JSON_TYPE = { ...SQL_TYPE, time: 'BIGINT' } as const
