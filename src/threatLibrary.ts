/** The threat library as a person or a program uses it: what goes in and out, what is there, what was refused. */
import { createReadStream } from 'node:fs'
import { ColdtrailError } from './core/errors.ts'
import type { Log } from './core/log.ts'
import type { ObjectFields } from './library/formats/fields.ts'
import type { ImportRequest, ImportSummary } from './library/formats/importRun.ts'
import type { ExportCounts } from './library/formats/stixExport.ts'
import type { Library } from './library/library.ts'
import type { HeldRow, QuarantineFilter } from './library/quarantine.ts'
import type { LibraryObject, LibraryStats, ObjectDetails } from './library/read.ts'

export interface ListRequest {
  /** Expression over objects: `type == 'FQDN' && tag == 'phishing'`. */
  readonly where?: string
  /** Object codes; none: all. */
  readonly objects?: readonly string[]
  readonly limit?: number
  readonly deleted?: boolean
}

export interface ExportRequest {
  readonly format: 'stix' | 'csv'
  readonly where?: string
  readonly objects?: readonly string[]
  /** Of CSV: makes a text of what a spreadsheet would take for a formula. */
  readonly asText?: (text: string) => string
  readonly signal?: AbortSignal
  readonly onProgress?: (counts: ExportCounts) => void
}

export interface AddRequest extends Omit<ObjectFields, 'sources'> {
  /** Who says so; the default is `manual`. */
  readonly source?: string
  /** Values, uids or STIX ids of objects that it is linked with. */
  readonly links?: readonly string[]
  readonly relationship?: string
}

export interface AddSummary {
  readonly uid: string
  readonly outcome: 'added' | 'changed' | 'unchanged'
}

/** Opens the library's database at the first call that needs it. */
export interface ThreatLibrary {
  /** Files into the library, a run each source; what cannot be taken is quarantined. */
  import(request: ImportRequest): Promise<readonly ImportSummary[]>
  /** Text of the export, in pieces. */
  export(request: ExportRequest): AsyncIterable<string>
  /** One object; one that is there gets what is given. E_USAGE. */
  add(request: AddRequest): Promise<AddSummary>
  /** Objects by uid, STIX id or value; deletes none when one is unknown or means several. E_OBJECT_UNKNOWN, E_OBJECT_AMBIGUOUS. */
  delete(names: readonly string[], object?: string): Promise<readonly LibraryObject[]>
  list(request?: ListRequest): AsyncIterable<LibraryObject>
  /** E_OBJECT_UNKNOWN. */
  show(name: string): Promise<readonly ObjectDetails[]>
  stats(): Promise<LibraryStats>
  /** Rows that were not taken in, with the reason of each. */
  held(filter?: QuarantineFilter): AsyncIterable<HeldRow>
  applyHeld(request?: {
    readonly ids?: readonly number[]
    readonly signal?: AbortSignal
  }): Promise<{ readonly applied: number; readonly held: number }>
  dismissHeld(ids?: readonly number[]): Promise<number>
  /** Content of a file by its uid, name or SHA-256; of one that was left out of a bundle the text that says so. */
  fileContent(
    name: string,
  ): Promise<{ readonly object: LibraryObject; readonly excluded: boolean; readonly bytes: AsyncIterable<Uint8Array> }>
}

/** `requireData`: throws when there is no data directory, which reading must not make. */
export function threatLibrary(library: () => Promise<Library>, requireData: () => void, log: Log): ThreatLibrary {
  const formats = () => import('./library/formats/importRun.ts')
  const reading = () => import('./library/read.ts')
  const expression = async (where: string | undefined) =>
    where === undefined ? undefined : (await import('./library/objectExpressions.ts')).compileObjectExpression(where)
  const existing = (): Promise<Library> => {
    requireData()
    return library()
  }
  return {
    async import(request) {
      const { importFiles } = await formats()
      return importFiles(await library(), { ...request, tlp: await tlpOf(request.tlp) })
    },
    async *export({ format, where, objects, asText = (text) => text, signal, onProgress }) {
      const open = await existing()
      const selected = await selection(open, where, objects)
      const counts: ExportCounts = { objects: 0, relationships: 0 }
      const selects = selected && (({ uid }: { readonly uid: string }) => selected.has(uid))
      if (format === 'stix') {
        const { exportStix } = await import('./library/formats/stixExport.ts')
        yield* exportStix(open, { selects, signal, onProgress }, counts)
      } else {
        const { exportCsv } = await import('./library/formats/csvExport.ts')
        yield* exportCsv(open, { selects, asText, signal, onProgress }, counts)
      }
    },
    async add(request) {
      const { addObject } = await import('./library/addObject.ts')
      return usage(() => library().then((open) => addObject(open, request)))
    },
    async delete(names, object) {
      const { deleteObjects } = await import('./library/addObject.ts')
      return deleteObjects(await existing(), names, object)
    },
    async *list({ where, objects, limit, deleted } = {}) {
      const { listObjects } = await reading()
      yield* listObjects(await existing(), { where: await expression(where), types: objects, limit, deleted })
    },
    async show(name) {
      const { showObject } = await reading()
      const found = await showObject(await existing(), name)
      if (found.length === 0) throw new ColdtrailError('E_OBJECT_UNKNOWN', { name })
      return found
    },
    stats: async () => (await reading()).libraryStats(await existing()),
    async *held(filter) {
      const { listQuarantine } = await import('./library/quarantine.ts')
      yield* listQuarantine(await existing(), filter)
    },
    async applyHeld(request) {
      const outcome = await (await formats()).applyQuarantine(await existing(), request)
      if (outcome.held > 0) log('info', 'rows stay in quarantine', { held: outcome.held })
      return outcome
    },
    dismissHeld: async (ids) => (await formats()).dismissQuarantine(await existing(), ids),
    async fileContent(name) {
      const open = await existing()
      const { oneObject } = await import('./library/addObject.ts')
      const { EXCLUDED_CONTENT } = await import('./library/blobs.ts')
      const object = await oneObject(open, name, 'attachment')
      const sha256 = Buffer.from(String(object.fields.sha256 ?? ''), 'hex')
      const excluded = sha256.length !== 32 || open.blobs.size(sha256) === undefined
      const bytes = excluded ? textBytes(EXCLUDED_CONTENT) : createReadStream(open.blobs.path(sha256))
      return { object, excluded, bytes }
    },
  }

  /** Uids of what is asked for; undefined: all. */
  async function selection(
    open: Library,
    where: string | undefined,
    objects: readonly string[] | undefined,
  ): Promise<ReadonlySet<string> | undefined> {
    if (where === undefined && (objects === undefined || objects.length === 0)) return undefined
    const { listObjects } = await reading()
    const found = new Set<string>()
    const types = objects && objects.length > 0 ? objects : undefined
    for await (const { uid } of listObjects(open, { where: await expression(where), types, context: 'needed' }))
      found.add(uid)
    return found
  }
}

// --- internal ---

async function tlpOf(given: string | undefined): Promise<string | undefined> {
  const { tlpFrom } = await import('./library/formats/fields.ts')
  return usage(async () => tlpFrom(given))
}

/** What cannot be taken of a command line is told, and not quarantined. */
async function usage<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    const message = `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`
    throw new ColdtrailError('E_USAGE', { message }, { cause: error })
  }
}

async function* textBytes(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}
