/** ThreatQ's exports: pages of its API and its CSV. Names decide, never ids (L01); what cannot be taken is told (L18). */
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { applyQuarantine, importFiles } from '../../../src/library/formats/importRun.ts'
import type { Library } from '../../../src/library/library.ts'
import { listQuarantine } from '../../../src/library/quarantine.ts'
import { listObjects, showObject } from '../../../src/library/read.ts'
import { listOf, withFreshLibrary } from '../../support/freshLibrary.ts'
import { mutated, seededRandom } from '../../support/random.ts'

const PAGES = join(import.meta.dirname, '../../fixtures/library/threatq')
const pages = readdirSync(PAGES)
  .filter((name) => name.endsWith('.json'))
  .map((name) => join(PAGES, name))
const import_ = (library: Library, files: readonly string[] = pages) =>
  importFiles(library, { files, source: 'threatq', tlp: 'amber' }).then(([summary]) => summary!)
const reasons = async (library: Library) =>
  (await listOf(listQuarantine(library))).map(({ code, reason }) => `${code}: ${reason}`).sort()

async function inFolder<T>(
  files: Readonly<Record<string, string | Uint8Array>>,
  action: (paths: string[]) => Promise<T>,
): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-threatq-'))
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
    return await action(Object.keys(files).map((name) => join(directory, name)))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
const page = (...rows: unknown[]): string => JSON.stringify({ total: rows.length, data: rows })

test('pages: every collection, its context, TLP of each source row, links of what is within', () =>
  withFreshLibrary('sqlite', async (library) => {
    const summary = await import_(library)
    assert.deepEqual([summary.format, summary.quarantined], ['threatq', 2])
    const objects = await listOf(listObjects(library))
    assert.deepEqual(
      objects.map(({ object, type, status, value, tlp }) => [object, type, status, value, tlp].join('|')).sort(),
      [
        'adversary|||Sandy Otter|green',
        'attachment|Malware Analysis Report||report.txt|amber',
        'building|Plant||Hall 5|amber',
        'campaign|||Spring|amber',
        'event|Spearphish||Invoice wave|amber',
        'indicator|Badge Number|Active|B-1177|amber',
        'indicator|FQDN|Active|bad.example.com|green',
        'indicator|IP Address|Whitelisted|198.51.100.80|amber',
        'indicator|MD5|Active|d41d8cd98f00b204e9800998ecf8427e|amber',
        'malware|||RedStone|amber',
        'signature|YARA|Non-malicious|rule otter { condition: false }|amber',
        'task||In Progress|Look at the mails|amber',
      ],
    )
    const [domain] = await showObject(library, 'bad.example.com')
    assert.deepEqual(
      [domain!.score, domain!.expiresAt, domain!.publishedAt, domain!.tags, domain!.description],
      [7, 1_924_992_000_000_000, 1_709_294_400_000_000, ['c2', 'phishing'], '<p>First <b>stage</b></p>'],
    )
    assert.deepEqual(
      domain!.sources.map(({ name, tlp }) => [name, tlp]),
      [
        ['Example Feed', 'amber'],
        ['analyst@example.com', 'green'],
      ],
    )
    assert.deepEqual(
      domain!.attributes.map(({ name, value }) => `${name}=${value}`),
      ['Confidence=High', 'Port=443'],
    )
    assert.deepEqual(
      domain!.comments.map(({ value }) => value),
      ['seen twice'],
    )
    // One link, though both ends name each other.
    assert.deepEqual(
      domain!.links.map(({ other }) => other.value),
      ['Sandy Otter'],
    )
    const [file] = objects.filter(({ object }) => object === 'attachment')
    const sha256 = Buffer.from(String(file!.fields.sha256), 'hex')
    assert.equal(library.blobs.size(sha256), 30, 'found by its MD5, whatever its path says')
    const again = await import_(library)
    assert.deepEqual([again.inserted, again.updated, again.deleted], [0, 0, 0])
    assert.deepEqual(await applyQuarantine(library), { applied: 0, held: 2 })
  }))

test('L01: a type or status that is only an id is never guessed, and comes with its name', () =>
  withFreshLibrary('sqlite', async (library) => {
    // 27 is String in a newer ThreatQ and nothing in an older one; 5 would be Whitelisted.
    const row = { id: 1, type_id: 27, status_id: 5, class: 'host', value: 'a value' }
    await inFolder({ 'indicators.json': page(row) }, (paths) => import_(library, paths))
    assert.match((await reasons(library)).join(), /^reference: type_id 27 has no name here.*indicator_types\.json/)
    const dictionaries = {
      'indicators.json': page(row),
      'indicator_types.json': page({ id: 27, name: 'Mutex' }),
      'indicator_statuses.json': page({ id: 5, name: 'Review' }),
    }
    // Given last, read first.
    await inFolder(dictionaries, (paths) => import_(library, paths))
    const [found] = await listOf(listObjects(library))
    assert.deepEqual([found!.type, found!.status], ['Mutex', 'Review'])
  }))

