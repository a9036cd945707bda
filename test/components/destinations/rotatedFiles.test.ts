/** Files that are whole at every moment, on real disks and with processes that die. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync, gzipSync } from 'node:zlib'
import { RotatedFiles, type RotatedFilesOptions } from '../../../src/components/destinations/file/rotatedFiles.ts'
import { seededRandom } from '../../support/random.ts'
import { smallDisk } from '../../support/smallDisk.ts'

const NOON = Date.UTC(2026, 8, 14, 12) * 1000
const DAY = 86_400e6

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

interface Site {
  readonly folder: string
  readonly warnings: string[]
  clock: number
  open(options?: Partial<RotatedFilesOptions>): RotatedFiles
  /** Names, without the lock. */
  names(): string[]
  read(name: string): string
}

function site(folder = mkdtempSync(join(tmpdir(), 'coldtrail-rotated-'))): Site {
  undo.push(() => rmSync(folder, { recursive: true, force: true }))
  const made: Site = {
    folder,
    warnings: [],
    clock: NOON,
    open(options = {}) {
      const files = new RotatedFiles({
        folder,
        prefix: 'out-',
        suffix: '.ndjson',
        codec: '',
        maxBytes: 100,
        maxAgeMs: 3_600_000,
        daily: true,
        now: () => made.clock,
        warn: (message) => made.warnings.push(message),
        ...options,
      })
      undo.push(() => files.close())
      return files
    },
    names: () =>
      readdirSync(folder)
        .filter((name) => !/\.lock(-journal)?$/.test(name))
        .sort(),
    read: (name) => readFileSync(join(folder, name), 'utf8'),
  }
  return made
}

const line = (n: number): Buffer => Buffer.from(`{"n":"${String(n).padStart(31, '0')}"}\n`)
const LINE_BYTES = 40

test('a file is finished by size, by age and at midnight; until then it is .partial', async () => {
  const made = site()
  const files = made.open()
  for (const n of [1, 2, 3]) await files.append(line(n))
  assert.deepEqual(made.names(), [
    '.out-20260914T120000Z-000002.ndjson.ends',
    'out-20260914T120000Z-000001.ndjson',
    'out-20260914T120000Z-000002.ndjson.partial',
  ])
  assert.equal(made.read('out-20260914T120000Z-000001.ndjson'), `${line(1)}${line(2)}`)
  made.clock += 3_600e6
  await files.append(line(4))
  made.clock = NOON + DAY / 2
  await files.append(line(5))
  await files.close()
  const finished = made.names()
  assert.deepEqual(finished, [
    'out-20260914T120000Z-000001.ndjson',
    'out-20260914T120000Z-000002.ndjson',
    'out-20260914T130000Z-000003.ndjson',
    'out-20260915T000000Z-000004.ndjson',
  ])
  assert.equal(finished.map(made.read).join(''), [1, 2, 3, 4, 5].map(line).join(''))
})

test('a file that gets nothing more is finished when it is old enough', async () => {
  const made = site()
  const files = made.open({ maxAgeMs: 30 })
  await files.append(line(1))
  while (made.names().some((name) => !/^out-.*\.ndjson$/.test(name))) await sleep(5)
  await files.append(line(2))
  await files.close()
  assert.equal(made.names().length, 2)
})

test('a batch is never cut, and a clock that is set back does not change the order of names', async () => {
  const made = site()
  const files = made.open()
  const large = Buffer.concat([line(1), line(2), line(3)])
  await files.append(large)
  made.clock -= DAY
  await files.append(line(4))
  await files.append(line(5))
  await files.close()
  const [first, second, ...others] = made.names()
  assert.equal(made.read(first!), large.toString())
  assert.equal(made.read(second!), `${line(4)}${line(5)}`)
  assert.deepEqual(others, [], 'and it does not end a file with every batch')
})

test('a torn tail is cut back to the last batch that counted, whatever the codec', async () => {
  for (const [codec, batch, plain] of [
    ['', line(1), (bytes: Buffer) => bytes],
    ['.gz', gzipSync(line(1)), gunzipSync],
  ] as const) {
    for (const torn of [1, batch.length >> 1, batch.length - 1, batch.length, batch.length + 5]) {
      const made = site()
      const crashed = crashedAfter(made, batch, codec)
      appendFileSync(crashed, Buffer.concat([batch, batch]).subarray(0, torn))
      const files = made.open({ codec, maxBytes: 1000 })
      await files.append(batch)
      await files.close()
      const [name, ...others] = made.names()
      assert.deepEqual(others, [])
      const whole = plain(readFileSync(join(made.folder, name!))).toString()
      assert.equal(whole, `${line(1)}${line(1)}`, `${codec} torn at ${torn}`)
    }
  }
})

test('what a crash left of another codec is finished; ends without a file are removed; a lost end is told', async () => {
  const made = site()
  crashedAfter(made, line(1), '')
  writeFileSync(join(made.folder, '.out-20260101T000000Z-000009.ndjson.ends'), '')
  const files = made.open({ codec: '.gz', maxBytes: 1000 })
  await files.append(gzipSync(line(2)))
  await files.close()
  assert.deepEqual(made.names(), ['out-20260914T120000Z-000001.ndjson', 'out-20260914T120000Z-000002.ndjson.gz'])
  assert.deepEqual(made.warnings, [])

  const short = site()
  const path = crashedAfter(short, line(1), '', 3)
  truncateSync(path, LINE_BYTES * 2 + 7)
  await short.open({ maxBytes: 1000 }).close()
  const again = short.open({ maxBytes: 1000 })
  await again.append(line(9))
  await again.close()
  assert.match(short.warnings.join(), /shorter than what was written/)
  assert.equal(short.names().map(short.read).join(''), `${line(1)}${line(2)}${line(9)}`)
})

