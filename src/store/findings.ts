/**
 * Findings: hits worth telling somebody. A run's are rows of `finding-<run>.ndjson` in the history, sorted by event id, kind,
 * label, plugin and rule; the catalog is their index. A finding has one uid in every run that makes it, so that a
 * later run adds itself to it.
 */

export type Severity = 'informational' | 'low' | 'medium' | 'high' | 'critical'

export const SEVERITIES = ['informational', 'low', 'medium', 'high', 'critical'] as const satisfies readonly Severity[]

/** What a plugin says; the store adds uid, event uid and time. */
export interface FindingHit {
  /** Event id. */
  readonly event: number
  readonly label: string
  readonly plugin: string
  readonly rule: string
  readonly severity: Severity
  readonly title: string
}

/** A finding file, durable under its final name. Plain data: it crosses processes. */
export interface SealedFindings {
  readonly run: number
  readonly name: string
  readonly rows: number
  readonly size: number
  readonly sha256: string
}
