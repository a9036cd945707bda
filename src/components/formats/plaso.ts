/**
 * plaso storage files (`.plaso`), as the text that `timeline/plasoText.ts` makes of them: events with their data and
 * streams, labels that they bear, and sessions, accounts, reports and warnings as facts.
 */
import type { EventSink } from '../../core/eventSink.ts'
import type { Format, ParseOptions } from '../component.ts'
import { JsonObjectParser } from '../json/jsonObjectParser.ts'
import { type CompiledTable, type JsonRecord, NO_RECORD } from '../json/jsonTable.ts'
import { PLASO_HEAD } from '../timeline/plasoText.ts'
import { timelineTable } from '../timeline/timelineTable.ts'

const events = timelineTable({
  dataType: 'plaso:event',
  time: 'timestamp',
  required: ['data_type'],
  slots: { container: '__container_type__', reason: 'reason', tag: '_event_tag' },
})
const table: CompiledTable = { ...events, declaration: { ...events.declaration, finish } }

export const plaso: Format = {
  kind: 'format',
  name: 'plaso',
  version: 1,
  summary: 'plaso storage files (.plaso) since 2018, with labels, sessions, accounts, reports and warnings',
  isTimeline: true,
  detect: (head) => (head.subarray(0, HEAD.length).equals(HEAD) ? 1 : 0),
  open: (sink, options) => new JsonObjectParser(table, sink, options),
}

// --- internal ---

const HEAD = Buffer.from(PLASO_HEAD)
const EVENT = Buffer.from('event')
const CONTAINER = table.record.slot('container')
const REASON = table.record.slot('reason')
const TAG = table.record.slot('tag')

function finish(
  record: JsonRecord,
  sink: EventSink,
  options?: Pick<ParseOptions, 'formatters'>,
): string | undefined | typeof NO_RECORD {
  if (!record.equals(CONTAINER, EVENT)) return other(record, sink)
  const refused = events.declaration.finish(record, sink, options)
  if (refused !== undefined) return refused
  if (record.has(TAG)) for (const label of labelsOf(record)) sink.label(label)
  return undefined
}

function other(record: JsonRecord, sink: EventSink): string | typeof NO_RECORD {
  const container = record.text(CONTAINER)
  if (container === undefined) return 'no container of a timeline'
  if (container === 'plaso_reject') return (record.text(REASON) ?? 'no event').slice(0, 250)
  const { __container_type__: _, ...attributes } = valuesOf(record)
  sink.fact({ container: container.slice(0, 100), attributes })
  return NO_RECORD
}

/** What plaso calls a label may hold more: it replaces those characters by `_` too. */
function labelsOf(record: JsonRecord): ReadonlySet<string> {
  const { labels } = (valuesOf(record)._event_tag ?? {}) as { labels?: unknown }
  const list = Array.isArray(labels) ? labels.filter((label): label is string => typeof label === 'string') : []
  return new Set(
    list.map((label) => label.slice(0, 200).replace(/[^A-Za-z0-9_]/g, '_')).filter((label) => label !== ''),
  )
}

const valuesOf = ({ whole, from, to }: JsonRecord): Record<string, unknown> =>
  JSON.parse(whole.toString('utf8', from, to)) as Record<string, unknown>
