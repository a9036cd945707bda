/** A segment is read back by DuckDB: every row, count, bound, digest and byte is what went in. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import type { Format } from '../../src/components/component.ts'
import { aws_cloudtrail } from '../../src/components/formats/aws_cloudtrail.ts'
import { aws_vpcflow } from '../../src/components/formats/aws_vpcflow.ts'
import { json_lines } from '../../src/components/formats/json_lines.ts'
import { text_lines } from '../../src/components/formats/text_lines.ts'
import { EVENT_COLUMNS, INDEXED_COLUMNS } from '../../src/core/columns.ts'
import { ipKey } from '../../src/core/ipAddress.ts'
import { directoryDigest, parseManifest } from '../../src/store/manifest.ts'
import { REJECT_BYTES, type SealedSegment } from '../../src/store/segment.ts'
import { packHeader, SegmentWriter, type SegmentWriterOptions } from '../../src/store/segmentWriter.ts'
import { formatFixtures } from '../support/formatFixtures.ts'
import { seededRandom } from '../support/random.ts'
import { duckdb, metadataByHyparquet, type Row, rowsByDuckdb, type Value } from '../support/readParquet.ts'
import { OPTIONS, parseWhole } from '../support/recordingSink.ts'

const root = mkdtempSync(join(tmpdir(), 'segment-'))
after(() => rmSync(root, { recursive: true, force: true }))
let directories = 0

const FIRST_EVENT = 5_000_000_000
const FIRST_SESSION = 70_000

function open(format: Format, options: Partial<SegmentWriterOptions> = {}): SegmentWriter {
  return new SegmentWriter({
    directory: join(root, String(++directories), 'segments'),
    collection: 'main',
    segment: 23,
    format: format.name,
    formatVersion: format.version,
    day: '2023-07-10',
    firstEventId: FIRST_EVENT,
    firstSessionId: FIRST_SESSION,
    keepLog: true,
    keyset: null,
    producer: 'coldtrail/test',
    ...options,
  })
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

function collect(writer: SegmentWriter, format: Format, key: string, bytes: Buffer, flushes = false) {
  const object = { source: 's3://logs', bucket: 'logs', key, version: 'etag', size: bytes.length, lastModified: 1e15 }
  writer.beginSession(object, { received: 2e15, codec: 'plain' })
  writer.appendReceived(bytes.subarray(0, 10))
  writer.appendReceived(bytes.subarray(10))
  const parser = format.open(writer.sink, { ...OPTIONS, observe: false })
  for (let at = 0; at < bytes.length; at += 777) {
    parser.push(bytes.subarray(at, at + 777))
    if (flushes) writer.flush()
  }
  const { records } = parser.end()
  const digest = sha256(bytes)
  return writer.endSession({
    size: bytes.length,
    sha256_received: digest,
    sha256_decoded: digest,
    decoded_size: bytes.length,
    records,
  })
}

/** The rows of meta that the objects should give, by another sink. */
function expectedRows(format: Format, objects: readonly { bytes: Buffer }[]): Row[] {
  const rows: Row[] = []
  objects.forEach(({ bytes }, session) => {
    const events = parseWhole(format, bytes).items.filter((item) => item.kind === 'event')
    events.forEach(({ columns, data, offset }, ordinal) => {
      const key = (name: string) => ipKey(String(columns[name] ?? '')) ?? null
      const all: Record<string, string | number | null> = {
        ...columns,
        id: FIRST_EVENT + rows.length,
        session_id: FIRST_SESSION + session,
        ordinal,
        record_offset: offset,
        record_length: data.length,
        data: data.toString(),
        segment_day: '2023-07-10',
        src_endpoint_ip_key: key('src_endpoint_ip'),
        dst_endpoint_ip_key: key('dst_endpoint_ip'),
      }
      const cells = EVENT_COLUMNS.map(({ name }): [string, Value] => {
        const cell = all[name] ?? null
        return [name, typeof cell === 'number' ? BigInt(cell) : cell]
      })
      rows.push(Object.fromEntries(cells))
    })
  })
  return rows
}

const fileOf = (sealed: SealedSegment, kind: string) => sealed.files.find((file) => file.kind === kind)
const pathOf = (directory: string, sealed: SealedSegment, kind: string) => join(directory, fileOf(sealed, kind)!.name)

