/** Files that an nsrlsvr knows: one connection, distinct hashes once, and every event of a hash; faults are told. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import type { PluginComponent } from '../../../src/components/plugin.ts'
import { nsrlsvr } from '../../../src/components/plugins/nsrlsvr.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { type NsrlServer, startNsrlServer } from '../../support/nsrlServer.ts'
import { withPlugin } from '../../support/pluginFixtures.ts'
import { type PlainEvent, runPlugin, whole } from '../../support/pluginRun.ts'

const component = nsrlsvr as unknown as PluginComponent
const md5 = (text: string): string => createHash('md5').update(text).digest('hex')
const event = (id: number, name: string): PlainEvent => ({ id, data_type: 'fs:stat', data: { md5_hash: md5(name) } })

/** Three events of each of 50 files, of which the even ones are known. */
const EVENTS = Array.from({ length: 150 }, (_, i) => event(i + 1, `file ${i % 50}`))
const KNOWN = Array.from({ length: 25 }, (_, i) => md5(`file ${i * 2}`))

async function withServer<T>(
  action: (server: NsrlServer, options: Readonly<Record<string, unknown>>) => Promise<T>,
  endsAfterAnswer = false,
): Promise<T> {
  const server = await startNsrlServer(KNOWN, endsAfterAnswer)
  try {
    return await action(server, { host: '127.0.0.1', port: server.port, batch: 10 })
  } finally {
    await server.close()
  }
}

test('defect 8: one look-up per file and not per event, batched, over one connection; all events of a known hash are labelled', async () => {
  await withServer(async (server, options) => {
    await withPlugin(component, { options }, async (plugin, surroundings) => {
      const { tags, report } = await runPlugin(plugin, whole(EVENTS), surroundings)
      assert.equal(tags.length, 75)
      assert.deepEqual(
        tags,
        EVENTS.filter((_, i) => i % 2 === 0).map(({ id }) => `${id} nsrl_present`),
      )
      assert.deepEqual(Object.fromEntries(report.counters), {
        ...{ hashes: 50, present: 25, 'not present': 25, 'not looked up': 0, 'from the cache': 0 },
      })
      const [probe, ...queries] = server.queries
      assert.equal(probe!.length, 1)
      assert.deepEqual(
        queries.map(({ length }) => length),
        [10, 10, 10, 10, 10],
      )
      assert.equal(new Set(queries.flat()).size, 50)
      // The one that looks whether it is there, and the one that asks.
      assert.equal(server.connections, 2)
      const again = await runPlugin(plugin, whole(EVENTS), surroundings)
      assert.deepEqual(again.tags, tags)
      assert.equal(server.queries.length, 6)
    })
  })
})

test('a server that ends the connection after each answer gets another', async () => {
  await withServer(async (server, options) => {
    await withPlugin(component, { options }, async (plugin, surroundings) => {
      const { tags, report } = await runPlugin(plugin, whole(EVENTS), surroundings)
      assert.equal(tags.length, 75)
      assert.deepEqual(report.warnings, [])
      assert.equal(server.connections, 6)
    })
  }, true)
})

test('defect 9: a connection that is lost is told, and is not an answer; what was answered before counts', async () => {
  await withServer(async (server, options) => {
    await withPlugin(component, { options }, async (plugin, surroundings) => {
      // The probe, two batches, then nothing but resets.
      server.fail(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [i + 4, 'reset' as const])))
      const { tags, report } = await runPlugin(plugin, whole(EVENTS), surroundings)
      const counters = Object.fromEntries(report.counters)
      assert.equal(counters['not looked up'], 30)
      assert.equal(counters.present! + counters['not present']!, 20)
      assert.equal(tags.length, counters.present! * 3)
      assert.equal(report.warnings?.length, 1)
      assert.match(report.warnings![0]!, /^nsrlsvr: 30 of 50 were not looked up: 127\.0\.0\.1:\d+: the connection /)
      server.fail({})
      const again = await runPlugin(plugin, whole(EVENTS), surroundings)
      assert.equal(again.tags.length, 75)
      assert.deepEqual(again.report.warnings, [])
      assert.equal(Object.fromEntries(again.report.counters)['from the cache'], 20)
    })
  })
})

test('answers that are none are no "not present"', async () => {
  for (const fault of ['not_ok', 'short', 'garbage'] as const)
    await withServer(async (server, options) => {
      await withPlugin(component, { options }, async (plugin, surroundings) => {
        server.fail({ 3: fault })
        const { report } = await runPlugin(plugin, whole(EVENTS), surroundings)
        assert.match(report.warnings![0]!, /40 of 50 were not looked up: .* it is no nsrlsvr/, fault)
      })
    })
})

test('one passing fault is got over', async () => {
  for (const fault of ['reset', 'bye'] as const)
    await withServer(async (server, options) => {
      await withPlugin(component, { options }, async (plugin, surroundings) => {
        server.fail({ 3: fault })
        const { tags, report } = await runPlugin(plugin, whole(EVENTS), surroundings)
        assert.deepEqual([tags.length, report.warnings], [75, []])
      })
    })
})

test('offline is said at once, before anything is analysed', async () => {
  const isRefused =
    (reason: RegExp) =>
    (error: unknown): boolean =>
      error instanceof ColdtrailError && error.code === 'E_LOOKUP_SERVICE' && reason.test(error.message)
  const { port } = await withServer(async (server) => server)
  const nobody = withPlugin(component, { options: { host: '127.0.0.1', port } }, async () => {})
  await assert.rejects(nobody, isRefused(/ECONNREFUSED/))
  await withServer(async (server, options) => {
    server.fail({ 1: 'garbage' })
    await assert.rejects(
      withPlugin(component, { options }, async () => {}),
      isRefused(/it is no nsrlsvr/),
    )
  })
  // One that takes connections and says nothing.
  const sockets = new Set<Socket>()
  const silent = createServer((socket) => sockets.add(socket))
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const address = silent.address() as { port: number }
  const options = { host: '127.0.0.1', port: address.port, timeout_secs: 0.2 }
  await assert.rejects(
    withPlugin(component, { options }, async () => {}),
    isRefused(/no answer for 0\.2 s/),
  )
  for (const socket of sockets) socket.destroy()
  silent.close()
})
