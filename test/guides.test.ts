/**
 * The guides about the library and the sync, run as they stand there: two sites with a data directory each, and a folder in
 * place of the stick. What the text says of a command is proved beside its exit status.
 */
import assert from 'node:assert/strict'
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { jsonLines } from './cli/runColdtrail.ts'
import { commandsOf, fencedBlocks, makeSite, readGuide, type ShellOutcome, shell } from './support/guide.ts'

const FIXTURES = join(import.meta.dirname, 'fixtures/library')
const STICK = '/media/usb'

interface Place {
  readonly root: string
  readonly stick: string
  /** Directory of a site; '' is that of a guide with one. */
  at(site: string): string
  json(site: string, line: string): Promise<Record<string, unknown>[]>
}

interface Proof {
  readonly line: RegExp
  readonly site?: string
  /** 0 unless said otherwise. */
  readonly status?: number
  before?(place: Place): void
  proves?(outcome: ShellOutcome, place: Place): Promise<void> | void
}

/** Every block of the guide in its order; each line ends as its proof says, and each proof is met. */
async function runGuide(path: string, prepare: (place: Place) => void, proofs: readonly Proof[]): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'coldtrail-guide-'))
  const stick = join(root, 'usb')
  const at = (site: string): string => join(root, `site-${site}`)
  const place: Place = {
    root,
    stick,
    at,
    async json(site, line) {
      const { status, stdout, stderr } = await shell(`./coldtrail ${line} --json`, at(site))
      assert.equal(status, 0, `${line}\n${stderr}`)
      return jsonLines(stdout)
    },
  }
  try {
    mkdirSync(stick)
    const blocks = fencedBlocks(readGuide(path)).filter(({ info }) => /^(?:sh|yaml)\b/.test(info))
    const sites = new Set(blocks.map(({ info }) => info.split(' ')[1] ?? ''))
    for (const site of sites) makeSite(at(site))
    prepare(place)
    const met = new Set<Proof>()
    for (const { info, body } of blocks) {
      const [language, site = ''] = info.split(' ')
      if (language === 'yaml') {
        writeFileSync(join(at(site), 'coldtrail.yaml'), body, { flag: 'a' })
        continue
      }
      for (const line of commandsOf(body)) {
        const own = proofs.filter((proof) => !met.has(proof) && proof.line.test(line) && (proof.site ?? site) === site)
        const proof = own[0]
        proof?.before?.(place)
        const outcome = await shell(line.replaceAll(STICK, stick), at(site))
        assert.equal(outcome.status, proof?.status ?? 0, `${site}: ${line}\n${outcome.stdout}${outcome.stderr}`)
        await proof?.proves?.(outcome, place)
        if (proof) met.add(proof)
      }
    }
    assert.deepEqual(
      proofs.filter((proof) => !met.has(proof)).map(({ line }) => line),
      [],
      'lines that the guide had when this was written',
    )
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

test('two sites and a USB stick: same digest at both, a delta by itself, deletions arrive', async () => {
  const digests: string[] = []
  const digestOf = ({ stdout }: ShellOutcome): void => {
    digests.push(/^([0-9a-f]{64}) as of change \d+$/m.exec(stdout)![1]!)
  }
  let key = ''
  const values = async (place: Place, site: string): Promise<string[]> =>
    (await place.json(site, 'library list --limit 0 "object == \'indicator\'"'))
      .map(({ value }) => String(value))
      .sort()
  await runGuide(
    'docs/how-to/two-sites-and-a-usb-stick.md',
    ({ at }) => {
      cpSync(join(FIXTURES, 'oddities.stix.json'), join(at('low'), 'threats.stix.json'))
      writeFileSync(join(at('low'), 'indicators.txt'), '# ours\nbad.example.net\n198.51.100.77\nevil[.]example[.]com\n')
    },
    [
      { line: /library stats/, proves: ({ stdout }) => assert.match(stdout, /^ +1 +adversaries/m) },
      { line: /sync export/, proves: ({ stdout }) => assert.match(stdout, /: full, number 1 of its stream/) },
      {
        line: /keys list/,
        proves({ stdout }) {
          key = /^low +([0-9a-f]{32}) +own/m.exec(stdout)![1]!
        },
      },
      {
        line: /sync verify/,
        proves({ stdout }, place) {
          assert.match(stdout, /^sound {2}tqSync-/)
          assert.ok(stdout.includes(key), 'the key that is on the paper')
          assert.ok(!existsSync(join(place.at('high'), 'coldtrail-data/library.db')))
        },
      },
      {
        line: /--dry-run/,
        async proves({ stdout }, place) {
          assert.match(stdout, new RegExp(`an import would pin its key ${key}`))
          assert.deepEqual(await place.json('high', 'library list'), [], 'nothing was written')
          assert.equal(readdirSync(place.at('high')).filter((name) => name.endsWith('-sync-import.txt')).length, 1)
        },
      },
      {
        line: /sync import/,
        proves({ stdout }) {
          assert.match(stdout, new RegExp(`pinned now is its key ${key}`))
          assert.match(stdout, /^Identical with the source as of this bundle/m)
        },
      },
      { line: /library list/, proves: ({ stdout }) => assert.match(stdout, /bad\.example\.net/) },
      { line: /sync state$/, site: 'low', proves: digestOf },
      {
        line: /sync state$/,
        site: 'high',
        proves(outcome) {
          digestOf(outcome)
          assert.equal(digests[0], digests[1])
        },
      },
      { line: /--against/, proves: ({ stdout }) => assert.match(stdout, /identical|the same/i) },
      { line: /sync ack --target/ },
      { line: /sync ack --file/, proves: ({ stdout }) => assert.match(stdout, /Both sites hold the same/) },
      {
        line: /--mirror/,
        before: ({ at }) => writeFileSync(join(at('low'), 'indicators.txt'), '198.51.100.77\n203.0.113.200\n'),
      },
      { line: /library delete/ },
      {
        line: /sync export --target \/media\/usb\/next/,
        proves: ({ stdout }) => assert.match(stdout, /: delta, number 2 of its stream, on number 1/),
      },
      { line: /sync runs/, site: 'low', proves: ({ stdout }) => assert.match(stdout, /full +1 +high/) },
      {
        line: /sync import.*next/,
        async proves(_, place) {
          const low = await values(place, 'low')
          assert.deepEqual(await values(place, 'high'), low)
          assert.ok(low.includes('203.0.113.200'))
          assert.ok(!low.includes('bad.example.net') && !low.includes('evil.example.com'))
          const [high] = await place.json('high', 'sync state')
          const [state] = await place.json('low', 'sync state')
          assert.equal(high!.digest, state!.digest)
        },
      },
      { line: /sync runs/, site: 'high' },
    ],
  )
})

test('move from ThreatQ: pages, contents, STIX and CSV; what is refused is named', async () => {
  await runGuide(
    'docs/how-to/move-from-threatq.md',
    ({ at }) => {
      cpSync(join(FIXTURES, 'threatq'), join(at(''), 'export'), { recursive: true })
      cpSync(join(FIXTURES, 'oddities.stix.json'), join(at(''), 'stix/otter.stix.json'))
    },
    [
      {
        line: /--dry-run/,
        status: 3,
        async proves({ stdout }, place) {
          assert.match(stdout, /would be quarantined 2 rows/)
          assert.deepEqual(await place.json('', 'library list'), [])
          assert.equal(globSync('coldtrail-data/library/blobs/*/*', { cwd: place.at('') }).length, 0)
        },
      },
      {
        line: /import export\/\*\.json/,
        status: 3,
        async proves({ stdout }, place) {
          assert.match(stdout, /type_id 27 has no name here/)
          const [summary] = await place.json('', 'library stats')
          assert.ok(summary)
          assert.equal((await place.json('', 'library list --limit 0')).length, 12)
          const content = await shell('./coldtrail files export report.txt', place.at(''))
          assert.equal(content.stdout, readFileSync(join(FIXTURES, 'threatq/files/1044.bin'), 'utf8'))
        },
      },
      { line: /library quarantine$/, proves: ({ stdout }) => assert.match(stdout, /a file is known by its SHA-256/) },
      { line: /otter\.stix\.json/, proves: ({ stdout }) => assert.match(stdout, /^threatq-stix: read 24 objects/) },
      { line: /indicators\.csv/, status: 3, proves: ({ stdout }) => assert.match(stdout, /TLP "pink"/) },
      { line: /library stats/, proves: ({ stdout }) => assert.match(stdout, /Badge Number/) },
      {
        line: /Whitelisted/,
        proves({ stdout }) {
          assert.match(stdout, /198\.51\.100\.80/)
          assert.match(stdout, /203\.0\.113\.99/)
        },
      },
      { line: /Sandy Otter/, proves: ({ stdout }) => assert.match(stdout, /bad\.example\.com/) },
      { line: /fill-hash/, proves: ({ stdout }) => assert.match(stdout, /indicators: 0 rows filled/) },
    ],
  )
})

test('tiers and restore: moved by age, carried away, brought back, held, deleted', async () => {
  const DAY = 86_400_000
  const line = (time: number, user: string): string =>
    `${JSON.stringify({ time: new Date(time).toISOString(), userName: user })}\n`
  await runGuide(
    'docs/how-to/tiers-and-restore.md',
    ({ at }) => {
      mkdirSync(join(at(''), 'logs'))
      writeFileSync(join(at(''), 'logs/old.ndjson'), line(Date.UTC(2026, 0, 1, 12), 'alice'))
      writeFileSync(join(at(''), 'logs/new.ndjson'), line(Date.now() - DAY, 'bob'))
    },
    [
      { line: /tier status/, proves: ({ stdout }) => assert.match(stdout, /^warm .*\/nas +new/m) },
      { line: /tier plan/, proves: ({ stdout }) => assert.match(stdout, /^move +1 file of meta, .* to cold /m) },
      { line: /tier roll/, proves: ({ stdout }) => assert.match(stdout, /^Moved 4 files/m) },
      { line: /tier status/, proves: ({ stdout }) => assert.match(stdout, /^cold +meta +1 /m) },
      { line: /tier move/, proves: ({ stdout }) => assert.match(stdout, /Labelled 4 files/) },
      { line: /verify$/, proves: ({ stdout }) => assert.match(stdout, /no fault/) },
      { line: /search --count$/, proves: ({ stdout }) => assert.match(stdout, /^1\b/) },
      { line: /restore plan/, proves: ({ stdout }) => assert.match(stdout, /tape 7, safe 2|restore/) },
      { line: /collection case77$/, proves: ({ stdout }) => assert.match(stdout, /^1\b/) },
      { line: /main,case77 --require-complete/, proves: ({ stdout }) => assert.match(stdout, /^2\b/) },
      { line: /hold list/, proves: ({ stdout }) => assert.match(stdout, /case-77 .*court order 2026-17/) },
      {
        line: /tier plan/,
        proves: ({ stdout }) => assert.match(stdout, /^keep +4 files due for deletion, held by case-77/m),
      },
      { line: /tier roll/, proves: ({ stdout }) => assert.doesNotMatch(stdout, /Deleted/) },
      { line: /tier roll/, proves: ({ stdout }) => assert.match(stdout, /^Deleted 4 files/m) },
      { line: /manifest query/, proves: ({ stdout }) => assert.match(stdout, /filename=meta-/) },
    ],
  )
})

test('evidence and custody: anchored, checked from outside, given away, erased', async () => {
  const prepare = (place: Place): void => {
    const logs = join(place.at(''), 'logs/2023/07/10')
    mkdirSync(logs, { recursive: true })
    mkdirSync(join(place.at(''), 'safe'))
    writeFileSync(join(logs, 'a.ndjson'), '{"user":"alice"}\n')
    writeFileSync(join(logs, 'b.ndjson'), '{"user":"mallory"}\n{"user":"mallory"}\n')
  }
  const says = (line: RegExp, text: RegExp) => ({
    line,
    proves: ({ stdout }: ShellOutcome) => assert.match(stdout, text),
  })
  await runGuide('docs/how-to/evidence-and-custody.md', prepare, [
    says(/^\.\/coldtrail anchor$/, /^main {2}link \d+ {2}[0-9a-f]{64} /),
    says(/verify$/, /^no fault in 1 segment/),
    says(/verify --public-key .* --anchor/, /^no fault in \d link.* 0 files offline/),
    says(/--history-only/, /no fault in \d link/),
    says(/export case/, /Wrote case-77\.tar\.gz: 2 events, 1 object/),
    says(/node verify\.mjs/, /0 faults; 2 of 2 records proven/),
    says(/--dry-run/, /would erase session \d+ .*b\.ndjson {2}2 events, 0 rejects/),
    says(/--reason/, /erased session/),
    {
      line: /verify$/,
      async proves(_outcome, place) {
        assert.deepEqual(await place.json('', 'search --columns data'), [{ data: '{"user":"alice"}' }])
      },
    },
  ])
})

test('read a hunt', async () => {
  const prepare = (place: Place): void => {
    const logs = join(place.at(''), 'logs')
    mkdirSync(logs, { recursive: true })
    writeFileSync(join(logs, 'a.ndjson'), '{"from":"203.0.113.9","host":"cdn.evil.example.com"}\n')
    writeFileSync(join(place.at(''), 'list.txt'), '# of today\n203.0.113.9\n192.0.2.77\n')
  }
  const says = (line: RegExp, text: RegExp) => ({
    line,
    proves: ({ stdout }: ShellOutcome) => assert.match(stdout, text),
  })
  await runGuide('docs/how-to/read-a-hunt.md', prepare, [
    says(/hunt 203/, /^3 indicators over 1 segment: 2 possible, 1 absent\.$/m),
    says(/--from -1000d/, /1 possible, 1 absent/),
    says(/--library --json/, /"segments":\[1\]/),
    says(/restore plan/, /segment/),
    says(/hunt standing/, /1 confirmed, 0 possible offline, 1 new finding/),
    says(/findings/, /IP Address 203\.0\.113\.9 was in an event/),
  ])
})
