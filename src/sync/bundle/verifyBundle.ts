/** `sync verify`: everything that an import checks before it writes, and nothing of it is written. */
import type { Library } from '../../library/library.ts'
import { requireTrusted, type TrustPolicy } from '../trust.ts'
import { type Bundle, type OpenBundleOptions, openBundle, type VerifyBundleOptions } from './bundleReader.ts'
import type { BundleKind, BundleManifest } from './manifest.ts'

export interface VerifyRequest
  extends OpenBundleOptions,
    Pick<VerifyBundleOptions, 'signal' | 'onProgress' | 'threads'> {
  /** Where pinned keys are; undefined where nothing was imported yet. */
  readonly library: Library | undefined
  readonly trust: TrustPolicy
}

/** What is known of a bundle whose every byte was read. */
export interface VerifiedBundle {
  readonly file: string
  readonly bundle: string
  readonly site: string
  readonly audience: string | null
  readonly kind: BundleKind
  readonly seq: number
  readonly base_seq: number
  readonly created: string
  readonly expires: string | null
  readonly tool: string
  readonly manifest_sha256: string
  readonly totals: BundleManifest['totals']
  readonly excluded: BundleManifest['excluded']
  readonly entries: number
  /** Of the file, joined and decrypted. */
  readonly bytes: number
  readonly parts: number
  readonly encrypted: boolean
  /** Trusted keys that signed. */
  readonly signers: readonly string[]
  /** The site is unknown here: an import would pin these keys. */
  readonly first_of_site: boolean
}

/** E_BUNDLE_DAMAGED, E_BUNDLE_VERSION, E_BUNDLE_KEY, E_BUNDLE_PARTS, E_BUNDLE_ENCRYPTED, E_CSV, E_FILE_READ. */
export async function verifyBundle(
  path: string,
  { library, trust, ...request }: VerifyRequest,
): Promise<VerifiedBundle> {
  const bundle = await openBundle(path, request)
  try {
    const { signers, pinned } = await requireTrusted(library, bundle, trust)
    const { signal, onProgress, threads } = request
    await bundle.verify({ records: true, signal, onProgress, threads })
    return { ...described(bundle), signers, first_of_site: pinned }
  } finally {
    await bundle.close()
  }
}

// --- internal ---

function described(bundle: Bundle): Omit<VerifiedBundle, 'signers' | 'first_of_site'> {
  const { manifest, manifestSha256, path: file, bytes, parts, encrypted } = bundle
  const { bundle: name, site, audience, kind, seq, base_seq, created, expires, tool, totals, excluded } = manifest
  return {
    file,
    bundle: name,
    site,
    audience,
    kind,
    seq,
    base_seq,
    created,
    expires,
    tool,
    manifest_sha256: manifestSha256,
    totals,
    excluded,
    entries: manifest.entries.length,
    bytes,
    parts,
    encrypted,
  }
}
