/** Files of any format into the library, as one run each source: parse, stage, merge, and quarantine what was refused. */
import { hash, randomUUID } from 'node:crypto'
import { closeSync, openSync, readFileSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { ColdtrailError } from '../../core/errors.ts'
import { readToEnd } from '../../platform/files.ts'
import type { Library } from '../library.ts'
import { merge } from '../merge/merge.ts'
import type { Conflict, MergePolicy, MergeProgress, MergeReport } from '../merge/policy.ts'
import { openStaging, type Staging } from '../merge/staging.ts'
import { TABLE_BY_NAME } from '../model.ts'
import { type HeldRow, listQuarantine, quarantine, settle } from '../quarantine.ts'
import type { StagedObjects } from '../stagedObjects.ts'
import { isCsvHeader, stageCsv, stageCsvRecord } from './csvRows.ts'
import { readVocabulary } from './fields.ts'
import { FORMATS, type FormatName, Intake, type Refusal } from './intake.ts'
import {
  decodeText,
  fileFault,
  isObject,
  type Json,
  type JsonFile,
  type JsonObject,
  MAX_FILE_BYTES,
  parseJson,
  property,
  textOf,
} from './jsonFile.ts'
import { mispEvents, sourceOfMisp, stageMisp, stageMispRecord } from './misp.ts'
import { recognised, stageLine, stageList } from './plainList.ts'
import { isStix, sourceOfBundle, stageObjects, stageStix } from './stixImport.ts'
import { heldPage, isDictionaryName, isThreatq, ThreatqPages, threatqRows } from './threatq.ts'
import { fileContents } from './threatqFiles.ts'

export interface ImportRequest {
  /** Paths; `-` is standard input. */
  readonly files: readonly string[]
  readonly format?: FormatName | 'auto'
  /** Who told it; without it the file says so, else its name. */
  readonly source?: string
  /** Of rows whose file says none. */
  readonly tlp?: string
  /** Delete what the source brought earlier and does not bring now. */
  readonly mirror?: boolean
  readonly dryRun?: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: ImportProgress) => void
  readonly onConflict?: (conflict: Conflict) => void
}

export interface ImportProgress {
  readonly step: 'read' | MergeProgress['step']
  readonly done: number
  readonly total: number
}

export interface ImportSummary {
  readonly run: string
  readonly source: string
  readonly format: FormatName
  readonly files: readonly string[]
  readonly dryRun: boolean
  /** Objects and links as the files have them. */
  readonly read: { readonly objects: number; readonly links: number }
  /** Rows of all tables. */
  readonly inserted: number
  readonly updated: number
  readonly unchanged: number
  readonly deleted: number
  readonly kept: number
  readonly quarantined: number
  readonly conflicts: number
  readonly tables: MergeReport['tables']
  /** Place of the run in commit order; absent when nothing changed. */
  readonly seq?: number
  /** The first of them, for people. */
  readonly refusals: readonly Pick<Refusal, 'place' | 'code' | 'reason'>[]
}

/** How a write of the library from outside meets what is there. */
export const IMPORT_POLICY: MergePolicy = {
  conflicts: 'source',
  deletions: 'apply',
  keepCreatedAt: true,
  overrideDescription: true,
  keepWhereAbsent: true,
  objectLimit: 10_000,
}

/** One summary each source. E_LIBRARY_FILE, E_LIBRARY_FORMAT, E_FILE_READ, E_CSV: nothing of that source was written. */
export async function importFiles(library: Library, request: ImportRequest): Promise<ImportSummary[]> {
  const { files, source, mirror = false } = request
  if (files.length === 0) throw new ColdtrailError('E_USAGE', { message: 'Name a file to import.' })
  if (source !== undefined) requireName('--source', source)
  if (source !== undefined) return [await importSource(library, request, source, files)]
  if (mirror && files.length > 1)
    throw new ColdtrailError('E_USAGE', { message: '--mirror of several files needs --source: together they are one.' })
  const summaries: ImportSummary[] = []
  for (const path of files) summaries.push(await importSource(library, request, undefined, [path]))
  return summaries
}

