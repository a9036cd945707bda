import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import fc from 'fast-check'
import type { BatchLimits, ElementWriter, Encoded } from '../../src/components/destination.ts'
import type { OutgoingEvent } from '../../src/core/outgoingEvent.ts'
import { bodyOfPart, type PackedBatch, Packer } from '../../src/forward/packer.ts'

interface Item {
  readonly text: string
  readonly time: number | null
}

const LIMITS: BatchLimits = {
  framing: 'array',
  compression: { kind: 'gzip', level: 6 },
  wireBytes: 20_000,
  decodedBytes: 400_000,
  records: 1_000,
  inFlight: 1,
}

describe('packing', () => {
  it('gives every event once, in order, within every limit, whatever the sizes', async () => {
    const text = fc.oneof(
      { weight: 8, arbitrary: fc.string({ maxLength: 200 }) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 60_000 }).map((n) => randomBytes(n).toString('base64')) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 300_000 }).map((n) => 'a'.repeat(n)) },
    )
    const time = fc.option(fc.integer({ min: 0, max: 5_000 }))
    const items = fc.array(fc.record({ text, time }), { maxLength: 60 })
    const limits = fc.record({
      framing: fc.constantFrom('array' as const, 'lines' as const),
      compression: fc.constantFrom({ kind: 'gzip' as const }, { kind: 'zstd' as const }, { kind: 'none' as const }),
      wireBytes: fc.integer({ min: 2_000, max: 60_000 }),
      decodedBytes: fc.integer({ min: 2_000, max: 400_000 }),
      records: fc.integer({ min: 1, max: 20 }),
      inFlight: fc.constant(1),
      timeSpan: fc.option(fc.integer({ min: 1, max: 4_000 }), { nil: undefined }),
    })
    await fc.assert(
      fc.asyncProperty(items, limits, async (items, limits) => {
        const batches = await pack(items, limits)
        const refused = batches.flatMap(({ refused }) => refused.map(({ id }) => id))
        const sent = batches.flatMap(({ ids }) => ids)
        assert.deepEqual(
          [...sent, ...refused].sort((a, b) => a - b),
          items.map((_, index) => index + 1),
        )
        let last = 0
        for (const batch of batches) {
          const elements = decoded(batch.body, limits)
          assert.deepEqual(
            elements.map((element) => element.text),
            batch.ids.map((id) => items[id - 1]!.text),
          )
          assert.ok(batch.body.length <= limits.wireBytes, `${batch.body.length} bytes on the wire`)
          assert.ok(batch.decodedBytes <= limits.decodedBytes + 1, `${batch.decodedBytes} bytes decoded`)
          assert.ok(batch.ids.length <= limits.records)
          const times = batch.ids.map((id) => items[id - 1]!.time).filter((time) => time !== null)
          if (limits.timeSpan !== undefined && times.length > 0)
            assert.ok(Math.max(...times) - Math.min(...times) < limits.timeSpan)
          // Ranges follow each other, and each ends at or behind its last event.
          for (const id of [...batch.ids, ...batch.refused.map(({ id }) => id)])
            assert.ok(id > last && id <= batch.to.id, `event ${id} in (${last}, ${batch.to.id}]`)
          last = batch.to.id
        }
        assert.equal(last, Math.max(items.length, 1) + 100)
      }),
      { numRuns: 150, interruptAfterTimeLimit: 60_000 },
    )
  })

  it('fills a batch to within two percent of the wire limit', async () => {
    const items = Array.from({ length: 60_000 }, (_, n) => ({
      text: `{"user":"user-${(n * 7919) % 1000}","key":"${((n * 2654435761) >>> 0).toString(16)}","action":"GetObject"}`,
      time: n,
    }))
    const limits = { ...LIMITS, wireBytes: 60_000, decodedBytes: 50_000_000, records: 1e9 }
    const batches = await pack(items, limits)
    assert.ok(batches.length > 3, `${batches.length} batches`)
    for (const { body } of batches.slice(0, -1))
      assert.ok(body.length > 58_800 && body.length <= 60_000, `${body.length}`)
  })

  it('cuts any part out of a batch as a body of its own', async () => {
    const items = Array.from({ length: 50 }, (_, n) => ({ text: `element ${n}`, time: n }))
    for (const framing of ['array', 'lines'] as const)
      for (const kind of ['gzip', 'zstd', 'none'] as const) {
        const limits = { ...LIMITS, framing, compression: { kind } }
        const [batch] = await pack(items, limits)
        for (const [from, to] of [
          [0, 50],
          [0, 1],
          [49, 50],
          [13, 29],
        ] as const) {
          const { body, decodedBytes } = await bodyOfPart(limits, batch!, from, to)
          const found = decoded(body, limits)
          assert.deepEqual(
            found,
            items.slice(from, to).map(({ text }) => ({ text })),
          )
          assert.equal(decodedBytes, text(body, limits).length)
        }
      }
  })

  it('closes a batch of refused events too, before they pile up', async () => {
    const packer = new Packer(LIMITS, () => ({ refused: 'no' }))
    await add(
      packer,
      Array.from({ length: 25_000 }, () => ({ text: '', time: null })),
    )
    await packer.end()
    assert.deepEqual(
      packer.closed.map(({ refused }) => refused.length),
      [10_000, 10_000, 5_000],
    )
  })

  it('keeps nothing of an element whose encoder fails, and names the event', async () => {
    const items = Array.from({ length: 5 }, (_, n) => ({ text: `element ${n}`, time: n }))
    for (const framing of ['array', 'lines'] as const) {
      const limits = { ...LIMITS, framing }
      const packer = new Packer(limits, (event, out) => {
        encode(event, out)
        if (event.id === 3) throw new Error('a defect')
        return undefined
      })
      await assert.rejects(add(packer, items), /event 3.*a defect/)
      await packer.end()
      const [batch] = packer.closed
      assert.deepEqual(decoded(batch!.body, limits), [{ text: 'element 0' }, { text: 'element 1' }])
      assert.deepEqual(batch!.to, { sequence: 1, id: 2 })
    }
  })

  it('packs smaller once it is told so', async () => {
    const items = Array.from({ length: 300 }, (_, n) => ({ text: `element ${n} ${'x'.repeat(100)}`, time: n }))
    const packer = new Packer(LIMITS, encode)
    packer.packSmaller(5_000)
    await add(packer, items)
    await packer.end()
    for (const { decodedBytes } of packer.closed) assert.ok(decodedBytes <= 5_000, `${decodedBytes}`)
    assert.equal(packer.closed.flatMap(({ ids }) => ids).length, 300)
  })
})

