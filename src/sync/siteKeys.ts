/**
 * The keys of this site: Ed25519, made at first use. `<data>/keys/site-<id>.key` (PKCS #8 PEM, 0600) and `.pub` (the
 * record that travels, as canonical JSON). `site.first` is the record of the first key, and `site-<id>.next` that of the
 * one that a key introduced: hard links to the `.pub`, so that of two processes only one can make either.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { linkSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { makeDirectory, readIfThere, syncDirectory, writeDurably } from '../platform/files.ts'
import { isSignature, keyIdOf, publicKeyOf } from './bundle/bundleReader.ts'
import type { Signer } from './bundle/bundleWriter.ts'
import { canonicalBytes, KEY_ID, type SiteKey, siteKeySchema } from './bundle/manifest.ts'

export interface Site {
  /** Its name at other sites: as configured, else the id of its first key, which stays when keys are rotated. */
  readonly name: string
  /** Public records, first key first: what travels in each manifest. */
  readonly keys: readonly SiteKey[]
  /** The last key of them. */
  readonly signer: Signer
}

/** What a key says when it introduces another one. */
const KEY_DOMAIN = 'coldtrail-sync-key/1\n'
/** A key that was rotated out stays good for bundles that are under way. */
export const ROTATION_OVERLAP_DAYS = 90

/** The site of a data directory; its key is made at first use. `name`: of the configuration. E_SITE_KEY. */
export function loadSite(dataDir: string, name?: string): Site {
  const directory = join(dataDir, 'keys')
  const first = readRecord(directory, FIRST) ?? makeFirst(directory)
  const keys = [publicRecord(directory, first.id)]
  for (;;) {
    const next = readRecord(directory, `site-${keys.at(-1)!.id}.next`)
    if (!next) break
    if (keys.some(({ id }) => id === next.id)) throw fault(next.id, 'its keys introduce each other in a circle')
    keys.push(publicRecord(directory, next.id))
  }
  const current = keys.at(-1)!
  return { name: name ?? first.id, keys, signer: ownSigner(directory, current.id) }
}

/** Public records of the site, without making any: undefined where there are none yet. */
export function knownSite(dataDir: string, name?: string): Site | undefined {
  return readRecord(join(dataDir, 'keys'), FIRST) ? loadSite(dataDir, name) : undefined
}

/** A new key, introduced by the present one, which stays valid for `overlapDays` more. */
export function rotateSiteKey(
  dataDir: string,
  {
    now = new Date(),
    overlapDays = ROTATION_OVERLAP_DAYS,
  }: { readonly now?: Date; readonly overlapDays?: number } = {},
): SiteKey {
  const directory = join(dataDir, 'keys')
  const { keys, signer } = loadSite(dataDir)
  const before = keys.at(-1)!
  const pair = newPair(now)
  const introduced_by = { key: before.id, signature: signer.sign(introduction(pair.record)) }
  const record: SiteKey = { ...pair.record, introduced_by }
  writePair(directory, pair.privateKey, record)
  if (!publish(directory, record.id, `site-${before.id}.next`)) {
    removePair(directory, record.id)
    throw fault(before.id, 'another process rotated it at this moment')
  }
  closeSiteKey(dataDir, before.id, new Date(now.getTime() + overlapDays * 86_400_000))
  return record
}

/** Ends the validity of an own key: it travels with the next manifest. Of the present key: E_USAGE. */
export function closeSiteKey(dataDir: string, id: string, until: Date): SiteKey {
  const directory = join(dataDir, 'keys')
  const { keys } = loadSite(dataDir)
  if (keys.at(-1)!.id === id)
    throw new ColdtrailError('E_USAGE', { message: `${id} signs for this site: rotate first, then revoke it.` })
  const record = publicRecord(directory, id)
  const closed = record.valid_until !== null && Date.parse(record.valid_until) < until.getTime()
  const next = closed ? record : { ...record, valid_until: until.toISOString() }
  writeDurably(join(directory, `site-${id}.pub`), line(next))
  return next
}

/** A private key that was given (`--sign FILE`): who signs, and its public record. E_FILE_READ, E_SITE_KEY. */
export function loadSigner(path: string): { readonly signer: Signer; readonly key: SiteKey } {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
  const key = privateKey(bytes, path)
  const public_key = spkiOf(key)
  const id = keyIdOf(public_key)
  const record = { id, public_key: public_key.toString('base64'), valid_from: new Date(0).toISOString() }
  return { signer: signerOf(id, key), key: { ...record, valid_until: null } }
}

