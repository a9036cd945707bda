/** A collect run in the Prometheus text format (0.0.4), for node_exporter's textfile collector. */
import type { CollectSummary } from './summary.ts'

export function metricsText(summary: CollectSummary): string {
  const seconds = (milliseconds: number): number => milliseconds / 1_000
  const lines = [
    ...gauge('objects', 'Objects of the run by what became of them.', {
      'outcome="collected"': summary.objects,
      'outcome="known"': summary.known,
      'outcome="failed"': summary.failed,
      'outcome="quarantined"': summary.quarantined,
      'outcome="busy"': summary.busy,
      'outcome="left"': summary.left,
      'outcome="replaced"': summary.replaced,
    }),
    ...gauge('skipped_objects', 'Objects passed over, by reason.', labelled('reason', summary.skipped)),
    ...gauge('events', 'Events committed.', { '': summary.events }),
    ...gauge('rejects', 'Records refused by their format.', { '': summary.rejects }),
    ...gauge('received_bytes', 'Bytes as received.', { '': summary.bytes }),
    ...gauge('decoded_bytes', 'Bytes after decompression.', { '': summary.decoded_bytes }),
    ...gauge('segments', 'Segments committed.', { '': summary.segments }),
    ...gauge('compacted_segments', 'Small segments merged into larger ones.', { '': summary.compacted }),
    ...gauge('errors', 'Failed objects by error code.', labelled('code', summary.errors)),
    ...gauge('requests', 'Requests to the sources by operation.', labelled('operation', summary.requests)),
    ...gauge('request_errors', 'Failed attempts of requests by code.', labelled('code', summary.request_errors)),
    ...gauge('retries', 'Requests repeated.', { '': summary.retries }),
    ...gauge('throttles', 'Requests that the source slowed down.', { '': summary.throttles }),
    ...gauge('list_requests', 'Listing requests.', { '': summary.list_requests }),
    ...gauge('list_seconds', 'Time spent listing.', { '': seconds(summary.list_ms) }),
    ...gauge('fetch_seconds', 'Time spent fetching, summed over workers.', { '': seconds(summary.fetch_ms) }),
    ...gauge('parse_seconds', 'Time spent parsing, summed over workers.', { '': seconds(summary.parse_ms) }),
    ...gauge('seconds_per_object', 'Fetching and parsing of one object.', { '': seconds(summary.ms_per_object) }),
    ...gauge('seconds_per_megabyte', 'Fetching and parsing of 10^6 bytes.', { '': seconds(summary.ms_per_mb) }),
    ...gauge('decompression_errors', 'Objects that could not be decompressed.', { '': summary.decompression_errors }),
    ...gauge('worker_deaths', 'Worker processes that had to be replaced.', { '': summary.worker_deaths }),
    ...gauge('run_seconds', 'Duration of the run.', { '': summary.seconds }),
    ...gauge('success', '1 when nothing failed.', { '': summary.error || summary.failed > 0 ? 0 : 1 }),
  ]
  return `${lines.join('\n')}\n`
}

// --- internal ---

function gauge(name: string, help: string, values: Readonly<Record<string, number>>): string[] {
  const metric = `coldtrail_collect_${name}`
  const samples = Object.entries(values).map(([labels, value]) => `${metric}${labels && `{${labels}}`} ${value}`)
  return samples.length === 0 ? [] : [`# HELP ${metric} ${help}`, `# TYPE ${metric} gauge`, ...samples]
}

function labelled(label: string, values: Readonly<Record<string, number>>): Record<string, number> {
  const escaped = (text: string): string => text.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`${label}="${escaped(name)}"`, value]))
}
