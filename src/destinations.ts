/** From a name in the configuration to a destination that can be sent to. */
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DestinationComponent } from './components/component.ts'
import type { Destination } from './components/destination.ts'
import { DESTINATIONS } from './components/destinations/all.ts'
import type { Config, DestinationConfig } from './config.ts'
import { ColdtrailError } from './core/errors.ts'
import type { Log } from './core/log.ts'
import { nearest } from './core/nearest.ts'

/** The destinations named, or without a name all configured ones. E_DESTINATION_MISSING, E_DESTINATION_UNKNOWN, E_CONFIG_ENVIRONMENT. */
export function resolveDestinations(
  { destinations, withheld = [] }: Pick<Config, 'destinations' | 'withheld'>,
  names: readonly string[] = [],
): DestinationConfig[] {
  const lacking = withheld.find(({ name }) => names.length === 0 || names.includes(name))
  if (lacking) throw lacking.error
  if (destinations.length === 0 && withheld.length === 0) throw new ColdtrailError('E_DESTINATION_MISSING')
  if (names.length === 0) return [...destinations]
  const known = [...destinations, ...withheld].map(({ name }) => name)
  return [...new Set(names)].map((name) => {
    const found = destinations.find((destination) => destination.name === name)
    if (found) return found
    throw unknownDestination(name, known)
  })
}

export function unknownDestination(name: string, known: readonly string[]): ColdtrailError {
  const guess = nearest(name, known)
  const suggestion = guess === undefined ? '' : ` Did you mean ${guess}?`
  return new ColdtrailError('E_DESTINATION_UNKNOWN', { name, suggestion, known: known.join(', ') })
}

/** Opens one; nothing is sent. What the component's own files lack or refuse is thrown. */
export async function openDestination(
  config: Pick<Config, 'file'>,
  { name, type, where: _, collection: __, ...options }: DestinationConfig,
  log: Log,
): Promise<Destination> {
  // The options were checked by the schema of this very component.
  const component = DESTINATIONS.find((known) => known.name === type) as unknown as DestinationComponent
  return component.create(options, {
    name,
    base: config.file === undefined ? process.cwd() : dirname(config.file),
    environment: process.env,
    now: () => Date.now() * 1000,
    pause: async (milliseconds, signal) => sleep(milliseconds, undefined, { signal }),
    warn: (message, values) => log('warn', message, { destination: name, ...values }),
  })
}
