/** An event on its way to a destination: what the store gives and encoders read. */
import type { EventColumnName } from './columns.ts'
import type { ObjectIdentity } from './eventUid.ts'

/** The object that an event came from. */
export interface OutgoingSession extends ObjectIdentity {
  readonly format: string
  /** The line that names the fields of the object's records, where its format has one. */
  readonly header: string | null
}

/** Valid until the next one is asked for: encoders copy what they keep. */
export interface OutgoingEvent {
  readonly id: number
  /** The same wherever this object is collected (eventUid.ts): what a receiver drops repeats by. */
  readonly uid: string
  /** Microseconds UTC. */
  readonly time: number | null
  readonly dataType: string
  /** The record's own text, UTF-8. */
  readonly data: Buffer
  readonly session: OutgoingSession
  /** A column that the encoder declared; times in microseconds. */
  column(name: EventColumnName): string | number | null
}
