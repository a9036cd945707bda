/**
 * Which keys of which sites are trusted here (S3): pinned at the first bundle of a site, given by a person, or introduced
 * by a key that was trusted. Each is trusted for one site only.
 */
import { existsSync } from 'node:fs'
import { ColdtrailError } from '../core/errors.ts'
import type { Library } from '../library/library.ts'
import type { LibraryTx } from '../library/schema.ts'
import { publicKeyOf } from './bundle/bundleReader.ts'
import { type BundleManifest, KEY_ID, SITE_NAME, type Signature, type SiteKey } from './bundle/manifest.ts'
import { isIntroduced, readPublicKey, type Site } from './siteKeys.ts'

export interface TrustPolicy {
  /** Whether the first bundle of an unknown site pins its keys. */
  readonly mode: 'first_use' | 'listed_only'
  /** How many trusted keys must have signed; default 1. */
  readonly threshold?: number
  /** By site: ids of keys, or files of public keys. */
  readonly listed?: Readonly<Record<string, readonly string[]>>
  /** `--trust`: an id or a file, for the site of this bundle. */
  readonly given?: readonly string[]
  /** This site: its own bundles are trusted by its own keys. */
  readonly own?: Site
}

/** What was signed: a bundle, or an acknowledgement. Its signatures are known to be those of its own `keys`. */
export interface Signed {
  readonly path: string
  readonly manifest: Pick<BundleManifest, 'site' | 'keys' | 'created'>
  readonly signatures: readonly Signature[]
}

export interface Trust {
  /** Of the first trusted key that signed. */
  readonly key: string
  /** All trusted keys that signed. */
  readonly signers: readonly string[]
  /** Whether this is the first of an unknown site, whose keys are believed for that reason alone. */
  readonly pinned: boolean
  /** Keys to be recorded: pinned, given, introduced, or of shorter validity than was known. */
  readonly learned: readonly KeyRow[]
  /** Records them. Belongs into the transaction that takes the bundle in: a refused one pins nothing. */
  remember(tx: LibraryTx): Promise<void>
}

export type KeyOrigin = 'own' | 'pinned' | 'given' | 'listed' | 'rotated'

/** A row of `sync_keys`; times in microseconds. */
export interface KeyRow {
  readonly site: string
  readonly key_id: string
  /** Base64; empty where only the id was given. */
  readonly public_key: string
  readonly valid_from: number | null
  readonly valid_until: number | null
  readonly origin: KeyOrigin
  readonly introduced_by: string | null
  readonly added_at: number
  readonly revoked_at: number | null
}

/** E_BUNDLE_KEY with the reason. `library`: none where there is none yet. */
export async function requireTrusted(
  library: Library | undefined,
  signed: Signed,
  policy: TrustPolicy,
): Promise<Trust> {
  const { path: file, signatures } = signed
  const { site, keys, created } = signed.manifest
  const { mode, threshold = 1, listed = {}, given = [], own } = policy
  const now = Date.now() * 1_000
  const at = microsecondsOf(created)
  const refuse = (reason: string) => new ColdtrailError('E_BUNDLE_KEY', { file, site, reason })

  const known = library ? (await keyRows(library)).filter((row) => row.site === site) : []
  const rows = new Map(known.map((row) => [row.key_id, row]))
  const learned = new Map<string, KeyRow>()
  const learn = (row: KeyRow): void => {
    rows.set(row.key_id, row)
    learned.set(row.key_id, row)
  }
  const named: (readonly [KeyOrigin, string])[] = [
    ...(own?.name === site ? own.keys.map((key) => ['own', key.id] as const) : []),
    ...(Object.hasOwn(listed, site) ? listed[site]! : []).map((key) => ['listed', key] as const),
    ...given.map((key) => ['given', key] as const),
  ]
  for (const [origin, key] of named) {
    const row = rowOf(site, namedKey(key, origin === 'own' ? own!.keys : keys), origin, now)
    // Whoever names a key again after it was revoked must say so where keys are kept.
    if (!rows.has(row.key_id)) learn(row)
  }
  // Those that were only named by their id get the key itself, and what the site says of its validity.
  for (const key of keys) {
    const row = rows.get(key.id)
    if (!row) continue
    const valid_until = earlier(row.valid_until, key.valid_until === null ? null : microsecondsOf(key.valid_until))
    if (row.public_key === '' || valid_until !== row.valid_until)
      learn({ ...row, public_key: key.public_key, valid_until })
  }

  const isFirst = rows.size === 0
  if (isFirst) {
    const ids = signatures.map(({ key }) => key).join(', ')
    if (mode === 'listed_only')
      throw refuse(`it is signed by ${ids}; no key of this site is listed here, and sync.trust is listed_only`)
    for (const { key } of signatures) learn(rowOf(site, keys.find(({ id }) => id === key)!, 'pinned', now))
  } else introduce(keys, rows, learn, now)

  const reasons: string[] = []
  const signers: string[] = []
  for (const { key: id } of signatures) {
    const row = rows.get(id)
    const record = keys.find((key) => key.id === id)!
    if (!row) reasons.push(`${id} is none of its keys known here (${[...rows.keys()].join(', ')})`)
    else if (row.revoked_at !== null) reasons.push(`${id} is revoked`)
    else if (row.public_key !== record.public_key) reasons.push(`${id} is another key than the one known here`)
    else if (!isValid(row, record, at)) reasons.push(`${id} was not valid at ${created}`)
    else signers.push(id)
  }
  if (signers.length < threshold) {
    const wanted = threshold === 1 ? '' : `${signers.length} of ${threshold} trusted signatures: `
    throw refuse(`${wanted}${reasons.join('; ') || 'too few have signed'}`)
  }
  // What nobody vouched for is not kept.
  const kept = [...learned.values()]
  return {
    key: signers[0]!,
    signers,
    pinned: isFirst,
    learned: kept,
    remember: (tx) => recordKeys(tx, kept),
  }
}

