/**
 * MISP event JSON in: an event, a list of them, or an answer of its API. Events become events, attributes indicators or
 * signatures, objects custom objects with their attributes, galaxy clusters the objects that they describe.
 */
import { isoTimeText } from '../../core/isoTime.ts'
import { type TlpName, tlpNamed } from '../dictionaries.ts'
import { indicatorTypeOf } from '../observables.ts'
import {
  type AttributeClaim,
  type CommentClaim,
  derivedUid,
  type ObjectClaim,
  type ObjectRef,
  type SourceClaim,
} from '../stagedObjects.ts'
import { time } from './fields.ts'
import type { Intake } from './intake.ts'
import {
  ExactNumber,
  isObject,
  type Json,
  type JsonFile,
  type JsonObject,
  listOf,
  property,
  textOf,
} from './jsonFile.ts'
import { storable } from './stixObject.ts'
import { indicatorsOfPattern } from './stixPattern.ts'

/** Object code of MISP's objects; which template is their type. */
export const MISP_OBJECT_CODE = 'misp-object'

/** The events of a document; undefined when it is no document of MISP. */
export function mispEvents(value: Json): readonly JsonObject[] | undefined {
  const list = Array.isArray(value) ? (value as readonly Json[]) : [value]
  const found: JsonObject[] = []
  for (const one of list) {
    if (!isObject(one)) return undefined
    const response = property(one, 'response')
    if (response !== undefined) {
      const inner = mispEvents(response)
      if (!inner) return undefined
      found.push(...inner)
      continue
    }
    const event = property(one, 'Event') ?? one
    if (!isObject(event) || textOf(property(event, 'info')) === undefined) return undefined
    found.push(event)
  }
  return found
}

/** The name that the events give their source: that of the one organisation that made them. */
export function sourceOfMisp(events: readonly JsonObject[]): string | undefined {
  const names = new Set(events.map((event) => organisation(event, 'Orgc') ?? organisation(event, 'Org')))
  return names.size === 1 ? [...names][0] : undefined
}

export async function stageMisp(file: JsonFile, name: string, intake: Intake): Promise<void> {
  for (const event of mispEvents(file.value)!) {
    const fault = file.faultOf(event)
    if (fault === undefined) await new Event(event, intake, (part) => `${name} line ${file.lineOf(part)}`).stage()
    else intake.refuse(`${name} line ${file.lineOf(event)}`, 'form', fault, event)
  }
}

/** A part that was in quarantine, with what it needs of its event. */
export async function stageMispRecord(record: Json, place: string, intake: Intake): Promise<void> {
  const event = isObject(record) ? property(record, 'Event') : undefined
  if (isObject(event)) await new Event(event, intake, () => place).stage()
  else intake.refuse(place, 'form', 'it is no part of an event', record)
}

// --- internal ---

const MAX_NAME = 500

class Event {
  readonly #event: JsonObject
  readonly #intake: Intake
  readonly #placeOf: (part: Json) => string
  readonly #refs = new Map<string, ObjectRef[]>()
  #tlp: TlpName | undefined
  #ref!: ObjectRef

  constructor(event: JsonObject, intake: Intake, placeOf: (part: Json) => string) {
    this.#event = event
    this.#intake = intake
    this.#placeOf = placeOf
  }

  async stage(): Promise<void> {
    const event = this.#event
    this.#tlp = tlpOfTags(event)
    const title = storable(textOf(property(event, 'info')), 65_500)
    const happened = dateOf(property(event, 'date')) ?? seconds(property(event, 'timestamp'))
    if (title === undefined || happened === undefined) {
      const reason = title === undefined ? 'the event has no info' : 'the event has neither a date nor a timestamp'
      this.#intake.refuse(this.#placeOf(event), 'form', reason, { Event: event }, 'events')
      return
    }
    const uuid = uuidOf(event)
    const word = (names: Readonly<Record<string, string>>, name: string): string | undefined =>
      names[scalar(property(event, name)) ?? '']
    this.#ref = this.#intake.staged.add({
      code: 'event',
      uid: uuid && derivedUid('misp', uuid),
      columns: { title, happened_at: happened, published_at: seconds(property(event, 'publish_timestamp')) ?? null },
      type: 'MISP Event',
      sources: [this.#claim(event)],
      attributes: present([
        ['Threat Level', word(THREAT_LEVELS, 'threat_level_id')],
        ['Analysis', word(ANALYSES, 'analysis')],
        ['Organisation', organisation(event, 'Orgc') ?? organisation(event, 'Org')],
        ['MISP UUID', uuid],
        ['MISP Event ID', scalar(property(event, 'id'))],
      ]),
      tags: tagsOf(event),
    })
    this.#galaxies(event, [this.#ref])
    for (const attribute of listOf(property(event, 'Attribute'))) {
      this.#attribute(attribute, this.#ref)
      await this.#intake.breathe()
    }
    const objects = listOf(property(event, 'Object')).filter((object) => this.#isObject(object, 'Object'))
    for (const object of objects) {
      this.#object(object as JsonObject)
      await this.#intake.breathe()
    }
    for (const object of objects) this.#references(object as JsonObject)
    for (const report of listOf(property(event, 'EventReport'))) this.#report(report)
    for (const proposal of listOf(property(event, 'ShadowAttribute')))
      this.#refuse('type', 'a proposal is not taken before it was accepted', 'ShadowAttribute', proposal)
  }

