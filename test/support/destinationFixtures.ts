/**
 * Fixtures of destinations, `test/fixtures/destinations/<name>/`:
 *
 *     config.yaml     a configuration; each of its destinations goes through the suite
 *     exchange.json   where they send to, and what happens there: see Exchange
 *
 * In config.yaml `${ENDPOINT}` is the embedded receiver, `${FOLDER}` an empty folder, and what else is needed stands in
 * `environment` of exchange.json.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Outcome } from '../../src/components/destination.ts'
import { type DestinationConfig, parseConfig, redacted } from '../../src/config.ts'
import type { IngestionFault, IngestionServerOptions, Operation } from '../../src/demo/ingestionServer.ts'

export interface ExchangeFile {
  /** The embedded server of src/demo/ingestionServer.ts, or a folder. */
  readonly receiver: 'http' | 'folder'
  /** Options of the server. */
  readonly server?: IngestionServerOptions
  /** It serves HTTPS with test/fixtures/tls, whose certificate is signed by itself. */
  readonly tls?: true
  /** Requests that carry batches. */
  readonly operation?: Operation
  readonly environment?: Readonly<Record<string, string>>
  readonly exchanges: readonly Exchange[]
}

/** What happens to one batch, and what the destination must make of it. The batch is then sent again, and taken. */
export interface Exchange {
  readonly name: string
  /** Of the server, or of the folder; without one the batch is taken. */
  readonly fault?: IngestionFault | FolderFault
  /** Each member must be that of the outcome. */
  readonly outcome: Partial<Outcome>
  /** Code of the error of a denied batch. */
  readonly error?: string
  /** Whether the receiver keeps the batch all the same. */
  readonly taken?: boolean
}

export type FolderFault =
  /** The process ends; half a batch is left behind what counts. */
  | { readonly kind: 'torn' }
  /** Another process writes there. */
  | { readonly kind: 'held' }
  /** A file stands where the folder should be. */
  | { readonly kind: 'blocked' }

/** What every receiver of a kind can do to a batch; the exchanges of each fixture show all of it. */
export const REQUIRED: Readonly<Record<ExchangeFile['receiver'], readonly string[]>> = {
  http: ['success', 'throttle', 'too_large', 'reset', 'half_accepted', 'lost_response', 'refused', 'denied'],
  folder: ['success', 'half_accepted', 'held', 'blocked'],
}

const root = join(import.meta.dirname, '../fixtures/destinations')

export const destinationFolders = (): string[] => (existsSync(root) ? readdirSync(root) : [])

/** Undefined when the component has none. */
export function exchangeFile(component: string): ExchangeFile | undefined {
  const path = join(root, component, 'exchange.json')
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as ExchangeFile) : undefined
}

export function fixtureConfig(component: string, environment: Readonly<Record<string, string>>): DestinationConfig[] {
  const file = join(root, component, 'config.yaml')
  return parseConfig(readFileSync(file, 'utf8'), { file, environment }).destinations
}

export const fixtureFolder = (component: string): string => join(root, component)

/** Every text of a configuration that is shown to nobody. */
export function secretsOf(config: unknown, shown: unknown = redacted(config)): string[] {
  if (typeof config === 'string') return shown === config ? [] : [config]
  if (typeof config !== 'object' || config === null) return []
  return Object.entries(config).flatMap(([key, value]) =>
    secretsOf(value, typeof shown === 'object' && shown !== null ? (shown as Record<string, unknown>)[key] : undefined),
  )
}
