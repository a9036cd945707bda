/** STIX 2.1 (and 2.0) bundles in. Nothing of an object is lost: docs/reference/library-formats.md says what becomes of it. */
import type { TlpName } from '../dictionaries.ts'
import { derivedUid, type ObjectRef, type SourceClaim, stixUid, tableOfCode } from '../stagedObjects.ts'
import { type Extension, OWN_TYPE_PREFIX, takeExtension } from './extension.ts'
import type { Intake } from './intake.ts'
import {
  canonicalJson,
  isObject,
  type Json,
  type JsonFile,
  type JsonObject,
  listOf,
  property,
  sameJson,
  textOf,
} from './jsonFile.ts'
import { staleContext } from './staleContext.ts'
import {
  derivedContext,
  embeddedReferences,
  isStixId,
  microseconds,
  rowOfObject,
  stixTime,
  storable,
  tlpOf,
  tlpOfMarking,
} from './stixObject.ts'
import { indicatorsOfObservable, indicatorsOfPattern, PATTERN_LINK, type PatternIndicator } from './stixPattern.ts'

/** Object code of what a bundle has besides its objects: its id, and properties of its own. */
export const BUNDLE_CODE = 'stix-bundle'
/** Relationship of indicators made from an observable. */
export const OBSERVABLE_LINK = 'observable'

/** Whether a document is a bundle, or an envelope of TAXII with objects. */
export const isStix = (value: Json): value is JsonObject =>
  isObject(value) && (property(value, 'type') === 'bundle' || Array.isArray(property(value, 'objects')))

/** The name that a bundle gives its source: that of its collection, or of the one identity that made its objects. */
export function sourceOfBundle(bundle: Json): string | undefined {
  if (!isStix(bundle)) return undefined
  const objects = objectsOf(bundle)
  const nameOf = (object: JsonObject): string | undefined => storable(textOf(property(object, 'name')), 200)
  const collections = objects.filter((object) => property(object, 'type') === 'x-mitre-collection')
  if (collections.length === 1) return nameOf(collections[0]!)
  const makers = new Set(objects.map((object) => textOf(property(object, 'created_by_ref'))).filter(Boolean))
  if (makers.size !== 1) return undefined
  const maker = objects.find((object) => makers.has(textOf(property(object, 'id')) ?? ''))
  return maker && nameOf(maker)
}

/** Stages the objects of a bundle; what cannot be staged is refused row by row. */
export async function stageStix(file: JsonFile, name: string, intake: Intake): Promise<void> {
  const bundle = file.value as JsonObject
  const placeOf = (object: Json): string => `${name} line ${file.lineOf(object)}`
  const objects: JsonObject[] = []
  const list = property(bundle, 'objects')
  for (const [i, object] of listOf(list).entries()) {
    const fault = faultOf(object) ?? file.faultOf(object)
    if (fault === undefined) objects.push(object as JsonObject)
    else intake.refuse(isObject(object) ? placeOf(object) : `${name} objects[${i}]`, 'form', fault, object)
  }
  if (property(bundle, 'type') === 'bundle') stageBundle(bundle, intake)
  await stageObjects(objects, placeOf, intake)
}

