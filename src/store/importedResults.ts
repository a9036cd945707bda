/**
 * What came with the events of a segment's objects and is no event: labels, and of timelines their sessions, accounts,
 * reports and warnings. It becomes the run `imported` of that segment: labels its tag file, the rest its report.
 */
import type { Fact } from '../core/eventSink.ts'
import type { PluginSummary, RunReport, Warning } from './runReport.ts'
import type { RunRequest } from './runs.ts'
import type { SealedSegment } from './segment.ts'
import { isLabel, type TagFile, type TagFileOptions, TagFileWriter, type TagKind } from './tags.ts'

/** Name under which labels stand that came with events. */
export const IMPORTED = 'imported'

/** Memory: 12 bytes a label of an event, and the facts that are kept. */
export class ImportedResults {
  private ids = new Float64Array(256)
  private kindOf = new Uint32Array(256)
  private length = 0
  private readonly kinds: TagKind[] = []
  private readonly codes = new Map<string, number>()
  private readonly counts: number[] = []
  private strange = 0
  private readonly facts: Fact[] = []
  private factsLeftOut = 0

  label(event: number, label: string): void {
    let code = this.codes.get(label)
    if (code === undefined) {
      if (!isLabel(label) || this.kinds.length >= MAX_LABELS) {
        this.strange += 1
        return
      }
      code = this.kinds.push({ label, plugin: IMPORTED, rule: '' }) - 1
      this.codes.set(label, code)
      this.counts.push(0)
    }
    // An event has a label once, however often it is said.
    for (let i = this.length - 1; i >= 0 && this.ids[i] === event; i--) if (this.kindOf[i] === code) return
    if (this.length === this.ids.length) this.grow()
    this.ids[this.length] = event
    this.kindOf[this.length] = code
    this.length += 1
    this.counts[code]! += 1
  }

  fact(fact: Fact): void {
    if (this.facts.length < MAX_FACTS) this.facts.push(fact)
    else this.factsLeftOut += 1
  }

  /** What the run is asked for. */
  request({ collection, segment, rows }: SealedSegment, producer: string): RunRequest {
    return {
      ...{ collection, kind: 'imported', expression: '', mode: 'strict', time1: null, time2: null },
      plugins: [{ name: IMPORTED, version: 1, options: {} }],
      ...{ segments: [{ segment, rows }], taskRows: Math.max(1, rows), commandLine: this.commandLine(), producer },
    }
  }

  /** The labels as a tag file, durable; undefined without any. */
  writeTags(options: TagFileOptions): TagFile | undefined {
    const writer = new TagFileWriter(options)
    try {
      writer.add(this.kinds, this.ids.subarray(0, this.length), this.kindOf.subarray(0, this.length))
      return writer.seal()
    } catch (error) {
      writer.discard()
      throw error
    }
  }

  report(run: number, { collection, rows }: SealedSegment, producer: string): RunReport {
    const warnings = this.ownWarnings()
    const now = Date.now() * 1000
    const state = warnings.length > 0 ? 'partial' : 'finished'
    return {
      ...{ run, state, collection, expression: '', mode: 'strict', from: null, to: null, limit: null },
      ...{ command_line: this.commandLine(), producer, started: now, ended: now },
      events: { total: rows, read: rows, filtered: 0, in_time_slice: rows, duplicates: 0, analyzed: rows },
      ...{ tags: this.length, findings: 0 },
      plugins: [this.labelSummary(), ...this.summaries()],
      warnings: [...warnings, ...this.toldWarnings()],
    }
  }

  // --- internal ---

  /** Of the first session. */
  private commandLine(): string {
    const found = this.of('session', 'session_start', 'session_configuration').find(
      ({ attributes }) => typeof attributes.command_line_arguments === 'string',
    )
    return text(found?.attributes.command_line_arguments).slice(0, MAX_TEXT)
  }

  private of(...containers: readonly string[]): Fact[] {
    return this.facts.filter(({ container }) => containers.includes(container))
  }

  private labelSummary(): PluginSummary {
    const labels = this.kinds.map(({ label }, code) => [label, this.counts[code]!] as const)
    labels.sort(([a], [b]) => (a < b ? -1 : 1))
    return {
      ...{ plugin: IMPORTED, version: 1, options: {}, counters: [...labels, ['event_tags', this.length]] },
      ...{ labels: Object.fromEntries(labels), skipped: 0 },
    }
  }

