/** Single objects of the threat library: add, show, list, delete; and how many there are. */
import { ColdtrailError, EXIT, printable } from '../core/errors.ts'
import { isoTimeText } from '../core/isoTime.ts'
import { countText, textTable, timeText } from '../core/terminalText.ts'
import type { LibraryObject, ObjectDetails } from '../index.ts'
import { defineCommand, flag, integerOr, text, texts } from './command.ts'
import type { Io } from './io.ts'
import { OBJECTS_OPTION } from './libraryExport.ts'

const addCommand = defineCommand({
  name: 'library add',
  summary: 'Add an object to the threat library, or give what is known of one that is there',
  details:
    'Without --type the value of an indicator tells its type; defanged values are taken. What is not named stays as it is.',
  arguments: [
    { name: '<object>', description: 'indicator, adversary, event, malware, tool, … or a custom type.' },
    { name: '<value>', description: 'Value, name or title.' },
  ],
  options: {
    type: text('NAME', 'IP Address, FQDN, URL, MD5, … of an indicator; types of events, signatures and others.'),
    status: text('NAME', 'Active, Expired, Indirect, Review, Whitelisted, …'),
    description: text('TEXT', 'What it is.'),
    tag: texts('NAME', 'Tag.'),
    attribute: texts('NAME=VALUE', 'Attribute.'),
    comment: texts('TEXT', 'Comment.'),
    source: text('NAME', 'Who says so; default manual.'),
    tlp: text('TLP', 'How far it may go: white (clear), green, amber, amber+strict, red.'),
    score: text('N', 'Score of an indicator, 0 to 10.'),
    expires: text('TIME', 'When an indicator expires.'),
    happened: text('TIME', 'When an event happened; required there.'),
    link: texts('NAME', 'Uid, STIX id or value of an object to link it with.'),
    relationship: text('NAME', 'Of the links: uses, indicates, …; default related-to.'),
  },
  examples: [
    {
      line: "library add indicator 'evil.example.com' --type FQDN --status Active --tag phishing",
      note: 'A host',
    },
    { line: "library add adversary 'Sandy Otter' --attribute Country=XX --tlp amber", note: 'An adversary' },
    {
      line: "library add malware RedStone --link 'Sandy Otter' --relationship used-by",
      note: 'Linked with one that is there',
    },
  ],
  exits: ['conflict', 'store'],
  async run([object, value], options, io) {
    const { type, status, description, tag, source, tlp, score, expires, happened, link, relationship } = options
    const coldtrail = await io.open()
    const added = await coldtrail.library.add({
      ...{ object, value, type, status, description, source, tlp, score, relationship },
      expires_at: expires,
      happened_at: happened,
      tags: tag,
      attributes: options.attribute.map(attributeOf),
      comments: options.comment.map((value) => ({ value })),
      links: link,
    })
    if (io.json) io.emit({ type: 'added', ...added })
    else io.print(`${OUTCOMES[added.outcome]} ${printable(value!)}  ${added.uid}`)
    return EXIT.ok
  },
})

const listCommand = defineCommand({
  name: 'library list',
  summary: 'List objects of the threat library that match an expression',
  details:
    'Columns: object, type, status, value, ip, description, class, score, tlp, source, tag, created_at, updated_at, ' +
    'published_at, expires_at, stix_id, uid and data.attributes.<name>. Those with several values match when any does.',
  arguments: [{ name: '[expression]', description: 'Which objects; all without it.' }],
  options: {
    object: OBJECTS_OPTION,
    limit: integerOr('N', 100, 'At most so many; 0 for all.'),
    deleted: flag('Deleted ones too.'),
  },
  examples: [
    { line: 'library list --limit 10', note: 'Some of what is there' },
    { line: `library list "type == 'FQDN' && tag == 'phishing'"`, note: 'Hosts with a tag' },
    { line: 'library list --object malware --limit 0 --json', note: 'All malware, one JSON object a line' },
  ],
  exits: ['store'],
  async run([where], { object, limit, deleted }, io) {
    const coldtrail = await io.open()
    const objects = object.length > 0 ? object : undefined
    const found = coldtrail.library.list({ where, objects, limit: limit === 0 ? undefined : limit, deleted })
    const rows: unknown[][] = []
    let count = 0
    for await (const one of found) {
      count += 1
      if (io.json) io.emit(objectJson(one))
      else if (io.terminal || rows.length > 0 || limit > 0) rows.push(cellsOf(one))
      else
        io.print(
          cellsOf(one)
            .map((cell) => printable(String(cell), 1_000))
            .join('\t'),
        )
    }
    if (io.json) return EXIT.ok
    if (count === 0) io.note('No objects.')
    else if (rows.length > 0)
      for (const line of textTable(HEAD, rows, io.width, (text) => io.style('bold', text))) io.print(line)
    if (limit > 0 && count === limit) io.note(`The first ${limit}; --limit 0 lists all.`)
    return EXIT.ok
  },
})

