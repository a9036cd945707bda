/**
 * A STIX object as a row, and back. What no column holds goes into the column `stix` as canonical JSON; rebuilding is
 * tried at once, so whatever the mapping does not foresee is kept whole. Attributes, tags and TLP of an object are made
 * from its properties on each side, and are no part of what is exported.
 */
import { parseIsoTime } from '../../core/isoTime.ts'
import { type TlpName, tlpNamed, tlpRank } from '../dictionaries.ts'
import { OBJECT_TABLE_BY_CODE } from '../model.ts'
import {
  canonicalJson,
  isObject,
  type Json,
  type JsonObject,
  listOf,
  property,
  sameJson,
  setProperty,
  textOf,
} from './jsonFile.ts'

export type Columns = Record<string, string | null>

/** STIX type to object code; other types are custom ones under their own name. */
export const CODE_OF_TYPE: ReadonlyMap<string, string> = new Map([
  ['attack-pattern', 'attack_pattern'],
  ['campaign', 'campaign'],
  ['course-of-action', 'course_of_action'],
  ['identity', 'identity'],
  ['incident', 'incident'],
  ['indicator', 'signature'],
  ['infrastructure', 'infrastructure'],
  ['intrusion-set', 'intrusion_set'],
  ['malware', 'malware'],
  ['note', 'note'],
  ['report', 'report'],
  ['sighting', 'event'],
  ['threat-actor', 'adversary'],
  ['tool', 'tool'],
  ['vulnerability', 'vulnerability'],
])

/** Object code of a STIX type. A type that has the name of a code that it is not gets another one. */
export const codeOfType = (type: string): string =>
  CODE_OF_TYPE.get(type) ?? (OBJECT_TABLE_BY_CODE.has(type) ? `stix-${type}` : type)

/** STIX type of a stored object without a `stix` of its own; undefined where STIX has none. */
export const typeOfCode = (code: string): string | undefined =>
  code === 'indicator' ? 'indicator' : code === 'event' ? undefined : TYPE_OF_CODE.get(code)

export interface MappedObject {
  readonly code: string
  /** Own columns, `stix_id` and `stix` among them. */
  readonly columns: Columns
  readonly type?: string
}

/** Throws a RangeError that says why an object has not the form of its type. */
export function rowOfObject(object: JsonObject): MappedObject {
  const type = object.type as string
  const code = codeOfType(type)
  const columns: Columns = { stix_id: object.id as string }
  const kept = (name: string): string | undefined => storable(textOf(property(object, name)))
  const time = (name: string): string | null => microseconds(property(object, name))
  columns.description = kept('description') ?? null
  columns.published_at = time('created')
  for (const [column, name, kind] of pairsOf(code))
    columns[column] = kind === 'time' ? time(name) : (kept(name) ?? null)
  let dictionaryType: string | undefined
  if (code === 'signature') {
    dictionaryType = PATTERN_TYPES.get(textOf(property(object, 'pattern_type')) ?? 'stix') ?? 'Custom'
    columns.value ??= kept('pattern') ?? null
    if (!columns.value) throw new RangeError('an indicator needs a pattern')
  } else if (code === 'event') {
    dictionaryType = 'Sighting'
    columns.title ??= titleOf(object)
    columns.happened_at = time('last_seen') ?? time('first_seen') ?? time('created')
    if (columns.happened_at === null) throw new RangeError('a sighting needs a time')
  } else {
    const column = code === 'adversary' ? 'name' : 'value'
    columns[column] ??= titleOf(object)
  }
  const rebuilt = rebuild(code, columns, {})
  const rest: JsonObject = {}
  for (const name of Object.keys(object)) {
    const value = object[name]!
    const again = property(rebuilt, name)
    if (again === undefined || !sameJson(again, value)) setProperty(rest, name, value)
  }
  columns.stix = canonicalJson(sameJson(objectOfRow(code, columns, rest), object) ? rest : { [WHOLE]: object })
  return { code, columns, type: dictionaryType }
}

/** The object that a row with a `stix_id` came from, with what was changed here since. */
export function objectOfRow(code: string, columns: Columns, rest: JsonObject): JsonObject {
  const whole = property(rest, WHOLE)
  if (isObject(whole) && Object.keys(rest).length === 1) return whole
  const object = rebuild(code, columns, rest)
  for (const name of Object.keys(rest)) setProperty(object, name, rest[name]!)
  return object
}

