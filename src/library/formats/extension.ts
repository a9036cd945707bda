/**
 * What STIX has no property for, carried in an extension property: attributes, tags, comments, type and status that people
 * gave an object here, and objects that only a library has.
 */
import type { Column, Table } from '../model.ts'
import {
  type AttributeClaim,
  type CommentClaim,
  type ContextClaim,
  type SourceClaim,
  tableOfCode,
  uidOf,
} from '../stagedObjects.ts'
import { isObject, type Json, type JsonObject, listOf, property, textOf } from './jsonFile.ts'
import { storable } from './stixObject.ts'

/** Id of the extension definition under which all of it stands. */
export const EXTENSION_ID = 'extension-definition--5b0bd9f1-6b0e-4f2e-9d53-2f6e3c1ab1c7'

/** Prefix of the STIX types of objects that only a library has. */
export const OWN_TYPE_PREFIX = 'x-coldtrail-'

export interface Extension extends ContextClaim {
  /** Object code of a row that came from no STIX object; with it the row's own columns. */
  readonly object?: string
  readonly columns: Readonly<Record<string, string>>
  readonly uid?: string
  readonly type?: string
  readonly status?: string
  readonly contentType?: string
  readonly tags: readonly string[]
  readonly manualScore?: number
  /** Of a relationship that came from no STIX relationship. */
  readonly link: boolean
  readonly relationship: string | null
}

/** The extension of an object, and the object without it. Throws a RangeError with the reason when it has not the form. */
export function takeExtension(object: JsonObject): { readonly object: JsonObject; readonly extension?: Extension } {
  const extensions = property(object, 'extensions')
  const found = isObject(extensions) ? property(extensions, EXTENSION_ID) : undefined
  if (!isObject(extensions) || found === undefined) return { object }
  if (!isObject(found)) throw new RangeError(`the extension ${EXTENSION_ID} is no object`)
  const others = Object.entries(extensions).filter(([name]) => name !== EXTENSION_ID)
  const rest = Object.fromEntries(Object.entries(object).filter(([name]) => name !== 'extensions'))
  const without = others.length === 0 ? rest : { ...rest, extensions: Object.fromEntries(others) }
  return { object: without, extension: extensionOf(found) }
}

/** Columns of an object's table that the extension of a row without a STIX object carries. */
export const carriedColumns = (table: Table): readonly Column[] =>
  table.columns.filter(
    ({ name, type, travels }) =>
      travels && type !== 'reference' && type !== 'anyReference' && name !== 'stix' && name !== 'stix_id',
  )

// --- internal ---

const MAX_LIST = 10_000

function extensionOf(given: JsonObject): Extension {
  const code = textOf(property(given, 'object'))
  if (code !== undefined && !CODE.test(code)) throw new RangeError('the extension names no object code')
  const columns: Record<string, string> = {}
  const ownColumns = property(given, 'columns')
  if (isObject(ownColumns)) {
    const known = code === undefined ? [] : carriedColumns(tableOfCode(code))
    for (const { name } of known) {
      const value = storable(textOf(property(ownColumns, name)))
      if (value !== undefined) columns[name] = value
    }
  }
  const score = property(given, 'manual_score')
  const uid = textOf(property(given, 'uid'))
  return {
    object: code,
    columns,
    uid: uid === undefined ? undefined : uidOf(uid),
    type: word(property(given, 'type')),
    status: word(property(given, 'status')),
    contentType: word(property(given, 'content_type')),
    tags: texts(property(given, 'tags')),
    manualScore: typeof score === 'number' && Number.isInteger(score) && Math.abs(score) <= 1_000 ? score : undefined,
    link: property(given, 'link') === true,
    relationship: textOf(property(given, 'relationship')) ?? null,
    sources: sourcesOf(property(given, 'sources')),
    attributes: attributesOf(property(given, 'attributes')),
    comments: commentsOf(property(given, 'comments')),
  }
}

const CODE = /^[a-z0-9][a-z0-9_-]{0,249}$/

const word = (value: Json | undefined): string | undefined => storable(textOf(value), 500)

const texts = (value: Json | undefined): string[] =>
  listOf(value)
    .slice(0, MAX_LIST)
    .map(word)
    .filter((text): text is string => text !== undefined)

function attributesOf(value: Json | undefined): AttributeClaim[] {
  return objects(value).flatMap((given) => {
    const name = word(property(given, 'name'))
    if (name === undefined) return []
    const sources = sourcesOf(property(given, 'sources'))
    const text = storable(textOf(property(given, 'value')), 65_500) ?? null
    return [{ name, value: text, ...(sources.length > 0 ? { sources } : {}) }]
  })
}

function sourcesOf(value: Json | undefined): SourceClaim[] {
  return objects(value).flatMap((given) => {
    const name = word(property(given, 'name'))
    if (name === undefined) return []
    return [{ name, type: word(property(given, 'type')), tlp: word(property(given, 'tlp')) }]
  })
}

function commentsOf(value: Json | undefined): CommentClaim[] {
  return objects(value).flatMap((given) => {
    const text = storable(textOf(property(given, 'value')), 65_500)
    if (text === undefined) return []
    const uid = uidOf(textOf(property(given, 'uid')) ?? '')
    return [{ value: text, sourceName: word(property(given, 'source_name')), uid }]
  })
}

const objects = (value: Json | undefined): JsonObject[] => listOf(value).slice(0, MAX_LIST).filter(isObject)