// --- internal ---

const encode = (event: OutgoingEvent, out: ElementWriter): Encoded => {
  out.text('{"text":')
  out.bytes(event.data)
  out.text('}')
  return undefined
}

async function pack(items: readonly Item[], limits: BatchLimits): Promise<PackedBatch[]> {
  const packer = new Packer(limits, encode)
  await add(packer, items)
  packer.pass({ sequence: 1, id: Math.max(items.length, 1) + 100 })
  await packer.end()
  return packer.closed
}

async function add(packer: Packer, items: readonly Item[]): Promise<void> {
  for (const [index, { text, time }] of items.entries()) {
    const event = { id: index + 1, uid: String(index), time, data: Buffer.from(JSON.stringify(text)) }
    await packer.add(event as unknown as OutgoingEvent, { sequence: 1, id: event.id })
  }
}

function text(body: Buffer, { compression: { kind } }: BatchLimits): Buffer {
  if (body.length === 0) return body
  return kind === 'gzip' ? gunzipSync(body) : kind === 'zstd' ? zstdDecompressSync(body) : body
}

function decoded(body: Buffer, limits: BatchLimits): { text: string }[] {
  const whole = text(body, limits).toString()
  if (whole === '') return []
  if (limits.framing === 'array') return JSON.parse(whole)
  assert.ok(whole.endsWith('\n'))
  return whole
    .slice(0, -1)
    .split('\n')
    .map((line) => JSON.parse(line))
}
