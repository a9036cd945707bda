/** What the registry says of its tables, as others rely on it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dumpColumns, TABLES } from '../../src/library/model.ts'

test('L09: nothing derived travels: no score but the manual one, no expiry, hash, key or local change', () => {
  const names = TABLES.flatMap((table) => dumpColumns(table).map(({ name }) => `${table.name}.${name}`))
  const derived = /generated|score_config|expired|expires_calculated|normalized|sync_hash|\.nk$|change|existing/
  assert.deepEqual(
    names.filter((name) => derived.test(name)),
    [],
  )
  // MD5 of a file's content is not derived from what travels beside it: the content may stay out.
  assert.deepEqual(
    names.filter((name) => name.endsWith('.hash')),
    ['attachments.hash'],
  )
  assert.deepEqual(
    names.filter(
      (name) =>
        /score/.test(name) && !/^indicator_scores\.(id|uid|indicator_id|created_at|updated_at|deleted_at)$/.test(name),
    ),
    ['indicator_types.score', 'indicator_scores.manual_score'],
  )
})