const showCommand = defineCommand({
  name: 'library show',
  summary: 'Show an object of the threat library with its context, links, and where each field came from',
  arguments: [{ name: '<name>', description: 'Uid, STIX id or value, in whatever notation.' }],
  options: {},
  examples: [
    { line: "library show 'evil[.]example[.]com'", note: 'By value' },
    { line: "library show 'evil.example.com' --json", note: 'With provenance, for programs' },
  ],
  exits: ['store'],
  async run([name], _options, io) {
    const coldtrail = await io.open()
    for (const object of await coldtrail.library.show(name!))
      if (io.json) io.emit(detailsJson(object))
      else printDetails(object, io)
    return EXIT.ok
  },
})

const deleteCommand = defineCommand({
  name: 'library delete',
  summary: 'Delete objects from the threat library; other sites get to know it by the next sync',
  details: 'All of them or none. Their context and links go with them; sync runs and provenance keep what was there.',
  arguments: [{ name: '<name…>', description: 'Uids, STIX ids or values.' }],
  options: { object: text('TYPE', 'Only an object of this type is meant.') },
  examples: [{ line: "library delete 'evil.example.com' --object indicator", note: 'One indicator' }],
  exits: ['conflict', 'store'],
  async run(names, { object }, io) {
    const coldtrail = await io.open()
    for (const one of await coldtrail.library.delete(names, object)) {
      if (io.json) io.emit({ type: 'deleted', object: one.object, uid: one.uid, value: one.value })
      else io.print(`Deleted ${one.object} ${printable(one.value)}  ${one.uid}`)
    }
    return EXIT.ok
  },
})

const statsCommand = defineCommand({
  name: 'library stats',
  summary: 'Count the rows of each table of the threat library, and objects by type',
  details: 'Nothing local is in it: with --json equal libraries print equal lines.',
  options: {},
  examples: [
    { line: 'library stats', note: 'As a table' },
    { line: 'library stats --json', note: 'One line, to be compared with that of another site' },
  ],
  exits: ['store'],
  async run(_args, _options, io) {
    const coldtrail = await io.open()
    const stats = await coldtrail.library.stats()
    if (io.json) {
      io.emit(stats)
      return EXIT.ok
    }
    const rows: (readonly unknown[])[] = []
    for (const [table, { rows: count, types }] of Object.entries(stats.tables)) {
      rows.push([count, table, ''])
      for (const [type, n] of Object.entries(types ?? {})) if (type !== '') rows.push([n, '', type])
    }
    if (rows.length === 0) io.note('The library is empty.')
    else
      for (const line of textTable(['rows', 'table', 'type'], rows, io.width, (text) => io.style('bold', text)))
        io.print(line)
    return EXIT.ok
  },
})

export const LIBRARY_OBJECT_COMMANDS = [addCommand, showCommand, listCommand, deleteCommand, statsCommand]

// --- internal ---

const OUTCOMES = { added: 'Added', changed: 'Changed', unchanged: 'Known already:' } as const
const HEAD = ['object', 'type', 'status', 'tlp', 'source', 'value']

function attributeOf(given: string): { readonly name: string; readonly value: string } {
  const at = given.indexOf('=')
  if (at < 1) throw new ColdtrailError('E_USAGE', { message: `--attribute: "${given}" is not NAME=VALUE.` })
  return { name: given.slice(0, at), value: given.slice(at + 1) }
}

const cellsOf = ({ object, type, status, tlp, sources, value }: LibraryObject): unknown[] => [
  object,
  type ?? '',
  status ?? '',
  tlp ?? '',
  sources.map(({ name }) => name).join(', '),
  value,
]

const moment = (at: number | null): string | null => (at === null ? null : isoTimeText(at))

/** Nothing of a database's own numbers. */
function objectJson(one: LibraryObject): object {
  const { object, uid, type, status, value, description, score, tlp, expired, stixId, tags } = one
  const known = {
    ...{ object, uid, type, status, value, description, class: one.class, score, tlp },
    expired: expired || null,
    stix_id: stixId,
    created_at: moment(one.createdAt),
    updated_at: moment(one.updatedAt),
    published_at: moment(one.publishedAt),
    expires_at: moment(one.expiresAt),
    deleted_at: moment(one.deletedAt),
    unpublished_at: moment(one.unpublishedAt),
  }
  const { stix: _, ...fields } = one.fields
  return {
    ...Object.fromEntries(Object.entries(known).filter(([, value]) => value !== null)),
    ...(Object.keys(fields).length > 0 ? { fields } : {}),
    tags,
    sources: one.sources.map(sourceJson),
    attributes: one.attributes.map(({ name, value, sources }) => ({ name, value, sources: sources.map(sourceJson) })),
  }
}