async function assertValues(directory: string, sealed: SealedSegment): Promise<void> {
  const meta = pathOf(directory, sealed, 'meta')
  const expected: Row[] = []
  for (const name of INDEXED_COLUMNS.map((column) => column.name).sort()) {
    const counted = await duckdb(
      meta,
      `SELECT '${name}' AS column_name, "${name}" AS value, count(*)::BIGINT AS count,
         epoch_us(min(time)) AS time1, epoch_us(max(time)) AS time2
       FROM @file WHERE "${name}" IS NOT NULL GROUP BY "${name}" ORDER BY encode("${name}")`,
    )
    expected.push(...counted)
  }
  assert.deepEqual(await rowsByDuckdb(join(pathOf(directory, sealed, 'index'), 'values.parquet')), expected)
}

function assertFiles(directory: string, sealed: SealedSegment): void {
  const names = sealed.files.flatMap(({ name }) => [name, `${name}.manifest`])
  assert.deepEqual(readdirSync(directory).sort(), names.sort(), 'nothing else is left in the directory')
  for (const { name, kind, size, sha256: digest, manifest } of sealed.files) {
    const path = join(directory, name)
    const parsed = parseManifest(readFileSync(`${path}.manifest`))
    assert.deepEqual(parsed, JSON.parse(JSON.stringify(manifest)))
    assert.deepEqual([parsed.filename, parsed.kind, parsed.size, parsed.sha256], [name, kind, size, digest])
    assert.deepEqual([parsed.rows, parsed.rejects, parsed.rawBytes], [sealed.rows, sealed.rejects, sealed.raw_bytes])
    assert.deepEqual([parsed.session1, parsed.session2], [sealed.session1, sealed.session2])
    assert.equal(parsed.time1, sealed.time1 === null ? undefined : Math.floor(sealed.time1 / 1e6))
    assert.equal(parsed.time2, sealed.time2 === null ? undefined : Math.floor(sealed.time2 / 1e6))
    if (statSync(path).isDirectory()) {
      const parts = readdirSync(path).map((part) => {
        const bytes = readFileSync(join(path, part))
        return { name: part, size: bytes.length, sha256: sha256(bytes) }
      })
      assert.deepEqual({ size, sha256: digest }, directoryDigest(parts))
    } else {
      const bytes = readFileSync(path)
      assert.equal(bytes.length, size)
      assert.equal(sha256(bytes), digest)
    }
  }
}

