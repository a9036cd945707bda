/** MISP, CSV and plain lists: what becomes of each row, and what is told of those that cannot be taken. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { exportCsv } from '../../../src/library/formats/csvExport.ts'
import { applyQuarantine, importFiles } from '../../../src/library/formats/importRun.ts'
import { indicatorsOfPattern, patternOfIndicator } from '../../../src/library/formats/stixPattern.ts'
import type { Library } from '../../../src/library/library.ts'
import { listQuarantine } from '../../../src/library/quarantine.ts'
import { listObjects, showObject } from '../../../src/library/read.ts'
import { listOf, withFreshLibrary } from '../../support/freshLibrary.ts'

const fixture = (name: string): string => join(import.meta.dirname, '../../fixtures/library', name)
const refusals = async (library: Library) =>
  (await listOf(listQuarantine(library))).map(({ place, code, reason }) => [place, code, reason])

async function inFile<T>(content: string | Buffer, action: (path: string) => Promise<T>, name = 'given'): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'coldtrail-formats-'))
  try {
    const path = join(directory, name)
    writeFileSync(path, content)
    return await action(path)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

test('MISP: event, attributes, objects, galaxies, tags, TLP and sightings; the rest is quarantined', () =>
  withFreshLibrary('sqlite', async (library) => {
    const [summary] = await importFiles(library, { files: [fixture('event.misp.json')] })
    assert.deepEqual([summary!.format, summary!.source], ['misp', 'Example CERT'])
    const objects = await listOf(listObjects(library))
    const found = (code: string) => objects.filter(({ object }) => object === code)
    const [event] = found('event')
    assert.deepEqual(
      [event?.value, event?.type, event?.fields.happened_at, event?.publishedAt, event?.tlp, event?.tags],
      ['Phishing of the spring', 'MISP Event', 1_709_251_200_000_000, 1_709_300_000_000_000, 'green', ['type:OSINT']],
    )
    assert.deepEqual(
      event?.attributes.map(({ name, value }) => `${name}=${value}`),
      [
        'Analysis=Completed',
        'MISP Event ID=7',
        'MISP UUID=5f9f0a1e-0000-4000-8000-000000000001',
        'Organisation=Example CERT',
        'Threat Level=Medium',
      ],
    )
    assert.deepEqual(
      found('indicator')
        .map(({ type, value }) => `${type} ${value}`)
        .sort(),
      [
        'FQDN evil.example.com',
        'Filename a.exe',
        'IP Address 198.51.100.9',
        'IPv6 Address 2001:db8::1',
        'MD5 d41d8cd98f00b204e9800998ecf8427e',
        'SHA-1 da39a3ee5e6b4b0d3255bfef95601890afd80709',
      ],
    )
    const [domain] = await showObject(library, 'evil.example.com')
    assert.deepEqual(
      [
        domain?.tlp,
        domain?.tags,
        domain?.fields.last_detected_at,
        domain?.expiresAt,
        domain?.comments.map(({ value }) => value),
      ],
      ['amber', ['c2'], 1_709_294_000_000_000, 1_909_295_000_000_000, ['first stage']],
    )
    assert.deepEqual(
      domain?.attributes.map(({ name, value }) => `${name}=${value}`),
      [
        'Category=Network activity',
        'False Positive=2024-03-01T12:10:00Z',
        'MISP Type=domain',
        'Sighting=2024-03-01T11:36:40Z',
        'Sighting=2024-03-01T11:53:20Z proxy',
        'To IDS=true',
      ],
    )
    const links = (await showObject(library, 'Phishing of the spring'))[0]!.links
    assert.deepEqual(links.map(({ relationship, other }) => `${relationship} ${other.object}`).sort(), [
      'domain indicator',
      'filename|md5 indicator',
      'filename|md5 indicator',
      'galaxy adversary',
      'galaxy attack_pattern',
      'ip-dst|port indicator',
      'ip-src indicator',
      'object misp-object',
      'report report',
      'yara signature',
    ])
    const [file] = found('misp-object')
    assert.deepEqual(
      [file?.type, file?.attributes.map(({ name, value }) => `${name}=${value}`)],
      ['file', ['Meta Category=file', 'size-in-bytes=0']],
    )
    assert.deepEqual(
      (await showObject(library, file!.uid))[0]!.links
        .map(({ relationship, other }) => `${relationship} ${other.value}`)
        .sort(),
      [
        'connects-to evil.example.com',
        'object Phishing of the spring',
        'sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709',
      ],
    )
    assert.deepEqual(
      (await refusals(library)).map(([, code, reason]) => [code, reason]),
      [
        ['type', 'the galaxy "sector" has no counterpart'],
        ['form', '"not a hash" has not the form of md5'],
        ['type', 'the type "cookie" has no counterpart'],
        ['form', 'the attribute has no value'],
        ['form', 'a member of Attribute is no object'],
        ['reference', 'what an object refers to is not in its event'],
        ['type', 'a proposal is not taken before it was accepted'],
      ],
    )
    const [again] = await importFiles(library, { files: [fixture('event.misp.json')] })
    assert.deepEqual([again!.inserted, again!.updated], [0, 0])
    assert.equal((await refusals(library)).length, 7)
    assert.deepEqual(await applyQuarantine(library), { applied: 0, held: 7 })
  }))

test('CSV: known columns in any order, quoting, lists and attributes; bad rows say why', () =>
  withFreshLibrary('sqlite', async (library) => {
    const [summary] = await importFiles(library, { files: [fixture('objects.csv')], source: 'partner', tlp: 'green' })
    assert.equal(summary!.format, 'csv')
    const objects = await listOf(listObjects(library))
    assert.deepEqual(
      objects.map(({ object, type, status, value, tlp, tags, score, attributes, stixId }) => [
        ...[object, type, status, value, tlp, tags.join(), score],
        attributes.map(({ name, value }) => `${name}=${value}`).join(),
        stixId !== null,
      ]),
      [
        ['indicator', 'FQDN', 'Active', 'evil.example.com', 'amber', 'c2,phishing', 9, 'Port=443', false],
        ['indicator', 'IP Address', null, '198.51.100.77', 'green', 'a|b', null, 'Owner=x,Owner=y', false],
        ['adversary', null, null, 'Sandy Otter', 'green', '', null, '', false],
        ['event', 'Incident', null, 'Alarm', 'green', '', null, '', false],
        ['malware', null, null, 'RedStone', 'green', '', null, '', true],
      ],
    )
    assert.equal(objects[0]?.description, 'a "quoted", text\r\nof two lines')
    assert.deepEqual(await refusals(library), [
      ['objects.csv line 8', 'form', 'the indicator type "IP Adress" is unknown; did you mean IP Address?'],
      ['objects.csv line 9', 'form', '"no indicator" has the form of no indicator type; name one'],
      ['objects.csv line 10', 'form', 'the status "Actve" is unknown; did you mean Active?'],
      ['objects.csv line 11', 'form', 'the score "11" is none of 0 to 10'],
      ['objects.csv line 12', 'form', 'the TLP "purple" is unknown; there are white, green, amber, amber+strict, red'],
      ['objects.csv line 13', 'form', (await refusals(library))[5]![2]!],
      ['objects.csv line 14', 'form', 'the value is missing'],
    ])
    assert.match((await refusals(library))[5]![2]!, /^the object type "thing" is unknown/)
    const text = (
      await listOf(exportCsv(library, { asText: (value) => value }, { objects: 0, relationships: 0 }))
    ).join('')
    await withFreshLibrary('sqlite', (other) =>
      inFile(text, async (path) => {
        const [back] = await importFiles(other, { files: [path], source: 'somebody else' })
        assert.equal(back!.quarantined, 0)
        const again = await listOf(exportCsv(other, { asText: (value) => value }, { objects: 0, relationships: 0 }))
        assert.equal(again.join(''), text)
      }),
    )
  }))

test('CSV that is none is refused whole, with line and column', () =>
  withFreshLibrary('sqlite', async (library) => {
    const refused = (content: string | Buffer, wanted: object) =>
      inFile(content, (path) =>
        assert.rejects(importFiles(library, { files: [path], format: 'csv', source: 'x' }), wanted),
      )
    const row = 'evil.example.com,FQDN\n'
    await refused('value,colour\nx,y\n', {
      code: 'E_LIBRARY_FILE',
      message: /line 1, column 2: the header has "colour"/,
    })
    await refused('value,name\nx,y\n', { code: 'E_LIBRARY_FILE', message: /"value" twice/ })
    await refused('type\nFQDN\n', { code: 'E_LIBRARY_FILE', message: /no "value"/ })
    await refused(`value,type\n${row}${row}x,y,z\n`, { code: 'E_CSV', message: /line 4/ })
    await refused(`value,type\n${row}"x\n`, { code: 'E_CSV' })
    await refused(Buffer.from('value,type\nx\0,y\n'), { code: 'E_CSV', message: /NUL/ })
    await refused(Buffer.from([...Buffer.from('value\nx'), 0xff, 0x0a]), { code: 'E_CSV', message: /UTF-8/ })
    assert.deepEqual(await listOf(listObjects(library)), [])
    assert.deepEqual(await refusals(library), [])
  }))

test('plain lists: the form of a line tells its type; comments, defanged values, and what is none', () =>
  withFreshLibrary('sqlite', async (library) => {
    const [summary] = await importFiles(library, { files: [fixture('indicators.txt')], source: 'helpdesk' })
    assert.equal(summary!.format, 'list')
    assert.deepEqual(
      (await listOf(listObjects(library))).map(({ type, value }) => [type, value]),
      [
        ['FQDN', 'evil.example.com'],
        ['URL', 'https://bad.example.com/path?x=1'],
        ['IP Address', '198.51.100.5'],
        ['IPv6 Address', '2001:db8::5'],
        ['CIDR Block', '198.51.100.0/24'],
        ['MD5', 'd41d8cd98f00b204e9800998ecf8427e'],
        ['SHA-1', 'da39a3ee5e6b4b0d3255bfef95601890afd80709'],
        ['SHA-256', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
        ['CVE', 'CVE-2024-12345'],
        ['Email Address', 'someone@example.com'],
      ],
    )
    assert.deepEqual(await refusals(library), [['indicators.txt line 15', 'type', 'it has the form of no indicator']])
    await inFile('evil.example.com\n', (path) =>
      importFiles(library, { files: [path], source: 'helpdesk', mirror: true }),
    )
    assert.deepEqual(
      (await listOf(listObjects(library))).map(({ value }) => value),
      ['evil.example.com'],
    )
  }))

test('a file tells its format, and one that is none is refused', () =>
  withFreshLibrary('sqlite', async (library) => {
    const refused = (content: string | Buffer, wanted: object, more: object = {}) =>
      inFile(content, (path) => assert.rejects(importFiles(library, { files: [path], ...more }), wanted))
    await refused('once upon a time\nthere was nothing\n', { code: 'E_LIBRARY_FORMAT' })
    await refused('{"a":1}', { code: 'E_LIBRARY_FORMAT' })
    await refused('[]{', { code: 'E_LIBRARY_FILE', message: /line 1, column 3/ })
    await refused('{"a":1}', { code: 'E_LIBRARY_FORMAT', message: /no STIX bundle/ }, { format: 'stix' })
    await refused('{"a":1}', { code: 'E_LIBRARY_FORMAT', message: /no event of MISP/ }, { format: 'misp' })
    await refused(Buffer.from([...Buffer.from('{"a":\n "x'), 0xff, ...Buffer.from('"}')]), {
      code: 'E_LIBRARY_FILE',
      message: /line 2, column 4: these bytes are not UTF-8/,
    })
    await refused('1.2.3.4\n', { code: 'E_USAGE', message: /--source/ }, { mirror: true })
    await assert.rejects(importFiles(library, { files: [fixture('nothing.json')] }), { code: 'E_FILE_READ' })
    await assert.rejects(importFiles(library, { files: [fixture('')] }), {
      code: 'E_LIBRARY_FORMAT',
      message: /folder/,
    })
    await assert.rejects(
      importFiles(library, { files: [fixture('late.stix.json'), fixture('indicators.txt')], source: 'x' }),
      {
        code: 'E_LIBRARY_FORMAT',
      },
    )
    assert.deepEqual(await listOf(listObjects(library)), [])
  }))

test('a pattern gives what it compares, and nothing that it negates or orders', () => {
  const types = (pattern: string) => indicatorsOfPattern(pattern).map(({ type, value }) => `${type} ${value}`)
  assert.deepEqual(types("[ipv4-addr:value = '10.0.0.1/32' OR ipv4-addr:value ISSUBSET '10.1.0.0/16']"), [
    'IP Address 10.0.0.1',
    'CIDR Block 10.1.0.0/16',
  ])
  assert.deepEqual(types("[file:hashes.'SHA-1' = 'aa' AND file:hashes.MD5='bb' AND file:name = 'it\\'s [x] = \\\\']"), [
    'SHA-1 aa',
    'MD5 bb',
    "Filename it's [x] = \\",
  ])
  assert.deepEqual(
    types("[domain-name:value != 'a.example' AND NOT domain-name:value = 'b.example' OR url:value NOT IN ('c')]"),
    [],
  )
  assert.deepEqual(
    types("[domain-name:value LIKE '%.example' OR file:size > 12 OR autonomous-system:number = 64500]"),
    ['ASN AS64500'],
  )
  assert.deepEqual(types("[windows-registry-key:values[*].name = 'x'] REPEATS 5 TIMES WITHIN 10 SECONDS"), [])
  for (const broken of ["[url:value = '", "''''", '[[[', "[a:b IN ('x',", '\\'.repeat(1_000)])
    assert.deepEqual(types(broken), [])
  const values: readonly (readonly [string, string])[] = [
    ['IP Address', '198.51.100.1'],
    ['CIDR Block', '2001:db8::/32'],
    ['URL', "https://example.com/a'b\\c"],
    ['SHA-256', 'ab'.repeat(32)],
    ['User-agent', 'curl/8'],
    ['Service Name', 'svc'],
    ['ASN', 'AS64500'],
    ['CVE', 'CVE-2024-12345'],
  ]
  for (const [type, value] of values)
    assert.deepEqual(indicatorsOfPattern(patternOfIndicator({ type, value })!), [{ type, value }])
})
