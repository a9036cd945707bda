/**
 * The suite that every listed destination must pass, over its fixtures (test/support/destinationFixtures.ts): real
 * requests to the embedded receiver, real files. Batches are packed by the forwarder's own packer.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import fc from 'fast-check'
import {
  type BatchLimits,
  type Destination,
  type DestinationCheck,
  type Feed,
  streamOf,
} from '../../../src/components/destination.ts'
import { DESTINATIONS } from '../../../src/components/destinations/all.ts'
import type { DestinationConfig } from '../../../src/config.ts'
import { EVENT_COLUMNS } from '../../../src/core/columns.ts'
import type { OutgoingEvent } from '../../../src/core/outgoingEvent.ts'
import { type PackedBatch, Packer } from '../../../src/forward/packer.ts'
import { compile } from '../../../src/query/expression.ts'
import {
  destinationFolders,
  type Exchange,
  exchangeFile,
  fixtureFolder,
  REQUIRED,
} from '../../support/destinationFixtures.ts'
import {
  assertHidden,
  DestinationPlace,
  decoded,
  hiddenTexts,
  jsonLines,
  sendBatch,
} from '../../support/destinationPlace.ts'
import { type EventColumns, fixtureEvents, oddEvents, outgoingEvent } from '../../support/oddEvents.ts'
import { TextWriter } from '../../support/tableFixtures.ts'

const EVENTS = fixtureEvents()
const ODD = oddEvents()

test('every destination has fixtures, and every folder of fixtures a destination', () => {
  const names = DESTINATIONS.map(({ name }) => name as string)
  for (const name of names) {
    assert.ok(exchangeFile(name), `${name}: no test/fixtures/destinations/${name}/exchange.json`)
    assert.ok(existsSync(join(fixtureFolder(name), 'config.yaml')), `${name}: no config.yaml beside it`)
  }
  assert.deepEqual(destinationFolders().sort(), names.sort())
})

const TEXT = fc
  .string({ unit: 'binary', maxLength: 20 })
  .chain((text) => fc.constantFrom(text, `${text}\ud800`, `\udc00${text}`))
const COLUMN = fc.constantFrom(...EVENT_COLUMNS.filter(({ name }) => name !== 'data').map(({ name }) => name))
const ARBITRARY_EVENT = fc
  .record({
    time: fc.oneof(fc.constant(null), fc.double(), fc.integer({ min: -1e15, max: 4e15 })),
    dataType: fc.oneof(fc.constantFrom('aws:cloudtrail:entry', 'aws:vpcflow:entry', 'json:line'), TEXT),
    data: fc.oneof(
      fc.json({ stringUnit: 'binary' }).map((text) => Buffer.from(text)),
      fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
      TEXT.map((text) => Buffer.from(JSON.stringify({ eventName: text, requestParameters: { [text]: text } }))),
    ),
    columns: fc
      .array(fc.tuple(COLUMN, fc.oneof(TEXT, fc.double())), { maxLength: 8 })
      .map((entries) => Object.fromEntries(entries) as EventColumns),
  })
  .map(outgoingEvent)

for (const { name: component } of DESTINATIONS) {
  const file = exchangeFile(component)
  if (!file) continue
  suite(component, () => {
    const place = new DestinationPlace(file)
    after(() => place.close())

    test('its exchanges show all that such a receiver can do', () => {
      const shown = file.exchanges.map(({ name }) => name)
      assert.deepEqual(
        REQUIRED[file.receiver].filter((name) => !shown.includes(name)),
        [],
      )
    })

    test('limits are kept, and bodies decode to exactly the events, in order', async () => {
      for (const config of await place.configs(component)) {
        let accepted = 0
        await using opened = await place.open(config)
        for (const feed of opened.destination.feeds) {
          const events = eventsOf(feed, EVENTS)
          assert.ok(events.length > 0, `${config.name}: no fixture event for ${feed.name}`)
          const batches = await packed(feed, events)
          for (const batch of batches) assertWithin(feed.limits, batch)
          const refused = new Set(batches.flatMap((batch) => batch.refused.map(({ uid }) => uid)))
          const expected = events.map(({ uid }) => uid).filter((uid) => !refused.has(uid))
          assert.ok(expected.length > 0)
          const elements = batches.flatMap((batch) => elementsOf(feed.limits, batch.body))
          assert.deepEqual(
            elements.map((element) => uidIn(element, refused, events)),
            expected,
          )
          for (const batch of batches.filter(({ ids }) => ids.length > 0)) {
            assert.deepEqual(await sendBatch(feed, batch), { kind: 'accepted' })
          }
          accepted += expected.length
        }
        await opened.settle()
        assert.equal(place.count(config), accepted, 'the receiver has each once')
      }
    })

    for (const exchange of file.exchanges) {
      test(`${exchange.name}: ${exchange.outcome.kind}${exchange.error ? ` with ${exchange.error}` : ''}`, async () => {
        for (const config of await place.configs(component)) await meet(place, config, exchange)
      })
    }

    test('check passes and sends no item', async () => {
      for (const config of await place.configs(component)) {
        await using opened = await place.open(config)
        const lines = await checkLines(opened.destination)
        assert.ok(lines.length > 0)
        for (const line of lines) assert.ok(line.ok, `${line.name}: ${line.detail}`)
        await opened.settle()
        assert.equal(place.count(config), 0)
        assertHidden(config, file, lines)
      }
    })

    test('an abort ends a request within a second, without a throw', async () => {
      for (const config of await place.configs(component)) {
        await using opened = await place.open(config)
        for (const feed of opened.destination.feeds) {
          const [batch] = await packed(feed, eventsOf(feed, EVENTS))
          const aborted = await sendBatch(feed, batch!, AbortSignal.abort())
          assert.equal(aborted.kind, 'failed')
          if (file.receiver === 'folder') continue
          const { undo } = await place.prepare(config, { kind: 'stall' }, feed, batch!)
          const controller = new AbortController()
          setTimeout(() => controller.abort(), 100)
          const begun = Date.now()
          assert.equal((await sendBatch(feed, batch!, controller.signal)).kind, 'failed')
          assert.ok(Date.now() - begun < 1100)
          await undo()
        }
      }
    })

    test('secrets are in no outcome, error, notice or check, even when the receiver echoes them', async () => {
      for (const config of await place.configs(component)) {
        await using opened = await place.open(config)
        const { destination } = opened
        const told: unknown[] = [destination.notices]
        const [feed] = destination.feeds
        const [batch] = await packed(feed!, eventsOf(feed!, EVENTS))
        const secrets = hiddenTexts(config, file)
        const escaped = secrets.map(encodeURIComponent).join('&')
        const body = `${secrets.join(' ')} ${JSON.stringify(secrets)} ${escaped}`
        for (const status of file.receiver === 'http' ? [302, 400, 401, 403, 404, 409, 413, 429, 500] : []) {
          const headers = { ...(status === 302 && { Location: `https://elsewhere.example/${escaped}` }) }
          for (const ask of [() => sendBatch(feed!, batch!), () => checkLines(destination)]) {
            const { undo } = await place.prepare(config, { kind: 'garbage', status, body, headers }, feed!, batch!)
            told.push(await ask())
            await undo()
          }
        }
        assertHidden(config, file, told)
      }
    })

    test('odd events never throw, and are valid JSON of well-formed text on one line or refused', async () => {
      for (const config of await place.configs(component)) {
        await using opened = await place.open(config)
        for (const feed of opened.destination.feeds) {
          for (const [name, event] of ODD) assertEncoded(feed, event, `${config.name}: ${name}`)
          fc.assert(
            fc.property(ARBITRARY_EVENT, (event) => assertEncoded(feed, event, config.name)),
            { numRuns: 300 },
          )
        }
      }
    })
  })
}

// --- internal ---

function assertEncoded(feed: Feed, event: OutgoingEvent, what: string): void {
  const written = new TextWriter()
  const encoded = feed.encode(event, written)
  const text = written.toString()
  if (encoded && 'refused' in encoded) {
    assert.ok(encoded.refused.length > 0, what)
    assert.equal(text, '', `${what}: a refused event leaves nothing behind`)
    return
  }
  const element = JSON.parse(text) as Record<string, unknown>
  assert.ok(!/[\n\r]/.test(text), `${what}: line breaks inside an element`)
  for (const value of textsIn(element)) assert.ok(value.isWellFormed(), `${what}: ${JSON.stringify(value)}`)
  assert.ok(Object.values(element).includes(event.uid), `${what}: without its uid`)
}

function* textsIn(value: unknown): Generator<string> {
  const left = [value]
  while (left.length > 0) {
    const one = left.pop()
    if (typeof one === 'string') yield one
    else if (typeof one === 'object' && one !== null) left.push(...Object.keys(one), ...Object.values(one))
  }
}

/** Those that the feed is for, as the forwarder selects them. */
function eventsOf(feed: Feed, events: readonly OutgoingEvent[]): OutgoingEvent[] {
  const expression = compile(feed.where ?? '')
  return events.filter((event) => {
    const of: Readonly<Record<string, unknown>> = { id: event.id, time: event.time, data_type: event.dataType }
    const get = (name: string): unknown => of[name] ?? event.column(name as Parameters<OutgoingEvent['column']>[0])
    return expression.predicate({ get, data: () => event.data.toString() })
  })
}

