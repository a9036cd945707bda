/** Reading a catalog file without locks is true to the last commit, or says that it was not. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, test } from 'node:test'
import { Kysely, sql } from 'kysely'
import { readOnlySqliteDialect } from '../../../src/platform/database/sqliteDialect.ts'

const ROWS = 2_000
let directory: string
let path: string
let writer: DatabaseSync
let reader: Kysely<unknown>

function openWriter(): DatabaseSync {
  const database = new DatabaseSync(path)
  database.exec('pragma journal_mode = wal; pragma synchronous = full; pragma wal_autocheckpoint = 0')
  return database
}

/** One commit that changes every row; a reader that sees two values has mixed two commits. */
const commit = (value: number): void => writer.exec(`update t set value = ${value}`)
const checkpoint = (): void => writer.exec('pragma wal_checkpoint(truncate)')

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'coldtrail-read-only-'))
  path = join(directory, 'file.db')
  writer = openWriter()
  writer.exec(`create table t (n integer primary key, value integer, fill text);
    with recursive c(n) as (select 1 union all select n + 1 from c where n < ${ROWS})
    insert into t select n, 1, hex(zeroblob(100)) from c`)
  writer.close()
  assert.ok(!existsSync(`${path}-wal`))
  reader = new Kysely({ dialect: readOnlySqliteDialect(path) })
})
afterEach(async () => {
  await reader.destroy()
  if (writer.isOpen) writer.close()
  rmSync(directory, { recursive: true, force: true })
})

async function values(on: Pick<Kysely<unknown>, 'getExecutor'> = reader): Promise<[value: number, rows: number][]> {
  const query = sql<{ value: number; n: number }>`select value, count(*) as n from t group by value`
  return (await query.execute(on)).rows.map(({ value, n }) => [value, n])
}

test('without a log the file is read as it is, and nothing is made beside it', async () => {
  assert.deepEqual(await values(), [[1, ROWS]])
  assert.ok(!existsSync(`${path}-wal`) && !existsSync(`${path}-shm`))
  await assert.rejects(sql`update t set value = 2`.execute(reader), { code: 'E_FILE_WRITE' })
})

test('what is committed later is seen by the next question, from the log and from the file', async () => {
  assert.deepEqual(await values(), [[1, ROWS]])
  writer = openWriter()
  commit(2)
  assert.ok(statSync(`${path}-wal`).size > 0)
  assert.deepEqual(await values(), [[2, ROWS]])
  commit(3)
  checkpoint()
  assert.deepEqual(await values(), [[3, ROWS]])
  writer.close()
  assert.deepEqual(await values(), [[3, ROWS]])
})

test('questions of one transaction are answered as of one commit, or it is said that the file was written', async () => {
  await reader
    .transaction()
    .setAccessMode('read only')
    .execute(async (tx) => {
      assert.deepEqual(await values(tx), [[1, ROWS]])
      writer = openWriter()
      commit(2)
      assert.deepEqual(await values(tx), [[1, ROWS]], 'in the log it does not touch the file')
      checkpoint()
      await assert.rejects(values(tx), { code: 'E_CATALOG_BUSY' })
    })
  assert.deepEqual(await values(), [[2, ROWS]])
})

test('a file that goes away, and one that is none, are named', async () => {
  await reader.destroy()
  rmSync(path)
  assert.throws(() => readOnlySqliteDialect(path), { code: 'E_CATALOG_OPEN' })
  reader = new Kysely({ dialect: readOnlySqliteDialect(import.meta.filename) })
  await assert.rejects(values(), { code: 'E_CATALOG_OPEN' })
})
