/**
 * What is new for a feed of findings, in the order in which they were committed: those that a commit said first, with
 * their events wherever these lie now. A finding's number is its place: link, then line. One about a segment has no event:
 * it leaves where no expression, which is about events, is asked.
 */
import canonicalize from 'canonicalize'
import type { EventColumnName } from '../core/columns.ts'
import { ColdtrailError } from '../core/errors.ts'
import type { OutgoingEvent, OutgoingFinding, OutgoingSession } from '../core/outgoingEvent.ts'
import type { Position } from './catalog/outbox.ts'
import type { Catalog } from './catalog.ts'
import { throwIfAborted } from './duckdb.ts'
import type { FeedChunk, FeedCount, FeedQuestion } from './feedReader.ts'
import type { Finding, FindingPosition } from './findings.ts'

export type EventsQuestion = Pick<FeedQuestion, 'collection' | 'columns' | 'condition' | 'signal'>

export interface FoundEvent {
  readonly event: OutgoingEvent
  readonly isMatch: boolean
  readonly isSuperseded: boolean
}

type BoundedQuestion = FeedQuestion & { readonly to: Position }

export class FindingFeed {
  private readonly catalog: Catalog
  private readonly eventsById: (question: EventsQuestion, ids: readonly number[]) => Promise<readonly FoundEvent[]>

  constructor(catalog: Catalog, eventsById: FindingFeed['eventsById']) {
    this.catalog = catalog
    this.eventsById = eventsById
  }

  async *read(question: BoundedQuestion): AsyncGenerator<FeedChunk> {
    const { to, startTime, skipOffline } = question
    let passed = { superseded: 0, offline: 0 }
    for await (const page of this.pages(question)) {
      let events: OutgoingEvent[] = []
      let upTo: Position = question.from
      const chunk = (): FeedChunk => {
        const told = { sequence: upTo.sequence, events, upTo, ...passed }
        passed = { superseded: 0, offline: 0 }
        events = []
        return told
      }
      for (const { finding, found } of page) {
        const position = { sequence: finding.sequence, id: findingNumber(finding) }
        const isLate = startTime !== undefined && finding.time !== null && finding.time < startTime
        const isPassed = !isLate && (found === undefined || found.isSuperseded)
        // What was passed over stands before the first event of a chunk, which is of one commit.
        if (events.length > 0 && (isPassed || position.sequence !== upTo.sequence)) yield chunk()
        if (found === undefined && !isLate) {
          if (!skipOffline) throw await this.offlineError(question.collection, finding)
          passed.offline += 1
        } else if (isPassed) passed.superseded += 1
        else if (!isLate && found!.isMatch) events.push(new FindingEvent(found!.event, finding))
        upTo = position
      }
      if (events.length > 0 || passed.superseded + passed.offline > 0) yield chunk()
    }
    yield { sequence: to.sequence, events: [], upTo: to, ...passed }
  }

  /** By number, as far as their events are here. */
  async *byNumber(question: EventsQuestion, numbers: readonly number[]): AsyncGenerator<OutgoingEvent> {
    const { collection } = question
    for (const number of numbers) {
      const { sequence, line } = placeOf(number)
      const bounds = { after: { sequence, line: line - 1 }, upTo: { sequence, line } }
      const [finding] = await this.catalog.findings({ collection, ...bounds, limit: 1 })
      const [found] = finding ? await this.about(question, [finding]) : []
      if (finding && found) yield new FindingEvent(found.event, finding)
    }
  }

  async count(question: Omit<BoundedQuestion, 'columns'> & { readonly olderThan?: number }): Promise<FeedCount> {
    const { collection, startTime, olderThan } = question
    let [events, older, offline] = [0, 0, 0]
    let oldest: number | undefined
    for await (const page of this.pages({ ...question, columns: [] }))
      for (const { finding, found } of page) {
        const { time, sequence } = finding
        if (startTime !== undefined && time !== null && time < startTime) continue
        if (found === undefined) offline += 1
        else if (found.isMatch && !found.isSuperseded) {
          events += 1
          oldest ??= sequence
          if (olderThan !== undefined && time !== null && time < olderThan) older += 1
        }
      }
    const [commit] = oldest === undefined ? [] : await this.catalog.commits(collection, { after: oldest - 1, limit: 1 })
    return { events, older, offline, oldestCommit: commit?.time ?? null }
  }

