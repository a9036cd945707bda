/** Where destinations of the conformance suite send to: the embedded receiver or a folder, with the faults of both. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { ZstdFrames } from '../../src/collect/zstdFrames.ts'
import type { BatchLimits, Destination, Feed, Outcome } from '../../src/components/destination.ts'
import type { DestinationConfig } from '../../src/config.ts'
import { type IngestionFault, type IngestionServer, startIngestionServer } from '../../src/demo/ingestionServer.ts'
import { openDestination } from '../../src/destinations.ts'
import type { PackedBatch } from '../../src/forward/packer.ts'
import { type ExchangeFile, type FolderFault, fixtureConfig, fixtureFolder, secretsOf } from './destinationFixtures.ts'

export interface Opened extends AsyncDisposable {
  readonly destination: Destination
  /** From here on what was sent can be counted. */
  settle(): Promise<void>
}

/** What was done to a receiver before a batch: how many records it had from that, and how it is undone. */
export interface Prepared {
  readonly records: number
  undo(): Promise<void>
}

/** The receiver of a fixture, and what it has. */
export class DestinationPlace {
  readonly file: ExchangeFile
  private readonly folder = mkdtempSync(join(tmpdir(), 'coldtrail-destination-'))
  private server: IngestionServer | undefined
  /** Records that the server had when the destination was opened. */
  private before = 0

  constructor(file: ExchangeFile) {
    this.file = file
  }

  async configs(component: string): Promise<DestinationConfig[]> {
    const { receiver, server, tls } = this.file
    if (receiver === 'http')
      this.server ??= await startIngestionServer({ ...server, ...(tls && { tls: tlsFixture() }) })
    const environment = { ...this.file.environment, ENDPOINT: this.server?.endpoint ?? '', FOLDER: this.folder }
    return fixtureConfig(component, environment)
  }

  /** Nothing of before is there. */
  async open(config: DestinationConfig): Promise<Opened> {
    if (!this.server) rmSync(folderOf(config), { recursive: true, force: true })
    this.clear()
    this.before = this.records()
    const destination = await opened(config)
    return {
      destination,
      settle: () => (this.server ? Promise.resolve() : destination.close()),
      [Symbol.asyncDispose]: () => destination.close(),
    }
  }

  /** What happens to the next batch. */
  async prepare(
    config: DestinationConfig,
    fault: IngestionFault | FolderFault | undefined,
    feed: Feed,
    batch: PackedBatch,
  ): Promise<Prepared> {
    const { operation } = this.file
    if (!this.server) return folderFault(config, fault as FolderFault | undefined, feed, batch)
    if (fault) this.server.fail({ action: fault as IngestionFault, ...(operation && { operation }) })
    return { records: 0, undo: async () => this.clear() }
  }

  /** Records that it took since the destination was opened; of a folder those in finished files, which must be whole. */
  count(config: DestinationConfig): number {
    if (this.server) return this.records() - this.before
    const folder = folderOf(config)
    const names = existsSync(folder) ? readdirSync(folder).sort() : []
    assert.deepEqual(
      names.filter((name) => /\.(partial|ends)$/.test(name)),
      [],
      'nothing unfinished is left',
    )
    return names
      .filter((name) => !name.startsWith('.'))
      .map((name) => {
        const kind = name.endsWith('.gz') ? 'gzip' : name.endsWith('.zst') ? 'zstd' : 'none'
        return jsonLines(decoded(kind, readFileSync(join(folder, name))).toString()).length
      })
      .reduce((sum, lines) => sum + lines, 0)
  }

  async close(): Promise<void> {
    await this.server?.close()
    rmSync(this.folder, { recursive: true, force: true })
  }

  private clear(): void {
    this.server?.clearFaults()
  }

  private records(): number {
    return [...(this.server?.received.values() ?? [])].reduce((sum, { records }) => sum + records, 0)
  }
}

export function sendBatch(
  feed: Feed,
  { body, decodedBytes, ids }: Pick<PackedBatch, 'body' | 'decodedBytes' | 'ids'>,
  signal = new AbortController().signal,
): Promise<Outcome> {
  return feed.send({ body, decodedBytes, records: ids.length, requestId: randomUUID() }, signal)
}

export function jsonLines(text: string): Record<string, unknown>[] {
  if (text === '') return []
  assert.ok(text.endsWith('\n'), 'the last line is whole')
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

export function decoded(kind: BatchLimits['compression']['kind'], body: Buffer): Buffer {
  if (kind === 'none') return body
  if (kind === 'gzip') return gunzipSync(body)
  const ends = [0, ...new ZstdFrames().boundaries(body)]
  assert.equal(ends.at(-1), body.length, 'whole frames')
  return Buffer.concat(ends.slice(1).map((end, at) => zstdDecompressSync(body.subarray(ends[at], end))))
}

/** Fails when a secret of the configuration, or of its environment, stands in what was told. */
export function assertHidden(config: DestinationConfig, file: ExchangeFile, told: unknown): void {
  const text = JSON.stringify(told, (_, value) =>
    value instanceof Error ? { ...value, message: value.message, hint: (value as { hint?: string }).hint } : value,
  )
  for (const secret of hiddenTexts(config, file)) {
    for (const form of [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)]) {
      assert.ok(!text.includes(form), `a secret of ${config.name} is shown: ${text.slice(0, 500)}`)
    }
  }
}

/** Secret values of a configuration, and what of the environment stands in them. */
export function hiddenTexts(config: DestinationConfig, { environment = {} }: ExchangeFile): string[] {
  const secrets = secretsOf(config)
  const parts = Object.values(environment).filter((value) => secrets.some((secret) => secret.includes(value)))
  return [...new Set([...secrets, ...parts])]
}

// --- internal ---

function opened(config: DestinationConfig): Promise<Destination> {
  return openDestination({ file: join(fixtureFolder(config.type), 'config.yaml') }, config, () => undefined)
}

function tlsFixture(): { key: string; cert: string } {
  const folder = join(import.meta.dirname, '../fixtures/tls')
  const read = (name: string): string => readFileSync(join(folder, name), 'utf8')
  return { key: read('key.pem'), cert: read('cert.pem') }
}

const folderOf = ({ path }: DestinationConfig): string =>
  String(path).includes('*') ? dirname(String(path)) : String(path)

async function folderFault(
  config: DestinationConfig,
  fault: FolderFault | undefined,
  feed: Feed,
  batch: PackedBatch,
): Promise<Prepared> {
  const folder = folderOf(config)
  const records = batch.ids.length
  switch (fault?.kind) {
    case 'blocked':
      mkdirSync(dirname(folder), { recursive: true })
      writeFileSync(folder, 'a file')
      return { records: 0, undo: async () => rmSync(folder) }
    case 'held': {
      const other = await opened(config)
      const same = other.feeds.find(({ name }) => name === feed.name)!
      assert.deepEqual(await sendBatch(same, batch), { kind: 'accepted' })
      return { records, undo: () => other.close() }
    }
    case 'torn': {
      const input = JSON.stringify({ config, folder, body: batch.body.toString('base64'), records })
      const child = spawnSync(process.execPath, [join(import.meta.dirname, 'tornFile.ts')], { input, encoding: 'utf8' })
      assert.equal(child.signal, 'SIGKILL', child.stderr)
      return { records, undo: async () => undefined }
    }
    default:
      return { records: 0, undo: async () => undefined }
  }
}