async function packed(feed: Feed, events: readonly OutgoingEvent[]): Promise<PackedBatch[]> {
  const packer = new Packer(feed.limits, feed.encode)
  for (const event of events) await packer.add(event, { sequence: 1, id: event.id })
  await packer.end()
  return packer.closed
}

function assertWithin(limits: BatchLimits, batch: PackedBatch): void {
  assert.ok(batch.body.length <= limits.wireBytes, `${batch.body.length} bytes on the wire`)
  assert.ok(batch.decodedBytes <= limits.decodedBytes, `${batch.decodedBytes} bytes decoded`)
  assert.ok(batch.ids.length <= limits.records, `${batch.ids.length} records`)
}

function elementsOf(limits: BatchLimits, body: Buffer): Record<string, unknown>[] {
  if (body.length === 0) return []
  const text = decoded(limits.compression.kind, body).toString()
  if (limits.framing === 'array') return JSON.parse(text) as Record<string, unknown>[]
  return jsonLines(text)
}

/** The uid that an element carries, under whatever name. */
function uidIn(
  element: Record<string, unknown>,
  refused: ReadonlySet<string>,
  events: readonly OutgoingEvent[],
): unknown {
  const uids = new Set(events.map(({ uid }) => uid))
  return Object.values(element).find((value) => uids.has(value as string) && !refused.has(value as string))
}

