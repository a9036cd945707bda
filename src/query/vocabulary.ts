/** The names that an expression may use: columns of events unless said otherwise. */
import { EVENT_COLUMNS } from '../core/columns.ts'
import type { FieldName } from './syntax.ts'

export interface QueryColumn {
  readonly name: string
  /** `time`: microseconds UTC; `ip`: text whose key (core/ipAddress.ts) is in `<name>_key`, or is computed. */
  readonly type: 'text' | 'int' | 'time' | 'ip'
  /** Short names beside the name, whose underscores may be written as dots. */
  readonly aliases: readonly string[]
  /** Its exact values can be looked up before anything is read. */
  readonly indexed: boolean
  /** Texts in a list: a test holds when any of them passes. In SQL a VARCHAR[], NULL for none. */
  readonly several?: true
}

export interface Vocabulary {
  readonly columns: readonly QueryColumn[]
  /** Where below `data` a path may begin. Undefined: anywhere, since `data` is a record of somebody else's. */
  readonly places?: readonly string[]
  /** What one may look for and is no column, with the reason. */
  readonly elsewhere: Readonly<Record<string, string>>
}

/** Labels that analyses gave an event; not stored with it but joined from the tag files of its segment. */
export const TAG_COLUMN: QueryColumn = { name: 'tag', type: 'text', aliases: [], indexed: true, several: true }

export const EVENTS: Vocabulary = {
  columns: [...EVENT_COLUMNS, TAG_COLUMN],
  elsewhere: {
    uid: 'uid is computed, not stored; `show` takes it',
    source: 'source belongs to the session of an event',
    bucket: 'bucket belongs to the session of an event',
    key: 'key belongs to the session of an event',
  },
}

/** The column of a dotted path, column name or alias. */
export function columnNamed(name: FieldName, vocabulary: Vocabulary): QueryColumn | undefined {
  // data.type is a place in the record, not the column data_type.
  if (name.segments.length > 1 && name.segments[0] === 'data') return undefined
  const { byName, byAlias } = indexOf(vocabulary)
  return byName.get(name.segments.join('_')) ?? (name.segments.length === 1 ? byAlias.get(name.text) : undefined)
}

/** Whether a path below `data` may begin so. */
export const isPlace = (segments: readonly string[], { places }: Vocabulary): boolean =>
  places === undefined || (segments.length > 1 && places.includes(segments[0]!))

/** Every way to write a column. */
export const fieldNames = (vocabulary: Vocabulary): readonly string[] => indexOf(vocabulary).names

// --- internal ---

interface Index {
  readonly byName: ReadonlyMap<string, QueryColumn>
  readonly byAlias: ReadonlyMap<string, QueryColumn>
  readonly names: readonly string[]
}

const indexes = new WeakMap<Vocabulary, Index>()

function indexOf(vocabulary: Vocabulary): Index {
  let index = indexes.get(vocabulary)
  if (index) return index
  const { columns } = vocabulary
  const byAlias = new Map(columns.flatMap((column) => column.aliases.map((alias) => [alias, column] as const)))
  index = {
    byName: new Map(columns.map((column) => [column.name, column])),
    byAlias,
    names: [
      ...columns.map(({ name }) => name),
      ...columns.map(({ name }) => name.replaceAll('_', '.')),
      ...byAlias.keys(),
    ],
  }
  indexes.set(vocabulary, index)
  return index
}