/** Tries rows again that were held; what is refused again stays held. */
export async function applyQuarantine(
  library: Library,
  { ids, signal }: { readonly ids?: readonly number[]; readonly signal?: AbortSignal } = {},
): Promise<{ readonly applied: number; readonly held: number }> {
  await requireHeld(library, ids)
  const groups = new Map<string, { held: HeldRow; payload: Payload }[]>()
  let held = 0
  for await (const row of listQuarantine(library, { ids })) {
    const payload = payloadOf(row)
    if (!payload) {
      held += 1
      continue
    }
    const key = JSON.stringify([payload.format, payload.source, payload.tlp])
    groups.set(key, [...(groups.get(key) ?? []), { held: row, payload }])
  }
  let applied = 0
  for (const rows of groups.values()) {
    const outcome = await applyGroup(library, rows, signal)
    applied += outcome
    held += rows.length - outcome
  }
  return { applied, held }
}

export async function dismissQuarantine(library: Library, ids?: readonly number[]): Promise<number> {
  await requireHeld(library, ids)
  const found: number[] = []
  for await (const { id } of listQuarantine(library, { ids })) found.push(id)
  return library.database.write((tx) => settle(tx, found, 'dismissed'))
}

export const newRun = (): string => randomUUID()

// --- internal ---

const MAX_NAME_BYTES = 500
const REFUSALS_TOLD = 20

/** E_USAGE: a number that the list does not have. */
async function requireHeld(library: Library, ids: readonly number[] | undefined): Promise<void> {
  if (ids === undefined || ids.length === 0) return
  const unknown = new Set(ids)
  for await (const { id } of listQuarantine(library, { ids })) unknown.delete(id)
  if (unknown.size > 0)
    throw new ColdtrailError('E_USAGE', { message: `No row ${[...unknown].join(', ')} is held: library quarantine.` })
}

interface ReadFile {
  readonly path: string
  readonly name: string
  readonly format: FormatName
  readonly bytes: Buffer
  readonly text?: string
  readonly json?: JsonFile
}

async function importSource(
  library: Library,
  request: ImportRequest,
  given: string | undefined,
  paths: readonly string[],
): Promise<ImportSummary> {
  // What gives ids their names comes before the pages that have them.
  const files = paths.toSorted((a, b) => Number(isDictionaryName(basename(b))) - Number(isDictionaryName(basename(a))))
  const { mirror = false, dryRun = false, signal, onProgress, onConflict } = request
  const run = newRun()
  let file: ReadFile | undefined = readFile(files[0]!, request.format)
  const source = given ?? sourceOf(file, mirror)
  const { format } = file
  const staging = await openStaging(library, { run, pid: process.pid, kind: 'import', source })
  try {
    const flush = (staged: StagedObjects): Promise<void> => staged.flush(staging)
    const intake = new Intake({ library, now: Date.now() * 1_000, format, source, tlp: request.tlp, flush })
    const contents = fileContents(files, library.blobs, dryRun)
    const pages = format === 'threatq' ? await ThreatqPages.open(library, intake, contents) : undefined
    for (let i = 0; i < files.length; i++) {
      signal?.throwIfAborted()
      file ??= readFile(files[i]!, request.format)
      if (file.format !== format)
        throw new ColdtrailError('E_LIBRARY_FORMAT', {
          path: file.path,
          cause: `it is ${file.format}, and ${files[0]!} is ${format}; import them one by one`,
        })
      await stage(file, library, intake, pages)
      file = undefined
      onProgress?.({ step: 'read', done: i + 1, total: files.length })
    }
    await pages?.finish()
    const { staged, refusals } = intake
    if (mirror && staged.objects === 0)
      throw new ColdtrailError('E_LIBRARY_FORMAT', {
        path: files.join(', '),
        cause: `it brings no object, and --mirror would delete all that ${source} brought`,
      })
    await staged.flush(staging)
    const deletedAt = String(intake.now)
    for (const [table, rows] of Map.groupBy(intake.stale, (row) => row.table))
      await staging.loadTombstones(
        table,
        rows.map(({ uid }) => ({ uid, nk: null, deletedAt })),
        `${table.name}-stale`,
      )
    const fresh = await notHeldYet(library, source, refusals)
    const report = await merge(
      library,
      staging,
      { ...IMPORT_POLICY, wholeObjects: format === 'stix', ...(mirror ? { mirror: { origin: source } } : {}) },
      {
        dryRun,
        signal,
        onProgress,
        onConflict,
        beforePublish: async (tx) => {
          await quarantine(
            tx,
            fresh.map((refusal) => ({ ...refusal, origin: source, run })),
          )
        },
      },
    )
    return summaryOf({ run, source, format, files, dryRun }, report, intake)
  } finally {
    await staging.drop()
  }
}