test('files that were not begun here are neither overwritten nor appended to', async () => {
  const made = site()
  const alien = ['out-20260914T120000Z-000001.ndjson', 'out-20260914T120000Z-000002.ndjson.partial', 'other.ndjson']
  for (const name of alien) writeFileSync(join(made.folder, name), 'not mine')
  const files = made.open()
  await files.append(line(1))
  // While it grows somebody takes the name that it would get.
  writeFileSync(join(made.folder, 'out-20260914T120000Z-000003.ndjson'), 'not mine')
  await files.append(line(2))
  await files.close()
  for (const name of [...alien, 'out-20260914T120000Z-000003.ndjson']) assert.equal(made.read(name), 'not mine')
  assert.equal(made.read('out-20260914T120000Z-000004.ndjson'), `${line(1)}${line(2)}`)
  assert.match(made.warnings.join(), /not begun here/)
})

test('a full disk is an error, the file stays whole, and it goes on when there is room', async (context) => {
  const disk = smallDisk(64 * 1024)
  if (typeof disk === 'string') return context.skip(disk)
  const made = site(disk.path)
  undo.push(disk.remove)
  const files = made.open({ maxBytes: 1 << 20 })
  const batch = Buffer.concat(Array.from({ length: 250 }, (_, n) => line(n)))
  let written = 0
  const fill = async (): Promise<void> => {
    for (;;) {
      await files.append(batch)
      written += 1
    }
  }
  await assert.rejects(fill(), { code: 'E_DISK_FULL' })
  await assert.rejects(files.append(batch), { code: 'E_DISK_FULL' })
  const partial = made.names().find((name) => name.endsWith('.partial'))!
  assert.equal(made.read(partial), batch.toString().repeat(written))
  await files.close()
  writeFileSync(join(disk.path, 'more'), '')
  assert.throws(() => {
    for (;;) appendFileSync(join(disk.path, 'more'), Buffer.alloc(4096))
  }, /ENOSPC/)
  const again = made.open({ maxBytes: 1 << 20 })
  await assert.rejects(again.append(batch), { code: 'E_DISK_FULL' })
  disk.resize(1 << 20)
  rmSync(join(disk.path, 'more'))
  await again.append(batch)
  await again.close()
  assert.equal(made.names().map(made.read).join(''), batch.toString().repeat(written + 1))
})

test('a second process is refused while the first one writes, and takes over when that is killed', async () => {
  const made = site()
  const writer = startWriter(made.folder, 1)
  await writer.acknowledged(1)
  const files = made.open()
  assert.equal(files.isHeldElsewhere(), true)
  await assert.rejects(files.append(line(0)), { code: 'E_DESTINATION_BUSY' })
  await writer.kill()
  assert.equal(files.isHeldElsewhere(), false)
  await files.append(line(0))
})

test('killed again and again at random: every finished file is whole, and what was acknowledged is there', async () => {
  const made = site()
  const random = seededRandom(20_260_914)
  const rounds = 6
  let last = 0
  for (let round = 0; round < rounds; round++) {
    const writer = startWriter(made.folder, last + 1)
    last = await writer.acknowledged(last + 1 + random(40))
    last = Math.max(last, await writer.kill())
  }
  const files = made.open()
  await files.append(line(last + 1))
  await files.close()
  const numbers = made.names().flatMap((name) => {
    const text = made.read(name)
    assert.ok(/^out-\S+\.ndjson$/.test(name) && text.endsWith('\n'), name)
    return text
      .slice(0, -1)
      .split('\n')
      .map((one) => Number((JSON.parse(one) as { n: unknown }).n))
  })
  const expected = Array.from({ length: last + 1 }, (_, at) => at + 1)
  assert.deepEqual([...new Set(numbers)], expected, 'nothing lost, and in order')
  assert.ok(numbers.length <= expected.length + rounds, 'at most the batch that was under way is there twice')
})

// --- internal ---

/** The growing file of a process that has ended without closing it, with so many batches that count. */
function crashedAfter({ folder }: Site, batch: Buffer, codec: string, count = 1): string {
  const name = `out-20260914T120000Z-000001.ndjson${codec}`
  const batches = Array.from({ length: count }, (_, at) => (codec === '' ? line(at + 1) : batch))
  const path = join(folder, `${name}.partial`)
  writeFileSync(path, Buffer.concat(batches))
  const ends = batches.map((_, at) => `${batch.length * (at + 1)}\n`).join('')
  // The last line of the ends is torn, too.
  writeFileSync(join(folder, `.${name}.ends`), `${ends}${batch.length * (count + 1)}`)
  return path
}

interface Writer {
  /** Resolves with the highest number that was acknowledged when that has reached `n`. */
  acknowledged(n: number): Promise<number>
  /** The highest acknowledged. */
  kill(): Promise<number>
}

/** Appends the lines from `first` on, and prints the number of each one when it counts. */
function startWriter(folder: string, first: number): Writer {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, '../../support/lineWriter.ts'), folder, String(first)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  undo.push(() => child.kill('SIGKILL'))
  let text = ''
  child.stdout.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk
  })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const highest = (): number => Number(/(\d+)\n[^\n]*$/.exec(text)?.[1] ?? first - 1)
  return {
    async acknowledged(n) {
      while (highest() < n) {
        assert.equal(child.exitCode, null, 'the writer has failed')
        await sleep(2)
      }
      return highest()
    },
    async kill() {
      child.kill('SIGKILL')
      await ended
      return highest()
    },
  }
}
