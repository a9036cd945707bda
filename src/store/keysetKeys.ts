/**
 * Keys of keysets: `<data>/keys/keyset-<epoch>.key` (0600), JSON with format, epoch, id and 16 random bytes in base64.
 * The id is the first 8 hex digits of SHA-256 over those bytes; manifests and keysets name it. A key that is lost turns
 * what its keysets would say into `unknown`; a key that leaks lets its holder test guesses against them.
 */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, linkSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { SIP_KEY_BYTES } from '../core/sipHash.ts'
import { makeDirectory, namesIfThere, syncDirectory, writeDurably } from '../platform/files.ts'

export interface KeysetKey {
  readonly epoch: string
  readonly id: string
  /** 16 secret bytes. */
  readonly key: Buffer
}

/** The epoch of a moment: its year, UTC. */
export const keysetEpoch = (now: Date): string => String(now.getUTCFullYear())

/** The key of an epoch; made at first use. Of several processes that make it at once, all get the same one. */
export function loadKeysetKey(dataDir: string, epoch: string): KeysetKey {
  const path = keyPath(dataDir, epoch)
  if (!existsSync(path)) publishNew(path, serialize(epoch, randomBytes(SIP_KEY_BYTES)))
  return readKey(path, epoch)
}

/**
 * Every key of a data directory, by epoch. A damaged file is refused: E_KEYSET_KEY; with `onFault` it is told, and passed
 * over.
 */
export function listKeysetKeys(dataDir: string, onFault?: (error: ColdtrailError) => void): KeysetKey[] {
  const directory = join(dataDir, 'keys')
  return namesIfThere(directory)
    .flatMap((name) => /^keyset-(.+)\.key$/.exec(name)?.[1] ?? [])
    .filter((epoch) => EPOCH.test(epoch))
    .sort()
    .flatMap((epoch) => {
      try {
        return readKey(keyPath(dataDir, epoch), epoch)
      } catch (error) {
        if (!onFault || !(error instanceof ColdtrailError)) throw error
        onFault(error)
        return []
      }
    })
}

/** Copies the key of an epoch to a new file (0600) for another installation. An existing file is not replaced. */
export function exportKeysetKey(dataDir: string, epoch: string, path: string): KeysetKey {
  const key = readKey(keyPath(dataDir, epoch), epoch)
  if (!publishNew(path, serialize(epoch, key.key)))
    throw new ColdtrailError('E_FILE_WRITE', { path, cause: 'it exists already, and a key is never replaced' })
  return key
}

/** Takes an exported key in. The same key again is fine; another one of its epoch is refused. */
export function importKeysetKey(dataDir: string, path: string): KeysetKey {
  const key = readKey(path)
  const target = keyPath(dataDir, key.epoch)
  if (!publishNew(target, serialize(key.epoch, key.key)) && readKey(target, key.epoch).id !== key.id) {
    throw keyFault(key.epoch, 'another key of this epoch is here already')
  }
  return key
}

// --- internal ---

const KEY_FORMAT = 1
const EPOCH = /^[0-9a-z][0-9a-z_-]{0,31}$/
const MAX_KEY_FILE_BYTES = 4096

function keyPath(dataDir: string, epoch: string): string {
  if (!EPOCH.test(epoch)) throw keyFault(epoch, 'an epoch is at most 32 letters, digits, _ and -')
  return join(dataDir, 'keys', `keyset-${epoch}.key`)
}

const keyId = (key: Uint8Array): string => createHash('sha256').update(key).digest('hex').slice(0, 8)

const serialize = (epoch: string, key: Buffer): string =>
  `${JSON.stringify({ format: KEY_FORMAT, epoch, id: keyId(key), key: key.toString('base64') })}\n`

/** Whole or not at all, and never over another's: a link fails where the name is taken. False when it was. */
function publishNew(path: string, text: string): boolean {
  makeDirectory(dirname(path))
  const own = `${path}.${process.pid}-${randomBytes(4).toString('hex')}`
  try {
    writeDurably(own, text, 0o600)
    linkSync(own, path)
    syncDirectory(dirname(path))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    rmSync(own, { force: true })
  }
}

/** `epoch`: what the file's name says. Errors never carry its content. */
function readKey(path: string, epoch?: string): KeysetKey {
  const label = epoch ?? `in ${path}`
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (epoch === undefined) throw new ColdtrailError('E_FILE_READ', { path, cause: message }, { cause: error })
    throw keyFault(label, code === 'ENOENT' ? 'it is not here' : `its file cannot be read: ${code}`, error)
  }
  const file = bytes.length > MAX_KEY_FILE_BYTES ? undefined : parseKeyFile(bytes.toString())
  if (!file) throw keyFault(label, 'its file is no keyset key')
  if (file.format !== KEY_FORMAT) throw keyFault(label, 'its file has a format that this program does not know')
  const key = typeof file.key === 'string' ? Buffer.from(file.key, 'base64') : undefined
  if (typeof file.epoch !== 'string' || !EPOCH.test(file.epoch) || key?.length !== SIP_KEY_BYTES) {
    throw keyFault(label, 'its file is no keyset key')
  }
  if (epoch !== undefined && file.epoch !== epoch) throw keyFault(label, 'its file holds the key of another epoch')
  if (file.id !== keyId(key)) throw keyFault(label, 'its file is damaged: the id is not that of the key')
  return { epoch: file.epoch, id: file.id, key }
}

function parseKeyFile(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : undefined
  } catch {
    // The parser's message would quote the secret.
    return undefined
  }
}

const keyFault = (epoch: string, reason: string, cause?: unknown): ColdtrailError =>
  new ColdtrailError('E_KEYSET_KEY', { epoch, reason }, { cause })
