/** The commands of the threat library as a person types them. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { IMPORT_POLICY } from '../../src/library/formats/importRun.ts'
import { openLibrary } from '../../src/library/library.ts'
import { merge } from '../../src/library/merge/merge.ts'
import { openStaging } from '../../src/library/merge/staging.ts'
import { StagedObjects } from '../../src/library/stagedObjects.ts'
import { shell } from '../support/guide.ts'
import { inTemporary, jsonLines, LAUNCHER, type Outcome, runCommand } from './runColdtrail.ts'

const fixture = (name: string): string => join(import.meta.dirname, '../fixtures/library', name)

const site =
  (cwd: string) =>
  (...args: string[]) =>
    runCommand(args, { cwd })

function ok({ status, stdout, stderr }: Outcome): string {
  assert.equal(status, 0, stdout + stderr)
  return stdout
}

test('from import to export: what goes in is listed, shown, counted and comes out', () =>
  inTemporary(async (cwd) => {
    const coldtrail = site(cwd)
    const stix = fixture('oddities.stix.json')
    const dry = ok(await coldtrail('library', 'import', stix, '--source', 'feed', '--dry-run'))
    assert.match(dry, /feed: read \d+ objects and \d+ links\.\n {2}would be added \d+ rows/)
    assert.match((await coldtrail('library', 'list')).stderr, /No objects/)
    const [summary] = jsonLines(
      ok(await coldtrail('library', 'import', stix, '--source', 'feed', '--tlp', 'GREEN', '--json')),
    )
    assert.deepEqual(
      [summary!.type, summary!.source, summary!.quarantined, summary!.dry_run],
      ['import', 'feed', 0, false],
    )
    assert.match(
      ok(await coldtrail('library', 'import', stix, '--source', 'feed')),
      /added 0 rows, changed 0, deleted 0/,
    )

    const listed = jsonLines(ok(await coldtrail('library', 'list', "object == 'adversary'", '--json')))
    assert.deepEqual(
      listed.map(({ value, tlp, tags }) => [value, tlp, tags]),
      [['Sandy Otter', 'amber', ['alpha', 'crime', 'zeta']]],
    )
    assert.ok(!('id' in listed[0]!), "numbers of the database are nobody's business")
    assert.match(
      ok(await coldtrail('library', 'list', '--object', 'malware', '--limit', '1')),
      /^object .*\nmalware .*\n$/,
    )
    const shown = ok(await coldtrail('library', 'show', 'evil[.]example[.]com'))
    assert.match(shown, /type {9}FQDN/)
    assert.match(shown, /<- pattern: signature/)
    assert.match(shown, /from .*import, feed/)
    const [details] = jsonLines(ok(await coldtrail('library', 'show', 'Sandy Otter', '--json')))
    assert.equal(((details!.provenance as Record<string, { source: string }>).name ?? { source: '' }).source, 'feed')
    // Rows of its context know it too.
    type Row = { readonly from: { readonly source: string; readonly run: string; readonly kind: string } }
    for (const part of ['sources', 'attributes', 'links'] as const)
      for (const { from } of details![part] as Row[])
        assert.deepEqual([from.kind, from.source, from.run], ['import', 'feed', summary!.run], part)
    assert.ok((details!.links as Row[]).length + (details!.attributes as Row[]).length > 0)

    ok(await coldtrail('library', 'export', '--out', 'out.json'))
    const given = JSON.parse(readFileSync(stix, 'utf8')) as { id: string; objects: { id: string }[] }
    const written = JSON.parse(readFileSync(join(cwd, 'out.json'), 'utf8')) as typeof given
    assert.equal(written.id, given.id)
    const byId = (objects: readonly { id: string }[]) =>
      Object.fromEntries(objects.map((object) => [object.id, object]))
    assert.deepEqual(byId(written.objects), byId(given.objects))
    const csv = ok(await coldtrail('library', 'export', '--format', 'csv', "type == 'FQDN'"))
    assert.match(csv, /^object,type,value,.*\nindicator,FQDN,evil\.example\.com,.*\n$/)
  }))

test('a second site that takes the same prints the same line of counts', () =>
  inTemporary(async (cwd) => {
    const [low, high] = ['low', 'high'].map((name) => {
      mkdirSync(join(cwd, name))
      return site(join(cwd, name))
    })
    const stix = fixture('oddities.stix.json')
    ok(await low!('library', 'import', stix, '--source', 'feed'))
    ok(await high!('library', 'import', fixture('late.stix.json'), '--source', 'feed'))
    ok(await high!('library', 'import', stix, '--source', 'feed', '--mirror'))
    const lines = [await low!('library', 'stats', '--json'), await high!('library', 'stats', '--json')].map(ok)
    assert.equal(lines[0], lines[1])
    assert.equal(lines[0]!.split('\n').length, 2)
    assert.match(ok(await low!('library', 'stats')), /malware/)
  }))

test('L19: library undo takes back an import, an object made by hand and a mirror, each once', () =>
  inTemporary(async (cwd) => {
    const coldtrail = site(cwd)
    const stats = async () => ok(await coldtrail('library', 'stats', '--json'))
    const imported = async (...args: string[]) =>
      jsonLines(ok(await coldtrail('library', 'import', ...args, '--source', 'desk', '--json')))[0]!.run as string
    writeFileSync(join(cwd, 'one.txt'), 'evil.example.com\n192.0.2.7\n')
    writeFileSync(join(cwd, 'two.txt'), 'evil.example.com\n192.0.2.8\n')
    const first = await imported('one.txt')
    const before = await stats()
    const second = await imported('two.txt', '--mirror')
    assert.match(ok(await coldtrail('library', 'undo', second)), /indicators: 1 taken away, 1 brought back, 0 kept/)
    assert.equal(await stats(), before)
    const again = await coldtrail('library', 'undo', second)
    assert.equal(again.status, 2)
    assert.match(again.stderr, /undone already/)
    assert.equal((await coldtrail('library', 'undo', 'none')).status, 2)

    ok(await coldtrail('library', 'add', 'malware', 'RedStone'))
    const [shown] = jsonLines(ok(await coldtrail('library', 'show', 'RedStone', '--json')))
    const { run } = (shown!.provenance as Record<string, { run: string }>).value!
    ok(await coldtrail('library', 'undo', run))
    assert.equal(await stats(), before)

    // The same file brings all of it again.
    ok(await coldtrail('library', 'undo', first))
    assert.match((await coldtrail('library', 'list')).stderr, /No objects/)
    await imported('one.txt')
    assert.equal(await stats(), before)
  }))

test('objects by hand: added, changed, linked, deleted; mistakes are told and nothing is written', () =>
  inTemporary(async (cwd) => {
    const coldtrail = site(cwd)
    const add = (...args: string[]) => coldtrail('library', 'add', ...args)
    ok(
      await add(
        'indicator',
        'hxxp://evil[.]example[.]com/a',
        '--status',
        'active',
        '--tag',
        'phishing',
        '--score',
        '7',
      ),
    )
    assert.match(ok(await add('indicator', 'http://evil.example.com/a', '--tag', 'phishing')), /^Known already: /)
    const [changed] = jsonLines(
      ok(await add('indicator', 'http://evil.example.com/a', '--tag', 'c2', '--comment', 'seen', '--json')),
    )
    assert.equal(changed!.outcome, 'changed')
    ok(
      await add(
        'malware',
        'RedStone',
        '--link',
        'http://evil.example.com/a',
        '--relationship',
        'communicates-with',
        '--attribute',
        'Family=yes',
      ),
    )
    const [shown] = jsonLines(ok(await coldtrail('library', 'show', changed!.uid as string, '--json')))
    assert.deepEqual([shown!.tags, shown!.status, shown!.score], [['c2', 'phishing'], 'Active', 7])
    assert.deepEqual(
      (shown!.links as { relationship: string }[]).map(({ relationship }) => relationship),
      ['communicates-with'],
    )

    const refused: readonly (readonly [RegExp, string[]])[] = [
      [
        /status "Actve" is unknown; did you mean Active/,
        ['library', 'add', 'indicator', 'x.example.com', '--status', 'Actve'],
      ],
      [/has the form of no indicator type/, ['library', 'add', 'indicator', 'nothing']],
      [/object type "malwear" is unknown; did you mean malware/, ['library', 'add', 'malwear', 'x']],
      [/NAME=VALUE/, ['library', 'add', 'malware', 'x', '--attribute', 'Port']],
      [/TLP "pink" is unknown/, ['library', 'import', fixture('indicators.txt'), '--tlp', 'pink']],
      [/E_OBJECT_UNKNOWN/, ['library', 'delete', 'RedStone', 'nobody']],
      [/E_OBJECT_UNKNOWN/, ['library', 'show', 'nobody']],
      [/none of list, apply and dismiss/, ['library', 'quarantine', 'aply']],
    ]
    for (const [message, line] of refused) {
      const { status, stderr } = await coldtrail(...line)
      assert.equal(status, 2, stderr)
      assert.match(stderr, message)
    }
    ok(await coldtrail('library', 'show', 'RedStone'))
    assert.match(ok(await coldtrail('library', 'delete', 'RedStone')), /^Deleted malware RedStone /)
    assert.deepEqual(jsonLines(ok(await coldtrail('library', 'list', '--object', 'malware', '--json'))), [])
    assert.equal(
      jsonLines(ok(await coldtrail('library', 'list', '--object', 'malware', '--deleted', '--json'))).length,
      1,
    )
    // What is added again is there again.
    ok(await add('malware', 'RedStone'))
    assert.equal(jsonLines(ok(await coldtrail('library', 'list', '--object', 'malware', '--json'))).length, 1)
  }))

test('quarantine: listed with reasons, applied when the end has come, dismissed', () =>
  inTemporary(async (cwd) => {
    const coldtrail = site(cwd)
    const partial = await coldtrail('library', 'import', fixture('refused.stix.json'), '--source', 'feed')
    assert.equal(partial.status, 3, partial.stderr)
    assert.match(partial.stdout, /quarantined 11 rows:\n {4}refused\.stix\.json/)
    const held = jsonLines(ok(await coldtrail('library', 'quarantine', '--json')))
    assert.equal(held.length, 11)
    assert.ok(held.every(({ origin, payload }) => origin === 'feed' && payload === undefined))
    ok(await coldtrail('library', 'import', fixture('late.stix.json'), '--source', 'feed'))
    const applied = await coldtrail('library', 'quarantine', 'apply', '--json')
    assert.deepEqual([applied.status, jsonLines(applied.stdout)], [3, [{ type: 'applied', applied: 1, held: 10 }]])
    const ids = held.slice(0, 2).map(({ id }) => String(id))
    assert.match(ok(await coldtrail('library', 'quarantine', 'dismiss', ...ids)), /Dismissed 2 rows/)
    assert.equal((await coldtrail('library', 'quarantine', 'dismiss')).status, 2)
    for (const action of ['apply', 'dismiss']) {
      const unknown = await coldtrail('library', 'quarantine', action, '7', '4711', '4712')
      assert.deepEqual([unknown.status, /No row 4711, 4712 is held/.test(unknown.stderr)], [2, true])
    }
    assert.equal(jsonLines(ok(await coldtrail('library', 'quarantine', 'list', '--json'))).length, 8)
    assert.equal(jsonLines(ok(await coldtrail('library', 'quarantine', 'list', '--settled', '--json'))).length, 11)
  }))

test('standard input, refused files, and a directory without data', () =>
  inTemporary(async (cwd) => {
    assert.match((await site(cwd)('library', 'list')).stderr, /E_DATA_MISSING/)
    const input = readFileSync(fixture('objects.csv'))
    const csv = await runCommand(['library', 'import', '-', '--format', 'csv', '--source', 'partner'], { cwd, input })
    assert.equal(csv.status, 3, csv.stderr)
    writeFileSync(join(cwd, 'bad.json'), '{"type": "bundle",\n "objects": [}')
    const bad = await site(cwd)('library', 'import', 'bad.json', '--json')
    assert.equal(bad.status, 9)
    assert.match(bad.stderr, /bad\.json, line 2, column 14/)
    writeFileSync(join(cwd, 'formula.csv'), "value,type\n'=1+1',String\n=2+2,String\n")
    ok(await site(cwd)('library', 'import', 'formula.csv'))
    assert.match(ok(await site(cwd)('library', 'export', '--format', 'csv', "value == '=2+2'")), /,=2\+2,/)
    assert.match(
      ok(await site(cwd)('library', 'export', '--format', 'csv', '--spreadsheet', "value == '=2+2'")),
      /,'=2\+2,/,
    )
  }))

test('P33: files come out by content, and those left out as the text that says so', () =>
  inTemporary(async (cwd) => {
    const dataDir = join(cwd, 'coldtrail-data')
    const library = await openLibrary({ dataDir })
    const content = Buffer.from('%PDF-1.7 …')
    const { sha256 } = await library.blobs.put(content)
    const staged = new StagedObjects({ now: Date.now() * 1_000 })
    for (const [name, digest] of [
      ['../../etc/report.pdf', sha256.toString('hex')],
      ['absent.pdf', createHash('sha256').update('absent').digest('hex')],
    ] as const)
      staged.add({ code: 'attachment', columns: { name, sha256: digest }, type: 'PDF' })
    const staging = await openStaging(library, { run: 'test', pid: 1, kind: 'local' })
    await staged.flush(staging)
    await merge(library, staging, IMPORT_POLICY)
    await library.close()
    const coldtrail = site(cwd)
    assert.equal(ok(await coldtrail('files', 'export', '../../etc/report.pdf')), content.toString())
    ok(await coldtrail('files', 'export', '../../etc/report.pdf', '--out', 'report.pdf'))
    assert.deepEqual(readFileSync(join(cwd, 'report.pdf')), content)
    const absent = await coldtrail('files', 'export', 'absent.pdf')
    assert.deepEqual([absent.status, absent.stdout], [3, 'File excluded from export.'])
    assert.match(absent.stderr, /is not here/)
    assert.equal((await coldtrail('files', 'export', 'nobody.pdf')).status, 2)
    assert.ok(!existsSync(join(cwd, 'etc')))
  }))

test('a damaged library is named as one, whose way back is no rebuild of the catalog', () =>
  inTemporary(async (cwd) => {
    const coldtrail = site(cwd)
    ok(await coldtrail('library', 'add', 'malware', 'RedStone'))
    for (const suffix of ['-wal', '-shm']) rmSync(join(cwd, `coldtrail-data/library.db${suffix}`), { force: true })
    writeFileSync(join(cwd, 'coldtrail-data/library.db'), 'no database, but long enough to be looked at'.repeat(50))
    for (const command of [
      ['library', 'stats'],
      ['sync', 'state'],
    ]) {
      const { status, stderr } = await coldtrail(...command)
      assert.equal(status, 6, stderr)
      assert.match(stderr, /threat library .*library\.db.*\(E_LIBRARY_OPEN\)/s)
      assert.doesNotMatch(stderr, /rebuild/)
    }
  }))

test('what people give by mistake is named with what to do, and nothing is read without end', () =>
  inTemporary(async (cwd) => {
    const given: readonly (readonly [name: string, content: Buffer | undefined, message: RegExp])[] = [
      ['list.txt.gz', gzipSync('evil.example.com\n'), /compressed; unpack it first .*sync import/],
      ['book.xlsx', Buffer.from('PK\x03\x04rest'), /workbook; .*CSV/],
      ['paper.pdf', Buffer.from('%PDF-1.7'), /a PDF/],
      ['excel.csv', Buffer.from('\ufeffvalue\nx', 'utf16le'), /UTF-16; save it as UTF-8/],
      ['empty.json', Buffer.alloc(0), /neither JSON, nor CSV/],
      ['/dev/zero', undefined, /more than 268435456 bytes/],
    ]
    for (const [name, content, message] of given) {
      if (content) writeFileSync(join(cwd, name), content)
      const { status, stderr } = await site(cwd)('library', 'import', name)
      assert.match(stderr, message)
      assert.ok(status === 2 || status === 9, stderr)
    }
    // A pipe has no size, and is read to its end.
    const piped = await shell(`echo evil.example.com | ${LAUNCHER} library import /dev/stdin --source pipe`, cwd)
    assert.match(piped.stdout, /pipe: read 1 object/)
  }))