  #claim(part: JsonObject): SourceClaim {
    return this.#intake.claim(tlpOfTags(part) ?? this.#tlp)
  }

  /** A part goes to quarantine with the event that it needs, and nothing else of it. */
  #refuse(code: 'form' | 'type' | 'reference', reason: string, key: string, part: Json): void {
    const { info, date, timestamp, uuid, Tag, Orgc } = this.#event as Record<string, Json | undefined>
    const head = Object.fromEntries(
      Object.entries({ info, date, timestamp, uuid, Tag, Orgc }).filter(([, value]) => value !== undefined),
    ) as JsonObject
    this.#intake.refuse(this.#placeOf(part), code, reason, { Event: { ...head, [key]: [part] } }, 'indicators')
  }

  #isObject(part: Json, key: string): part is JsonObject {
    if (isObject(part)) return property(part, 'deleted') !== true && scalar(property(part, 'deleted')) !== '1'
    this.#refuse('form', `a member of ${key} is no object`, key, part)
    return false
  }

  /** Indicators of an attribute, linked with `owner`. Undefined: it has no counterpart, and `owner` may keep it. */
  #attribute(attribute: Json, owner: ObjectRef, isOfObject = false): AttributeClaim | undefined {
    if (!this.#isObject(attribute, 'Attribute')) return undefined
    const type = textOf(property(attribute, 'type')) ?? ''
    const value = storable(scalar(property(attribute, 'value')), 65_500)
    const relation = storable(textOf(property(attribute, 'object_relation')), MAX_NAME)
    if (value === undefined) {
      this.#refuse('form', 'the attribute has no value', 'Attribute', attribute)
      return undefined
    }
    const claims = claimsOf(type, value)
    if (claims.length === 0) {
      if (isOfObject) return { name: relation ?? type, value }
      const reason =
        claimsOf(type, '').length > 0 || KNOWN_TYPES.has(type)
          ? `"${value.slice(0, 80)}" has not the form of ${type}`
          : `the type "${type.slice(0, 60)}" has no counterpart`
      this.#refuse(KNOWN_TYPES.has(type) ? 'form' : 'type', reason, 'Attribute', attribute)
      return undefined
    }
    const source = this.#claim(attribute)
    const seen = this.#sightings(attribute)
    const refs = claims.map((claim) =>
      this.#intake.staged.add({
        ...claim,
        columns: { ...claim.columns, ...(claim.code === 'indicator' ? seen.columns : {}) },
        sources: [source],
        attributes: present([
          ['Category', textOf(property(attribute, 'category'))],
          ['MISP Type', type],
          [
            'To IDS',
            typeof property(attribute, 'to_ids') === 'boolean' ? String(property(attribute, 'to_ids')) : undefined,
          ],
          ...seen.attributes,
        ]),
        comments: commentOf(attribute, claim.columns.value ?? ''),
        tags: tagsOf(attribute),
      }),
    )
    const uuid = uuidOf(attribute)
    if (uuid) this.#refs.set(uuid, refs)
    for (const ref of refs) this.#link(owner, ref, relation ?? type)
    this.#galaxies(attribute, refs)
    return undefined
  }

  #object(object: JsonObject): void {
    const name = storable(textOf(property(object, 'name')), MAX_NAME) ?? 'object'
    const uuid = uuidOf(object)
    const members = listOf(property(object, 'Attribute'))
    const first = members.find((one) => isObject(one) && scalar(property(one, 'value')))
    const label = isObject(first) ? (scalar(property(first, 'value')) ?? '') : ''
    const value = storable(`${name}: ${label}${uuid ? ` (${uuid})` : ''}`, 1_000)!
    // Attributes without a counterpart stay with the object, so it is staged with them, once they are known.
    const own = members.flatMap((member) => {
      if (!isObject(member)) return []
      const text = storable(scalar(property(member, 'value')), 65_500)
      const type = textOf(property(member, 'type')) ?? ''
      if (text === undefined || claimsOf(type, text).length > 0) return []
      return [
        { name: storable(textOf(property(member, 'object_relation')), MAX_NAME) ?? (type || 'value'), value: text },
      ]
    })
    const ref = this.#intake.staged.add({
      code: MISP_OBJECT_CODE,
      uid: uuid && derivedUid('misp', uuid),
      columns: { value, description: storable(textOf(property(object, 'comment'))) ?? null },
      type: name,
      sources: [this.#claim(object)],
      attributes: [...present([['Meta Category', textOf(property(object, 'meta-category'))]]), ...own],
    })
    this.#link(this.#ref, ref, 'object')
    if (uuid) this.#refs.set(uuid, [ref])
    for (const member of members) this.#attribute(member, ref, true)
  }

  #references(object: JsonObject): void {
    const from = this.#refs.get(uuidOf(object) ?? '')
    for (const reference of listOf(property(object, 'ObjectReference'))) {
      if (!isObject(reference) || !from) continue
      const to = this.#refs.get((textOf(property(reference, 'referenced_uuid')) ?? '').toLowerCase())
      const relationship = storable(textOf(property(reference, 'relationship_type')), MAX_NAME) ?? 'references'
      if (!to) this.#refuse('reference', 'what an object refers to is not in its event', 'Object', object)
      else for (const a of from) for (const b of to) this.#link(a, b, relationship)
    }
  }

  #report(report: Json): void {
    if (!this.#isObject(report, 'EventReport')) return
    const name = storable(textOf(property(report, 'name')), 65_500)
    if (name === undefined) {
      this.#refuse('form', 'the report has no name', 'EventReport', report)
      return
    }
    const uuid = uuidOf(report)
    const ref = this.#intake.staged.add({
      code: 'report',
      uid: uuid && derivedUid('misp', uuid),
      columns: { value: name, description: storable(textOf(property(report, 'content'))) ?? null },
      sources: [this.#claim(report)],
    })
    this.#link(this.#ref, ref, 'report')
  }

  #galaxies(part: JsonObject, owners: readonly ObjectRef[]): void {
    for (const galaxy of listOf(property(part, 'Galaxy'))) {
      if (!isObject(galaxy)) continue
      for (const cluster of listOf(property(galaxy, 'GalaxyCluster'))) {
        if (!isObject(cluster)) continue
        const type = textOf(property(cluster, 'type')) ?? textOf(property(galaxy, 'type')) ?? ''
        const code = CLUSTERS.find(([pattern]) => pattern.test(type))?.[1]
        const value = storable(textOf(property(cluster, 'value')), 65_500)
        if (code === undefined || value === undefined) {
          const reason =
            value === undefined ? 'the cluster has no value' : `the galaxy "${type.slice(0, 60)}" has no counterpart`
          this.#refuse(value === undefined ? 'form' : 'type', reason, 'Galaxy', { ...galaxy, GalaxyCluster: [cluster] })
          continue
        }
        const meta = property(cluster, 'meta')
        const words = (key: string): string[] => {
          const list = isObject(meta) ? property(meta, key) : undefined
          return (Array.isArray(list) ? (list as readonly Json[]) : list === undefined ? [] : [list]).flatMap((one) => {
            const text = storable(scalar(one), 65_500)
            return text === undefined ? [] : [text]
          })
        }
        const ref = this.#intake.staged.add({
          code,
          columns: {
            [code === 'adversary' ? 'name' : 'value']: value,
            description: storable(textOf(property(cluster, 'description'))) ?? null,
          },
          sources: [this.#claim(part)],
          attributes: present([
            ...words('external_id').map((id) => ['External ID', id] as const),
            ...words('synonyms').map((name) => ['Alias', name] as const),
          ]),
        })
        for (const owner of owners) this.#link(owner, ref, 'galaxy')
      }
    }
  }

  /** Sightings of an attribute: when it was seen last, false positives, expiry. */
  #sightings(attribute: JsonObject): {
    readonly columns: Record<string, string | null>
    readonly attributes: (readonly [string, string | undefined])[]
  } {
    let last = isoOf(property(attribute, 'last_seen'))
    let expires: string | undefined
    const attributes: (readonly [string, string | undefined])[] = []
    for (const sighting of listOf(property(attribute, 'Sighting')).slice(0, 10_000)) {
      if (!isObject(sighting)) continue
      const at = seconds(property(sighting, 'date_sighting'))
      const who = storable(textOf(property(sighting, 'source')) || organisation(sighting, 'Organisation'), MAX_NAME)
      if (at === undefined) continue
      const said = `${isoTimeText(Number(at))}${who === undefined ? '' : ` ${who}`}`
      switch (scalar(property(sighting, 'type')) ?? '0') {
        case '1':
          attributes.push(['False Positive', said])
          break
        case '2':
          expires = at
          break
        default:
          if (last === undefined || Number(at) > Number(last)) last = at
          attributes.push(['Sighting', said])
      }
    }
    return { columns: { last_detected_at: last ?? null, expires_at: expires ?? null }, attributes }
  }

  #link(from: ObjectRef, to: ObjectRef, relationship: string): void {
    this.#intake.staged.link({ from, to, relationship, sources: [this.#intake.claim(this.#tlp)] })
  }
}