test('the same row is one, whichever page has the most of it', () =>
  withFreshLibrary('sqlite', async (library) => {
    const files = {
      'adversaries.json': page({
        id: 1,
        name: 'A',
        indicators: [{ id: 2, class: 'network', type: 'FQDN', value: 'a.example' }],
      }),
      'indicators.json': page({ id: 2, class: 'network', type: 'FQDN', value: 'a.example', description: 'the whole' }),
    }
    await inFolder(files, (paths) => import_(library, paths))
    const found = (await listOf(listObjects(library))).map(({ value, description }) => [value, description])
    assert.deepEqual(found, [
      ['a.example', 'the whole'],
      ['A', null],
    ])
  }))

test('a protected status stays, whatever a page says', () =>
  withFreshLibrary('sqlite', async (library) => {
    const row = (status: string) => page({ id: 1, class: 'network', type: 'FQDN', status, value: 'good.example.com' })
    await inFolder({ 'indicators.json': row('Whitelisted') }, (paths) => import_(library, paths))
    await inFolder({ 'indicators.json': row('Active') }, (paths) => import_(library, paths))
    assert.equal((await listOf(listObjects(library)))[0]!.status, 'Whitelisted')
  }))

test('CSV: headings of ThreatQ, others as attributes, its own types; --format threatq tells it', () =>
  withFreshLibrary('sqlite', async (library) => {
    const files = [join(PAGES, 'indicators.csv')]
    await assert.rejects(importFiles(library, { files, source: 'csv' }), /Malware Family/)
    await importFiles(library, { files, source: 'csv', format: 'threatq', tlp: 'amber' })
    assert.deepEqual(
      (await listOf(listObjects(library))).map(({ type, status, value, tlp, tags, attributes }) => [
        ...[type, status, value, tlp, tags.join()],
        attributes.map(({ name, value }) => `${name}=${value}`).join(),
      ]),
      [
        ['FQDN', 'Active', 'worse.example.com', 'green', 'c2,phishing', 'Malware Family=RedStone'],
        ['IP Address', 'Whitelisted', '203.0.113.99', 'white', '', ''],
        ['Badge Number', 'Review', 'B-2200', 'amber', '', "Malware Family==cmd|' /C calc'!A0"],
      ],
    )
    assert.match((await reasons(library)).join(), /TLP "pink" is unknown/)
    assert.deepEqual(await applyQuarantine(library), { applied: 0, held: 1 })
  }))