const sourceJson = ({ name, type, tlp }: LibraryObject['sources'][number]) => ({ name, type, ...(tlp && { tlp }) })

function detailsJson(one: ObjectDetails): object {
  const { comments, links, linkCount, descriptions, provenance, changes } = one
  const origin = (change: number) => {
    const { kind, seq, at, run, site, source } = changes[String(change)] ?? {}
    return { kind, seq, at: at === undefined ? undefined : isoTimeText(at), run, site, source }
  }
  const source = (row: ObjectDetails['sources'][number]) => ({ ...sourceJson(row), from: origin(row.createdChange) })
  const attribute = ({ name, value, sources, createdChange }: ObjectDetails['attributes'][number]) => ({
    ...{ name, value, sources: sources.map(source), from: origin(createdChange) },
  })
  const comment = ({ value, by, createdAt, createdChange }: ObjectDetails['comments'][number]) => ({
    ...{ value, by, created_at: isoTimeText(createdAt), from: origin(createdChange) },
  })
  return {
    ...objectJson(one),
    sources: one.sources.map(source),
    attributes: one.attributes.map(attribute),
    comments: comments.map(comment),
    ...(descriptions.length > 0 ? { descriptions } : {}),
    link_count: linkCount,
    links: links.map(({ direction, relationship, other, description, stixId, ...link }) => ({
      ...{ direction, relationship, other },
      ...(description === null ? {} : { description }),
      ...(stixId === null ? {} : { stix_id: stixId }),
      ...(link.sources.length > 0 ? { sources: link.sources.map(source) } : {}),
      ...(link.attributes.length > 0 ? { attributes: link.attributes.map(attribute) } : {}),
      ...(link.comments.length > 0 ? { comments: link.comments.map(comment) } : {}),
      from: origin(link.createdChange),
    })),
    provenance: Object.fromEntries(Object.entries(provenance).map(([field, change]) => [field, origin(change)])),
  }
}

function printDetails(one: ObjectDetails, io: Io): void {
  const line = (name: string, value: unknown): void => {
    if (value !== null && value !== undefined && value !== '')
      io.print(`  ${name.padEnd(12)} ${printable(String(value), 10_000)}`)
  }
  io.print(io.style('bold', `${one.object} ${printable(one.value, 1_000)}`))
  line('uid', one.uid)
  line('type', one.type)
  line('status', one.status)
  line('score', one.score)
  line('tlp', one.tlp)
  line('stix id', one.stixId)
  if (one.expiresAt !== null) line('expires', `${timeText(one.expiresAt)}${one.expired ? ' (expired)' : ''}`)
  if (one.publishedAt !== null) line('published', timeText(one.publishedAt))
  if (one.deletedAt !== null) line('deleted', timeText(one.deletedAt))
  if (one.unpublishedAt !== null) line('unpublished', timeText(one.unpublishedAt))
  line('description', one.description)
  line('tags', one.tags.join(', '))
  line('sources', one.sources.map(({ name, tlp }) => (tlp ? `${name} (${tlp})` : name)).join(', '))
  for (const { name, value } of one.attributes) line('attribute', `${name}: ${value ?? ''}`)
  for (const { value, by } of one.comments) line('comment', by === null ? value : `${by}: ${value}`)
  const shown = one.links.slice(0, SHOWN_LINKS)
  for (const { direction, relationship, other } of shown)
    line(
      'link',
      `${direction === 'out' ? '->' : '<-'} ${relationship ?? 'linked with'}: ${other.object} ${other.value}`,
    )
  if (one.linkCount > shown.length)
    line('', `and ${countText(one.linkCount - shown.length, 'more link')}; --json shows them`)
  const brought = new Map<string, string[]>()
  for (const [field, change] of Object.entries(one.provenance)) {
    const { kind, at, site, source, run } = one.changes[String(change)] ?? {}
    const from = [kind, source, site && `site ${site}`, at && timeText(at).slice(0, 19), run].filter(Boolean).join(', ')
    brought.set(from, [...(brought.get(from) ?? []), field])
  }
  for (const [from, fields] of brought) line('from', `${from}: ${fields.join(', ')}`)
}

const SHOWN_LINKS = 20
