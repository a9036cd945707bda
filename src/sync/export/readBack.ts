/**
 * The finished bundle is read back and searched for what must not leave (L16, T8). A source row above the ceiling, or an
 * object above it that is no stub, is a leak: the bundle gets no name. A value above the ceiling that stands in a text
 * within it (a report that speaks of an address) is a mention: whoever wrote that text knew the value; it is counted and told.
 */

import { createCsvReader } from '../../core/csv.ts'
import { ColdtrailError } from '../../core/errors.ts'
import { tlpNamed, tlpRank } from '../../library/dictionaries.ts'
import { dumpColumns, TABLE_BY_NAME, type Table } from '../../library/model.ts'
import type { Snapshot } from '../../platform/database/snapshot.ts'
import type { BundleEntry } from '../bundle/manifest.ts'

export interface ReadBack {
  readonly entries: readonly BundleEntry[]
  read(entry: BundleEntry): Promise<Buffer>
}

export interface Mention {
  readonly entry: string
  /** Table and uid of the row above the ceiling. */
  readonly table: string
  readonly uid: string
}

export interface Findings {
  /** Values that were looked for. */
  readonly values: number
  /** Shorter ones say nothing: they are in every text. */
  readonly tooShort: number
  readonly mentions: number
  /** The first of them. */
  readonly places: readonly Mention[]
}

/** E_SYNC_LEAK. `hidden`: temporary tables of rows above the ceiling. */
export async function searchBundle(
  bundle: ReadBack,
  snapshot: Snapshot,
  hidden: ReadonlyMap<Table, string>,
  ceiling: string,
): Promise<Findings> {
  await requireRanks(bundle, ceiling)
  await requireStubs(bundle, snapshot, hidden)
  const findings = { values: 0, tooShort: 0, mentions: 0, places: [] as Mention[] }
  for await (const values of portions(hiddenValues(snapshot, hidden))) {
    const search = new ValueSearch(values)
    findings.values += values.length
    findings.tooShort += search.tooShort
    for (const entry of bundle.entries) {
      if (entry.op === 'blob') continue
      for (const { table, uid } of search.in(await bundle.read(entry))) {
        findings.mentions += 1
        if (findings.places.length < MOST_PLACES) findings.places.push({ entry: entry.path, table, uid })
      }
    }
  }
  return findings
}

// --- internal ---

const MOST_PLACES = 100
/** Bounds memory: the bundle is read once for so many values. */
const VALUES_AT_ONCE = 200_000
const SHORTEST = 4
const LONG = 8

interface HiddenValue {
  readonly value: string
  readonly table: string
  readonly uid: string
}

/** No source row of the bundle has a TLP above the ceiling, by the bundle's own dictionary. */
async function requireRanks(bundle: ReadBack, ceiling: string): Promise<void> {
  const most = tlpRank(tlpNamed(ceiling)!)
  const above = new Set<string>()
  for await (const row of rowsOf(bundle, ({ name }) => name === 'tlp')) {
    const name = tlpNamed(row.get('name')!)
    if (name === undefined || tlpRank(name) > most) above.add(row.get('id')!)
  }
  const usual = new Map<string, string | null>()
  for await (const row of rowsOf(bundle, ({ name }) => name === 'sources')) usual.set(row.get('id')!, row.get('tlp_id'))
  const isSourced = ({ kind, columns }: Table): boolean =>
    (kind === 'context' || kind === 'linkContext') && columns.some(({ name }) => name === 'tlp_id')
  for await (const row of rowsOf(bundle, isSourced)) {
    const tlp = row.get('tlp_id') ?? usual.get(row.get('source_id')!) ?? null
    if (tlp !== null && above.has(tlp)) throw leak(row.entry, row.get('uid')!)
  }
}

/** Whatever is above the ceiling and stands in the bundle is a stub. */
async function requireStubs(bundle: ReadBack, snapshot: Snapshot, hidden: ReadonlyMap<Table, string>): Promise<void> {
  for (const [table, list] of hidden) {
    const uids = new Set<string>()
    for await (const { value } of labels(snapshot, table, list, ['uid'])) uids.add(value)
    for await (const row of rowsOf(bundle, (one) => one === table)) {
      const uid = row.get('uid')!
      if (!uids.has(uid)) continue
      const label = LABELS.find((name) => table.columns.some((column) => column.name === name))
      if (table.kind !== 'object' || label === undefined || row.get(label) !== `redacted-${uid}`)
        throw leak(row.entry, uid)
    }
  }
}

const leak = (entry: string, uid: string): ColdtrailError => new ColdtrailError('E_SYNC_LEAK', { entry, uid })

