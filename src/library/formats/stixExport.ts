/** The library as a STIX 2.1 bundle, in pieces. An object that came from STIX goes out as it came, with what changed here. */
import { sql } from 'kysely'
import { liveSql } from '../changes.ts'
import { type TlpName, tlpNamed, tlpRank } from '../dictionaries.ts'
import type { Library } from '../library.ts'
import { OBJECT_TABLE_BY_CODE, TABLE_BY_NAME, type Table } from '../model.ts'
import { derivedUid } from '../stagedObjects.ts'
import { carriedColumns, EXTENSION_ID, OWN_TYPE_PREFIX } from './extension.ts'
import { canonicalJson, isObject, type Json, type JsonObject, parseJson, property } from './jsonFile.ts'
import {
  EXPORT_ORDER,
  idsOf,
  linkPages,
  objectPages,
  readNames,
  type StoredAttribute,
  type StoredLink,
  type StoredObject,
} from './libraryRows.ts'
import { BUNDLE_CODE, OBSERVABLE_LINK } from './stixImport.ts'
import { derivedContext, markingOfTlp, objectOfRow, stixTime, typeOfCode } from './stixObject.ts'
import { PATTERN_LINK, patternOfIndicator } from './stixPattern.ts'

export interface ExportCounts {
  objects: number
  relationships: number
}

export interface ExportOptions {
  /** Whether an object is exported; links are when both their ends are. */
  readonly selects?: (object: StoredObject) => boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (counts: ExportCounts) => void
}

/** Text of the bundle, in pieces; `counts` grows with them. */
export async function* exportStix(
  library: Library,
  options: ExportOptions,
  counts: ExportCounts,
): AsyncGenerator<string> {
  const { selects = () => true, signal, onProgress } = options
  const names = await readNames(library)
  const exported = new Map<string, Set<number>>()
  const bundles = await storedBundles(library)
  let foreign = false
  let separator = '\n'
  const piece = (object: JsonObject): string => {
    const text = `${separator}${canonicalJson(object)}`
    separator = ',\n'
    return text
  }
  yield '{"type":"bundle","objects":['
  for (const table of EXPORT_ORDER) {
    const done = new Set<number>()
    exported.set(table.objectCode!, done)
    for await (const page of objectPages(library, table, names)) {
      signal?.throwIfAborted()
      const isMade = table.name === 'indicators' ? await madeFromOthers(library, page, exported) : () => false
      const refs = NEEDS_REFERENCES.has(table.objectCode!) ? await neighbours(library, page) : undefined
      let text = ''
      for (const object of page) {
        if (object.code === BUNDLE_CODE || !selects(object) || isMade(object)) continue
        done.add(object.id)
        counts.objects += 1
        foreign ||= !object.sources.some(({ name }) => name === bundles[0]?.source)
        text += piece(stixObjectOf(object, refs?.get(object.id)))
      }
      if (text !== '') yield text
      onProgress?.(counts)
    }
  }
  for await (const page of linkPages(library, names)) {
    signal?.throwIfAborted()
    const idOf = await endIds(library, page, exported)
    let text = ''
    for (const link of page) {
      const source = idOf(link.from)
      const target = idOf(link.to)
      if (source === undefined || target === undefined || isDerived(link, source, target)) continue
      counts.relationships += 1
      text += piece(relationshipOf(link, source, target))
    }
    if (text !== '') yield text
    onProgress?.(counts)
  }
  yield `\n],${ownProperties(bundles.length === 1 && !foreign ? bundles[0] : undefined)}}\n`
}

// --- internal ---

const MADE_LINKS = [PATTERN_LINK, OBSERVABLE_LINK]

/** STIX has these only with what they speak of. */
const NEEDS_REFERENCES = new Set(['note', 'report'])

