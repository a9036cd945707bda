import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { reportLines, reportName, writeReports } from '../../../src/sync/import/report.ts'
import type { ImportSummary } from '../../../src/sync/import/summary.ts'

const SUMMARY: ImportSummary = {
  type: 'sync import',
  result: 'imported',
  file: '/media/usb/tqSync-19-01-16-1547660837-8345.tar.gz',
  run: '01900000-0000-7000-8000-000000000000',
  pid: 12345,
  started: '2026-11-21T10:00:00.000Z',
  finished: '2026-11-21T10:00:02.000Z',
  options: { keep_created_at: 'Y', object_limit: 1000 },
  bundle: {
    name: 'tqSync-19-01-16-1547660837-8345',
    site: 'low',
    audience: null,
    kind: 'delta',
    seq: 4,
    base_seq: 2,
    manifest_sha256: 'a'.repeat(64),
    created: '2019-01-16T17:47:17.000Z',
    tool: 'coldtrail/0.1.0',
  },
  key: { id: 'b'.repeat(32), pinned_now: true },
  skipped_bundles: [{ seq: 3, name: 'tqSync-19-01-15-1547574437-1' }],
  shards: { loaded: 3, ids_only: 1, unchanged: 2, loaded_before: 0 },
  tables: [
    { table: 'indicators', staged: 5, inserted: 2, updated: 1, unchanged: 1, deleted: 1, kept: 1, quarantined: 0 },
    { table: 'events', staged: 0, inserted: 0, updated: 0, unchanged: 0, deleted: 0, kept: 0, quarantined: 0 },
  ],
  totals: { staged: 5, inserted: 2, updated: 1, deleted: 1, kept: 1, quarantined: 0 },
  conflict_count: 1,
  conflicts: [
    {
      table: 'indicators',
      uid: '01900000-0000-7000-8000-000000000001',
      name: '=HYPERLINK("http://evil.example")',
      field: 'description',
      local: '+1\u001b[31m',
      incoming: '@SUM(A1)',
      decision: 'local',
      reason: 'edited here',
    },
  ],
  difference_count: 1,
  differences: [{ table: 'adversaries', uid: '', name: 'Bear', field: 'description', local: null, incoming: '-1' }],
  blobs: { stored: 1, present: 2, missing: 1, missing_names: ['-report.pdf'] },
  owners: [{ object: 'Case 7', field: 'creator_source_id', owner: 'carol', instead_of: 'alice' }],
  state: {
    identical: false,
    digest: 'c'.repeat(64),
    different: [{ table: 'indicators', why: '1 row was edited here' }],
  },
  steps: [{ step: 'verify', seconds: 0.5 }],
  seconds: 2,
  rows_per_s: 3,
  peak_rss_mb: 100,
  reports: null,
}

test('P46: the report is named for the file itself, with the ending of the original', () => {
  const name = 'tqSync-19-01-16-1547660837-8345'
  for (const file of [
    `${name}.tar.gz`,
    `/a/${name}.tar.gz`,
    `${name}.tar.gz.age`,
    `${name}.tar.gz.part02`,
    `${name}.tar.gz.age.part01`,
  ])
    assert.equal(reportName(file), `${name}-sync-import`)
  assert.equal(reportName('/x/odd name'), 'odd name-sync-import')
})

test('P34, S6: the text has counts, decisions and measures; formulas and control characters are escaped there only', () => {
  const text = reportLines(SUMMARY).join('\n')
  for (const expected of [
    'result:         imported',
    'number 4 of its stream, on 2',
    'pinned by this import',
    'tqSync-19-01-15-1547574437-1: never imported here',
    'keep_created_at = Y',
    '5 rows read: 2 inserted, 1 updated, 1 deleted, 1 kept, 0 quarantined',
    "'=HYPERLINK",
    "'@SUM(A1)",
    "'+1\\u001b[31m",
    "without content: '-report.pdf",
    'Case 7: creator_source_id carol (instead of alice)',
    'indicators differs: 1 row was edited here',
    'verify          0.500 s',
    'Fields that would change: 1',
    "Bear  description  (none)  '-1",
  ])
    assert.ok(text.includes(expected), `${expected} is in\n${text}`)
  assert.ok(!text.includes('\u001b'))
  assert.ok(!/^\s*events/m.test(text), 'a table without rows has no line')
})

test('both reports are written, the error of a failed run included, and the JSON keeps the values as they are', () => {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-report-'))
  try {
    const error = new ColdtrailError('E_SYNC_HASH', { table: 'events', rows: 2 })
    const { text, json } = writeReports(directory, SUMMARY.file, { ...SUMMARY, result: 'failed', error })
    assert.equal(text, join(directory, 'tqSync-19-01-16-1547660837-8345-sync-import.txt'))
    assert.match(readFileSync(text, 'utf8'), /failed; nothing of it is visible[\s\S]*E_SYNC_HASH[\s\S]*fill-hash/)
    const read = JSON.parse(readFileSync(json, 'utf8'))
    assert.equal(read.error.code, 'E_SYNC_HASH')
    assert.equal(read.conflicts[0].incoming, '@SUM(A1)')
    assert.deepEqual(read.reports, { text, json })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
