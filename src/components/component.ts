/**
 * A component is an exported value; importing it registers nothing. Its declaration gives types, validation, help and
 * docs. One file each under sources/, formats/, tables/ and destinations/, one fixture folder each under
 * test/fixtures/<kind>s/<name>/. `npm run gen` writes the list `all.ts` of each folder.
 */
import type { z } from 'zod'
import type { EventSink } from '../core/eventSink.ts'
import type { Destination } from './destination.ts'
import type { Source } from './source.ts'
import type { Formatters } from './timeline/formatters.ts'

/** Characters of a header that are kept. */
export const MAX_HEADER = 8192

/** One object's decoded bytes go in, in order; events and rejects come out at the sink. Pure and synchronous. */
export interface ObjectParser {
  /** `offset` of bytes[0] in the decoded object. Keeps what it needs of an unfinished record itself. */
  push(bytes: Buffer): void
  /**
   * After the last byte; an unfinished record becomes a reject. Returns the records seen (events + rejects, before
   * fan-out), and the line that names the fields of all of them: null when there is not one, or more than MAX_HEADER of it.
   */
  end(): { records: number; header?: string | null }
}

export interface ParseOptions {
  /** Report every string of a record to the sink, for the keyset. */
  readonly observe: boolean
  /** When the object was written, microseconds UTC: completes times that have no year. */
  readonly lastModified: number
  /** Of messages that timelines lack; without them they have messages of our own. */
  readonly formatters?: Formatters
}

export interface Format {
  readonly kind: 'format'
  readonly name: string
  /** Raised when the same bytes give other events; part of the session row. */
  readonly version: number
  readonly summary: string
  /** Its records are events of timelines: JSON objects whose attributes have plaso's names, put out again as psort does. */
  readonly isTimeline?: boolean
  /** 0 = not mine, 1 = certain. Sees the key and at most the first 4,096 decoded bytes. Must not throw. */
  detect(head: Buffer, key: string): number
  /** An object of this family that holds no events (a digest): the reason to pass over it, else undefined. */
  noise?(head: Buffer, key: string): string | undefined
  /** The sink must outlive the parser. */
  open(sink: EventSink, options: ParseOptions): ObjectParser
}

export interface SourceComponent<Schema extends z.ZodType = z.ZodType> {
  readonly kind: 'source'
  readonly name: string
  readonly summary: string
  readonly config: Schema
  create(config: z.output<Schema>, context: SourceContext): Promise<Source>
}

/** What a source may use of its surroundings. */
export interface SourceContext {
  readonly environment: Readonly<Record<string, string | undefined>>
  /** A pause that an abort ends; a test's clock may shorten it. */
  pause(milliseconds: number, signal?: AbortSignal): Promise<void>
  warn(message: string, values?: Readonly<Record<string, unknown>>): void
}

export interface DestinationComponent<Schema extends z.ZodType = z.ZodType> {
  readonly kind: 'destination'
  readonly name: string
  readonly summary: string
  readonly config: Schema
  create(config: z.output<Schema>, context: DestinationContext): Promise<Destination>
}

/** What a destination may use of its surroundings. */
export interface DestinationContext extends SourceContext {
  /** Name in the configuration. */
  readonly name: string
  /** Relative paths of its configuration mean this directory: that of the configuration file, else the current one. */
  readonly base: string
  /** Microseconds UTC. */
  now(): number
}