/** Bundles that were imported, by the source that each was brought under. */
async function storedBundles(library: Library): Promise<readonly { readonly source: string; readonly stix: string }[]> {
  const { rows } = await sql<{ source: string; stix: string }>`
    select o.value as source, o.stix from custom_objects o join objects k on k.id = o.object_id
    where k.code = ${BUNDLE_CODE} and o.stix is not null and ${sql.raw(liveSql('o'))}`.execute(library.database.db)
  return rows
}

/** Id and other properties of the bundle: those of the one that all of it came from, else new ones. */
function ownProperties(bundle: { readonly stix: string } | undefined): string {
  const stored = bundle && parseJson(bundle.stix, 'stix').value
  const own = isObject(stored) ? stored : { id: `bundle--${crypto.randomUUID()}` }
  const { type: _, ...rest } = own as Record<string, Json>
  return canonicalJson(rest).slice(1, -1)
}

function stixObjectOf(stored: StoredObject, refs: readonly string[] = []): JsonObject {
  if (stored.columns.stix === null || stored.columns.stix === undefined) return ownObject(stored, refs)
  const rest = parseJson(stored.columns.stix, 'stix').value
  const object = objectOfRow(stored.code, stored.columns, isObject(rest) ? rest : {})
  const derived = derivedContext(object)
  const isOwn = ({ name, value }: StoredAttribute): boolean =>
    !derived.attributes.some((attribute) => attribute.name === name && attribute.value === value)
  const carried = {
    ...contextOf(stored, stored.attributes.filter(isOwn)),
    ...some(
      'tags',
      stored.tags.filter((tag) => !derived.tags.includes(tag)),
    ),
    ...(stored.type !== undefined && !MAPPED_TYPES.has(stored.table.name) ? { type: stored.type } : {}),
    ...(stored.status === undefined ? {} : { status: stored.status }),
  }
  return Object.keys(carried).length === 0 ? object : withExtension(object, carried)
}

/** The type of these comes from the object itself. */
const MAPPED_TYPES = new Set(['signatures', 'events'])

/** An object that came from elsewhere than STIX: what STIX knows of it, and the rest as an extension. */
function ownObject(stored: StoredObject, refs: readonly string[]): JsonObject {
  const { code, columns, uid, createdAt, updatedAt } = stored
  const title = columns.value ?? columns.name ?? columns.title ?? uid
  const specific = ownProperty(stored, title, refs)
  const type = specific.type
  const created = stixTime(columns.published_at ?? createdAt)
  const modified = stixTime(updatedAt)
  const tlp = narrowestTlp(stored)
  const marking = tlp && markingOfTlp(tlp)
  const object: Record<string, Json> = {
    ...specific.properties,
    type,
    spec_version: '2.1',
    id: columns.stix_id ?? `${type}--${uid}`,
    created,
    modified: modified < created ? created : modified,
    name: title,
    ...(columns.description === null || columns.description === undefined ? {} : { description: columns.description }),
    ...(marking === undefined ? {} : { object_marking_refs: [marking] }),
    ...some('labels', stored.tags),
  }
  const own: Record<string, Json> = {}
  for (const { name } of carriedColumns(stored.table)) {
    const value = columns[name]
    if (value !== null && value !== undefined) own[name] = value
  }
  return withExtension(object, {
    object: code,
    columns: own,
    uid,
    ...(stored.type === undefined ? {} : { type: stored.type }),
    ...(stored.status === undefined ? {} : { status: stored.status }),
    ...(stored.contentType === undefined ? {} : { content_type: stored.contentType }),
    ...(stored.manualScore === undefined ? {} : { manual_score: stored.manualScore }),
    ...some('sources', stored.sources.map(sourceJson)),
    ...some('tags', stored.tags),
    ...contextOf(stored, stored.attributes),
  })
}

