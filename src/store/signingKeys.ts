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
    throw new ColdtrailError(
      'E_SIGNING_KEY',
      { id, reason: 'the file cannot be read as a private key' },
      { cause: error },
    )
  }
  if (keyId(createPublicKey(key)) !== id) throw new ColdtrailError('E_SIGNING_KEY', { id, reason: 'it is another key' })
  return signingKey(id, key)
}

/** Every public key of a data directory. A file that is no key of its name is refused: E_SIGNING_KEY. */
export function loadPublicKeys(dataDir: string): PublicKeys {
  const directory = join(dataDir, 'keys')
  const keys = new Map<string, KeyObject>()
  for (const id of keyIds(directory, 'pub')) {
    let key: KeyObject
    try {
      key = createPublicKey(readFileSync(join(directory, `sign-${id}.pub`)))
    } catch (error) {
      throw new ColdtrailError(
        'E_SIGNING_KEY',
        { id, reason: 'the file cannot be read as a public key' },
        { cause: error },
      )
    }
    if (keyId(key) !== id) throw new ColdtrailError('E_SIGNING_KEY', { id, reason: 'it is another key' })
    keys.set(id, key)
  }
  return keys
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