for (const format of [aws_cloudtrail, aws_vpcflow, json_lines, text_lines]) {
  suite(`a segment of ${format.name}`, () => {
    const objects = formatFixtures(format.name).filter(
      ({ bytes, key }) => !format.noise?.(bytes.subarray(0, 4096), key),
    )
    const writer = open(format)
    const { directory } = writer.options
    const sessions = objects.map(({ key, bytes }) => collect(writer, format, key, bytes))
    const counts = { rows: writer.rows, rejects: writer.rejects, rawBytes: writer.rawBytes, sessions: writer.sessions }
    const sealed = writer.seal()

    test('has every event, column by column', async () => {
      const expected = expectedRows(format, objects)
      assert.ok(expected.length > 0)
      assert.deepEqual(await rowsByDuckdb(pathOf(directory, sealed, 'meta')), expected)
      assert.equal(sealed.rows, expected.length)
      assert.deepEqual([sealed.id1, sealed.id2], [FIRST_EVENT, FIRST_EVENT + expected.length - 1])
    })

    test('has a session row for every object, in order', async () => {
      const rows = await rowsByDuckdb(pathOf(directory, sealed, 'session'))
      const expected = sessions.map((session) =>
        Object.fromEntries(
          Object.entries(session).map(([name, cell]) => [name, typeof cell === 'number' ? BigInt(cell) : cell]),
        ),
      )
      assert.deepEqual(rows, expected)
      let next = FIRST_EVENT
      sessions.forEach((session, i) => {
        assert.equal(session.session_id, FIRST_SESSION + i)
        assert.equal(session.records, session.events + session.rejects)
        assert.deepEqual([session.id1, session.id2], session.events ? [next, next + session.events - 1] : [null, null])
        next += session.events
      })
      assert.deepEqual([sealed.session1, sealed.session2], [FIRST_SESSION, FIRST_SESSION + sessions.length - 1])
    })

    test('keeps the objects as received, one after another', () => {
      const pack = readFileSync(pathOf(directory, sealed, 'log'))
      assert.deepEqual(pack, Buffer.concat([packHeader(23), ...objects.map(({ bytes }) => bytes)]))
      sessions.forEach(({ pack_segment, pack_offset, pack_length }, i) => {
        assert.equal(pack_segment, 23)
        assert.deepEqual(pack.subarray(pack_offset!, pack_offset! + pack_length!), objects[i]!.bytes)
      })
    })

    test('keeps the rejects with place, reason and bytes', async () => {
      const expected = objects.flatMap(({ bytes }, i) =>
        parseWhole(format, bytes)
          .items.filter((item) => item.kind === 'reject')
          .map(({ offset, data, reason }) => ({
            session_id: BigInt(FIRST_SESSION + i),
            offset: BigInt(offset),
            length: BigInt(data.length),
            reason,
            data,
          })),
      )
      assert.equal(sealed.rejects, expected.length)
      assert.deepEqual(await rowsByDuckdb(pathOf(directory, sealed, 'reject')), expected)
    })

    test('counts its values as its rows do', () => assertValues(directory, sealed))

    test('has manifests that tell the truth', async () => {
      assertFiles(directory, sealed)
      assert.deepEqual(counts, {
        rows: sealed.rows,
        rejects: sealed.rejects,
        rawBytes: sealed.raw_bytes,
        sessions: sessions.length,
      })
      const { manifest } = fileOf(sealed, 'meta')!
      assert.deepEqual([manifest.id1, manifest.id2], [sealed.id1, sealed.id2])
      const meta = pathOf(directory, sealed, 'meta')
      for (const column of EVENT_COLUMNS) {
        const summary = manifest.columns![column.name]
        if (!summary) continue
        const name = column.type === 'time' ? `epoch_us("${column.name}")` : `"${column.name}"`
        const [found] = await duckdb(
          meta,
          `SELECT count(*) - count(${name}) AS nulls, min(${name})::VARCHAR AS min, max(${name})::VARCHAR AS max,
             count(DISTINCT ${name}) AS ndv FROM @file`,
        )
        assert.equal(BigInt(summary.nulls), found!.nulls, column.name)
        const bound = (value: string | number) => (typeof value === 'number' ? String(BigInt(value)) : value)
        if (summary.min !== undefined) assert.equal(bound(summary.min), found!.min, column.name)
        if (summary.max !== undefined) assert.equal(bound(summary.max), found!.max, column.name)
        if (summary.ndv !== undefined) assert.equal(BigInt(summary.ndv), found!.ndv, column.name)
        if (column.indexed) assert.notEqual(summary.ndv, undefined)
      }
    })

    test('has the fixed field ids', async () => {
      const { schema } = await metadataByHyparquet(pathOf(directory, sealed, 'meta'))
      assert.deepEqual(
        schema.slice(1).map(({ name, field_id }) => [name, field_id]),
        EVENT_COLUMNS.map(({ name, fieldId }) => [name, fieldId]),
      )
    })

    test('is the same when row groups are written early', async () => {
      const early = open(format)
      for (const { key, bytes } of objects) collect(early, format, key, bytes, true)
      const again = early.seal()
      const { row_groups } = await metadataByHyparquet(pathOf(early.options.directory, again, 'meta'))
      assert.ok(row_groups.length > 1)
      const meta = (home: string, segment: SealedSegment) => rowsByDuckdb(pathOf(home, segment, 'meta'))
      assert.deepEqual(await meta(early.options.directory, again), await meta(directory, sealed))
      await assertValues(early.options.directory, again)
      assert.deepEqual(fileOf(again, 'meta')!.manifest.columns, fileOf(sealed, 'meta')!.manifest.columns)
    })
  })
}

test('a segment without events, rejects and log is whole', async () => {
  const writer = open(json_lines, { keepLog: false })
  const session = collect(writer, json_lines, 'empty.json', Buffer.from(' \n'))
  assert.deepEqual([session.events, session.id1, session.time1, session.pack_segment], [0, null, null, null])
  const sealed = writer.seal()
  const { directory } = writer.options
  assert.deepEqual(sealed.files.map(({ kind }) => kind).sort(), ['index', 'meta', 'session'])
  assertFiles(directory, sealed)
  assert.deepEqual(await rowsByDuckdb(pathOf(directory, sealed, 'meta')), [])
  assert.equal((await rowsByDuckdb(pathOf(directory, sealed, 'session'))).length, 1)
  await assertValues(directory, sealed)
  const { id1, id2, time1, time2 } = sealed
  assert.deepEqual([id1, id2, time1, time2], [null, null, null, null])
})

