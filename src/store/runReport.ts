/** The report of a run, as `run-<run>.json` in the history has it. */

export interface RunReport {
  readonly run: number
  readonly state: 'finished' | 'partial'
  readonly collection: string
  readonly expression: string
  readonly mode: 'strict' | 'plaso'
  /** Microseconds. */
  readonly from: number | null
  readonly to: number | null
  readonly limit: number | null
  readonly command_line: string
  readonly producer: string
  /** Microseconds. */
  readonly started: number
  readonly ended: number
  readonly events: {
    readonly total: number
    readonly read: number
    readonly filtered: number
    readonly in_time_slice: number
    readonly duplicates: number
    readonly analyzed: number
  }
  readonly tags: number
  readonly findings: number
  /** Events with each label, by label; of all plugins. */
  readonly plugins: readonly PluginSummary[]
  /** Why it is partial, and what was passed over. */
  readonly warnings: readonly Warning[]
}

export interface PluginSummary {
  readonly plugin: string
  readonly version: number
  readonly options: unknown
  readonly counters: readonly (readonly [name: string, count: number])[]
  readonly text?: string
  readonly rows?: readonly Readonly<Record<string, string | number | null>>[]
  /** Events with each label. */
  readonly labels: Readonly<Record<string, number>>
  readonly skipped: number
}

export interface Warning {
  readonly plugin: string | null
  /** Of the event passed over; null when it is about more than one, or none. */
  readonly event: number | null
  readonly message: string
}