/** The record in a public key file: a `.pub` of a site, or an Ed25519 key as PEM. E_FILE_READ. */
export function readPublicKey(path: string): SiteKey {
  const refuse = (cause: string, error?: unknown) =>
    new ColdtrailError('E_FILE_READ', { path, cause }, { cause: error })
  let bytes: Buffer
  try {
    if (statSync(path).size > MAX_KEY_FILE_BYTES) throw new Error('it is too large for a key')
    bytes = readFileSync(path)
  } catch (error) {
    throw refuse((error as Error).message, error)
  }
  const record = parseRecord(bytes)
  if (record) return record
  try {
    // A private key would give its public half as well, and does not belong here.
    if (!bytes.includes('-----BEGIN PUBLIC KEY-----')) throw new Error('no public key')
    const spki = createPublicKey(bytes).export({ type: 'spki', format: 'der' })
    const valid = { valid_from: new Date(0).toISOString(), valid_until: null }
    const found: SiteKey = { id: keyIdOf(spki), public_key: spki.toString('base64'), ...valid }
    if (publicKeyOf(found)) return found
  } catch {
    // As any other file.
  }
  throw refuse('it is no public key of a site')
}

/** Whether `key` was introduced by `by`: its own statement, right in form and signature. */
export function isIntroduced(key: SiteKey, by: SiteKey): boolean {
  const { introduced_by: statement } = key
  const signer = publicKeyOf(by)
  if (!statement || statement.key !== by.id || !signer) return false
  return isSignature(signer, introduction(key), statement.signature)
}

// --- internal ---

const FIRST = 'site.first'
const MAX_KEY_FILE_BYTES = 16 * 1024

const fault = (key: string, reason: string, cause?: unknown): ColdtrailError =>
  new ColdtrailError('E_SITE_KEY', { key, reason }, { cause })

const introduction = ({ id, public_key, valid_from }: SiteKey): Buffer =>
  Buffer.concat([Buffer.from(KEY_DOMAIN), canonicalBytes({ id, public_key, valid_from })])

const line = (record: SiteKey): Buffer => Buffer.concat([canonicalBytes(record), Buffer.from('\n')])

const spkiOf = (key: KeyObject): Buffer => createPublicKey(key).export({ type: 'spki', format: 'der' })

const signerOf = (id: string, key: KeyObject): Signer => ({
  id,
  sign: (bytes) => sign(null, bytes, key).toString('base64'),
})

function makeFirst(directory: string): SiteKey {
  makeDirectory(directory)
  const { record, privateKey } = newPair(new Date())
  writePair(directory, privateKey, record)
  if (publish(directory, record.id, FIRST)) return record
  // Another process was quicker.
  removePair(directory, record.id)
  return readRecord(directory, FIRST)!
}

function newPair(now: Date): { readonly record: SiteKey; readonly privateKey: KeyObject } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const valid = { valid_from: now.toISOString(), valid_until: null }
  return { privateKey, record: { id: keyIdOf(spki), public_key: spki.toString('base64'), ...valid } }
}

function writePair(directory: string, key: KeyObject, record: SiteKey): void {
  writeDurably(join(directory, `site-${record.id}.key`), key.export({ type: 'pkcs8', format: 'pem' }), 0o600)
  writeDurably(join(directory, `site-${record.id}.pub`), line(record))
}

function removePair(directory: string, id: string): void {
  for (const extension of ['key', 'pub']) rmSync(join(directory, `site-${id}.${extension}`), { force: true })
}

/** False when the name is taken. */
function publish(directory: string, id: string, name: string): boolean {
  try {
    linkSync(join(directory, `site-${id}.pub`), join(directory, name))
    syncDirectory(directory)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    const cause = (error as Error).message
    throw new ColdtrailError('E_FILE_WRITE', { path: join(directory, name), cause }, { cause: error })
  }
}

function parseRecord(bytes: Buffer): SiteKey | undefined {
  try {
    const shape = siteKeySchema.safeParse(JSON.parse(bytes.toString()))
    const record = shape.data as SiteKey | undefined
    return record && publicKeyOf(record) ? record : undefined
  } catch {
    return undefined
  }
}

function readRecord(directory: string, name: string): SiteKey | undefined {
  const bytes = readIfThere(join(directory, name))
  if (!bytes) return undefined
  const record = parseRecord(bytes)
  if (!record) throw fault(name, 'its file is no record of a key')
  return record
}

/** As it is now: only the end of its validity may differ from what it was introduced with. */
function publicRecord(directory: string, id: string): SiteKey {
  const record = readRecord(directory, `site-${id}.pub`)
  if (record?.id !== id) throw fault(id, record ? 'its file is that of another key' : 'its public file is not there')
  return record
}

function ownSigner(directory: string, id: string): Signer {
  if (!KEY_ID.test(id)) throw fault(id, 'that is no id of a key')
  let bytes: Buffer
  try {
    bytes = readFileSync(join(directory, `site-${id}.key`))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw fault(id, code === 'EACCES' ? 'this user may not read its file' : `its file cannot be read: ${code}`, error)
  }
  const key = privateKey(bytes, id)
  if (keyIdOf(spkiOf(key)) !== id) throw fault(id, 'its file holds another key')
  return signerOf(id, key)
}

/** The cause of a fault would quote the secret. */
function privateKey(bytes: Buffer, name: string): KeyObject {
  let key: KeyObject | undefined
  try {
    key = createPrivateKey(bytes)
  } catch {
    // Told below.
  }
  if (key?.asymmetricKeyType !== 'ed25519') throw fault(name, 'it is no Ed25519 private key (PEM)')
  return key
}
