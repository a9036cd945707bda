/** The counters of a run as Prometheus text (exposition format 0.0.4), for a node exporter's textfile directory. */
import { writeDurably } from '../platform/files.ts'
import type { CollectSummary } from './summary.ts'

/** Replaces the file atomically: a scraper sees the old or the new one, whole. */
export function writeMetrics(path: string, summary: CollectSummary, finished: Date): void {
  writeDurably(path, metricsText(summary, finished))
}

export function metricsText(summary: CollectSummary, finished: Date): string {
  const lines: string[] = []
  const family = (name: string, type: 'counter' | 'gauge', help: string, samples: Samples): void => {
    lines.push(`# HELP coldtrail_${name} ${help}`, `# TYPE coldtrail_${name} ${type}`)
    if (typeof samples === 'number') lines.push(`coldtrail_${name} ${samples}`)
    else
      for (const [label, counts] of Object.entries(samples))
        for (const [value, count] of Object.entries(counts))
          lines.push(`coldtrail_${name}{${label}="${escapeLabel(value)}"} ${count}`)
  }
  const { skipped, errors, requests, request_errors } = summary
  const { objects, known, failed, quarantined, busy, left } = summary
  family('collect_objects_total', 'counter', 'Objects of the run by what became of them.', {
    outcome: { collected: objects, known, failed, quarantined, busy, left },
  })
  family('collect_skipped_total', 'counter', 'Objects passed over, by reason.', { reason: skipped })
  family('collect_errors_total', 'counter', 'Objects not collected, by error code.', { code: errors })
  family('collect_replaced_total', 'counter', 'Objects collected as a new version.', summary.replaced)
  family('collect_events_total', 'counter', 'Events committed.', summary.events)
  family('collect_rejects_total', 'counter', 'Records refused and kept as rejects.', summary.rejects)
  family('collect_received_bytes_total', 'counter', 'Bytes of committed objects as received.', summary.bytes)
  family('collect_decoded_bytes_total', 'counter', 'Bytes of committed objects decoded.', summary.decoded_bytes)
  family('collect_segments_total', 'counter', 'Segments committed.', summary.segments)
  family('collect_list_requests_total', 'counter', 'Requests made to list objects.', summary.list_requests)
  family('collect_list_seconds_total', 'counter', 'Time spent waiting for listings.', summary.list_ms / 1000)
  family('collect_fetch_seconds_total', 'counter', 'Time objects took to arrive, summed.', summary.fetch_ms / 1000)
  family('collect_parse_seconds_total', 'counter', 'Time decoding and parsing took, summed.', summary.parse_ms / 1000)
  family('collect_seconds_per_object', 'gauge', 'Fetching and parsing, mean per object.', summary.ms_per_object / 1000)
  family('collect_seconds_per_megabyte', 'gauge', 'The same per decoded megabyte.', summary.ms_per_mb / 1000)
  family(
    'collect_decompression_errors_total',
    'counter',
    'Objects with corrupt compression.',
    summary.decompression_errors,
  )
  family('collect_mislabelled_total', 'counter', 'Objects whose name belies their compression.', summary.mislabelled)
  family('collect_worker_deaths_total', 'counter', 'Worker processes that died.', summary.worker_deaths)
  family('source_requests_total', 'counter', 'Requests to sources, by operation.', { operation: requests })
  family('source_request_errors_total', 'counter', 'Failed attempts, by code.', { code: request_errors })
  family('source_retries_total', 'counter', 'Attempts repeated.', summary.retries)
  family('source_throttles_total', 'counter', 'Answers that asked to slow down.', summary.throttles)
  family('collect_duration_seconds', 'gauge', 'Length of the run.', summary.seconds)
  family('collect_success', 'gauge', '1 if nothing failed.', summary.error || summary.failed > 0 ? 0 : 1)
  family('collect_last_timestamp_seconds', 'gauge', 'When these figures were taken.', finished.getTime() / 1000)
  return `${lines.join('\n')}\n`
}

// --- internal ---

type Samples = number | Readonly<Record<string, Readonly<Record<string, number>>>>

/** Names of codes and reasons may come from servers. */
function escapeLabel(value: string): string {
  return value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')
}