/** A file that is imported daily must not fill the quarantine with the same rows. */
async function notHeldYet(library: Library, origin: string, refusals: readonly Refusal[]): Promise<Refusal[]> {
  const keyOf = (payload: string): string => hash('sha256', payload)
  const held = new Set<string>()
  if (refusals.length > 0) for await (const { payload } of listQuarantine(library, { origin })) held.add(keyOf(payload))
  return refusals.filter(({ payload }) => {
    const key = keyOf(payload)
    return !held.has(key) && held.add(key)
  })
}

function summaryOf(
  head: Pick<ImportSummary, 'run' | 'source' | 'format' | 'files' | 'dryRun'>,
  report: MergeReport,
  { staged, refusals }: Intake,
): ImportSummary {
  const tables = report.tables.filter(({ table }) => TABLE_BY_NAME.get(table)?.kind !== 'dictionary')
  const sum = (read: (table: MergeReport['tables'][number]) => number): number =>
    tables.reduce((all, table) => all + read(table), 0)
  return {
    ...head,
    read: { objects: staged.objects, links: staged.links },
    inserted: sum(({ inserted }) => inserted),
    updated: sum(({ updated }) => updated),
    unchanged: sum(({ unchanged }) => unchanged),
    deleted: sum(({ deleted }) => deleted),
    kept: sum(({ kept }) => kept),
    quarantined: refusals.length + report.tables.reduce((all, { quarantined }) => all + quarantined, 0),
    conflicts: report.conflictCount,
    tables: report.tables,
    ...(report.seq === undefined ? {} : { seq: report.seq }),
    refusals: refusals.slice(0, REFUSALS_TOLD).map(({ place, code, reason }) => ({ place, code, reason })),
  }
}

async function stage(file: ReadFile, library: Library, intake: Intake, pages: ThreatqPages | undefined): Promise<void> {
  const { format, name } = file
  if (format === 'csv') return stageCsv(file.bytes, name, library, intake)
  if (format === 'list') return stageList(file.text!, name, intake)
  if (format === 'threatq' && !file.json) return stageCsv(file.bytes, name, library, intake, 'threatq')
  const json = file.json!
  if (format === 'threatq') {
    if (!threatqRows(json.value)) throw wrongForm(file.path, 'no answer of ThreatQ: it has no "data"')
    return pages!.page(json, name)
  }
  if (format === 'stix') {
    if (!isStix(json.value)) throw wrongForm(file.path, 'no STIX bundle: it has no list "objects"')
    return stageStix(json, name, intake)
  }
  if (!mispEvents(json.value)) throw wrongForm(file.path, 'no event of MISP: it has neither "Event" nor "info"')
  return stageMisp(json, name, intake)
}

