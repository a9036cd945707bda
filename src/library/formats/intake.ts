/**
 * What every format gives its rows to: the objects of the run, what is known of the library, and what cannot be taken,
 * which is kept with its reason and tried again when it is asked for.
 */
import { sql } from 'kysely'
import { liveSql } from '../changes.ts'
import { parseUid, uidText } from '../identity.ts'
import type { Library } from '../library.ts'
import type { Table } from '../model.ts'
import type { QuarantineCode } from '../quarantine.ts'
import { type ObjectRef, type SourceClaim, StagedObjects, stixUid, tableOfCode } from '../stagedObjects.ts'
import { canonicalJson, type Json } from './jsonFile.ts'
import type { StaleRow } from './staleContext.ts'
import { codeOfType } from './stixObject.ts'

export const FORMATS = ['stix', 'misp', 'threatq', 'csv', 'list'] as const
export type FormatName = (typeof FORMATS)[number]

/** A row that was not taken, in the words of its file. */
export interface Refusal {
  readonly table: string
  readonly place: string
  readonly code: QuarantineCode
  readonly reason: string
  readonly payload: string
}

/** A row of at most so many bytes is kept whole in quarantine; of a longer one its beginning. */
export const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024

export interface IntakeOptions {
  readonly library: Library
  /** Microseconds. */
  readonly now: number
  readonly format: FormatName
  readonly source: string
  readonly tlp?: string
  /** Called with staged rows waiting; a format of many rows calls it between them. */
  readonly flush: (staged: StagedObjects) => Promise<void>
}

export class Intake {
  readonly staged: StagedObjects
  readonly refusals: Refusal[] = []
  /** Rows of the library that go with this run. */
  readonly stale: StaleRow[] = []
  readonly now: number
  readonly source: string
  readonly tlp: string | undefined
  readonly library: Library
  readonly #format: FormatName
  readonly #flush: (staged: StagedObjects) => Promise<void>

  constructor({ library, now, format, source, tlp, flush }: IntakeOptions) {
    this.staged = new StagedObjects({ now })
    this.now = now
    this.source = source
    this.tlp = tlp
    this.library = library
    this.#format = format
    this.#flush = flush
  }

  /** The run's source with a TLP of the row's own, or else the one given for all. */
  claim(tlp?: string, publishedAt?: string | null): SourceClaim {
    return { name: this.source, tlp: tlp ?? this.tlp, publishedAt: publishedAt ?? undefined }
  }

  refuse(place: string, code: QuarantineCode, reason: string, record: Json, table = ''): void {
    const body = canonicalJson(record)
    const kept = body.length <= MAX_PAYLOAD_BYTES ? record : body.slice(0, 65_536)
    const payload = canonicalJson({
      format: this.#format,
      source: this.source,
      ...(this.tlp === undefined ? {} : { tlp: this.tlp }),
      record: kept,
    })
    this.refusals.push({ table, place, code, reason, payload })
  }

  /** Loads what waits when it is much. */
  async breathe(): Promise<void> {
    if (this.staged.waiting >= FLUSH_ROWS) await this.#flush(this.staged)
  }

  /** Of these STIX ids those that are in the library, alive, with a reference for the run. */
  async known(ids: Iterable<string>): Promise<ReadonlyMap<string, ObjectRef>> {
    const byTable = new Map<Table, Map<string, string>>()
    for (const id of ids) {
      const table = tableOfCode(codeOfType(id.slice(0, id.indexOf('--'))))
      const uids = byTable.get(table) ?? new Map<string, string>()
      byTable.set(table, uids.set(stixUid(id), id))
    }
    const found = new Map<string, ObjectRef>()
    for (const [table, uids] of byTable) {
      const wanted = [...uids.keys()]
      for (let i = 0; i < wanted.length; i += LOOK_UP) {
        const some = wanted.slice(i, i + LOOK_UP).map((uid) => parseUid(uid)!)
        const { rows } = await sql<{ uid: Uint8Array }>`
          select o.uid from ${sql.table(table.name)} o
          where o.uid in (${sql.join(some)}) and ${sql.raw(liveSql('o'))}`.execute(this.library.database.db)
        for (const { uid } of rows) {
          const text = uidText(uid)
          found.set(uids.get(text)!, this.staged.existing(table, text))
        }
      }
    }
    return found
  }
}

// --- internal ---

const FLUSH_ROWS = 20_000
const LOOK_UP = 500
