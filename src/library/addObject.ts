/** Single objects by hand: what a person adds or takes away is a local edit, and goes through the merge like any other. */
import { ColdtrailError } from '../core/errors.ts'
import { claimOf, codeNamed, type ObjectFields, readVocabulary } from './formats/fields.ts'
import { IMPORT_POLICY, newRun } from './formats/importRun.ts'
import { uidRange, uidText } from './identity.ts'
import type { Library } from './library.ts'
import { merge } from './merge/merge.ts'
import { openStaging } from './merge/staging.ts'
import { TABLE_BY_NAME } from './model.ts'
import { type LibraryObject, showObject } from './read.ts'
import { type ObjectClaim, StagedObjects } from './stagedObjects.ts'

export interface NewObject extends Omit<ObjectFields, 'sources'> {
  readonly source?: string
  readonly links?: readonly string[]
  readonly relationship?: string
}

/** Who says it when nobody is named. */
export const MANUAL_SOURCE = 'manual'

/** Throws a RangeError when a field cannot be taken. */
export async function addObject(
  library: Library,
  { source = MANUAL_SOURCE, links = [], relationship = 'related-to', ...fields }: NewObject,
): Promise<{ readonly uid: string; readonly outcome: 'added' | 'changed' | 'unchanged' }> {
  const claim = claimOf(
    { ...fields, sources: [{ name: source, type: source === MANUAL_SOURCE ? 'users' : 'other_sources' }] },
    await readVocabulary(library),
  )
  const ends: LibraryObject[] = []
  for (const name of links) ends.push(await oneObject(library, name))
  const uid = claim.uid ?? uidText(uidRange(1).at(0))
  const staged = new StagedObjects({ now: Date.now() * 1_000 })
  const ref = staged.add({ ...claim, uid })
  for (const end of ends) {
    const to = staged.existing(TABLE_BY_NAME.get(end.table)!, end.uid)
    staged.link({ from: ref, to, relationship, sources: claim.sources })
  }
  const staging = await openStaging(library, { run: newRun(), pid: process.pid, kind: 'local', source })
  try {
    await staged.flush(staging)
    const { tables } = await merge(library, staging, IMPORT_POLICY)
    const own = tables.filter(({ table }) => TABLE_BY_NAME.get(table)?.kind !== 'dictionary')
    const isNew = own.some(({ table, inserted }) => table === ref.table.name && inserted > 0)
    const isChanged = own.some(({ inserted, updated }) => inserted + updated > 0)
    return {
      uid: await localUid(library, uid, claim),
      outcome: isNew ? 'added' : isChanged ? 'changed' : 'unchanged',
    }
  } finally {
    await staging.drop()
  }
}

/** All of them or none. */
export async function deleteObjects(
  library: Library,
  names: readonly string[],
  object?: string,
): Promise<readonly LibraryObject[]> {
  const found = new Map<string, LibraryObject>()
  for (const name of names) {
    const one = await oneObject(library, name, object)
    found.set(`${one.table} ${one.uid}`, one)
  }
  const staging = await openStaging(library, { run: newRun(), pid: process.pid, kind: 'local' })
  try {
    const deletedAt = String(Date.now() * 1_000)
    for (const [table, rows] of Map.groupBy(found.values(), ({ table }) => table))
      await staging.loadTombstones(
        TABLE_BY_NAME.get(table)!,
        rows.map(({ uid }) => ({ uid, nk: null, deletedAt })),
        `${table}-deleted`,
      )
    await merge(library, staging, IMPORT_POLICY)
    return [...found.values()]
  } finally {
    await staging.drop()
  }
}

/** The live object of a uid, STIX id or value. E_OBJECT_UNKNOWN, E_OBJECT_AMBIGUOUS. */
export async function oneObject(library: Library, name: string, object?: string): Promise<LibraryObject> {
  const code = object === undefined ? undefined : await codeOf(library, object)
  const found = (await showObject(library, name)).filter(
    (one) => one.deletedAt === null && one.unpublishedAt === null && (code === undefined || one.object === code),
  )
  if (found.length === 0) throw new ColdtrailError('E_OBJECT_UNKNOWN', { name })
  if (found.length > 1) {
    const meant = found.slice(0, 5).map((one) => `${one.object} ${one.uid}`)
    throw new ColdtrailError('E_OBJECT_AMBIGUOUS', { name, meant: meant.join(', ') })
  }
  return found[0]!
}

// --- internal ---

async function codeOf(library: Library, given: string): Promise<string> {
  try {
    return codeNamed(given, await readVocabulary(library))
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new ColdtrailError('E_USAGE', { message: error.message }, { cause: error })
  }
}

/** The uid of what was staged under another one: the library had the object already. */
async function localUid(library: Library, uid: string, claim: ObjectClaim): Promise<string> {
  if ((await showObject(library, uid)).length > 0) return uid
  const { value, name, title } = claim.columns
  const known = (await showObject(library, value ?? name ?? title ?? '')).find(
    (one) =>
      one.object === claim.code &&
      (claim.code !== 'indicator' || one.type === claim.type) &&
      one.stixId === (claim.columns.stix_id ?? null),
  )
  return known?.uid ?? uid
}