test('a discarded segment leaves nothing behind, whenever it is discarded', () => {
  const bytes = Buffer.from('{"message":"a"}\nbroken\n')
  const inSession = open(json_lines)
  inSession.beginSession(
    { source: 's', bucket: 'b', key: 'k', version: 'v', size: 1, lastModified: 0 },
    { received: 0, codec: 'plain' },
  )
  inSession.appendReceived(bytes)
  json_lines.open(inSession.sink, { ...OPTIONS, observe: false }).push(bytes)
  const between = open(json_lines)
  collect(between, json_lines, 'k', bytes)
  between.flush()
  const sealed = open(json_lines)
  collect(sealed, json_lines, 'k', bytes)
  sealed.seal()
  for (const writer of [open(json_lines), inSession, between, sealed]) {
    writer.discard()
    assert.deepEqual(readdirSync(writer.options.directory), [])
  }
})

test('many rows: row groups, plain and dictionary pages, and counts agree', async () => {
  const random = seededRandom(9)
  const lines = Array.from({ length: 40_000 }, (_, i) => {
    const time = 1_688_989_502 + random(86_400)
    const user = random(4) === 0 ? '' : `"user":"user ${random(300)}",`
    const agent = `agent ${i % 3 ? random(30_000) : i}`
    return `{"ts":${time},${user}"src_ip":"10.${random(4)}.${random(256)}.${random(256)}","user_agent":"${agent}","id":${i}}`
  })
  const writer = open(json_lines)
  for (let i = 0; i < 4; i++) {
    const part = Buffer.from(lines.slice(i * 10_000, (i + 1) * 10_000).join('\n'))
    collect(writer, json_lines, `part ${i}`, part)
    assert.ok(writer.bufferedBytes < 32 << 20)
  }
  const sealed = writer.seal()
  const { directory } = writer.options
  assertFiles(directory, sealed)
  await assertValues(directory, sealed)
  const meta = pathOf(directory, sealed, 'meta')
  const [found] = await duckdb(
    meta,
    `SELECT count(*)::BIGINT AS rows, count(*) FILTER (data = '{' || substr(data, 2))::BIGINT AS data,
       count(*) FILTER (metadata_uid = (data->>'id'))::BIGINT AS uids,
       count(*) FILTER (actor_user_name IS NOT DISTINCT FROM (data->>'user'))::BIGINT AS users,
       count(*) FILTER (http_request_user_agent = (data->>'user_agent'))::BIGINT AS agents,
       count(*) FILTER (epoch_us(time) = (data->>'ts')::BIGINT * 1000000)::BIGINT AS times,
       count(*) FILTER (id = ${FIRST_EVENT} + (data->>'id')::BIGINT)::BIGINT AS ids FROM @file`,
  )
  for (const [name, count] of Object.entries(found!)) assert.equal(count, 40_000n, name)
})

test('a reject keeps its first bytes, and many large ones are not held in memory', async () => {
  const writer = open(text_lines)
  const line = Buffer.concat([Buffer.from('\0'), Buffer.alloc(REJECT_BYTES + 4999, 'x'), Buffer.from('\n')])
  const bytes = Buffer.concat(Array.from({ length: 300 }, () => line))
  collect(writer, text_lines, 'nul', bytes)
  const sealed = writer.seal()
  const path = pathOf(writer.options.directory, sealed, 'reject')
  const [found] = await duckdb(
    path,
    `SELECT count(*)::BIGINT AS rejects, min(octet_length(data))::BIGINT AS least, max(octet_length(data))::BIGINT AS most,
       min(length)::BIGINT AS length FROM @file`,
  )
  const kept = BigInt(REJECT_BYTES)
  assert.deepEqual(found, { rejects: 300n, least: kept, most: kept, length: BigInt(line.length - 1) })
  const { row_groups } = await metadataByHyparquet(path)
  assert.ok(row_groups.length > 1)
})