/** The name that people know an object by; never empty. */
export function titleOf(object: JsonObject): string {
  for (const name of TITLE_PROPERTIES) {
    const text = storable(textOf(property(object, name)), MAX_VALUE_BYTES)
    if (text) return text
  }
  const definition = property(object, 'definition')
  // In an order that canonical JSON keeps: the same title is found again from what is stored.
  const words = isObject(definition)
    ? Object.keys(definition)
        .sort()
        .map((name) => textOf(definition[name]))
    : []
  const text = storable(words.find(Boolean), 500)
  return text ? text : (object.id as string)
}

// --- what is made from an object's properties ---

export interface DerivedContext {
  readonly attributes: readonly { readonly name: string; readonly value: string }[]
  readonly tags: readonly string[]
}

/** Attributes and tags that an object's properties give; the same for the same object. */
export function derivedContext(object: JsonObject): DerivedContext {
  const attributes = new Map<string, { name: string; value: string }>()
  const add = (name: string, value: Json | undefined): void => {
    const kept = storable(textOf(value), MAX_VALUE_BYTES)
    if (kept && attributes.size < MAX_DERIVED) attributes.set(`${name}\0${kept}`, { name, value: kept })
  }
  for (const list of ['aliases', 'x_mitre_aliases'])
    for (const alias of listOf(property(object, list))) if (alias !== property(object, 'name')) add('Alias', alias)
  for (const reference of listOf(property(object, 'external_references')))
    if (isObject(reference)) add('External ID', property(reference, 'external_id'))
  for (const phase of listOf(property(object, 'kill_chain_phases'))) {
    if (!isObject(phase)) continue
    const chain = storable(textOf(property(phase, 'kill_chain_name')), 200)
    add(`Kill Chain: ${chain ?? 'unnamed'}`, property(phase, 'phase_name'))
  }
  if (property(object, 'revoked') === true) add('Revoked', 'true')
  const tags = listOf(property(object, 'labels'))
    .map((label) => storable(textOf(label), 500))
    .filter((label): label is string => Boolean(label))
  return { attributes: [...attributes.values()], tags: [...new Set(tags)].slice(0, MAX_DERIVED) }
}

/** Ids that an object refers to, with the name of the property; who made and marked it are not links. */
export function embeddedReferences(object: JsonObject): readonly (readonly [name: string, id: string])[] {
  const found = new Map<string, readonly [string, string]>()
  for (const name of Object.keys(object)) {
    if (!/^[a-z0-9_]{1,100}_refs?$/.test(name) || NO_LINKS.has(name)) continue
    const value = object[name]!
    for (const id of Array.isArray(value) ? value : [value])
      if (isStixId(id) && found.size < MAX_REFERENCES) found.set(`${name}\0${id}`, [name, id])
  }
  return [...found.values()]
}

export function isStixId(value: Json | undefined): value is string {
  return typeof value === 'string' && value.length <= 300 && STIX_ID.test(value)
}

/** TLP of a marking definition, or undefined. */
export function tlpOfMarking(marking: JsonObject): TlpName | undefined {
  const known = TLP_OF_MARKING.get(textOf(property(marking, 'id')) ?? '')
  if (known) return known
  const definition = property(marking, 'definition')
  const said = isObject(definition) ? textOf(property(definition, 'tlp')) : undefined
  const name = textOf(property(marking, 'name'))
  return said === undefined ? (name?.startsWith('TLP') ? tlpNamed(name) : undefined) : tlpNamed(said)
}

/** The narrowest TLP of an object's markings. */
export function tlpOf(object: JsonObject, markings: ReadonlyMap<string, TlpName>): TlpName | undefined {
  let found: TlpName | undefined
  for (const id of listOf(property(object, 'object_marking_refs'))) {
    const tlp = typeof id === 'string' ? (markings.get(id) ?? TLP_OF_MARKING.get(id)) : undefined
    if (tlp && (!found || tlpRank(tlp) > tlpRank(found))) found = tlp
  }
  return found
}

export const markingOfTlp = (tlp: string): string | undefined =>
  [...TLP_OF_MARKING].find(([, name]) => name === tlp)?.[0]

/** Text that a column of either database can hold; cut to `maxBytes` at a character. Undefined: it cannot. */
export function storable(text: string | undefined, maxBytes = MAX_TEXT_BYTES): string | undefined {
  if (text === undefined || text === '') return undefined
  const clean = text.isWellFormed() && !text.includes('\0') ? text : text.toWellFormed().replaceAll('\0', '\ufffd')
  if (clean.length * 3 <= maxBytes || Buffer.byteLength(clean) <= maxBytes) return clean
  return new TextDecoder().decode(Buffer.from(clean).subarray(0, maxBytes)).replace(/\ufffd$/, '')
}

