/**
 * The rows of one run before they are merged: sync tables without indexes, named as the original names them, in a
 * database file (SQLite) or schema (PostgreSQL) of the run's own. docs/design.md §11, step 1 of the merge.
 */
import type { Table } from '../model.ts'

/** In the order of `dumpColumns(table)`, in dump form: text or NULL. `id` numbers the row within the run. */
export type StagedRow = readonly (string | null)[]

/** A row that is gone at its origin: uid with hyphens, natural key in hex (either may be unknown), microseconds. */
export interface Tombstone {
  readonly uid: string | null
  readonly nk: string | null
  readonly deletedAt: string
}

export interface LoadOptions {
  /** Name of the portion; one that is loaded already is passed over, so that a resumed run goes on. */
  readonly shard: string
  /** Only `id` and `uid` are wanted: the rows are there as they are, and others refer to them. */
  readonly referenceOnly?: boolean
}

export interface Staging {
  /** Of this run in `changes`: its rows bear it. */
  readonly change: number
  /** Portions that a run before this one loaded. */
  readonly loaded: ReadonlySet<string>
  /** Loads a portion in one transaction; rows that have not the form of their columns go to quarantine. */
  load(table: Table, rows: Iterable<StagedRow> | AsyncIterable<StagedRow>, options: LoadOptions): Promise<void>
  loadTombstones(table: Table, rows: Iterable<Tombstone> | AsyncIterable<Tombstone>, shard: string): Promise<void>
  /** Removes everything of the run that is not visible. */
  drop(): Promise<void>
}