function readFile(path: string, wanted: ImportRequest['format'] = 'auto'): ReadFile {
  const bytes = bytesOf(path)
  const other = MAGIC.find(([magic]) => bytes.subarray(0, magic.length).equals(magic))
  if (other) throw wrongForm(path, other[1])
  const name = path === '-' ? 'standard input' : basename(path)
  if (wanted === 'csv') return { path, name, format: 'csv', bytes }
  const text = decodeText(bytes, path)
  if (wanted === 'list') return { path, name, format: 'list', bytes, text }
  if (wanted === 'auto' && !/^\s*[[{]/.test(text)) {
    const firstLine = /^[^\r\n]*/.exec(text)![0]
    if (isCsvHeader(firstLine)) return { path, name, format: 'csv', bytes }
    const { known, unknown } = recognised(text)
    if (known === 0 || unknown > known)
      throw new ColdtrailError('E_LIBRARY_FORMAT', {
        path,
        cause: 'neither JSON, nor CSV with a header, nor a list of indicators',
      })
    return { path, name, format: 'list', bytes, text }
  }
  if (wanted === 'threatq' && !/^\s*[[{]/.test(text)) return { path, name, format: 'threatq', bytes }
  const json = parseJson(text, path)
  if (wanted !== 'auto') return { path, name, format: wanted, bytes, json }
  // A bundle within MISP's answer is none; a list of events has no "objects".
  if (isStix(json.value)) return { path, name, format: 'stix', bytes, json }
  if (mispEvents(json.value)) return { path, name, format: 'misp', bytes, json }
  if (isThreatq(json.value)) return { path, name, format: 'threatq', bytes, json }
  const cause = 'JSON, but neither a STIX bundle, nor an event of MISP, nor a page of ThreatQ'
  throw new ColdtrailError('E_LIBRARY_FORMAT', { path, cause })
}

function bytesOf(path: string): Buffer {
  try {
    if (path !== '-' && statSync(path).isDirectory()) throw wrongForm(path, 'a folder; name its files')
    return path !== '-' && statSync(path).isFile() ? readFileSync(path) : bytesOfStream(path)
  } catch (error) {
    if (error instanceof ColdtrailError) throw error
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
}

/** What has no end that could be asked for before: a pipe, or a device that never ends. */
function bytesOfStream(path: string): Buffer {
  const handle = path === '-' ? 0 : openSync(path, 'r')
  try {
    const bytes = readToEnd(handle, MAX_FILE_BYTES)
    if (bytes === undefined) throw fileFault(path, 1, 1, `it has more than ${MAX_FILE_BYTES} bytes`)
    return bytes
  } finally {
    if (handle !== 0) closeSync(handle)
  }
}

/** What people give by mistake, with what they do then. */
const MAGIC: readonly (readonly [magic: Buffer, cause: string])[] = [
  [Buffer.of(0x1f, 0x8b), 'compressed; unpack it first (a sync bundle goes in by `coldtrail sync import`)'],
  [Buffer.of(0x28, 0xb5, 0x2f, 0xfd), 'compressed; unpack it first'],
  [Buffer.from('PK\x03\x04'), 'a zip archive or a workbook; unpack it, or save its table as CSV'],
  [Buffer.from('%PDF-'), 'a PDF; give the list in it as text'],
  [Buffer.of(0xff, 0xfe), 'UTF-16; save it as UTF-8'],
  [Buffer.of(0xfe, 0xff), 'UTF-16; save it as UTF-8'],
  [Buffer.from('age-encryption.org/'), 'encrypted; a sync bundle goes in by `coldtrail sync import`'],
]

const wrongForm = (path: string, cause: string): ColdtrailError =>
  new ColdtrailError('E_LIBRARY_FORMAT', { path, cause })

/** What a file says of who made it; else its name, under which a mirror would take away nothing of another file. */
function sourceOf({ format, json, name }: ReadFile, mirror: boolean): string {
  const said = json && (format === 'stix' ? sourceOfBundle(json.value) : sourceOfMisp(mispEvents(json.value) ?? []))
  if (said !== undefined) return said
  if (mirror)
    throw new ColdtrailError('E_USAGE', { message: `--mirror needs --source: ${name} does not say who made it.` })
  return name
}

function requireName(flag: string, name: string): void {
  if (name.trim() === '' || name.includes('\0') || !name.isWellFormed() || Buffer.byteLength(name) > MAX_NAME_BYTES)
    throw new ColdtrailError('E_USAGE', { message: `${flag}: a name has 1 to ${MAX_NAME_BYTES} bytes.` })
}

interface Payload {
  readonly format: FormatName
  readonly source: string
  readonly tlp?: string
  readonly record: Json
}

/** Of rows that a format refused; those of a merge have no file to be read from again. */
function payloadOf({ payload }: HeldRow): Payload | undefined {
  let value: Json
  try {
    value = parseJson(payload, 'quarantine').value
  } catch {
    return undefined
  }
  if (!isObject(value)) return undefined
  const said = textOf(property(value, 'format'))
  const format = FORMATS.find((name) => name === said)
  const source = textOf(property(value, 'source'))
  const record = property(value, 'record')
  if (format === undefined || source === undefined || record === undefined) return undefined
  return { format, source, tlp: textOf(property(value, 'tlp')), record }
}

async function applyGroup(
  library: Library,
  rows: readonly { readonly held: HeldRow; readonly payload: Payload }[],
  signal: AbortSignal | undefined,
): Promise<number> {
  const { format, source, tlp } = rows[0]!.payload
  const run = newRun()
  const staging: Staging = await openStaging(library, { run, pid: process.pid, kind: 'import', source })
  try {
    const flush = (staged: StagedObjects): Promise<void> => staged.flush(staging)
    const intake = new Intake({ library, now: Date.now() * 1_000, format, source, tlp, flush })
    // The place of a refusal tells which row it was.
    const places = new Map<Json, string>(rows.map(({ held, payload }) => [payload.record, String(held.id)]))
    if (format === 'stix') {
      const objects: JsonObject[] = []
      for (const { held, payload } of rows)
        if (isObject(payload.record) && isRelationship(payload.record)) objects.push(payload.record)
        else intake.refuse(String(held.id), 'form', held.reason, payload.record)
      await stageObjects(objects, (object) => places.get(object) ?? '', intake)
    } else {
      const vocabulary = await readVocabulary(library)
      const pages = format === 'threatq' ? await ThreatqPages.open(library, intake) : undefined
      for (const { held, payload } of rows) {
        const place = String(held.id)
        if (format === 'csv') stageCsvRecord(payload.record, place, vocabulary, intake)
        else if (format === 'list') stageLine(textOf(payload.record) ?? '', place, intake)
        else if (pages) {
          const held = heldPage(payload.record)
          if (held) await pages.row(held.row, place, held.code)
          else stageCsvRecord(payload.record, place, vocabulary, intake, 'threatq')
        } else await stageMispRecord(payload.record, place, intake)
      }
      await pages?.finish()
    }
    const refused = new Set(intake.refusals.map(({ place }) => place))
    const taken = rows.map(({ held }) => held.id).filter((id) => !refused.has(String(id)))
    if (taken.length === 0) return 0
    await intake.staged.flush(staging)
    await merge(library, staging, IMPORT_POLICY, {
      dryRun: false,
      signal,
      beforePublish: async (tx) => {
        await settle(tx, taken, 'applied')
      },
    })
    return taken.length
  } finally {
    await staging.drop()
  }
}

/** What was refused for its own form stays refused; what lacked an end may find it now. */
const isRelationship = (object: JsonObject): boolean =>
  property(object, 'type') === 'relationship' &&
  ['id', 'source_ref', 'target_ref', 'relationship_type'].every((name) => textOf(property(object, name)) !== undefined)
