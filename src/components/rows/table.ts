/**
 * A table of a receiver that takes typed rows: its columns and where each value comes from. One declaration gives the
 * encoder of rows, the check of values before they are sent, and the table's definition for the receiver, so that these
 * cannot drift apart. One file each under tables/, one fixture folder each under test/fixtures/tables/<name>/.
 */
import type { EventColumnName } from '../../core/columns.ts'

/** Types of Log Analytics columns. */
export type ColumnType = 'string' | 'int' | 'long' | 'real' | 'boolean' | 'datetime' | 'dynamic'

/** Where a value comes from. */
export type ColumnSource =
  /** A path into the record's JSON: keys joined by dots, `[0]` for the first element of an array. */
  | { readonly data: string }
  /** A field of the record by the name that its object's header line gives it (flow logs). */
  | { readonly field: string }
  /** Of the finding, in feeds of findings. */
  | { readonly finding: 'kind' | 'rule' | 'label' | 'plugin' | 'severity' | 'title' | 'event_uid' }
  /** A column of the event. */
  | { readonly column: EventColumnName }
  /** What every event has: `time` as ISO 8601, `uid`, `raw` (the record's own text), or where its object came from. */
  | { readonly event: 'time' | 'uid' | 'raw' | 'dataType' | 'source' | 'bucket' | 'key' }
  | { readonly constant: string | number | boolean }

export interface TableColumn {
  readonly name: string
  readonly type: ColumnType
  /** The first source that is present gives the value. */
  readonly from: readonly ColumnSource[]
  /** Texts that stand for others: `{"ACCEPT": "Success"}`; a text that is not listed stays, or with `*` becomes its. */
  readonly values?: Readonly<Record<string, string | number | boolean>>
  /** A number beyond the type's range becomes the nearest that is in it, with a note; else it is of the wrong type. */
  readonly overflow?: 'clamp'
  /** Not one of the receiver's own columns: it must be added to the table (`_CF` in tables of Azure, any name in `_CL`). */
  readonly added?: true
}

export interface Table {
  readonly kind: 'table'
  /** As in Log Analytics: `AWSCloudTrail`, `ASimDnsActivityLogs`; custom ones end in `_CL`. */
  readonly name: string
  readonly summary: string
  /** Which events it takes when nothing else is configured: an expression. */
  readonly where: string
  readonly columns: readonly TableColumn[]
}
