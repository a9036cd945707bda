/** Encryption of a bundle to recipients in the age format (S5). Outermost but for the parts; the manifest inside is signed in plain. */
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { ReadableStream } from 'node:stream/web'
import { Decrypter, Encrypter } from 'age-encryption'
import { ColdtrailError } from '../../core/errors.ts'
import { attempt, makeDirectory, namesIfThere } from '../../platform/files.ts'
import { isProcessAlive } from '../../platform/processes.ts'
import { type ByteSource, ofHandle, piecesOf } from './byteSource.ts'

const MAGIC = Buffer.from('age-encryption.org/v1\n')

export async function isEncrypted(source: ByteSource): Promise<boolean> {
  return (await source.read(0, MAGIC.length)).equals(MAGIC)
}

/** `age1…` recipients out of what was given: each one of them, or a file of them, one a line. E_SYNC_RECIPIENT. */
export function readRecipients(given: readonly string[]): string[] {
  const found = given.flatMap((recipient) => {
    if (/^age1[a-z0-9]+$/.test(recipient)) return [recipient]
    if (!existsSync(recipient))
      throw new ColdtrailError('E_SYNC_RECIPIENT', {
        recipient,
        reason: 'it is no age1… and no file of that name is there',
      })
    const lines = linesOf(recipient)
    if (lines.length === 0) throw new ColdtrailError('E_SYNC_RECIPIENT', { recipient, reason: 'the file names none' })
    return lines
  })
  const encrypter = new Encrypter()
  for (const recipient of found) {
    try {
      encrypter.addRecipient(recipient)
    } catch (error) {
      throw new ColdtrailError('E_SYNC_RECIPIENT', { recipient, reason: (error as Error).message }, { cause: error })
    }
  }
  return found
}

/** The encrypted bytes of a source, as they come. */
export async function* encrypted(source: ByteSource, recipients: readonly string[]): AsyncGenerator<Uint8Array> {
  const encrypter = new Encrypter()
  for (const recipient of recipients) encrypter.addRecipient(recipient)
  yield* chunksOf(await encrypter.encrypt(streamOf(source)))
}

/**
 * The plain bytes, in a file below `scratch` that has no name any more: it is gone when it is closed, and when the process
 * ends. `identities`: files. E_BUNDLE_ENCRYPTED, E_BUNDLE_DAMAGED.
 */
export async function decrypted(
  file: string,
  source: ByteSource,
  identities: readonly string[],
  scratch: string,
): Promise<ByteSource> {
  const fault = (reason: string, cause?: unknown) =>
    new ColdtrailError('E_BUNDLE_ENCRYPTED', { file, reason }, { cause })
  if (identities.length === 0) throw fault('no identity was given')
  const header = await source.read(0, MAX_HEADER_BYTES)
  // The library reads a header to its end, however far that is.
  if (header.indexOf('\n--- ') < 0) throw damaged(file, 0, 'its age header has no end')
  const decrypter = new Decrypter()
  for (const path of identities) {
    const lines = linesOf(path)
    if (lines.length === 0) throw fault(`${path} holds no identity`)
    for (const line of lines) {
      try {
        decrypter.addIdentity(line)
      } catch {
        // The cause would quote the secret.
        throw fault(`${path} is no file of age identities`)
      }
    }
  }
  let plain: AsyncIterable<Uint8Array>
  try {
    plain = chunksOf(await decrypter.decrypt(streamOf(source)))
  } catch (error) {
    if (error instanceof ColdtrailError) throw error
    const { message } = error as Error
    if (/^no identity matched/.test(message)) throw fault('none of the identities given opens it', error)
    throw damaged(file, 0, `its age header is damaged (${message})`, error)
  }
  return unnamedFile(scratch, plain, (at, error) =>
    damaged(file, at, 'it is cut off or changed: what follows cannot be decrypted', error),
  )
}

/** Folder of a data directory for plain bytes of encrypted bundles: they stay where the library is, in no place that others share. */
export const scratchOf = (dataDir: string): string => join(dataDir, 'library', 'scratch')

/** Removes what a process left that died before its file had lost its name; no bytes are in it yet. */
export function sweepScratch(scratch: string): void {
  for (const name of namesIfThere(scratch)) {
    const owner = /^\.bundle-(\d+)-/.exec(name)?.[1]
    if (owner !== undefined && !isProcessAlive(Number(owner))) rmSync(join(scratch, name), { force: true })
  }
}

/** A file without a name, with these bytes. `fault` says what an error of the bytes' source after `at` of them means. */
export async function unnamedFile(
  scratch: string,
  bytes: AsyncIterable<Uint8Array>,
  fault: (at: number, error: unknown) => Error,
): Promise<ByteSource> {
  makeDirectory(scratch)
  const path = join(scratch, `.bundle-${process.pid}-${randomBytes(8).toString('hex')}`)
  const handle = await open(path, 'wx+', 0o600)
  rmSync(path)
  let size = 0
  try {
    const reading = bytes[Symbol.asyncIterator]()
    for (;;) {
      let next: IteratorResult<Uint8Array>
      try {
        next = await reading.next()
      } catch (error) {
        throw error instanceof ColdtrailError ? error : fault(size, error)
      }
      if (next.done) break
      await writeAll(path, handle, next.value)
      size += next.value.length
    }
    return ofHandle(path, handle, size)
  } catch (error) {
    await handle.close()
    throw error
  }
}

// --- internal ---

const MAX_HEADER_BYTES = 64 * 1024
const MAX_LINES_BYTES = 64 * 1024

const damaged = (file: string, offset: number, reason: string, cause?: unknown): ColdtrailError =>
  new ColdtrailError('E_BUNDLE_DAMAGED', { file, entry: 'the age file', offset, reason }, { cause })

/** Lines of a file of keys, comments left out. E_FILE_READ. */
function linesOf(path: string): string[] {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    throw new ColdtrailError('E_FILE_READ', { path, cause: (error as Error).message }, { cause: error })
  }
  if (bytes.length > MAX_LINES_BYTES)
    throw new ColdtrailError('E_FILE_READ', { path, cause: 'it is too large for a file of age keys' })
  return bytes
    .toString()
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
}

async function writeAll(path: string, handle: Awaited<ReturnType<typeof open>>, bytes: Uint8Array): Promise<void> {
  try {
    for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at)).bytesWritten
  } catch (error) {
    attempt(path, () => {
      throw error
    })
  }
}

function streamOf(source: ByteSource): ReadableStream<Uint8Array> {
  const pieces = piecesOf(source)
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await pieces.next()
      if (done) controller.close()
      // Not a Buffer of a pool: streams may take what they are given over.
      else controller.enqueue(new Uint8Array(value.buffer, value.byteOffset, value.length))
    },
    async cancel() {
      await pieces.return(undefined)
    },
  })
}

async function* chunksOf(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* stream
}
