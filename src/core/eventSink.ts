/**
 * The door between formats and the store: a format appends events and rejects of one object to a sink. Values are byte
 * slices of the decoded object wherever possible, so that nothing is materialised that does not have to be; the sink
 * copies what it keeps before the call returns.
 *
 * Order per event: `begin`, any number of values (a column at most once), `commit` or `cancel`. A record that gives several
 * events is begun once for each, in a row.
 */
import type { ObservableExtractor } from './observableExtractor.ts'

/** A sentence made of the event's own columns: each part is left out when its column is absent, and so is the first `before`. */
export type Phrase = readonly { readonly before: string; readonly column: number }[]

/** A container of a timeline that is no event, under the names of plaso. */
export interface Fact {
  readonly container: string
  readonly attributes: Readonly<Record<string, unknown>>
}

export interface EventSink {
  /** Starts the event of the record `bytes[start, end)`; `offset` is the record's place in the decoded object. */
  begin(bytes: Buffer, start: number, end: number, offset: number): void
  /** `data` of the event where that is not the record's own bytes: its fields as JSON. Well-formed UTF-8. */
  data(bytes: Buffer, start: number, end: number): void
  /**
   * A text or ip value as UTF-8 slice. `column` is an index into EVENT_COLUMNS. The slice is well-formed UTF-8. `id`: of
   * the byte module, for the same value next time; 0 or left out: it has none.
   */
  slice(column: number, bytes: Buffer, start: number, end: number, id?: number): void
  /** Puts the value that this column got with the same id before. False: there was none, and nothing was put. */
  known(column: number, id: number): boolean
  text(column: number, value: string): void
  /** The same as slice for a value that is one of few Buffers, known by identity: cheaper than its bytes. */
  constant(column: number, value: Buffer): void
  /** A safe integer. */
  int(column: number, value: number): void
  /** Microseconds UTC. */
  time(microseconds: number): void
  /** For who finds observables in strings by the byte module; undefined when there is no keyset. */
  readonly observables: ObservableExtractor | undefined
  /** A string of the record (unescaped, well-formed UTF-8), for the keyset (`obs/1`); `isUser`: its key ends in userName. */
  observe(bytes: Buffer, start: number, end: number, isUser: boolean): void
  /** Sets `message` from text and small-integer columns of this event; called last before `commit`. */
  phrase(phrase: Phrase): void
  /** A label that the event at hand brought with it, `[A-Za-z0-9_]+`; called right before `commit`. For a run `imported`. */
  label(label: string): void
  /** What an object says beside its events: sessions, accounts, reports and warnings of a timeline. Likewise. */
  fact(fact: Fact): void
  commit(): void
  cancel(): void
  /** A record that was refused: kept with its bytes, and covered by the keyset. */
  reject(bytes: Buffer, start: number, end: number, offset: number, reason: string): void
}