/** All keys of all sites, in order of site and time. */
export async function keyRows(library: Library): Promise<KeyRow[]> {
  const rows = await library.database.db
    .selectFrom('sync_keys')
    .selectAll()
    .orderBy('site')
    .orderBy('added_at')
    .orderBy('key_id')
    .execute()
  return rows.map((row) => ({
    site: row.site,
    key_id: row.key_id,
    public_key: row.public_key,
    valid_from: row.valid_from,
    valid_until: row.valid_until,
    origin: row.origin,
    introduced_by: row.introduced_by,
    added_at: row.added_at,
    revoked_at: row.revoked_at,
  }))
}

/** Trusts a key for a site: an id, or a file of a public key. One that was revoked is trusted again. */
export async function trustKey(library: Library, site: string, key: string): Promise<KeyRow> {
  requireSiteName(site)
  const row = rowOf(site, namedKey(key, []), 'given', Date.now() * 1_000)
  await library.database.write((tx) => recordKeys(tx, [row], { revoked_at: null }))
  return row
}

/** Trusts a key no more, for every site that it is known of; returns the sites. E_USAGE when it is not known. */
export async function revokeKey(library: Library, id: string): Promise<string[]> {
  const sites = (await keyRows(library)).filter(({ key_id }) => key_id === id).map(({ site }) => site)
  if (sites.length === 0)
    throw new ColdtrailError('E_USAGE', {
      message: `No key ${id} is known here; \`coldtrail sync keys list\` names them.`,
    })
  await library.database.write(async (tx) => {
    await tx
      .updateTable('sync_keys')
      .set({ revoked_at: Date.now() * 1_000 })
      .where('key_id', '=', id)
      .execute()
  })
  return sites
}

export function requireSiteName(site: string): void {
  if (!SITE_NAME.test(site))
    throw new ColdtrailError('E_USAGE', {
      message: `"${site}" is no name of a site: lower-case letters, digits, ., - and _.`,
    })
}

// --- internal ---

const microsecondsOf = (time: string): number => Date.parse(time) * 1_000

const earlier = (a: number | null, b: number | null): number | null =>
  a === null || b === null ? (a ?? b) : Math.min(a, b)

/** An id: one of `keys` when it is there, else one of which only the id is known. Else a file. E_FILE_READ. */
function namedKey(key: string, keys: readonly SiteKey[]): SiteKey {
  if (!KEY_ID.test(key) || existsSync(key)) return readPublicKey(key)
  return keys.find(({ id }) => id === key) ?? { id: key, public_key: '', valid_from: FOREVER, valid_until: null }
}

const FOREVER = new Date(0).toISOString()

const rowOf = (site: string, key: SiteKey, origin: KeyOrigin, now: number): KeyRow => ({
  site,
  key_id: key.id,
  public_key: key.public_key,
  valid_from: microsecondsOf(key.valid_from),
  valid_until: key.valid_until === null ? null : microsecondsOf(key.valid_until),
  origin,
  introduced_by: null,
  added_at: now,
  revoked_at: null,
})

/**
 * Keys that trusted ones introduced, and those that these did. A key has one successor: whoever steals it when it was
 * rotated out already cannot introduce another one.
 */
function introduce(
  keys: readonly SiteKey[],
  rows: Map<string, KeyRow>,
  learn: (row: KeyRow) => void,
  now: number,
): void {
  for (let found = true; found; ) {
    found = false
    for (const key of keys) {
      const { introduced_by: statement } = key
      if (!statement || rows.has(key.id) || !publicKeyOf(key)) continue
      const by = rows.get(statement.key)
      if (!by || by.revoked_at !== null || by.public_key === '') continue
      if ([...rows.values()].some((row) => row.introduced_by === by.key_id)) continue
      if (!isWithin(microsecondsOf(key.valid_from), by.valid_from, by.valid_until)) continue
      if (!isIntroduced(key, { ...key, id: by.key_id, public_key: by.public_key })) continue
      learn({ ...rowOf(by.site, key, 'rotated', now), introduced_by: by.key_id })
      found = true
    }
  }
}

/** By what is known here, and by what the site says of itself: the narrower of both. */
const isValid = (row: KeyRow, key: SiteKey, at: number): boolean =>
  isWithin(at, row.valid_from, row.valid_until) &&
  isWithin(at, microsecondsOf(key.valid_from), key.valid_until === null ? null : microsecondsOf(key.valid_until))

const isWithin = (at: number, from: number | null, until: number | null): boolean =>
  at >= (from ?? 0) && (until === null || at <= until)

async function recordKeys(
  tx: LibraryTx,
  learned: readonly KeyRow[],
  more: Partial<Pick<KeyRow, 'revoked_at'>> = {},
): Promise<void> {
  for (const row of learned) {
    if (row.origin === 'own') continue
    const { public_key, valid_until } = row
    await tx
      .insertInto('sync_keys')
      .values(row)
      .onConflict((conflict) =>
        conflict
          .columns(['site', 'key_id'])
          .doUpdateSet({ ...(public_key !== '' && { public_key }), valid_until, ...more }),
      )
      .execute()
  }
}