  // --- internal ---

  private async *pages(
    question: BoundedQuestion,
  ): AsyncGenerator<readonly { readonly finding: Finding; readonly found: FoundEvent | undefined }[]> {
    const { collection, from, to, signal } = question
    const upTo = boundOf(to)
    let after = boundOf(from)
    for (;;) {
      throwIfAborted(signal)
      const page = await this.catalog.findings({ collection, after, upTo, limit: PAGE })
      const found = await this.about(question, page)
      if (page.length > 0) yield page.map((finding, i) => ({ finding, found: found[i] }))
      if (page.length < PAGE) return
      after = page.at(-1)!
    }
  }

  /** What each finding is about; undefined where its event is not here. */
  private async about(
    question: EventsQuestion,
    findings: readonly Finding[],
  ): Promise<readonly (FoundEvent | undefined)[]> {
    const ids = new Set(findings.flatMap(({ event }) => event ?? []))
    const found = new Map((await this.eventsById(question, [...ids])).map((one) => [one.event.id, one]))
    return findings.map((finding) => {
      if (finding.event !== null) return found.get(finding.event)
      const event = new SegmentEvent(question.collection, finding)
      return { event, isMatch: question.condition === undefined, isSuperseded: false }
    })
  }

  private async offlineError(collection: string, { event }: Finding): Promise<ColdtrailError> {
    const rows = await this.catalog.segments({ collection, state: 'live' })
    const holding = rows.filter(({ id1, id2 }) => event !== null && id1 !== null && id1 <= event && event <= id2!)
    const segments = holding.map(({ segment }) => segment).join(', ')
    return new ColdtrailError('E_FORWARD_OFFLINE', { segments: segments || `of event ${event}`, collection })
  }
}

// --- internal ---

const PAGE = 512
/** Lines of a finding file stay below this (findings.ts). */
const LINES = 2 ** 24

/** Of a finding in its feed. */
export const findingNumber = ({ sequence, line }: FindingPosition): number => sequence * LINES + line

const placeOf = (number: number): FindingPosition => ({ sequence: Math.floor(number / LINES), line: number % LINES })

/** A position may stand before or behind all of its commit. */
function boundOf({ sequence, id }: Position): FindingPosition {
  return { sequence, line: Math.min(Math.max(0, id - sequence * LINES), LINES - 1) }
}

/** Stands for the segment that a finding is about: its record says which. */
class SegmentEvent implements OutgoingEvent {
  readonly id = 0
  readonly uid: string
  readonly time: number | null
  readonly dataType = 'coldtrail:hunt:segment'
  readonly data: Buffer
  private readonly message: string
  readonly session = { source: '', bucket: '', key: '', version: '', format: 'coldtrail', header: null }

  constructor(collection: string, { uid, time, segment, title }: Finding) {
    this.uid = uid
    this.time = time
    this.data = Buffer.from(canonicalize({ collection, segment, message: title })!)
    this.message = title
  }
  column(name: EventColumnName): string | number | null {
    return name === 'message' ? this.message : null
  }
}

class FindingEvent implements OutgoingEvent {
  readonly id: number
  readonly uid: string
  readonly finding: OutgoingFinding
  private readonly event: OutgoingEvent

  constructor(event: OutgoingEvent, finding: Finding) {
    const { uid, kind, rule, label, plugin, severity, title, runs, event: local, event_uid, segment } = finding
    this.event = event
    this.id = findingNumber(finding)
    this.uid = uid
    this.finding = {
      kind,
      rule,
      label,
      plugin,
      severity,
      title,
      runs,
      event: local,
      event_uid,
      ...(segment !== undefined && { segment }),
    }
  }
  get time(): number | null {
    return this.event.time
  }
  get dataType(): string {
    return this.event.dataType
  }
  get data(): Buffer {
    return this.event.data
  }
  get session(): OutgoingSession {
    return this.event.session
  }
  column(name: EventColumnName): string | number | null {
    return this.event.column(name)
  }
}
