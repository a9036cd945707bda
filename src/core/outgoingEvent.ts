/** An event on its way to a destination: what the store gives and encoders read. */
import type { EventColumnName } from './columns.ts'
import type { ObjectIdentity } from './eventUid.ts'

/** The object that an event came from. */
export interface OutgoingSession extends ObjectIdentity {
  readonly format: string
  /** The line that names the fields of the object's records, where its format has one. */
  readonly header: string | null
}

/** What was found in an event. */
export interface OutgoingFinding {
  readonly kind: string
  readonly rule: string
  readonly label: string
  readonly plugin: string
  readonly severity: string
  readonly title: string
  /** Runs that made it, ascending. */
  readonly runs: readonly number[]
  /** Local id and uid of the event; null of a finding about a segment. */
  readonly event: number | null
  readonly event_uid: string | null
  readonly segment?: number
}

/** Valid until the next one is asked for: encoders copy what they keep. */
export interface OutgoingEvent {
  /** Ascending in a feed: of an event its local id, of a finding its number. */
  readonly id: number
  /** The same wherever this object is collected (eventUid.ts): what a receiver drops repeats by. Of a finding its own. */
  readonly uid: string
  /** Microseconds UTC. */
  readonly time: number | null
  readonly dataType: string
  /** The record's own text, UTF-8. */
  readonly data: Buffer
  readonly session: OutgoingSession
  /** Present in feeds of findings: the event is then the one it is about, or stands for the segment that it is about. */
  readonly finding?: OutgoingFinding
  /** A column that the encoder declared; times in microseconds. */
  column(name: EventColumnName): string | number | null
}
