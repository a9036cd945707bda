/**
 * `npm run soak -- bundles [--bundles N] [--seed S] [--minutes M]`: sync bundles damaged at random, and manifests changed
 * and signed again. The last line is one JSON object; exit status 1 when one was taken that is not what was signed, or
 * anything unforeseen happened.
 */
import { parseArgs } from 'node:util'
import { fuzzBundles } from '../test/support/fuzzBundles.ts'

const { values } = parseArgs({
  options: {
    bundles: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '20' },
  },
})
const started = performance.now()
const seed = Number(values.seed)
const { bundles, refused, details } = await fuzzBundles({
  bundles: Number(values.bundles),
  seed,
  budget: Number(values.minutes) * 60_000,
  onBundle: (number) => number % 10_000 === 0 && process.stdout.write(`${number} bundles\n`),
})
for (const detail of details) process.stdout.write(`${detail}\n`)
const seconds = Math.round((performance.now() - started) / 1000)
process.stdout.write(`${JSON.stringify({ bundles, refused, findings: details.length, seed, seconds })}\n`)
process.exitCode = details.length > 0 ? 1 : 0
