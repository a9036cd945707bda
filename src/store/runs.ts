/**
 * Runs of analyses, as the catalog knows them: what was asked, which tasks are done, what came of it. A run that is not
 * committed has tagged nothing. Times are microseconds UTC. Commit order: docs/design.md §13.
 */
import type { SealedFindings } from './findings.ts'
import type { TagFile } from './tags.ts'

/** `running`, `aborted` and `failed` have no results; the first of them only while its process lives (`isLiving`). */
export type RunState = 'running' | 'finished' | 'partial' | 'aborted' | 'failed'

/** Plain data: it is stored as JSON and signed with the run's link, so it holds no secret. */
export interface RunRequest {
  readonly collection: string
  /** Where its events were read, when not just there: collections and workbenches, by comma. */
  readonly readFrom?: string
  /** `imported`: tags and reports that came with a timeline of somebody else's. `hunt`: findings of a standing hunt. */
  readonly kind: 'analyze' | 'imported' | 'hunt'
  readonly expression: string
  readonly mode: 'strict' | 'plaso'
  readonly time1: number | null
  readonly time2: number | null
  /** Options as validated, secrets redacted. */
  readonly plugins: readonly { readonly name: string; readonly version: number; readonly options: unknown }[]
  /** What is analysed: segments live at its begin, by number. */
  readonly segments: readonly { readonly segment: number; readonly rows: number }[]
  readonly taskRows: number
  readonly commandLine: string
  /** Program and version. */
  readonly producer: string
}

/** What a link says of a run with results. */
export interface RunFacts extends RunRequest {
  readonly run: number
  readonly state: 'finished' | 'partial'
  readonly started: number
  readonly ended: number
  /** Rows of its tag files, and findings that it made or joined. */
  readonly tags: number
  readonly findings: number
  readonly counters: Readonly<Record<string, number>>
}

/** One range of rows of a segment whose task file is durable. Plain data. */
export interface RunTask {
  readonly segment: number
  /** First row of the segment, from 0. */
  readonly first: number
  readonly rows: number
  /** `skipped`: given up after it failed again and again; `result` says why. */
  readonly state: 'done' | 'skipped'
  readonly attempts: number
  /** Whatever the job wants back when it resumes; JSON. */
  readonly result: unknown
}

export interface RunRow extends RunRequest {
  readonly run: number
  readonly state: RunState
  /** Its process lives; undefined for who may only read, and cannot tell. */
  readonly isLiving: boolean | undefined
  readonly started: number
  readonly ended: number | null
  /** Why it is aborted or failed. */
  readonly reason: string | null
  /** Number of the `tag` link that made its results exist. */
  readonly sequence: number | null
  /** Rows of its tag files, and findings that it made or joined. */
  readonly tags: number
  readonly findings: number
  readonly counters: Readonly<Record<string, number>>
}

/** What a run comes to. Its files are durable; nothing of it exists before the commit. */
export interface RunOutcome {
  readonly run: number
  readonly state: 'finished' | 'partial'
  /** At most one a segment of the request; segments without tags have none. */
  readonly tagFiles: readonly TagFile[]
  readonly findings: SealedFindings | null
  /** Written durably as `run-<run>.json` in the history; `runReport` reads it. JSON of any shape. */
  readonly report: unknown
  readonly counters: Readonly<Record<string, number>>
}

export interface RemovedRun {
  readonly run: number
  /** Rows of its tag files, and findings that no other run has. */
  readonly tags: number
  readonly findings: number
}

export const runNumber = (run: number): string => String(run).padStart(9, '0')

export const runReportName = (run: number): string => `run-${runNumber(run)}.json`