function ownProperty(
  { code, columns, type: indicatorType, createdAt, uid, attributes }: StoredObject,
  title: string,
  refs: readonly string[],
): { readonly type: string; readonly properties: Record<string, Json> } {
  const since = stixTime(columns.published_at ?? createdAt)
  const text = columns.description ?? title
  switch (code) {
    case 'indicator': {
      const pattern =
        patternOfIndicator({ type: indicatorType ?? '', value: columns.value! }) ??
        `[x-coldtrail-indicator:value = '${columns.value!.replace(/['\\]/g, '\\$&')}']`
      const until = columns.expires_at && Number(columns.expires_at) > Number(columns.published_at ?? createdAt)
      const valid = { valid_from: since, ...(until ? { valid_until: stixTime(columns.expires_at!) } : {}) }
      return { type: 'indicator', properties: { pattern, pattern_type: 'stix', ...valid } }
    }
    case 'signature': {
      const pattern_type = SIGNATURE_TYPES.get(indicatorType ?? '') ?? 'x-coldtrail'
      return { type: 'indicator', properties: { pattern: columns.value!, pattern_type, valid_from: since } }
    }
    case 'malware':
      return { type: 'malware', properties: { is_family: attributes.some(({ name }) => name === 'Family') } }
    case 'note':
      return refs.length === 0
        ? { type: `${OWN_TYPE_PREFIX}note`, properties: {} }
        : { type: 'note', properties: { content: text, object_refs: refs } }
    case 'report':
      return refs.length === 0
        ? { type: `${OWN_TYPE_PREFIX}report`, properties: {} }
        : { type: 'report', properties: { published: since, object_refs: refs } }
    default: {
      const type = columns.stix_id?.split('--')[0] ?? typeOfCode(code)
      if (type !== undefined) return { type, properties: {} }
      const word =
        code
          .toLowerCase()
          .replace(/[^a-z0-9]+/g, '-')
          .replace(/^-|-$/g, '') || uid
      return { type: `${OWN_TYPE_PREFIX}${word}`, properties: {} }
    }
  }
}

const SIGNATURE_TYPES: ReadonlyMap<string, string> = new Map([
  ['STIX Indicator Pattern', 'stix'],
  ['YARA', 'yara'],
  ['Snort', 'snort'],
  ['Bro', 'zeek'],
])

function relationshipOf(
  { uid, columns, createdAt, updatedAt, ...link }: StoredLink,
  source: string,
  target: string,
): JsonObject {
  const ends = { source_ref: source, target_ref: target }
  const description: Record<string, Json> = columns.description ? { description: columns.description } : {}
  const carried = contextOf(link, link.attributes)
  if (columns.stix_id === null) {
    const created = stixTime(columns.published_at ?? createdAt)
    const modified = stixTime(updatedAt)
    return withExtension(
      {
        type: 'relationship',
        spec_version: '2.1',
        id: `relationship--${uid}`,
        created,
        modified: modified < created ? created : modified,
        relationship_type: columns.relationship ?? 'related-to',
        ...description,
        ...ends,
      },
      {
        link: true,
        relationship: columns.relationship ?? null,
        ...some('sources', link.sources.map(sourceJson)),
        ...carried,
      },
    )
  }
  const rest = columns.stix ? parseJson(columns.stix, 'stix').value : {}
  const object: Record<string, Json> = {
    type: 'relationship',
    id: columns.stix_id!,
    relationship_type: columns.relationship!,
    ...description,
    ...(columns.published_at === null ? {} : { created: stixTime(columns.published_at!) }),
    ...ends,
    ...(isObject(rest) ? rest : {}),
  }
  return Object.keys(carried).length === 0 ? object : withExtension(object, carried)
}

function withExtension(object: JsonObject, carried: Readonly<Record<string, Json>>): JsonObject {
  const before = property(object, 'extensions')
  const extension = { extension_type: 'property-extension', ...carried }
  return { ...object, extensions: { ...(isObject(before) ? before : {}), [EXTENSION_ID]: extension } }
}

function contextOf(
  { comments }: Pick<StoredObject, 'comments'>,
  attributes: readonly StoredAttribute[],
): Record<string, Json> {
  return {
    ...some(
      'attributes',
      attributes.map(({ name, value, sources }) => ({ name, value, ...some('sources', sources.map(sourceJson)) })),
    ),
    ...some(
      'comments',
      comments.map(({ uid, value, source_name }) => ({
        uid,
        value,
        ...(source_name === null ? {} : { source_name }),
      })),
    ),
  }
}

