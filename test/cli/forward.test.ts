/** `forward` and its commands as a person types them, against a Logs Ingestion API on loopback. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { awsLogSet } from '../../src/demo/awsLogs.ts'
import { type IngestionServer, startIngestionServer } from '../../src/demo/ingestionServer.ts'
import { putFiles } from '../support/crashSite.ts'
import { inTemporary, jsonLines, type Outcome, runColdtrail } from './runColdtrail.ts'

const TLS = join(import.meta.dirname, '../fixtures/tls')
const RULE = 'dcr-00000000000000000000000000000001'
const CLIENT = { tenant: '11111111-2222-3333-4444-555555555555', clientId: 'forwarder', secret: 'S3cret~of.the+app' }
const tls = { key: readFileSync(join(TLS, 'key.pem'), 'utf8'), cert: readFileSync(join(TLS, 'cert.pem'), 'utf8') }

let receiver: IngestionServer
before(async () => {
  receiver = await startIngestionServer({
    ...{ tls, clients: [CLIENT], idColumn: 'ColdtrailUid_CF', keepRows: 0 },
    rules: { [RULE]: { 'Custom-AWSCloudTrail': {}, 'Custom-AWSVPCFlow': {} } },
  })
})
after(() => receiver.close())

test('from a check to a receipt, and nothing secret anywhere', async () => {
  await inTemporary(async (cwd) => {
    const told: string[] = []
    const coldtrail = async (...args: string[]): Promise<Outcome> => {
      const outcome = await runColdtrail(args, { cwd, environment: { SENTINEL_SECRET: CLIENT.secret } })
      told.push(outcome.stdout, outcome.stderr)
      return outcome
    }
    const { objects } = awsLogSet({ days: 1, cloudTrailEvents: 600, flowRecords: 400 })
    putFiles(join(cwd, 'logs'), { objects })
    writeFileSync(join(cwd, 'coldtrail.yaml'), configuration())
    assert.equal((await coldtrail('collect', 'logs', '--json')).status, 0)

    const check = await coldtrail('forward', 'check')
    assert.equal(check.status, 0, check.stdout + check.stderr)
    assert.match(check.stdout, /All is well\.$/m)
    assert.equal(receiver.received.get('Custom-AWSCloudTrail')?.records ?? 0, 0)

    const rehearsed = jsonLines((await coldtrail('forward', '--dry-run', '--json')).stdout).at(-1)!
    assert.equal(receiver.received.get('Custom-AWSCloudTrail')?.records ?? 0, 0)
    const plain = await coldtrail('forward', '--dry-run')
    assert.match(plain.stdout, /AWSCloudTrail: .* a day$/m)

    const run = await coldtrail('forward', '--json')
    assert.equal(run.status, 0, run.stdout + run.stderr)
    const summary = jsonLines(run.stdout).at(-1)!
    for (const key of ['events', 'requests', 'wire_bytes', 'decoded_bytes'])
      assert.equal(summary[key], rehearsed[key], key)
    const found = jsonLines((await coldtrail('search', '--json', '--columns', 'uid')).stdout).map(({ uid }) => uid)
    const arrived = ['Custom-AWSCloudTrail', 'Custom-AWSVPCFlow'].flatMap((name) => [...receiver.stream(name).ids])
    assert.deepEqual(arrived.sort(), found.sort())

    const status = jsonLines((await coldtrail('forward', 'status', '--json')).stdout)
    assert.deepEqual(
      status.map(({ feed, lag_events, dead_letters }) => [feed, lag_events, dead_letters]),
      [
        ['AWSCloudTrail', 0, 0],
        ['AWSVPCFlow', 0, 0],
      ],
    )
    assert.equal(
      status.reduce((sum, { accepted }) => sum + Number(accepted), 0),
      found.length,
    )
    assert.match((await coldtrail('forward', 'status')).stdout, /up to date/)
    assert.match((await coldtrail('forward')).stdout, /sentinel-prod: nothing new\./)
    assert.match((await coldtrail('forward', 'retry')).stdout, /sentinel-prod: no dead letters\./)

    const wrong = await runColdtrail(['forward', 'check'], { cwd, environment: { SENTINEL_SECRET: 'another~secret' } })
    told.push(wrong.stdout, wrong.stderr)
    assert.equal(wrong.status, 8, wrong.stdout)
    assert.ok(!told.join('').includes('another~secret'))
    for (const path of readdirSync(cwd, { recursive: true, withFileTypes: true }))
      if (path.isFile() && !/\.(db|gz|pack|parquet)/.test(path.name))
        told.push(readFileSync(join(path.parentPath, path.name), 'utf8'))
    assert.ok(!told.join('').includes(CLIENT.secret))
    assert.ok(!told.join('').includes(encodeURIComponent(CLIENT.secret)))
  })
})

test('what is wrong is said with the name, the place and the next step', async () => {
  await inTemporary(async (cwd) => {
    const run = (...args: string[]) => runColdtrail(args, { cwd, environment: { SENTINEL_SECRET: CLIENT.secret } })
    const none = await run('forward')
    assert.equal(none.status, 2)
    assert.match(none.stderr, /E_DESTINATION_MISSING/)
    writeFileSync(join(cwd, 'coldtrail.yaml'), configuration())
    const misspelt = await run('forward', '--destination', 'sentinal')
    assert.equal(misspelt.status, 2)
    assert.match(misspelt.stderr, /sentinal.*sentinel-prod/s)
    const empty = await run('forward')
    assert.notEqual(empty.status, 0)
    assert.match(empty.stderr, /E_[A-Z_]+/)
    putFiles(join(cwd, 'logs'), { objects: [{ key: 'a.jsonl', body: Buffer.from('{"a":1}\n') }] })
    assert.equal((await run('collect', 'logs')).status, 0)
    const expression = await run('forward', '--where', 'operaton == 1')
    assert.equal(expression.status, 2)
    assert.match(expression.stderr, /operation/)
    const untaken = await run('forward', '--log-level', 'warn')
    assert.equal(untaken.status, 0)
    assert.match(untaken.stderr, /no table of this destination takes/)
  })
})

test('prints rule, tables and role', async () => {
  await inTemporary(async (cwd) => {
    const arm = await runColdtrail(['forward', 'table', '--format', 'arm'], { cwd })
    assert.equal(arm.status, 0, arm.stderr)
    const types = JSON.parse(arm.stdout).resources.map(({ type }: { type: string }) => type)
    assert.ok(types.includes('Microsoft.Insights/dataCollectionRules'), types.join())
    const written = await runColdtrail(['forward', 'table', '--table', 'AWSVPCFlow', '--out', 'flow.bicep'], { cwd })
    assert.equal(written.status, 0, written.stderr)
    assert.match(readFileSync(join(cwd, 'flow.bicep'), 'utf8'), /Microsoft-AWSVPCFlow/)
    const unknown = await runColdtrail(['forward', 'table', '--table', 'AWSCloudTrial'], { cwd })
    assert.equal(unknown.status, 2)
    assert.match(unknown.stderr, /Did you mean AWSCloudTrail/)
  })
})

// --- internal ---

const configuration = (): string => `destinations:
  - name: sentinel-prod
    type: sentinel
    endpoint: ${receiver.endpoint}
    rule: ${RULE}
    authority_host: ${receiver.endpoint}
    ca_file: ${join(TLS, 'cert.pem')}
    credential:
      type: client_secret
      tenant_id: ${CLIENT.tenant}
      client_id: ${CLIENT.clientId}
      client_secret: \${SENTINEL_SECRET}
`