test('a folder without contents, a content that is another, a stub with its digest', () =>
  withFreshLibrary('sqlite', async (library) => {
    const directory = mkdtempSync(join(tmpdir(), 'coldtrail-threatq-'))
    try {
      cpSync(PAGES, directory, { recursive: true })
      writeFileSync(join(directory, 'files/1044.bin'), 'something else')
      const stub = { id: 1, name: 'stub.txt', type: 'PDF', file_size: 3, sha256: 'ab'.repeat(32) }
      writeFileSync(join(directory, 'files-2.json'), page(stub))
      await import_(library, [join(directory, 'files.json'), join(directory, 'files-2.json')])
      assert.equal((await reasons(library)).filter((reason) => /is not in the folder "files"/.test(reason)).length, 2)
      assert.deepEqual(
        (await listOf(listObjects(library))).map(({ value }) => value),
        ['stub.txt'],
      )
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  }))

const ok = { id: 9, class: 'network', type: 'FQDN', value: 'neighbour.example.com' }
const HOSTILE: readonly (readonly [name: string, row: unknown, reason: RegExp | undefined])[] = [
  ['no object', 'text', /no object/],
  ['a list', [1, 2], /no object/],
  ['nothing in it', {}, /what kind of object/],
  ['no value', { class: 'network', type: 'FQDN' }, /no value, title or name/],
  ['an empty value', { class: 'network', type: 'FQDN', value: ' ' }, /value is missing/],
  ['a NUL', { class: 'network', type: 'FQDN', value: 'a\0b' }, /NUL/],
  ['half a character', { class: 'network', type: 'FQDN', value: '\ud800' }, /half a character/],
  ['too long', { class: 'network', type: 'String', value: 'x'.repeat(70_000) }, /longer than/],
  ['no type', { class: 'network', value: 'a.example' }, /no type/],
  ['a type of a prototype', { class: 'network', type: '__proto__', value: 'p.example' }, undefined],
  ['a kind of a prototype', { object_code: 'constructor', value: 'x' }, undefined],
  ['a kind like SQL', { object_code: "x'; drop table indicators; --", value: 'x' }, /no kind of object/],
  ['a kind like a path', { object_code: '../../etc', value: 'x' }, /no kind of object/],
  ['a TLP that is none', { ...ok, value: 't.example', sources: [{ name: 'f', tlp: 'pink' }] }, /TLP "pink"/],
  ['a TLP id of a stranger', { ...ok, value: 'u.example', sources: [{ name: 'f', tlp_id: 77 }] }, /tlp_id 77/],
  ['a time that is none', { ...ok, value: 'v.example', expires_at: 'soon' }, /expires_at "soon"/],
  ['an event at no time', { title: 'x', object_code: 'event' }, /happened_at/],
  ['an attribute without a name', { ...ok, value: 'w.example', attributes: [{ value: 'x' }] }, /attribute has no name/],
  ['attributes that are no objects', { ...ok, value: 'y.example', attributes: [1] }, /attribute has no name/],
  ['deleted', { ...ok, value: 'z.example', deleted_at: '2024-01-01 00:00:00' }, /deleted in ThreatQ/],
  ['a score beyond', { ...ok, value: 's.example', score: { manual_score: '77.00' } }, /score/],
  ['an id that is a list', { ...ok, id: [[]], type_id: {}, value: 'i.example' }, undefined],
]

test('hostile rows: each is told, or taken as text; its neighbours come in', () =>
  withFreshLibrary('sqlite', async (library) => {
    for (const [name, row, reason] of HOSTILE) {
      const before = (await reasons(library)).length
      const text = `{"total": 2, "data": [${JSON.stringify(row)}, ${JSON.stringify(ok)}]}`
      await inFolder({ 'page.json': text }, (paths) => import_(library, paths))
      const found = (await listOf(listQuarantine(library))).slice(before)
      if (reason === undefined) assert.deepEqual(found, [], name)
      else assert.match(found.map(({ reason }) => reason).join(), reason, name)
    }
    const values = (await listOf(listObjects(library))).map(({ value }) => value)
    assert.deepEqual(values.sort(), ['i.example', 'neighbour.example.com', 'p.example', 'x'])
    const twice = '{"total": 1, "data": [{"id": 1, "class": "network", "type": "FQDN", "value": "a", "value": "b"}]}'
    await inFolder({ 'page.json': twice }, (paths) => import_(library, paths))
    assert.match((await reasons(library)).join('\n'), /"value".*twice|twice.*"value"/)
  }))

test('files that are no page are refused whole', () =>
  withFreshLibrary('sqlite', async (library) => {
    const given = (text: string, format: 'auto' | 'threatq' = 'auto') =>
      inFolder({ 'indicators.json': text }, (files) => importFiles(library, { files, source: 's', format }))
    await assert.rejects(given('{"total": 1, "data": "x"}'), /E_LIBRARY_FORMAT|neither a STIX/)
    await assert.rejects(given('{"error": "Unauthenticated."}', 'threatq'), /no answer of ThreatQ/)
    await assert.rejects(given('{"total": 1, "data": [', 'threatq'), /line 1, column/)
    await assert.rejects(given(`{"total": 1, "data": ${'['.repeat(500)}`, 'threatq'), /nested|deep/)
    assert.deepEqual(await listOf(listObjects(library)), [])
  }))

test('pages cut or changed at random places are taken, quarantined or refused, and nothing else', () =>
  withFreshLibrary('sqlite', async (library) => {
    const seed = 20_260_301
    const random = seededRandom(seed)
    const texts = pages.map((path) => readFileSync(path))
    for (let round = 0; round < 60; round++) {
      const bytes = texts[random(texts.length)]!
      const changed = random(3) === 0 ? bytes.subarray(0, random(bytes.length)) : mutated(bytes, random).bytes
      await inFolder({ 'indicators.json': changed }, (files) =>
        importFiles(library, { files, source: 's', format: 'threatq' }),
      ).catch((error: { code?: string }) => {
        assert.ok(
          ['E_LIBRARY_FILE', 'E_LIBRARY_FORMAT', 'E_CSV'].includes(error.code ?? ''),
          `seed ${seed}, round ${round}: ${error}`,
        )
      })
    }
  }))