const sourceJson = ({ name, type, tlp }: StoredObject['sources'][number]): JsonObject => ({
  name,
  ...(type === 'other_sources' ? {} : { type }),
  ...(tlp === null ? {} : { tlp }),
})

const some = (name: string, list: readonly Json[]): Record<string, Json> => (list.length === 0 ? {} : { [name]: list })

function narrowestTlp({ sources }: StoredObject): TlpName | undefined {
  const known = sources.flatMap(({ tlp }) => (tlp === null ? [] : [tlpNamed(tlp)])).filter((tlp) => tlp !== undefined)
  return known.sort((a, b) => tlpRank(b) - tlpRank(a))[0]
}

/** Links that were made from a property of the source object: the property says it already. */
function isDerived({ uid, columns }: StoredLink, source: string, target: string): boolean {
  if (columns.stix_id !== null || columns.relationship === null) return false
  return (
    MADE_LINKS.includes(columns.relationship!) || uid === derivedUid('embedded', source, columns.relationship!, target)
  )
}

/**
 * Whether an indicator is nothing but what a pattern or an observable of the export says: it has no context of its own,
 * only sources of theirs, and no other link.
 */
async function madeFromOthers(
  library: Library,
  page: readonly StoredObject[],
  exported: ReadonlyMap<string, ReadonlySet<number>>,
): Promise<(object: StoredObject) => boolean> {
  const plain = page.filter(
    ({ columns, attributes, tags, comments, status, manualScore }) =>
      attributes.length + tags.length + comments.length === 0 &&
      !columns.description &&
      !columns.stix &&
      status === undefined &&
      manualScore === undefined,
  )
  if (plain.length === 0) return () => false
  const ids = sql.join(plain.map(({ id }) => id))
  const { rows } = await sql<{ own: unknown; other: string; other_id: unknown; relationship: string | null }>`
    select l.dest_object_id as own, l.src_type as other, l.src_object_id as other_id, l.relationship
    from object_links l where l.dest_type = 'indicator' and l.dest_object_id in (${ids}) and ${sql.raw(liveSql('l'))}
    union all
    select l.src_object_id, l.dest_type, l.dest_object_id, null
    from object_links l where l.src_type = 'indicator' and l.src_object_id in (${ids}) and ${sql.raw(liveSql('l'))}`.execute(
    library.database.db,
  )
  const origins = new Map<number, { code: string; id: number }[]>()
  const linked = new Set<number>()
  for (const { own, other, other_id, relationship } of rows) {
    const id = Number(own)
    if (relationship === null || !MADE_LINKS.includes(relationship) || !exported.get(other)?.has(Number(other_id)))
      linked.add(id)
    else origins.set(id, [...(origins.get(id) ?? []), { code: other, id: Number(other_id) }])
  }
  const sources = await sourceNames(library, [...origins.values()].flat())
  return (object) => {
    const from = origins.get(object.id)
    if (!from || linked.has(object.id)) return false
    const theirs = new Set(from.flatMap(({ code, id }) => sources.get(`${code}:${id}`) ?? []))
    return object.sources.every(({ name }) => theirs.has(name))
  }
}

async function sourceNames(
  library: Library,
  objects: readonly { readonly code: string; readonly id: number }[],
): Promise<ReadonlyMap<string, string[]>> {
  const found = new Map<string, string[]>()
  for (const [code, ids] of byCode(objects)) {
    for (let i = 0; i < ids.length; i += 1_000) {
      const owner = sql.ref(`x.${code}_id`)
      const { rows } = await sql<{ owner: unknown; name: string }>`
        select ${owner} as owner, s.name from ${sql.table(`${code}_sources`)} x join sources s on s.id = x.source_id
        where ${owner} in (${sql.join(ids.slice(i, i + 1_000))}) and ${sql.raw(liveSql('x'))}`.execute(
        library.database.db,
      )
      for (const { owner: id, name } of rows) {
        const key = `${code}:${Number(id)}`
        found.set(key, [...(found.get(key) ?? []), name])
      }
    }
  }
  return found
}