/** Objects whose form was looked at: those of a bundle, or one of quarantine. */
export async function stageObjects(
  given: readonly JsonObject[],
  placeOf: (object: JsonObject) => string,
  intake: Intake,
): Promise<void> {
  const markings = new Map<string, TlpName>()
  const refs = new Map<string, ObjectRef>()
  const waiting: (() => void)[] = []
  const wanted = new Set<string>()
  const relationships: JsonObject[] = []
  const objects = newestOnly(given, placeOf, intake)
  intake.stale.push(...(await staleContext(intake.library, intake.source, objects)))
  for (const object of objects) {
    if (object.type !== 'marking-definition') continue
    const tlp = tlpOfMarking(object)
    if (tlp) markings.set(object.id as string, tlp)
  }
  for (const object of objects) {
    if (object.type === 'relationship') {
      relationships.push(object)
      continue
    }
    try {
      const ref = stageObject(object, markings, intake, waiting)
      refs.set(object.id as string, ref)
      for (const [name, id] of embeddedReferences(object)) {
        wanted.add(id)
        waiting.push(() => {
          const to = refs.get(id)
          if (to)
            intake.staged.link({
              from: ref,
              to,
              relationship: name,
              uid: derivedUid('embedded', object.id as string, name, id),
            })
        })
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      intake.refuse(placeOf(object), 'form', error.message, object)
    }
    await intake.breathe()
  }
  for (const { source_ref, target_ref } of relationships)
    for (const id of [source_ref, target_ref]) if (isStixId(id)) wanted.add(id)
  const elsewhere = [...wanted].filter((id) => !refs.has(id))
  for (const [id, ref] of await intake.known(elsewhere)) refs.set(id, ref)
  for (const link of waiting) {
    link()
    await intake.breathe()
  }
  for (const relationship of relationships) {
    stageRelationship(relationship, refs, markings, placeOf(relationship), intake)
    await intake.breathe()
  }
}

// --- internal ---

const MAX_OBJECT_BYTES = 8 * 1024 * 1024

const objectsOf = (bundle: JsonObject): JsonObject[] => {
  return listOf(property(bundle, 'objects')).filter(isObject)
}

/** Why a member of a bundle is no object of STIX. */
function faultOf(object: Json): string | undefined {
  if (!isObject(object)) return 'it is no object'
  const type = textOf(property(object, 'type'))
  if (type === undefined || !/^[a-z0-9][a-z0-9-]{0,249}$/.test(type)) return 'its type is no STIX type'
  const id = property(object, 'id')
  if (!isStixId(id)) return 'its id is no STIX id'
  if (!id.startsWith(`${type}--`)) return 'its id is that of another type'
  if (type === 'bundle') return 'a bundle stands in a bundle'
  if (type !== 'relationship') return undefined
  for (const end of ['source_ref', 'target_ref']) if (!isStixId(property(object, end))) return `${end} is no STIX id`
  return textOf(property(object, 'relationship_type')) ? undefined : 'relationship_type is missing'
}

/** Of several versions of an object the one modified last; the others go to quarantine. */
function newestOnly(
  objects: readonly JsonObject[],
  placeOf: (object: JsonObject) => string,
  intake: Intake,
): JsonObject[] {
  const newest = new Map<string, JsonObject>()
  for (const object of objects) {
    const id = object.id as string
    const before = newest.get(id)
    if (!before) {
      newest.set(id, object)
      continue
    }
    const isNewer = modifiedOf(object) > modifiedOf(before)
    const older = isNewer ? before : object
    if (isNewer) newest.set(id, object)
    if (!sameJson(before, object))
      intake.refuse(placeOf(older), 'duplicate', `${id} stands in the file in a newer version, too`, older)
  }
  return [...newest.values()]
}

const modifiedOf = (object: JsonObject): number =>
  Number(microseconds(property(object, 'modified')) ?? microseconds(property(object, 'created')) ?? 0)

function stageBundle(bundle: JsonObject, intake: Intake): void {
  const own = Object.fromEntries(Object.entries(bundle).filter(([name]) => name !== 'objects'))
  const claim = intake.claim()
  const { staged } = intake
  staged.add({
    code: BUNDLE_CODE,
    uid: derivedUid('stix bundle', intake.source),
    columns: { value: intake.source, stix: canonicalJson(own) },
    sources: [claim],
  })
  // It is not one of the bundle's objects.
  staged.objects -= 1
}

/** `later`: what is made from the object, which must not come before what the bundle itself says of the same thing. */
function stageObject(
  given: JsonObject,
  markings: ReadonlyMap<string, TlpName>,
  intake: Intake,
  later: (() => void)[],
): ObjectRef {
  const { object, extension } = takeExtension(given)
  const tlp = tlpOf(object, markings)
  const claim = intake.claim(tlp, microseconds(property(object, 'created')))
  if (extension?.object !== undefined) return stageOwn(object, extension, claim, intake)
  if ((object.type as string).startsWith(OWN_TYPE_PREFIX))
    throw new RangeError(`an object of type ${object.type as string} needs its extension`)
  const mapped = rowOfObject(object)
  if (mapped.columns.stix!.length > MAX_OBJECT_BYTES)
    throw new RangeError(`it is longer than ${MAX_OBJECT_BYTES} bytes`)
  const derived = derivedContext(object)
  const id = object.id as string
  const ref = intake.staged.add({
    code: mapped.code,
    columns: mapped.columns,
    uid: stixUid(id),
    type: mapped.type ?? extension?.type,
    status: extension?.status,
    sources: [claim, ...(extension?.sources ?? [])],
    attributes: [
      ...derived.attributes.map((attribute) => ({ ...attribute, sources: [claim] })),
      ...(extension?.attributes ?? []),
    ],
    comments: extension?.comments,
    tags: [...derived.tags, ...(extension?.tags ?? [])],
  })
  later.push(() => stageIndicators(object, ref, claim, intake))
  return ref
}

/** A row of a library that came from no STIX object: its columns are in the extension. */
function stageOwn(object: JsonObject, extension: Extension, claim: SourceClaim, intake: Intake): ObjectRef {
  const { object: code, columns, uid, ...context } = extension
  const table = tableOfCode(code!)
  const required = table.columns.find(
    ({ name, required, travels, type }) => required && travels && type !== 'reference' && columns[name] === undefined,
  )
  if (required) throw new RangeError(`its extension has no ${required.name}`)
  const sources = context.sources?.length ? context.sources : [claim]
  return intake.staged.add({
    ...context,
    code: code!,
    columns,
    // Only tasks and investigations have nothing else that tells them apart.
    uid: table.naturalKey.length === 0 ? (uid ?? derivedUid('stix', object.id as string)) : undefined,
    sources,
    tags: extension.tags,
  })
}

function stageIndicators(object: JsonObject, ref: ObjectRef, claim: SourceClaim, intake: Intake): void {
  const type = object.type as string
  const pattern = type === 'indicator' ? textOf(property(object, 'pattern')) : undefined
  const isStixPattern = (textOf(property(object, 'pattern_type')) ?? 'stix') === 'stix'
  const found: readonly PatternIndicator[] =
    pattern !== undefined
      ? isStixPattern
        ? indicatorsOfPattern(pattern)
        : []
      : indicatorsOfObservable(type, (path) => valueAt(object, path.split('.')))
  const relationship = pattern === undefined ? OBSERVABLE_LINK : PATTERN_LINK
  const expires = pattern === undefined ? null : microseconds(property(object, 'valid_until'))
  for (const { type: indicatorType, value } of found) {
    const to = intake.staged.add({
      code: 'indicator',
      columns: { value, expires_at: expires },
      type: indicatorType,
      sources: [{ ...claim, publishedAt: undefined }],
    })
    intake.staged.link({
      from: ref,
      to,
      relationship,
      uid: derivedUid(relationship, object.id as string, indicatorType, value),
    })
  }
}

/** The text or number at a path; `request_header.User-Agent` may be a list of one. */
function valueAt(object: JsonObject, path: readonly string[]): string | undefined {
  let at: Json | undefined = object
  for (const step of path) at = at !== undefined && isObject(at) ? property(at, step) : undefined
  if (Array.isArray(at)) at = at[0] as Json | undefined
  return typeof at === 'number' ? String(at) : textOf(at)
}

function stageRelationship(
  given: JsonObject,
  refs: ReadonlyMap<string, ObjectRef>,
  markings: ReadonlyMap<string, TlpName>,
  place: string,
  intake: Intake,
): void {
  const missing = ['source_ref', 'target_ref'].find((end) => !refs.has(given[end] as string))
  if (missing !== undefined) {
    const reason = `${missing} ${given[missing] as string} is neither in the file nor in the library`
    intake.refuse(place, 'reference', reason, given, 'object_links')
    return
  }
  try {
    const { object, extension } = takeExtension(given)
    const from = refs.get(object.source_ref as string)!
    const to = refs.get(object.target_ref as string)!
    const claim = intake.claim(tlpOf(object, markings), microseconds(property(object, 'created')))
    const context = {
      sources: extension?.sources?.length ? extension.sources : [claim],
      attributes: extension?.attributes,
      comments: extension?.comments,
    }
    if (extension?.link) {
      const description = storable(textOf(property(object, 'description'))) ?? null
      intake.staged.link({ ...context, from, to, relationship: extension.relationship, columns: { description } })
      return
    }
    const { relationship, columns } = rowOfRelationship(object)
    intake.staged.link({ ...context, from, to, relationship, columns, uid: stixUid(object.id as string) })
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    intake.refuse(place, 'form', error.message, given, 'object_links')
  }
}

/** A relationship as columns of `object_links`; its ends are columns already. */
function rowOfRelationship(object: JsonObject): {
  readonly relationship: string
  readonly columns: Record<string, string | null>
} {
  const relationship = storable(textOf(property(object, 'relationship_type')), 500)!
  const description = storable(textOf(property(object, 'description'))) ?? null
  const created = microseconds(property(object, 'created'))
  const same: Record<string, Json> = { type: 'relationship', id: object.id!, relationship_type: relationship }
  if (description !== null) same.description = description
  if (created !== null) same.created = stixTime(created)
  const rest = Object.fromEntries(
    Object.entries(object).filter(
      ([name, value]) => !ENDS.has(name) && !(Object.hasOwn(same, name) && same[name] === value),
    ),
  )
  const columns = { description, published_at: created, stix_id: object.id as string, stix: canonicalJson(rest) }
  return { relationship, columns }
}

const ENDS = new Set(['source_ref', 'target_ref'])
