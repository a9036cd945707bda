/** What VirusTotal says of files: limits obeyed, faults told, the key never shown, TLS verified. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { PluginComponent } from '../../../src/components/plugin.ts'
import { virustotal } from '../../../src/components/plugins/virustotal.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { pluginContext, withPlugin } from '../../support/pluginFixtures.ts'
import { type PlainEvent, runPlugin, whole } from '../../support/pluginRun.ts'
import { KEY, startVirusTotal, type VirusTotalServer } from '../../support/virusTotalServer.ts'

const TLS = join(import.meta.dirname, '../../fixtures/tls')
const component = virustotal as unknown as PluginComponent
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const EVENTS: readonly PlainEvent[] = ['a', 'b', 'a', 'c', 'b'].map((name, i) => ({
  ...{ id: i + 1, data_type: 'pe_coff:file', data: { sha256_hash: sha256(name) } },
}))
const REPORTS = { [sha256('a')]: { malicious: 3, undetected: 60 }, [sha256('b')]: { malicious: 0, undetected: 63 } }
const TAGS = ['detections_3', 'no_detections', 'detections_3', 'not_present', 'no_detections'].map(
  (verdict, i) => `${i + 1} virustotal_${verdict}`,
)

async function withServer<T>(
  action: (server: VirusTotalServer, options: Readonly<Record<string, unknown>>) => Promise<T>,
): Promise<T> {
  const server = await startVirusTotal(REPORTS)
  try {
    return await action(server, { url: server.url, api_key: KEY, free_rate_limit: false })
  } finally {
    await server.close()
  }
}

test('each hash once over one connection, however many events have it; a second run asks nobody', async () => {
  await withServer(async (server, options) => {
    await withPlugin(component, { options }, async (plugin, surroundings) => {
      assert.deepEqual((await runPlugin(plugin, whole(EVENTS), surroundings)).tags, TAGS)
      assert.equal(server.asked.length, 4)
      assert.deepEqual((await runPlugin(plugin, whole(EVENTS), surroundings)).tags, TAGS)
      assert.equal(server.asked.length, 4)
      assert.equal(server.connections, 2)
    })
  })
})

test('the service is obeyed when it asks to wait, and passing faults are got over', async () => {
  await withServer(async (server, options) => {
    await withPlugin(component, { options }, async (plugin, surroundings) => {
      const wait = { status: 429, code: 'TooManyRequestsError', headers: { 'Retry-After': '0' } }
      server.fail(wait, { status: 503, headers: { 'Retry-After': '0' } }, { reset: true })
      const { tags, report } = await runPlugin(plugin, whole(EVENTS), surroundings)
      assert.deepEqual([tags, report.warnings], [TAGS, []])
      assert.equal(server.asked.length, 1 + 3 + 3)
    })
  })
})

test('a spent quota ends the asking: what is known counts, and the rest is told', async () => {
  await withServer(async (server, options) => {
    await withPlugin(component, { options }, async (plugin, surroundings) => {
      const hashes = [...new Set(EVENTS.map(({ data }) => (data as { sha256_hash: string }).sha256_hash))].sort()
      await runPlugin(
        plugin,
        whole(EVENTS.filter(({ data }) => (data as { sha256_hash: string }).sha256_hash === hashes[0])),
        surroundings,
      )
      server.fail({ status: 429, code: 'QuotaExceededError', headers: { 'Retry-After': '86400' } })
      const { tags, report } = await runPlugin(plugin, whole(EVENTS), surroundings)
      assert.match(
        report.warnings![0]!,
        /^VirusTotal: 2 of 3 were not looked up: .* 429 QuotaExceededError; it asks to wait 86400 s$/,
      )
      assert.ok(tags.length > 0 && tags.every((tag) => TAGS.includes(tag)))
    })
  })
})

test('the limit of free keys is on unless it is turned off: a true value never turns it off', () => {
  const limit = (given: Record<string, unknown>): unknown =>
    (component.options.parse({ api_key: 'k', ...given }) as { free_rate_limit: boolean }).free_rate_limit
  assert.equal(limit({}), true)
  assert.equal(limit({ free_rate_limit: true }), true)
  assert.equal(limit({ free_rate_limit: false }), false)
})

test('a wrong key, another service, nobody: said before anything is analysed, and never with the key', async () => {
  const secret = 'not-the-key-0123456789'
  const refused = async (options: Readonly<Record<string, unknown>>, reason: RegExp, code = 'E_LOOKUP_SERVICE') => {
    const error = await withPlugin(component, { options }, async () => undefined).catch((thrown: unknown) => thrown)
    assert.ok(error instanceof ColdtrailError && error.code === code, String(error))
    assert.match(error.message, reason)
    for (let at: unknown = error; at instanceof Error; at = at.cause)
      assert.ok(!`${at.message} ${at.stack} ${JSON.stringify(at)}`.includes(secret), at.message)
  }
  await withServer(async (server, options) => {
    await refused({ ...options, api_key: secret }, /401 WrongCredentialsError: the API key is not accepted/)
    await refused({ ...options, api_key: secret, url: server.url.replace('v3', 'v2') }, /it is no VirusTotal API v3/)
    server.fail({ status: 301, headers: { Location: 'https://elsewhere.example/' } })
    await refused({ ...options, api_key: secret }, /redirect is not followed/)
    server.fail({ status: 200, body: '<html>captive portal</html>' })
    await refused({ ...options, api_key: secret }, /no file report/)
    await refused({ ...options, api_key: `${secret}\r\nX: y` }, /it is no API key/, 'E_PLUGIN_OPTION')
  })
  await refused({ api_key: secret, url: 'http://127.0.0.1:1/api/v3' }, /cannot be asked/)
  await refused({ api_key: secret, url: 'http://192.0.2.1/api/v3' }, /use https/, 'E_PLUGIN_OPTION')
  await refused({}, /VIRUSTOTAL_API_KEY/, 'E_PLUGIN_OPTION')
})

test("the certificate is verified; an authority of one's own is trusted when it is named", async () => {
  const read = (name: string): string => readFileSync(join(TLS, name), 'utf8')
  const server = await startVirusTotal(REPORTS, { key: read('key.pem'), cert: read('cert.pem') })
  try {
    const options = { url: server.url, api_key: KEY, free_rate_limit: false }
    await assert.rejects(
      withPlugin(component, { options }, async () => undefined),
      (error) => error instanceof ColdtrailError && /DEPTH_ZERO_SELF_SIGNED_CERT/.test(error.message),
    )
    assert.deepEqual(server.asked, [])
    const trusting = { ...options, ca_file: join(TLS, 'cert.pem') }
    const found = await withPlugin(component, { options: trusting }, (plugin, surroundings) =>
      runPlugin(plugin, whole(EVENTS), surroundings),
    )
    assert.deepEqual(found.tags, TAGS)
  } finally {
    await server.close()
  }
})

test('what goes to workers holds no key', async () => {
  await withServer(async (_, options) => {
    const context = pluginContext('/nonexistent', {})
    const work = await component.prepare(component.options.parse(options), context)
    assert.ok(!JSON.stringify(work).includes(KEY))
  })
})
