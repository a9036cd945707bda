/**
 * Whether two libraries hold the same (L15): one writes down its keys, the other compares. Neither file tells a value:
 * keys and digests of rows only, though a key is the digest of a name and can be guessed from one.
 */
import { createReadStream } from 'node:fs'
import { ColdtrailError, printable } from '../core/errors.ts'
import { COMPARED_TABLES, type KeyDigest, type StateDigest, stateDigest, stateKeys } from '../library/digest.ts'
import { uidText } from '../library/identity.ts'
import type { Library } from '../library/library.ts'
import { TABLE_BY_NAME, type Table } from '../library/model.ts'

export interface KeyDifference {
  readonly table: string
  /** Natural key in hex. */
  readonly nk: string
  readonly where: 'only here' | 'only there' | 'different'
  /** Of the row here. */
  readonly uid?: string
  /** Value, name or title of the object here. */
  readonly name?: string
}

export interface StateComparison {
  readonly identical: boolean
  readonly here: StateDigest
  readonly there: StateHeader
  readonly differences: AsyncIterable<KeyDifference>
}

export interface StateHeader {
  readonly type: 'coldtrail sync state'
  readonly format: 1
  readonly site: string
  readonly seq: number
  readonly digest: string
  readonly tables: StateDigest['tables']
}

/** The lines of `sync state --keys`: a header, then `<table> <natural key> <digest>` in order. */
export async function* stateKeyLines(library: Library, site: string): AsyncGenerator<string> {
  const { seq, digest, tables } = await stateDigest(library)
  const header: StateHeader = { type: 'coldtrail sync state', format: 1, site, seq, digest, tables }
  yield JSON.stringify(header)
  for (const table of COMPARED_TABLES) {
    if (!tables[table.name]) continue
    for await (const { nk, digest } of stateKeys(library, table))
      yield `${table.name} ${nk.toString('hex')} ${digest.toString('hex')}`
  }
}

/** Reads the file that another site's `sync state --keys` wrote. E_STATE_FILE. */
export async function compareState(library: Library, path: string): Promise<StateComparison> {
  const here = await stateDigest(library)
  const file = new KeyFile(path)
  const there = await file.header()
  return {
    here,
    there,
    identical: here.digest === there.digest,
    differences: differences(library, here, there, file),
  }
}

// --- internal ---

const LINE = /^([a-z_]{1,63}) ([0-9a-f]{64}) ([0-9a-f]{64})$/
const LONGEST_LINE = 1024 * 1024
const NAME_LENGTH = 200

async function* differences(
  library: Library,
  here: StateDigest,
  there: StateHeader,
  file: KeyFile,
): AsyncGenerator<KeyDifference> {
  if (here.digest === there.digest) return file.close()
  for (const table of COMPARED_TABLES) {
    const isEqual = here.tables[table.name]?.digest === there.tables[table.name]?.digest
    const own = isEqual ? none() : stateKeys(library, table)
    let mine = await own.next()
    // The file is read to its end, equal tables too: what is in it stands in order.
    for await (const { nk, digest } of file.rows(table.name)) {
      if (isEqual) continue
      while (!mine.done && mine.value.nk.compare(nk) < 0) {
        yield await named(library, table, mine.value.nk, 'only here')
        mine = await own.next()
      }
      if (!mine.done && mine.value.nk.equals(nk)) {
        if (!mine.value.digest.equals(digest)) yield await named(library, table, nk, 'different')
        mine = await own.next()
      } else yield { table: table.name, nk: nk.toString('hex'), where: 'only there' }
    }
    for (; !mine.done; mine = await own.next()) yield await named(library, table, mine.value.nk, 'only here')
  }
  await file.end()
}

async function* none(): AsyncGenerator<KeyDigest> {}

async function named(
  { database }: Library,
  table: Table,
  nk: Buffer,
  where: KeyDifference['where'],
): Promise<KeyDifference> {
  const label = ['value', 'name', 'title'].find((name) => table.columns.some((column) => column.name === name))
  const columns = ['uid', ...(label === undefined ? [] : [label])]
  const row = await database.db.selectFrom(table.name).select(columns).where('nk', '=', nk).executeTakeFirst()
  const difference = { table: table.name, nk: nk.toString('hex'), where }
  if (!row) return difference
  const name = label === undefined ? undefined : (row[label] as string | null)
  return { ...difference, uid: uidText(row.uid as Buffer), ...(name && { name: name.slice(0, NAME_LENGTH) }) }
}

/** A file from outside: every line must have its form and its place. */
class KeyFile {
  private readonly path: string
  private readonly stream
  private readonly lines: AsyncIterator<string>
  private next: IteratorResult<string> | undefined
  private number = 0

  constructor(path: string) {
    this.path = path
    this.stream = createReadStream(path, 'latin1')
    this.lines = this.bounded()[Symbol.asyncIterator]()
  }

  async header(): Promise<StateHeader> {
    await this.move()
    if (this.next!.done) throw this.fault('it is empty')
    let header: StateHeader
    try {
      header = JSON.parse(this.next!.value)
    } catch {
      throw this.fault('its first line is no JSON')
    }
    const isKnown = header?.type === 'coldtrail sync state' && typeof header.digest === 'string'
    if (!isKnown || typeof header.tables !== 'object' || header.tables === null || !Number.isSafeInteger(header.seq))
      throw this.fault('its first line is not that of `sync state --keys`')
    if (header.format !== 1) throw this.fault(`its format is ${printable(String(header.format))}, and 1 is known`)
    await this.move()
    return header
  }

  async *rows(table: string): AsyncGenerator<KeyDigest> {
    let last: Buffer | undefined
    for (; !this.next!.done; await this.move()) {
      const match = LINE.exec(this.next!.value)
      if (!match || !TABLE_BY_NAME.has(match[1]!)) throw this.fault('a line that is no table, key and digest')
      if (match[1] !== table) return
      const nk = Buffer.from(match[2]!, 'hex')
      if (last !== undefined && last.compare(nk) >= 0) throw this.fault('its keys are not in order')
      last = nk
      yield { nk, digest: Buffer.from(match[3]!, 'hex') }
    }
  }

  async end(): Promise<void> {
    if (!this.next!.done) throw this.fault('a table that is not in its place')
    this.close()
  }

  close(): void {
    this.stream.destroy()
  }

  private async move(): Promise<void> {
    this.number += 1
    try {
      this.next = await this.lines.next()
    } catch (error) {
      if (error instanceof ColdtrailError) throw error
      throw this.fault((error as Error).message)
    }
  }

  /** A line without an end would fill the memory. */
  private async *bounded(): AsyncGenerator<string> {
    let rest = ''
    for await (const chunk of this.stream as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()!
      yield* lines
      if (rest.length > LONGEST_LINE) throw this.fault('a line is too long')
    }
    if (rest !== '') yield rest
  }

  private fault(cause: string): ColdtrailError {
    this.close()
    return new ColdtrailError('E_STATE_FILE', { path: this.path, line: this.number, cause })
  }
}
