/**
 * Bundles damaged at random, as a stranger can: every one must be refused by name. And manifests changed at random by who
 * has the key: whatever is said of them, nothing unforeseen may happen.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../../src/core/errors.ts'
import { tarHeader, tarPadding } from '../../src/core/tarHeader.ts'
import { openBundle } from '../../src/sync/bundle/bundleReader.ts'
import { canonicalBytes, MANIFEST_DOMAIN, serializeSignatures } from '../../src/sync/bundle/manifest.ts'
import { storedMember } from '../../src/sync/bundle/members.ts'
import { seededRandom } from './random.ts'
import { CREATED, sampleBundle, sampleSite, scratchPlace } from './sampleBundle.ts'

export interface BundleFindings {
  readonly bundles: number
  /** How many were refused, by code. */
  readonly refused: Readonly<Record<string, number>>
  readonly details: readonly string[]
}

export async function fuzzBundles(options: {
  readonly bundles: number
  readonly seed: number
  /** Milliseconds after which no other one is begun. */
  readonly budget?: number
  readonly onBundle?: (number: number) => void
}): Promise<BundleFindings> {
  const below = seededRandom(options.seed)
  const chance = (percent: number): boolean => below(100) < percent
  const place = scratchPlace()
  const site = sampleSite()
  const { files, manifest } = await sampleBundle(place, { site, indicators: 40, blob: Buffer.alloc(5_000, 'abc') })
  const sound = readFileSync(files[0]!)
  const other = readFileSync((await sampleBundle(scratchPlace(), { site, indicators: 41 })).files[0]!)
  const path = join(place, 'x.tar.gz')
  const refused: Record<string, number> = {}
  const details: string[] = []
  const started = performance.now()
  let bundles = 0
  for (; bundles < options.bundles && performance.now() - started < (options.budget ?? Number.MAX_VALUE); bundles++) {
    options.onBundle?.(bundles)
    const isSigned = bundles % 4 === 3
    const bytes = isSigned ? signedChange() : damage()
    // Spliced before they differ, it is the other bundle.
    if (bytes.equals(sound) || bytes.equals(other)) continue
    writeFileSync(path, bytes)
    const found = await verdict(path)
    if (found.startsWith('E_') && found !== 'E_INTERNAL') refused[found] = (refused[found] ?? 0) + 1
    else if (!(isSigned && found === 'taken')) details.push(`bundle ${bundles}: ${found}`)
  }
  return { bundles, refused, details }

  function damage(): Buffer {
    const at = below(sound.length)
    const end = Math.min(sound.length, at + 1 + below(2_000))
    const range = sound.subarray(at, end)
    const to = below(sound.length)
    switch (below(8)) {
      case 0:
        return sound.subarray(0, at)
      case 1:
        return Buffer.concat([sound.subarray(0, at), sound.subarray(end)])
      case 2:
        return Buffer.concat([sound.subarray(0, to), range, sound.subarray(to)])
      case 3:
        return Buffer.concat([sound.subarray(0, at), other.subarray(at)])
      case 4:
        return Buffer.concat([sound.subarray(0, at), Buffer.alloc(below(5_000), below(256)), sound.subarray(at)])
      case 5:
        return Buffer.concat([sound, other.subarray(0, at)])
      case 6: {
        const bytes = Buffer.from(sound)
        range.copy(bytes, Math.min(to, bytes.length - range.length))
        return bytes
      }
      default: {
        const bytes = Buffer.from(sound)
        for (let i = 0; i <= below(4); i++) bytes[below(bytes.length)]! ^= 1 << below(8)
        return bytes
      }
    }
  }

  /** One value of the manifest exchanged, and signed again. */
  function signedChange(): Buffer {
    const changed = structuredClone(manifest) as unknown as Record<string, unknown>
    let holder: Record<string, unknown> = changed
    for (;;) {
      const keys = Object.keys(holder)
      const key = keys[below(keys.length)]!
      const inner = holder[key]
      if (typeof inner === 'object' && inner !== null && Object.keys(inner).length > 0 && chance(90)) {
        holder = inner as Record<string, unknown>
        continue
      }
      const values = [
        0,
        -1,
        1,
        2 ** 40,
        1.5,
        '',
        'x',
        '../x',
        null,
        true,
        [],
        {},
        { x: 1 },
        'f'.repeat(64),
        'é\u0000',
        '2019-01-01',
      ]
      const kind = below(5)
      if (kind === 0) delete holder[key]
      else if (kind === 1) holder[`${key}x`] = inner
      else holder[key] = values[below(values.length)]
      break
    }
    const bytes = canonicalBytes(changed)
    const signature = site.signer.sign(Buffer.concat([Buffer.from(MANIFEST_DOMAIN), bytes]))
    const signatures = serializeSignatures([{ key: site.signer.id, signature }])
    const soundStart = [canonicalBytes(manifest), signatures].map(
      (file, i) => stored(i === 0 ? 'manifest.json' : 'manifest.sig', file).length,
    )
    return Buffer.concat([
      stored('manifest.json', bytes),
      stored('manifest.sig', signatures),
      sound.subarray(soundStart[0]! + soundStart[1]!),
    ])
  }
}

// --- internal ---

const stored = (path: string, bytes: Buffer): Buffer =>
  storedMember(
    Buffer.concat([
      tarHeader(path, bytes.length, CREATED.getTime() / 1_000),
      bytes,
      Buffer.alloc(tarPadding(bytes.length)),
    ]),
  )

async function verdict(path: string): Promise<string> {
  try {
    const bundle = await openBundle(path, { scratch: path })
    try {
      await bundle.verify({ records: true })
    } finally {
      await bundle.close()
    }
    return 'taken'
  } catch (error) {
    return error instanceof ColdtrailError ? error.code : `unforeseen: ${(error as Error).stack}`
  }
}