/** STIX ids of the ends of a page of links; undefined for an end that is not exported. */
async function endIds(
  library: Library,
  page: readonly StoredLink[],
  exported: ReadonlyMap<string, ReadonlySet<number>>,
): Promise<(end: StoredLink['from']) => string | undefined> {
  const ids = new Map<string, string>()
  const ends = page.flatMap(({ from, to }) => [from, to]).filter(({ code, id }) => exported.get(code)?.has(id))
  for (const [code, some] of byCode(ends)) {
    const table = OBJECT_TABLE_BY_CODE.get(code)!
    for (const [id, { uid, stixId }] of await idsOf(library, table, some)) ids.set(`${code}:${id}`, stixId ?? uid)
  }
  const unnamed = [...ids].filter(([, id]) => !id.includes('--'))
  for (const [key, uid] of unnamed) ids.set(key, await generatedId(library, key, uid))
  return ({ code, id }) => ids.get(`${code}:${id}`)
}

/** The id that `ownObject` gave: its type depends on the object. */
async function generatedId(library: Library, key: string, uid: string): Promise<string> {
  const [code = '', id = ''] = key.split(':')
  const table = OBJECT_TABLE_BY_CODE.get(code)!
  if (NEEDS_REFERENCES.has(code)) {
    const refs = await neighbours(library, [{ id: Number(id), table }])
    return `${refs.has(Number(id)) ? code : `${OWN_TYPE_PREFIX}${code}`}--${uid}`
  }
  if (code === 'signature') return `indicator--${uid}`
  const type = typeOfCode(code)
  if (type !== undefined) return `${type}--${uid}`
  let word = code
  if (table.name === 'custom_objects') {
    const { rows } = await sql<{ code: string }>`
      select k.code from custom_objects o join objects k on k.id = o.object_id where o.id = ${Number(id)}`.execute(
      library.database.db,
    )
    word = rows[0]?.code ?? code
  }
  return `${OWN_TYPE_PREFIX}${
    word
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-|-$/g, '') || uid
  }--${uid}`
}

/** STIX ids of what own notes and reports are linked with. */
async function neighbours(
  library: Library,
  page: readonly { readonly id: number; readonly table: Table }[],
): Promise<Map<number, string[]>> {
  const found = new Map<number, string[]>()
  const code = page[0]?.table.objectCode
  if (code === undefined) return found
  const ids = sql.join(page.map(({ id }) => id))
  const { rows } = await sql<{ own: unknown; other: string; other_id: unknown }>`
    select l.src_object_id as own, l.dest_type as other, l.dest_object_id as other_id
    from object_links l where l.src_type = ${code} and l.src_object_id in (${ids}) and ${sql.raw(liveSql('l'))}`.execute(
    library.database.db,
  )
  for (const { own, other, other_id } of rows) {
    const table = TABLE_BY_NAME.get(OBJECT_TABLE_BY_CODE.get(other)?.name ?? '')
    if (!table) continue
    const end = (await idsOf(library, table, [Number(other_id)])).get(Number(other_id))
    if (!end) continue
    const id =
      end.stixId ??
      (NEEDS_REFERENCES.has(other) ? undefined : await generatedId(library, `${other}:${Number(other_id)}`, end.uid))
    if (id !== undefined) found.set(Number(own), [...(found.get(Number(own)) ?? []), id])
  }
  return found
}

function byCode(objects: readonly { readonly code: string; readonly id: number }[]): Map<string, number[]> {
  const found = new Map<string, Set<number>>()
  for (const { code, id } of objects) {
    const ids = found.get(code)
    if (ids) ids.add(id)
    else found.set(code, new Set([id]))
  }
  return new Map([...found].map(([code, ids]) => [code, [...ids]]))
}
