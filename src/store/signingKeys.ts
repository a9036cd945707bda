/**
 * Ed25519 keys that sign chain links: `<data>/keys/sign-<id>.key` (PKCS #8 PEM, 0600) and `sign-<id>.pub` (SPKI PEM).
 * The id is the first 16 hex digits of SHA-256 over the public key's DER form, so a key file cannot pass for another.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { makeDirectory, writeDurably } from '../platform/files.ts'

export interface SigningKey {
  readonly id: string
  /** Base64 signature of the bytes. */
  sign(bytes: Uint8Array): string
}

/** Public keys that are trusted, by id. */
export type PublicKeys = ReadonlyMap<string, KeyObject>

/** The signing key of a data directory; made at first use. With several, the first by id signs and all verify. */
export function loadSigningKey(dataDir: string): SigningKey {
  const directory = join(dataDir, 'keys')
  makeDirectory(directory)
  const id = keyIds(directory, 'key')[0]
  if (id === undefined) return createSigningKey(directory)
  let key: KeyObject
  try {
    key = createPrivateKey(readFileSync(join(directory, `sign-${id}.key`)))
  } catch (error) {
    const isDenied = (error as NodeJS.ErrnoException).code === 'EACCES'
    const reason = isDenied ? 'this user may not read the file' : 'the file cannot be read as a private key'
    throw new ColdtrailError('E_SIGNING_KEY', { id, reason }, { cause: error })
  }
  if (keyId(createPublicKey(key)) !== id) throw new ColdtrailError('E_SIGNING_KEY', { id, reason: 'it is another key' })
  return signingKey(id, key)
}

/** A file of a public key. */
export interface PublicKeyFile {
  readonly id: string
  readonly path: string
  /** Absent when the file is not the key of its name. */
  readonly key?: KeyObject
  /** What is wrong with the file; with a key: harmless to its use, but its bytes were changed. */
  readonly reason?: string
}

/** Every public key file of a data directory, by id. */
export function readPublicKeys(dataDir: string): PublicKeyFile[] {
  const directory = join(dataDir, 'keys')
  return keyIds(directory, 'pub').map((id) => {
    const path = join(directory, `sign-${id}.pub`)
    try {
      const file = readFileSync(path)
      const key = createPublicKey(file)
      if (keyId(key) !== id) return { id, path, reason: 'it is another key' }
      const isOwn = file.equals(Buffer.from(key.export({ type: 'spki', format: 'pem' })))
      return { id, path, key, ...(isOwn ? {} : { reason: 'its bytes are not those it was written with' }) }
    } catch {
      return { id, path, reason: 'the file cannot be read as a public key' }
    }
  })
}

/** Every public key of a data directory. A file that is no key of its name is refused: E_SIGNING_KEY. */
export function loadPublicKeys(dataDir: string): PublicKeys {
  const files = readPublicKeys(dataDir)
  const refused = files.find(({ key }) => key === undefined)
  if (refused) throw new ColdtrailError('E_SIGNING_KEY', { id: refused.id, reason: refused.reason })
  return usableKeys(files)
}

export const usableKeys = (files: readonly PublicKeyFile[]): PublicKeys =>
  new Map(files.flatMap(({ id, key }) => (key ? [[id, key]] : [])))

/** PEM of the public half of a key of a data directory. E_SIGNING_KEY. */
export function publicKeyText(dataDir: string, id: string): string {
  const key = loadPublicKeys(dataDir).get(id)
  if (!key) throw new ColdtrailError('E_SIGNING_KEY', { id, reason: 'its public half is missing' })
  return key.export({ type: 'spki', format: 'pem' }).toString()
}

/** Public keys from files that the caller trusts, whatever their names: E_FILE_READ, E_PUBLIC_KEY. */
export function pinnedKeys(paths: readonly string[]): PublicKeys {
  return new Map(
    paths.map((path) => {
      let file: Buffer
      try {
        file = readFileSync(path)
      } catch (error) {
        throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
      }
      // A public key could be computed from a private one, but who is asked for the public one must not get into the habit.
      if (file.includes('PRIVATE')) throw new ColdtrailError('E_PUBLIC_KEY', { path, reason: 'it is a private key' })
      let key: KeyObject
      try {
        key = createPublicKey(file)
      } catch (error) {
        throw new ColdtrailError('E_PUBLIC_KEY', { path, reason: 'it cannot be read as one' }, { cause: error })
      }
      const { asymmetricKeyType: type } = key
      if (type !== 'ed25519') throw new ColdtrailError('E_PUBLIC_KEY', { path, reason: `it is of type ${type}` })
      return [keyId(key), key]
    }),
  )
}

/** Whether the signature is that of the key with this id; undefined when the key is not known. */
export function verifySignature(
  keys: PublicKeys,
  id: string,
  bytes: Uint8Array,
  signature: string,
): boolean | undefined {
  const key = keys.get(id)
  return key && verify(null, bytes, key, Buffer.from(signature, 'base64'))
}

// --- internal ---

function createSigningKey(directory: string): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const id = keyId(publicKey)
  // The public half first: a link can never be signed by a key whose public half was lost.
  writeDurably(join(directory, `sign-${id}.pub`), publicKey.export({ type: 'spki', format: 'pem' }))
  writeDurably(join(directory, `sign-${id}.key`), privateKey.export({ type: 'pkcs8', format: 'pem' }), 0o600)
  return signingKey(id, privateKey)
}

const signingKey = (id: string, key: KeyObject): SigningKey => ({
  id,
  sign: (bytes) => sign(null, bytes, key).toString('base64'),
})

const keyId = (publicKey: KeyObject): string =>
  createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 16)

function keyIds(directory: string, extension: 'key' | 'pub'): string[] {
  return readdirSync(directory)
    .map((name) => /^sign-([0-9a-f]{16})\.(key|pub)$/.exec(name))
    .filter((match) => match?.[2] === extension)
    .map((match) => match![1]!)
    .sort()
}
