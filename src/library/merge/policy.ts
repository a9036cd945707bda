/** What a merge does where both sides have something to say. The tables of docs/design.md §11. */
export interface MergePolicy {
  readonly conflicts: 'newest' | 'source'
  readonly deletions: 'sync-created-only' | 'apply' | 'unpublish' | 'report'
  readonly keepCreatedAt: boolean
  readonly overrideDescription: boolean
  /** A NULL of the run leaves what is there: a STIX bundle does not say what a colleague wrote. */
  readonly keepWhereAbsent: boolean
  /** With it: of a row with a STIX id, which comes whole, a NULL takes away what the same source brought itself. */
  readonly wholeObjects?: boolean
  /** Take away what this origin brought earlier and does not bring now. */
  readonly mirror?: { readonly origin: string }
  /** Rows inserted in one transaction. */
  readonly objectLimit: number
}

export interface Conflict {
  readonly table: string
  readonly uid: string
  /** For people: type and value of the object, bounded. */
  readonly name: string
  readonly field: string
  readonly local: string | null
  readonly incoming: string | null
  readonly decision: 'local' | 'incoming'
  readonly reason:
    | 'edited here'
    | 'newer here'
    | 'protected status'
    | 'not made by sync'
    | 'deletion reported'
    | 'description kept'
    | 'taken by another row'
    | 'built in'
    | 'narrower marking'
}

/** A field that a dry run would change; `deleted_at` of a row that would go. */
export type Difference = Pick<Conflict, 'table' | 'uid' | 'name' | 'field' | 'local' | 'incoming'>

/** Counts of rows by table. */
export interface TableReport {
  readonly table: string
  readonly staged: number
  readonly inserted: number
  readonly updated: number
  readonly unchanged: number
  readonly deleted: number
  readonly kept: number
  readonly quarantined: number
}

export interface MergeReport {
  readonly tables: readonly TableReport[]
  readonly conflictCount: number
  /** At most 10,000 of them; `onConflict` is told all. */
  readonly conflicts: readonly Conflict[]
  /** Number of the change, and its place in commit order: undefined in a dry run, and when nothing changed. */
  readonly change: number
  readonly seq?: number
}

export interface MergeProgress {
  readonly step: 'index' | 'resolve' | 'compare' | 'insert' | 'apply'
  readonly table?: string
  readonly done: number
  readonly total: number
}
