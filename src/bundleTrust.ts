/** Sync bundles and the keys that sign them, as a person or a program uses them: verify, list, rotate, trust, revoke. */
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import type { Config } from './config.ts'
import type { Library } from './library/library.ts'
import type { VerifiedBundle } from './sync/bundle/verifyBundle.ts'
import type { Site } from './sync/siteKeys.ts'
import type { TrustPolicy } from './sync/trust.ts'

export interface VerifyBundleRequest {
  /** Relative to the current directory, or to the transfer directory. */
  readonly file: string
  /** Ids or files of keys that it may be signed with. */
  readonly trust?: readonly string[]
  /** Files of age identities, beside the configured one. */
  readonly identities?: readonly string[]
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: { readonly bytes: number; readonly totalBytes: number }) => void
}

/** A key that is known here; times in ISO form. */
export interface KnownKey {
  readonly site: string
  readonly key: string
  /** `own`: signs for this site. */
  readonly origin: 'own' | 'pinned' | 'given' | 'listed' | 'rotated'
  readonly valid_from: string | null
  readonly valid_until: string | null
  readonly revoked: boolean
  /** The one that signs for this site now. */
  readonly signs: boolean
  /** Of an own key: the file that another site may be given. */
  readonly file?: string
}

export interface BundleTrust {
  /** Reads every byte of a bundle and asks whether its keys are trusted; writes nothing. E_BUNDLE_*. */
  verify(request: VerifyBundleRequest): Promise<VerifiedBundle>
  /** Keys of this site, made at the first call, and of others. */
  keys(): Promise<readonly KnownKey[]>
  /** A new key of this site, introduced by the present one, which is good for `overlapDays` more (default 90). */
  rotateKey(overlapDays?: number): Promise<KnownKey>
  /** Trusts a key for a site: an id, or a file of a public key. */
  trustKey(site: string, key: string): Promise<KnownKey>
  /** Trusts a key no more; one of this site ends now. Returns the sites. E_USAGE when it is not known, or signs here. */
  revokeKey(key: string): Promise<readonly string[]>
}

export interface BundleTrustParts {
  readonly config: Config
  /** Where bundles lie by default. */
  readonly transferDir: string
  /** Opens it, and makes it where there is none. */
  readonly library: () => Promise<Library>
  /** What the configuration says, with what was given. */
  readonly trustPolicy: (own: Site | undefined, given?: readonly string[]) => TrustPolicy
}

export function bundleTrust({ config, transferDir, library, trustPolicy }: BundleTrustParts): BundleTrust {
  const { data_dir: dataDir, catalog_url: url, site } = config
  // Looking must make nothing.
  const existing = async (): Promise<Library | undefined> =>
    existsSync(url === undefined ? join(dataDir, 'library.db') : dataDir) ? library() : undefined
  const own = async () => (await import('./sync/siteKeys.ts')).loadSite(dataDir, site)
  const trusting = () => import('./sync/trust.ts')
  return {
    async verify({ file, trust, identities, ...request }) {
      const [{ verifyBundle }, { knownSite }, { scratchOf, sweepScratch }] = await Promise.all([
        import('./sync/bundle/verifyBundle.ts'),
        import('./sync/siteKeys.ts'),
        import('./sync/bundle/encryption.ts'),
      ])
      // Where there is no data directory, looking makes none.
      const scratch = existsSync(dataDir) ? scratchOf(dataDir) : tmpdir()
      sweepScratch(scratch)
      const { identity } = config.sync
      return verifyBundle(await located(file, transferDir), {
        ...request,
        library: await existing(),
        trust: trustPolicy(knownSite(dataDir, site), trust),
        identities: [...(identity === undefined ? [] : [identity]), ...(identities ?? [])],
        scratch,
      })
    },
    async keys() {
      const { name, keys, signer } = await own()
      const ours = keys.map((key) => ownKey(name, key, signer.id, dataDir))
      const known = await existing()
      return known ? [...ours, ...(await (await trusting()).keyRows(known)).map(knownKey)] : ours
    },
    async rotateKey(overlapDays) {
      const { rotateSiteKey } = await import('./sync/siteKeys.ts')
      const key = rotateSiteKey(dataDir, overlapDays === undefined ? {} : { overlapDays })
      return ownKey((await own()).name, key, key.id, dataDir)
    },
    trustKey: async (of, key) => knownKey(await (await trusting()).trustKey(await library(), of, key)),
    async revokeKey(key) {
      const { closeSiteKey } = await import('./sync/siteKeys.ts')
      const { name, keys } = await own()
      if (!keys.some(({ id }) => id === key)) return (await trusting()).revokeKey(await library(), key)
      closeSiteKey(dataDir, key, new Date())
      return [name]
    },
  }
}

// --- internal ---

/** As the shell completes it, or as an export named it. */
async function located(file: string, transferDir: string): Promise<string> {
  const { isThere } = await import('./sync/bundle/parts.ts')
  const transferred = join(transferDir, file)
  return !isAbsolute(file) && !isThere(resolve(file)) && isThere(transferred) ? transferred : resolve(file)
}

const isoTime = (microseconds: number | null): string | null =>
  microseconds === null ? null : new Date(microseconds / 1_000).toISOString()

function knownKey(row: {
  readonly site: string
  readonly key_id: string
  readonly origin: KnownKey['origin']
  readonly valid_from: number | null
  readonly valid_until: number | null
  readonly revoked_at: number | null
}): KnownKey {
  return {
    site: row.site,
    key: row.key_id,
    origin: row.origin,
    valid_from: isoTime(row.valid_from),
    valid_until: isoTime(row.valid_until),
    revoked: row.revoked_at !== null,
    signs: false,
  }
}

function ownKey(
  site: string,
  key: { readonly id: string; readonly valid_from: string; readonly valid_until: string | null },
  signs: string,
  dataDir: string,
): KnownKey {
  return {
    site,
    key: key.id,
    origin: 'own',
    valid_from: key.valid_from,
    valid_until: key.valid_until,
    revoked: false,
    signs: key.id === signs,
    file: join(dataDir, 'keys', `site-${key.id}.pub`),
  }
}