/** Microseconds of an RFC 3339 time; null for anything else. */
export function microseconds(value: Json | undefined): string | null {
  if (typeof value !== 'string' || value.length > 40) return null
  const bytes = Buffer.from(value)
  const time = parseIsoTime(bytes, 0, bytes.length)
  return Number.isNaN(time) ? null : String(time)
}

/** As STIX writes times: with milliseconds, or microseconds where there are any. */
export function stixTime(microseconds: string): string {
  const time = BigInt(microseconds)
  const fraction = ((time % 1_000n) + 1_000n) % 1_000n
  const text = new Date(Number((time - fraction) / 1_000n)).toISOString()
  return fraction === 0n ? text : `${text.slice(0, -1)}${String(fraction).padStart(3, '0')}Z`
}

// --- internal ---

const WHOLE = '_'
const MAX_TEXT_BYTES = 8 * 1024 * 1024
const MAX_VALUE_BYTES = 65_500
const MAX_DERIVED = 10_000
const MAX_REFERENCES = 50_000
const STIX_ID = /^[a-z0-9][a-z0-9-]*--[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

const TYPE_OF_CODE: ReadonlyMap<string, string> = new Map([...CODE_OF_TYPE].map(([type, code]) => [code, type]))

const PATTERN_TYPES: ReadonlyMap<string, string> = new Map([
  ['stix', 'STIX Indicator Pattern'],
  ['yara', 'YARA'],
  ['snort', 'Snort'],
  ['bro', 'Bro'],
  ['zeek', 'Bro'],
])

/** The first of these that is a text names an object. */
const TITLE_PROPERTIES = ['name', 'value', 'abstract', 'summary', 'opinion', 'subject', 'key', 'path', 'user_id']

const NO_LINKS = new Set([
  'created_by_ref',
  'object_marking_refs',
  'x_mitre_modified_by_ref',
  'source_ref',
  'target_ref',
])

const TLP_OF_MARKING: ReadonlyMap<string, TlpName> = new Map([
  ['marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9', 'white'],
  ['marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da', 'green'],
  ['marking-definition--f88d31f6-486f-44da-b317-01333bde0b82', 'amber'],
  ['marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003', 'amber+strict'],
  ['marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed', 'red'],
  ['marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487', 'white'],
  ['marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb', 'green'],
  ['marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421', 'amber'],
  ['marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1', 'red'],
])

type Pair = readonly [column: string, property: string, kind: 'text' | 'time']

const NAME_PAIR: readonly Pair[] = [['value', 'name', 'text']]
const PAIRS: ReadonlyMap<string, readonly Pair[]> = new Map<string, readonly Pair[]>([
  ['adversary', [['name', 'name', 'text']]],
  [
    'signature',
    [
      ['name', 'name', 'text'],
      ['value', 'pattern', 'text'],
    ],
  ],
  ['event', []],
  ['campaign', [...NAME_PAIR, ['started_at', 'first_seen', 'time'], ['ended_at', 'last_seen', 'time']]],
  ['intrusion_set', [...NAME_PAIR, ['first_seen', 'first_seen', 'time'], ['last_seen', 'last_seen', 'time']]],
  ['identity', [...NAME_PAIR, ['point_of_contact', 'contact_information', 'text']]],
])

/** Columns of a code that are properties under another name or form. */
const pairsOf = (code: string): readonly Pair[] => PAIRS.get(code) ?? NAME_PAIR

/** Properties that the columns give. `rest` says of a title whether it is the name. */
function rebuild(code: string, columns: Columns, rest: JsonObject): JsonObject {
  const object: JsonObject = {}
  const stixId = columns.stix_id!
  setProperty(object, 'id', stixId)
  setProperty(object, 'type', stixId.slice(0, stixId.indexOf('--')))
  if (columns.description !== null && columns.description !== undefined)
    setProperty(object, 'description', columns.description)
  if (columns.published_at !== null && columns.published_at !== undefined)
    setProperty(object, 'created', stixTime(columns.published_at))
  for (const [column, name, kind] of pairsOf(code)) {
    const value = columns[column]
    if (value === null || value === undefined) continue
    if (name === 'name' && !Object.hasOwn(rest, 'name') && Object.keys(rest).length > 0) {
      // A title that stands in another property, too, was taken from there.
      const other = { ...rest, id: stixId }
      if (titleOf(other) === value) continue
    }
    setProperty(object, name, kind === 'time' ? stixTime(value) : value)
  }
  return object
}
