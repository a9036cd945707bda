/**
 * Random edits at one site; its bundles come to another one late, twice, in another order or never, and some imports die
 * (T1). A plain model says what the other site must answer, and that it then holds, row for row, the state of the source.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Coldtrail, loadConfig, open } from '../../src/index.ts'

type Step =
  | { readonly do: 'add' | 'edit' | 'delete'; readonly which: number; readonly text: number }
  | { readonly do: 'export'; readonly full: boolean }
  | { readonly do: 'deliver'; readonly which: number; readonly dies: number | undefined }
  | { readonly do: 'acknowledge' }

const number = fc.nat({ max: 9 })
const edit = fc.record({
  do: fc.constantFrom('add' as const, 'edit' as const, 'delete' as const),
  which: number,
  text: number,
})
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: edit },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('export' as const), full: fc.boolean() }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('deliver' as const),
        which: number,
        dies: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('acknowledge' as const) }) },
  ),
  { minLength: 8, maxLength: 24 },
)

interface Exported {
  readonly file: string
  readonly seq: number
  readonly base: number
  /** Digest of the source when it was exported. */
  readonly digest: string
}

/** What the other site must be, from nothing but the order of what came. */
class Model {
  applied = 0
  digest: string | undefined
  readonly seen = new Set<number>()

  answer({ seq, base }: Exported): 'known' | 'E_BUNDLE_OLD' | 'E_BUNDLE_GAP' | 'taken' {
    if (this.seen.has(seq)) return 'known'
    if (seq <= this.applied) return 'E_BUNDLE_OLD'
    return base > this.applied ? 'E_BUNDLE_GAP' : 'taken'
  }

  take({ seq, digest }: Exported): void {
    this.applied = seq
    this.digest = digest
    this.seen.add(seq)
  }
}

class Sites {
  readonly exported: Exported[] = []
  readonly model = new Model()
  readonly place: string
  readonly low: Coldtrail
  readonly high: Coldtrail
  private readonly names = new Set<string>()

  private constructor(place: string, low: Coldtrail, high: Coldtrail) {
    this.place = place
    this.low = low
    this.high = high
  }

  static async open(): Promise<Sites> {
    const place = mkdtempSync(join(tmpdir(), 'coldtrail-two-sites-'))
    const site = (name: string): Promise<Coldtrail> => {
      const file = join(place, `${name}.yaml`)
      writeFileSync(file, `site: ${name}\ndata_dir: ${name}-data\n`)
      return open(loadConfig({ file }))
    }
    return new Sites(place, await site('low'), await site('high'))
  }

  async close(): Promise<void> {
    await this.low.close()
    await this.high.close()
    rmSync(this.place, { recursive: true, force: true })
  }

  async run(step: Step): Promise<void> {
    if (step.do === 'export') return this.export(step.full)
    if (step.do === 'deliver') return this.deliver(step.which, step.dies)
    if (step.do === 'acknowledge') return this.acknowledge()
    const name = `host${step.which}.example.com`
    if (step.do === 'delete') {
      if (this.names.delete(name)) await this.low.library.delete([name])
      return
    }
    if (step.do === 'edit' && !this.names.has(name)) return
    this.names.add(name)
    await this.low.library.add({
      value: name,
      type: 'FQDN',
      status: 'Active',
      description: `text ${step.text}`,
      tags: [`tag${step.text}`],
      attributes: [{ name: 'Confidence', value: String(step.text) }],
    })
  }

  private async export(full: boolean): Promise<void> {
    const target = join(this.place, `out-${this.exported.length}`)
    const { error, bundle, files } = await this.low.sync.export({ target, ...(full && { base: 'full' }) })
    assert.equal(error, undefined)
    const { digest } = await this.low.sync.state()
    this.exported.push({ file: files[0]!, seq: bundle!.seq, base: bundle!.base_seq, digest })
  }

  /** The last one is 0, the one before 1, and so on. */
  async deliver(which: number, dies?: number): Promise<void> {
    const bundle = this.exported.at(-1 - which)
    if (!bundle) return
    const controller = new AbortController()
    let left = dies ?? Number.POSITIVE_INFINITY
    const expected = this.model.answer(bundle)
    const summary = await this.high.sync.import({
      file: bundle.file,
      reportDir: this.place,
      objectLimit: 3,
      signal: controller.signal,
      onProgress: () => {
        if (--left === 0) controller.abort(new Error('it dies here'))
      },
    })
    const answer = summary.error ? summary.error.code : summary.result === 'known' ? 'known' : 'taken'
    if (answer !== 'E_INTERNAL') assert.equal(answer, expected)
    else assert.equal(controller.signal.aborted, true, summary.error?.message)
    if (answer === 'taken') this.model.take(bundle)
    await this.check()
  }

  private async acknowledge(): Promise<void> {
    if (this.model.applied === 0) return
    const { file } = await this.high.sync.acknowledge({ target: join(this.place, 'acks') })
    await this.low.sync.takeAcknowledgement(file)
  }

  private async check(): Promise<void> {
    if (this.model.digest !== undefined) assert.equal((await this.high.sync.state()).digest, this.model.digest)
  }
}

test('T1: whatever is lost, doubled, reordered or killed, the other site holds exactly what its last bundle stands for', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const sites = await Sites.open()
      try {
        await sites.run({ do: 'add', which: 0, text: 0 })
        for (const step of all) await sites.run(step)
        // Whatever went before, a full bundle sets it right.
        await sites.run({ do: 'export', full: true })
        await sites.deliver(0)
        assert.equal((await sites.high.sync.state()).digest, (await sites.low.sync.state()).digest)
        assert.deepEqual(await sites.high.library.stats(), await sites.low.library.stats())
      } finally {
        await sites.close()
      }
    }),
    { numRuns: 6, interruptAfterTimeLimit: 90_000, endOnFailure: true },
  )
})