const THREAT_LEVELS: Readonly<Record<string, string>> = { '1': 'High', '2': 'Medium', '3': 'Low', '4': 'Undefined' }
const ANALYSES: Readonly<Record<string, string>> = { '0': 'Initial', '1': 'Ongoing', '2': 'Completed' }

const CLUSTERS: readonly (readonly [RegExp, string])[] = [
  [/intrusion-set/, 'intrusion_set'],
  [/threat-actor|activity-group/, 'adversary'],
  [/attack-pattern/, 'attack_pattern'],
  [/course-of-action/, 'course_of_action'],
  [/campaign/, 'campaign'],
  [/malware|malpedia|ransomware|^rat$|backdoor|stealer|banker|botnet|android|cryptominer|exploit-kit/, 'malware'],
  [/tool/, 'tool'],
]

/** MISP attribute type to indicator type; an address, hash or name is checked by its form. */
const INDICATOR_TYPES: ReadonlyMap<string, string> = new Map([
  ['ip-src', 'IP Address'],
  ['ip-dst', 'IP Address'],
  ['domain', 'FQDN'],
  ['hostname', 'FQDN'],
  ['url', 'URL'],
  ['uri', 'URL Path'],
  ['email', 'Email Address'],
  ['email-src', 'Email Address'],
  ['email-dst', 'Email Address'],
  ['email-reply-to', 'Email Address'],
  ['email-subject', 'Email Subject'],
  ['email-attachment', 'Email Attachment'],
  ['email-x-mailer', 'X-Mailer'],
  ['md5', 'MD5'],
  ['sha1', 'SHA-1'],
  ['sha256', 'SHA-256'],
  ['sha384', 'SHA-384'],
  ['sha512', 'SHA-512'],
  ['ssdeep', 'Fuzzy Hash'],
  ['filename', 'Filename'],
  ['mutex', 'Mutex'],
  ['regkey', 'Registry Key'],
  ['user-agent', 'User-agent'],
  ['http-user-agent', 'User-agent'],
  ['AS', 'ASN'],
  ['mac-address', 'MAC Address'],
  ['vulnerability', 'CVE'],
  ['windows-service-name', 'Service Name'],
  ['target-user', 'Username'],
  ['github-username', 'Username'],
])

