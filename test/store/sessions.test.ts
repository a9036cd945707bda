import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createDurableFile } from '../../src/platform/files.ts'
import { DuckDb } from '../../src/store/duckdb.ts'
import { ParquetFileWriter } from '../../src/store/parquet/fileWriter.ts'
import { RowTable } from '../../src/store/parquet/rowTable.ts'
import { SESSION_COLUMNS } from '../../src/store/segmentWriter.ts'
import { readSessions, sessionPath } from '../../src/store/sessions.ts'
import { fakeObject, sessionOf } from '../support/fakeSegment.ts'

const directory = mkdtempSync(join(tmpdir(), 'sessions-'))
after(() => rmSync(directory, { recursive: true, force: true }))

test('session rows come back as they went in; those of files without the column `header` have none', async () => {
  const sessions = [
    { ...sessionOf(fakeObject('\ufeffa'), 1, 1), header: 'version srcaddr dstaddr', time1: 5, id1: 7, id2: 8 },
    { ...sessionOf(fakeObject('b'), 2, 1), pack_segment: null, pack_offset: null, pack_length: null },
  ]
  const segments = [
    { segment: 1, columns: SESSION_COLUMNS },
    { segment: 2, columns: SESSION_COLUMNS.filter(({ name }) => name !== 'header') },
  ]
  for (const { segment, columns } of segments) {
    const file = createDurableFile(sessionPath({ directory, segment, files: [] }))
    const parquet = new ParquetFileWriter(file, columns, {})
    const table = new RowTable(columns)
    for (const session of sessions) table.add(columns.map(({ name }) => session[name as keyof typeof session]))
    table.flush(parquet)
    parquet.finish()
    file.publish()
  }
  const duckdb = await DuckDb.open({ directories: [directory], tempDirectory: join(directory, 'spill') })
  const [now, before] = segments.map(({ segment }) => ({ directory, segment, files: [] }))
  assert.deepEqual(await readSessions(duckdb, now!), sessions)
  assert.deepEqual(
    await readSessions(duckdb, before!),
    sessions.map((session) => ({ ...session, header: null })),
  )
  duckdb.close()
})