async function checkLines({ check }: Destination): Promise<DestinationCheck[]> {
  const lines: DestinationCheck[] = []
  for await (const line of check()) lines.push(line)
  return lines
}

/** One batch meets what the fixture says, and is then sent again as the forwarder would. */
async function meet(place: DestinationPlace, config: DestinationConfig, exchange: Exchange): Promise<void> {
  await using opened = await place.open(config)
  let expected = 0
  // Findings go the same way.
  for (const feed of opened.destination.feeds.filter(({ name }) => streamOf(name) === 'events')) {
    const [batch] = await packed(feed, eventsOf(feed, EVENTS))
    const prepared = await place.prepare(config, exchange.fault, feed, batch!)
    const outcome = await sendBatch(feed, batch!)
    for (const [key, value] of Object.entries(exchange.outcome)) {
      assert.deepEqual((outcome as unknown as Record<string, unknown>)[key], value, JSON.stringify(outcome))
    }
    if (exchange.error !== undefined) assert.equal(outcome.kind === 'denied' && outcome.error.code, exchange.error)
    if (outcome.kind === 'denied') assert.ok(outcome.error.hint.length > 20, 'a hint with the next thing to try')
    assertHidden(config, place.file, outcome)
    await prepared.undo()
    if (outcome.kind !== 'accepted') assert.deepEqual(await sendBatch(feed, batch!), { kind: 'accepted' })
    const copies = (exchange.taken ? 1 : 0) + (outcome.kind === 'accepted' ? 0 : 1)
    expected += prepared.records + copies * batch!.ids.length
  }
  await opened.settle()
  assert.equal(place.count(config), expected, 'nothing lost, and nothing twice but after a lost answer')
}