const SIGNATURE_TYPES: ReadonlyMap<string, string> = new Map([
  ['yara', 'YARA'],
  ['snort', 'Snort'],
  ['bro', 'Bro'],
  ['zeek', 'Bro'],
  ['sigma', 'Custom'],
  ['stix2-pattern', 'STIX Indicator Pattern'],
  ['pattern-in-traffic', 'Regex'],
])

const OBJECT_TYPES: ReadonlyMap<string, string> = new Map([
  ['threat-actor', 'adversary'],
  ['campaign-name', 'campaign'],
])

const COMPOSITES: ReadonlyMap<string, readonly string[]> = new Map<string, readonly string[]>([
  ['domain|ip', ['domain', 'ip-dst']],
  ['ip-src|port', ['ip-src']],
  ['ip-dst|port', ['ip-dst']],
  ['hostname|port', ['hostname']],
  ['regkey|value', ['regkey']],
  ...['md5', 'sha1', 'sha256', 'sha384', 'sha512', 'ssdeep'].map(
    (hash) => [`filename|${hash}`, ['filename', hash]] as const,
  ),
  ['malware-sample', ['filename', 'md5']],
])

const KNOWN_TYPES: ReadonlySet<string> = new Set([...INDICATOR_TYPES.keys(), ...COMPOSITES.keys()])