const LABELS = ['value', 'name', 'title']
/** What tells of an object or an attribute: its texts. */
const TEXTS = [...LABELS, 'description', 'point_of_contact']

async function* hiddenValues(snapshot: Snapshot, hidden: ReadonlyMap<Table, string>): AsyncGenerator<HiddenValue> {
  for (const [table, list] of hidden) {
    const texts = TEXTS.filter((name) => table.columns.some((column) => column.name === name))
    for (const text of texts) yield* labels(snapshot, table, list, [text])
  }
}

/** One column of the rows of a list, in pages. */
async function* labels(
  snapshot: Snapshot,
  table: Table,
  list: string,
  [column]: readonly [string],
): AsyncGenerator<HiddenValue> {
  const hex = snapshot.dialect === 'sqlite' ? 'lower(hex(t.uid))' : `encode(t.uid, 'hex')`
  const value = column === 'uid' ? hex : `t."${column}"`
  for (let after = 0; ; ) {
    const rows = await snapshot.all(
      `select t.id, ${hex} as uid, ${value} as value from ${list} l join ${table.name} t on t.id = l.id ` +
        `where l.id > ${after} order by l.id limit ${PAGE}`,
    )
    for (const row of rows) {
      const uid = hyphened(row.uid as string)
      const found = column === 'uid' ? uid : (row.value as string | null)
      if (found !== null && found !== '') yield { value: found, table: table.name, uid }
    }
    if (rows.length < PAGE) return
    after = rows.at(-1)!.id as number
  }
}

const PAGE = 5_000

const hyphened = (hex: string): string =>
  `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`

async function* portions(values: AsyncIterable<HiddenValue>): AsyncGenerator<HiddenValue[]> {
  let portion: HiddenValue[] = []
  for await (const value of values) {
    portion.push(value)
    if (portion.length < VALUES_AT_ONCE) continue
    yield portion
    portion = []
  }
  if (portion.length > 0) yield portion
}

interface BundleRow {
  readonly entry: string
  get(column: string): string | null
}

async function* rowsOf(bundle: ReadBack, wanted: (table: Table) => boolean): AsyncGenerator<BundleRow> {
  for (const entry of bundle.entries) {
    if (entry.op !== 'rows') continue
    const table = TABLE_BY_NAME.get(entry.table!)!
    if (!wanted(table)) continue
    const columns = dumpColumns(table).map(({ name }) => name)
    const reader = createCsvReader({ name: entry.path, columns })
    reader.feed(await bundle.read(entry), true)
    for (let record = reader.read(); record; record = reader.read()) {
      const fields = record
      yield { entry: entry.path, get: (column) => fields[columns.indexOf(column)] ?? null }
    }
  }
}

/**
 * Finds texts in bytes, all at once: a bit for what the first four bytes of any of them come to says where to look
 * closer, and there the text of each length that begins so is looked up.
 */
class ValueSearch {
  tooShort = 0
  private readonly bits = new Uint8Array(2 ** 19)
  /** First bytes (eight, or four of a short one) to lengths, and to values. */
  private readonly beginnings = new Map<string, Set<number>>()
  private readonly values = new Map<string, HiddenValue>()

  constructor(values: readonly HiddenValue[]) {
    for (const value of values) {
      // As it stands in a file: in UTF-8, its quotes doubled.
      const bytes = Buffer.from(value.value.replaceAll('"', '""'))
      if (bytes.length < SHORTEST) {
        this.tooShort += 1
        continue
      }
      const text = bytes.toString('latin1')
      this.values.set(text, value)
      const at = mixed(bytes, 0)
      this.bits[at >> 3]! |= 1 << (at & 7)
      const beginning = text.slice(0, text.length < LONG ? SHORTEST : LONG)
      const lengths = this.beginnings.get(beginning)
      if (lengths) lengths.add(text.length)
      else this.beginnings.set(beginning, new Set([text.length]))
    }
  }

  *in(bytes: Buffer): Generator<HiddenValue> {
    for (let at = 0; at + SHORTEST <= bytes.length; at++) {
      const bit = mixed(bytes, at)
      if ((this.bits[bit >> 3]! & (1 << (bit & 7))) === 0) continue
      for (const length of [SHORTEST, LONG]) {
        const lengths = this.beginnings.get(bytes.toString('latin1', at, at + length))
        if (!lengths) continue
        for (const whole of lengths) {
          const value = this.values.get(bytes.toString('latin1', at, at + whole))
          if (value) yield value
        }
      }
    }
  }
}

/** Of four bytes, 22 bits. */
function mixed(bytes: Buffer, at: number): number {
  const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
  return Math.imul(word, 0x9e3779b1) >>> 10
}
