/** What a run came to. Counts of labels come from its tags, never from counters of plugins. */
import type { Plugin, PluginReport } from '../components/plugin.ts'
import type { PluginSummary, Warning } from '../store/runReport.ts'
import type { MergedSegment } from './merge.ts'
import type { PieceCounts, Skipped } from './tasks.ts'

export type { PluginSummary, RunReport, Warning } from '../store/runReport.ts'

/** Warnings kept of each plugin; the number of the others is said. */
const KEPT_WARNINGS = 1_000

/** By plugin, then label. */
export function labelCounts(
  merged: readonly MergedSegment[],
  without: ReadonlySet<string>,
): Map<string, Map<string, number>> {
  const counts = new Map<string, Map<string, number>>()
  for (const { labels } of merged)
    for (const file of labels)
      for (const [plugin, found] of Object.entries(file)) {
        if (without.has(plugin)) continue
        const own = counts.get(plugin) ?? new Map<string, number>()
        counts.set(plugin, own)
        for (const [label, events] of Object.entries(found)) own.set(label, (own.get(label) ?? 0) + events)
      }
  return counts
}

export function pluginSummary(
  { name, version, options, plugin }: { name: string; version: number; options: unknown; plugin: Plugin },
  parts: {
    readonly labels: ReadonlyMap<string, number>
    readonly report: PluginReport | undefined
    readonly skipped: number
    readonly isGivenUp: boolean
  },
): PluginSummary {
  const labels = [...parts.labels].sort(([a], [b]) => (a < b ? -1 : 1))
  const own =
    parts.report ?? (plugin.shape === 'map' && !parts.isGivenUp ? plugin.report?.(new Map(labels)) : undefined)
  const total = labels.reduce((sum, [, events]) => sum + events, 0)
  const counters = own?.counters ?? [...labels, ['event_tags', total] as const]
  return {
    ...{ plugin: name, version, options, counters: parts.isGivenUp ? [] : counters },
    ...(own?.text !== undefined && { text: own.text }),
    ...(own?.rows !== undefined && { rows: own.rows }),
    ...{ labels: Object.fromEntries(labels), skipped: parts.skipped },
  }
}

/** Of what was passed over, in order of place. */
export function skippedWarnings(skipped: readonly Skipped[]): Warning[] {
  const kept = new Map<string | null, number>()
  const warnings: Warning[] = []
  for (const { plugin, event, segment, first, rows, reason } of skipped) {
    const count = (kept.get(plugin) ?? 0) + 1
    kept.set(plugin, count)
    if (count > KEPT_WARNINGS) continue
    const who = plugin === null ? 'nothing was analysed of' : 'passed over:'
    const what =
      event === null
        ? `rows ${first} to ${first + rows - 1} of segment ${segment}`
        : `event ${event} (row ${first} of segment ${segment})`
    warnings.push({
      plugin,
      event,
      message: `${who} ${rows === 1 && event === null ? `row ${first} of segment ${segment}` : what}: ${reason}`,
    })
  }
  for (const [plugin, count] of kept)
    if (count > KEPT_WARNINGS)
      warnings.push({ plugin, event: null, message: `${count - KEPT_WARNINGS} more were passed over` })
  return warnings
}

export const bySkippedPlace = (one: Skipped, other: Skipped): number =>
  one.segment - other.segment || one.first - other.first || (one.plugin ?? '').localeCompare(other.plugin ?? '')

export type EventCounts = PieceCounts & { readonly total: number; readonly filtered: number }