/** Types whose values have a form of their own. */
const CHECKED = new Set(['IP Address', 'FQDN', 'URL', 'Email Address', 'MD5', 'SHA-1', 'SHA-256', 'SHA-512', 'CVE'])

function claimsOf(type: string, value: string): Pick<ObjectClaim, 'code' | 'columns' | 'type'>[] {
  const signature = SIGNATURE_TYPES.get(type)
  if (signature !== undefined) {
    const made = type === 'stix2-pattern' ? indicatorsOfPattern(value) : []
    return [
      { code: 'signature', columns: { value }, type: signature },
      ...made.map((one) => ({ code: 'indicator', columns: { value: one.value }, type: one.type })),
    ]
  }
  const code = OBJECT_TYPES.get(type)
  if (code !== undefined) return [{ code, columns: { [code === 'adversary' ? 'name' : 'value']: value } }]
  const parts = COMPOSITES.get(type)
  if (parts) {
    const values = value.split('|')
    const claims = parts.map((part, i) => indicatorClaim(part, values[i] ?? ''))
    return claims.every((claim) => claim !== undefined) ? claims : []
  }
  const claim = indicatorClaim(type, value)
  return claim ? [claim] : []
}

function indicatorClaim(type: string, given: string): Pick<ObjectClaim, 'code' | 'columns' | 'type'> | undefined {
  const indicatorType = INDICATOR_TYPES.get(type)
  const value = given.trim()
  if (indicatorType === undefined || value === '') return undefined
  if (!CHECKED.has(indicatorType)) return { code: 'indicator', columns: { value }, type: indicatorType }
  const found = indicatorTypeOf(value)
  const fits =
    found?.type === indicatorType ||
    (indicatorType === 'IP Address' && (found?.type === 'IPv6 Address' || found?.type === 'CIDR Block'))
  if (fits) return { code: 'indicator', columns: { value: found!.value }, type: found!.type }
  // A name of a zone of one's own, or a URL without a scheme, is still what MISP says it is.
  const isName = indicatorType === 'FQDN' && /^[\w-]+(?:\.[\w-]+)+$/.test(value)
  return isName || indicatorType === 'URL' ? { code: 'indicator', columns: { value }, type: indicatorType } : undefined
}

const uuidOf = (part: JsonObject): string | undefined => {
  const uuid = textOf(property(part, 'uuid'))?.toLowerCase()
  return uuid !== undefined && /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid) ? uuid : undefined
}

function organisation(part: JsonObject, key: string): string | undefined {
  const found = property(part, key)
  return isObject(found) ? storable(textOf(property(found, 'name')), 200) : undefined
}

/** MISP writes numbers as texts here and as numbers there. */
function scalar(value: Json | undefined): string | undefined {
  if (value instanceof ExactNumber) return value.text
  return typeof value === 'number' ? String(value) : textOf(value)
}

function seconds(value: Json | undefined): string | undefined {
  const text = scalar(value)
  return text !== undefined && /^\d{1,11}$/.test(text) && text !== '0' ? `${Number(text)}000000` : undefined
}

function dateOf(value: Json | undefined): string | undefined {
  try {
    return time('date', textOf(value)) ?? undefined
  } catch {
    return undefined
  }
}

const isoOf = (value: Json | undefined): string | undefined => dateOf(value)

function tagNames(part: JsonObject): string[] {
  return listOf(property(part, 'Tag')).flatMap((tag) => {
    const name = isObject(tag) ? storable(textOf(property(tag, 'name')), MAX_NAME) : undefined
    return name === undefined ? [] : [name]
  })
}

/** A TLP is no tag but says how far a row may go. */
const tagsOf = (part: JsonObject): string[] => tagNames(part).filter((name) => !isTlp(name))

const isTlp = (name: string): boolean => /^tlp:/i.test(name) && tlpNamed(name) !== undefined

const tlpOfTags = (part: JsonObject): TlpName | undefined => {
  const name = tagNames(part).find(isTlp)
  return name === undefined ? undefined : tlpNamed(name)
}

const present = (pairs: readonly (readonly [string, string | undefined])[]): AttributeClaim[] =>
  pairs.flatMap(([name, value]) => {
    const kept = storable(value, 65_500)
    return kept === undefined ? [] : [{ name, value: kept }]
  })

function commentOf(attribute: JsonObject, of: string): CommentClaim[] {
  const comment = storable(textOf(property(attribute, 'comment')), 65_500)
  const uuid = uuidOf(attribute)
  return comment === undefined ? [] : [{ value: comment, uid: uuid && derivedUid('misp comment', uuid, of) }]
}