  private summaries(): PluginSummary[] {
    const summaries: PluginSummary[] = []
    const add = (plugin: string, rest: Partial<PluginSummary>): void => {
      summaries.push({ ...{ plugin, version: 0, options: {}, counters: [], labels: {}, skipped: 0 }, ...rest })
    }
    for (const { attributes } of this.of('analysis_report')) {
      const body = text(attributes.text ?? attributes.report_text)
      add(text(attributes.plugin_name).slice(0, 100) || 'analysis_report', {
        counters: countersOf(attributes.analysis_counter),
        ...(body !== '' && { text: body.slice(0, MAX_TEXT) }),
      })
    }
    for (const [name, containers, columns] of TABLES) {
      const found = this.of(...containers)
      if (found.length === 0) continue
      const rows = found.map(({ attributes }) => rowOf(attributes, columns))
      add(name, { counters: [[name, rows.length]], rows })
    }
    const counts = this.of('plaso_counts').flatMap(({ attributes }) => countersOf(attributes.rows))
    if (counts.length > 0) add('containers', { counters: counts })
    return summaries
  }

  /** Of what was not taken in. */
  private ownWarnings(): Warning[] {
    const warn = (message: string): Warning => ({ plugin: IMPORTED, event: null, message })
    const leftOut = this.of('plaso_counts').reduce(
      (sum, { attributes }) => sum + Number(attributes.tags_left_out ?? 0),
      0,
    )
    return [
      ...(this.strange > 0 ? [warn(`${this.strange} labels were left out: they are no labels, or too many`)] : []),
      ...(leftOut > 0 ? [warn(`${leftOut} tags were left out: they have no labels, or no event`)] : []),
      ...(this.factsLeftOut > 0 ? [warn(`${this.factsLeftOut} containers beside the events were left out`)] : []),
    ]
  }

  /** Of what the timeline's own program warned. */
  private toldWarnings(): Warning[] {
    return this.facts
      .filter(({ container }) => WARNINGS.test(container))
      .map(({ container, attributes }) => {
        const who = text(attributes.plugin_name ?? attributes.parser_chain)
        const where = text((attributes.path_spec as { location?: unknown } | null | undefined)?.location)
        const told = [container.replace('_', ' '), who, text(attributes.message), where].filter((part) => part !== '')
        return { plugin: who === '' ? null : who.slice(0, 100), event: null, message: told.join(': ').slice(0, 1000) }
      })
  }

  private grow(): void {
    const ids = new Float64Array(this.ids.length * 2)
    const kindOf = new Uint32Array(this.kindOf.length * 2)
    ids.set(this.ids)
    kindOf.set(this.kindOf)
    Object.assign(this, { ids, kindOf })
  }
}

/** Distinct labels of a segment. */
const MAX_LABELS = 1_000_000
const MAX_FACTS = 20_000
const MAX_TEXT = 32_000
const MAX_VALUE = 1_000
const WARNINGS = /^(?:[a-z]+_)?(?:warning|error)$/

/** Results that are rows: name, containers, attributes. */
const TABLES: readonly (readonly [name: string, containers: readonly string[], columns: readonly string[]])[] = [
  [
    'sessions',
    ['session', 'session_start', 'session_completion'],
    [
      ...['identifier', 'product_name', 'product_version', 'start_time', 'completion_time', 'aborted'],
      'command_line_arguments',
    ],
  ],
  ['sources', ['source_configuration'], ['path', 'source_type']],
  ['user_accounts', ['user_account'], ['username', 'full_name', 'identifier', 'group_identifier', 'user_directory']],
  [
    'systems',
    ['system_configuration', 'hostname', 'operating_system', 'time_zone'],
    [
      ...['name', 'family', 'product', 'version', 'hostname', 'operating_system', 'operating_system_product'],
      ...['operating_system_version', 'time_zone', 'code_page', 'language'],
    ],
  ],
  ['browser_search_results', ['browser_search_analysis_result'], ['search_engine', 'search_term', 'number_of_queries']],
  ['chrome_extension_results', ['chrome_extension_analysis_result'], ['extension', 'extension_identifier', 'username']],
]

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

function rowOf(
  attributes: Readonly<Record<string, unknown>>,
  columns: readonly string[],
): Record<string, string | number | null> {
  const row: Record<string, string | number | null> = {}
  for (const name of columns) {
    const value = attributes[name]
    if (value === undefined || value === null) continue
    if (typeof value === 'number') row[name] = value
    else if (typeof value !== 'object') row[name] = String(value).slice(0, MAX_VALUE)
    else row[name] = (text((value as { name?: unknown }).name) || JSON.stringify(value)).slice(0, MAX_VALUE)
  }
  return row
}

/** A counter as an object of numbers; its marks of a type, and what is no number, are passed over. */
function countersOf(value: unknown): (readonly [string, number])[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value)
    .filter((entry): entry is [string, number] => !entry[0].startsWith('__') && typeof entry[1] === 'number')
    .slice(0, 10_000)
    .map(([name, count]) => [name.slice(0, 200), count])
}
