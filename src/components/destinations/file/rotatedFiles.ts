/**
 * A row of files in one folder, written by one process at a time. Names sort by time and number:
 *
 *     <prefix>20260914T120000Z-000001<suffix>             finished: whole, and never touched again
 *     <prefix>20260914T120000Z-000002<suffix>.partial     growing
 *     .<prefix>20260914T120000Z-000002<suffix>.ends       where each batch of it ends, a line each
 *     .<prefix><suffix>.lock                              held while a process writes
 *
 * A batch counts when it and the line of its end are on the disk. What stands behind the last end is the torn tail of a
 * crash: it is cut off before anything is appended, so that whole lines, gzip members and zstd frames are all there is.
 * A growing file without its ends was not begun here and is left alone.
 */
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { ColdtrailError } from '../../../core/errors.ts'
import { type FileLock, takeFileLock } from '../../../platform/fileLock.ts'
import { attempt, makeDirectory, syncDirectory } from '../../../platform/files.ts'

export interface RotatedFilesOptions {
  readonly folder: string
  /** What file names begin and end with, without the ending of the codec. */
  readonly prefix: string
  readonly suffix: string
  /** Ending of the codec, `.gz`, `.zst` or nothing. */
  readonly codec: string
  /** A file is finished before it would be larger. A batch is never cut. */
  readonly maxBytes: number
  readonly maxAgeMs: number
  /** Finish files at midnight UTC. */
  readonly daily: boolean
  /** Microseconds UTC. */
  now(): number
  warn(message: string, values?: Readonly<Record<string, unknown>>): void
}

export class RotatedFiles {
  readonly #options: RotatedFilesOptions
  readonly #form: RegExp
  /** One thing at a time: appending, finishing by age, closing. */
  #turn: Promise<void> = Promise.resolve()
  #lock: FileLock | undefined
  #growing: GrowingFile | undefined
  #age: NodeJS.Timeout | undefined
  /** Highest in the folder, or used since. */
  #lastNumber = 0
  #lastStamp = ''

  constructor(options: RotatedFilesOptions) {
    this.#options = options
    const codecs = CODEC_ENDINGS.map(escaped).join('|')
    this.#form = new RegExp(
      `^${escaped(options.prefix)}(\\d{8}T\\d{6}Z)-(\\d{6,})${escaped(options.suffix)}(${codecs})?(\\.partial)?$`,
    )
  }

  /** Returns when the bytes are on the disk. E_DESTINATION_BUSY, E_DISK_FULL, E_FILE_WRITE; then nothing was appended. */
  append(batch: Uint8Array): Promise<void> {
    return this.#alone(async () => {
      if (!this.#lock) await this.#take()
      if (this.#growing && this.#isDone(this.#growing, batch.length)) await this.#finish()
      this.#growing ??= await this.#begin()
      try {
        await this.#growing.append(batch)
      } catch (error) {
        // What could not be cut back now is cut back when the folder is opened anew.
        if (!this.#growing.whole) await this.#release()
        throw error
      }
    })
  }

  /** Finishes the growing file and lets go of the folder. */
  close(): Promise<void> {
    return this.#alone(async () => {
      try {
        if (this.#growing) await this.#finish()
      } finally {
        await this.#release()
      }
    })
  }

  /** Whether another process writes files of this form now; asks without leaving anything behind. E_FILE_WRITE. */
  isHeldElsewhere(): boolean {
    const { folder, prefix, suffix } = this.#options
    const path = join(folder, lockName(prefix, suffix))
    if (this.#lock || !existsSync(path)) return false
    const lock = attempt(path, () => takeFileLock(path))
    lock?.release()
    return lock === undefined
  }

  // --- internal ---

  #alone<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(action)
    this.#turn = result.then(
      () => undefined,
      () => undefined,
    )
    return result
  }

  async #take(): Promise<void> {
    const { folder, prefix, suffix } = this.#options
    makeDirectory(folder)
    const path = join(folder, lockName(prefix, suffix))
    this.#lock = attempt(path, () => takeFileLock(path))
    if (!this.#lock) throw new ColdtrailError('E_DESTINATION_BUSY', { path: join(folder, `${prefix}*${suffix}`) })
    try {
      await this.#recover()
    } catch (error) {
      await this.#release()
      throw error
    }
  }

  /** What an earlier process left: torn tails are cut off; the latest file goes on growing, the others are finished. */
  async #recover(): Promise<void> {
    const { folder, codec, warn } = this.#options
    const left: string[] = []
    for (const name of attempt(folder, () => readdirSync(folder))) {
      const [, stamp = '', number, , partial] = this.#form.exec(name) ?? []
      if (number === undefined) {
        this.#removeOrphan(name)
        continue
      }
      this.#lastNumber = Math.max(this.#lastNumber, Number(number))
      if (stamp > this.#lastStamp) this.#lastStamp = stamp
      if (!partial) continue
      if (existsSync(join(folder, endsName(name)))) left.push(name)
      else warn('A growing file that was not begun here is left alone.', { path: join(folder, name) })
    }
    left.sort()
    for (const [at, name] of left.entries()) {
      const file = await GrowingFile.reopen(folder, name, warn)
      if (at === left.length - 1 && name.endsWith(`${this.#options.suffix}${codec}${PARTIAL}`)) this.#grow(file)
      else await this.#publish(file)
    }
  }

  /** Ends whose file was finished or never begun when the process died. */
  #removeOrphan(name: string): void {
    const { folder } = this.#options
    const partial = `${/^\.(.*)\.ends$/.exec(name)?.[1]}${PARTIAL}`
    if (!this.#form.test(partial) || existsSync(join(folder, partial))) return
    rmSync(join(folder, name), { force: true })
  }

  #isDone(file: GrowingFile, more: number): boolean {
    const { maxBytes, maxAgeMs, daily, now } = this.#options
    const at = now() / 1000
    if (file.size === 0) return false
    if (file.size + more > maxBytes || at - file.begun >= maxAgeMs) return true
    return daily && new Date(at).toISOString().slice(0, 10) !== new Date(file.begun).toISOString().slice(0, 10)
  }

  async #begin(): Promise<GrowingFile> {
    const { folder, prefix, suffix, codec, now } = this.#options
    const stamp = new Date(now() / 1000).toISOString().replace(/\.\d+/, '').replaceAll(/[-:]/g, '')
    // A clock that was set back does not put new files before old ones.
    if (stamp > this.#lastStamp) this.#lastStamp = stamp
    const name = (): string => `${prefix}${this.#lastStamp}-${numberText(this.#lastNumber)}${suffix}${codec}`
    do this.#lastNumber += 1
    while (existsSync(join(folder, name())) || existsSync(join(folder, `${name()}${PARTIAL}`)))
    const file = await GrowingFile.create(folder, `${name()}${PARTIAL}`, now() / 1000)
    this.#grow(file)
    return file
  }

  #grow(file: GrowingFile): void {
    const { maxAgeMs, now, warn } = this.#options
    this.#growing = file
    const left = Math.min(MAX_TIMER_MS, Math.max(1, maxAgeMs - (now() / 1000 - file.begun)))
    // Also a file that gets nothing more is to be picked up in time.
    this.#age = setTimeout(() => {
      void this.#alone(async () => {
        if (this.#growing === file) await this.#finish()
      }).catch((error: unknown) => warn('A file could not be finished yet.', { cause: String(error) }))
    }, left).unref()
  }

  async #finish(): Promise<void> {
    const file = this.#growing!
    this.#growing = undefined
    clearTimeout(this.#age)
    await this.#publish(file)
  }

  /** Under its final name, which nobody may have yet. */
  async #publish(file: GrowingFile): Promise<void> {
    const { folder } = this.#options
    await file.close()
    const partial = join(folder, file.name)
    attempt(partial, () => {
      if (file.size === 0) rmSync(partial, { force: true })
      else renameSync(partial, join(folder, this.#freeName(file.name)))
      rmSync(join(folder, endsName(file.name)), { force: true })
      syncDirectory(folder)
    })
  }

  #freeName(partial: string): string {
    const { folder, prefix, suffix } = this.#options
    const [, stamp = '', , ending = ''] = this.#form.exec(partial)!
    let free = partial.slice(0, -PARTIAL.length)
    while (existsSync(join(folder, free))) {
      this.#lastNumber += 1
      free = `${prefix}${stamp}-${numberText(this.#lastNumber)}${suffix}${ending}`
    }
    return free
  }

  async #release(): Promise<void> {
    clearTimeout(this.#age)
    const file = this.#growing
    this.#growing = undefined
    await file?.close().catch(() => undefined)
    this.#lock?.release()
    this.#lock = undefined
  }
}

// --- internal ---

const PARTIAL = '.partial'
const CODEC_ENDINGS = ['.gz', '.zst']
/** Longer ones Node turns into 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1

const lockName = (prefix: string, suffix: string): string => `.${prefix}${suffix}.lock`
const endsName = (partial: string): string => `.${partial.slice(0, -PARTIAL.length)}.ends`
const numberText = (number: number): string => String(number).padStart(6, '0')
const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')

class GrowingFile {
  readonly name: string
  /** Milliseconds. */
  readonly begun: number
  /** Bytes that count. */
  size = 0
  /** False once the disk holds more than `size` bytes and they could not be cut back. */
  whole = true
  readonly #path: string
  readonly #data: FileHandle
  readonly #ends: FileHandle
  #endsSize = 0

  private constructor(folder: string, name: string, begun: number, data: FileHandle, ends: FileHandle) {
    this.name = name
    this.begun = begun
    this.#path = join(folder, name)
    this.#data = data
    this.#ends = ends
  }

  /** The ends first: a file that has them is ours. */
  static async create(folder: string, name: string, begun: number): Promise<GrowingFile> {
    const path = join(folder, name)
    return attemptAsync(path, async () => {
      const ends = await open(join(folder, endsName(name)), 'wx')
      try {
        const file = new GrowingFile(folder, name, begun, await open(path, 'wx'), ends)
        syncDirectory(folder)
        return file
      } catch (error) {
        await ends.close()
        rmSync(join(folder, endsName(name)), { force: true })
        throw error
      }
    })
  }

  /** Cut back to the last end that counts. */
  static async reopen(folder: string, name: string, warn: RotatedFilesOptions['warn']): Promise<GrowingFile> {
    const path = join(folder, name)
    return attemptAsync(path, async () => {
      const data = await open(path, 'r+')
      const ends = await open(join(folder, endsName(name)), 'r+')
      const file = new GrowingFile(folder, name, begunOf(name), data, ends)
      const { size } = await data.stat()
      for (const [line] of (await ends.readFile('latin1')).matchAll(/^\d{1,15}\n/gm)) {
        if (Number(line) > size) {
          warn('A file is shorter than what was written to it; the rest is lost.', {
            path,
            size,
            expected: Number(line),
          })
          break
        }
        file.size = Number(line)
        file.#endsSize += line.length
      }
      await file.#cutBack()
      return file
    })
  }

  async append(batch: Uint8Array): Promise<void> {
    try {
      await attemptAsync(this.#path, async () => {
        await writeAll(this.#data, batch, this.size)
        await this.#data.datasync()
        const line = Buffer.from(`${this.size + batch.length}\n`)
        await writeAll(this.#ends, line, this.#endsSize)
        await this.#ends.datasync()
        this.size += batch.length
        this.#endsSize += line.length
      })
    } catch (error) {
      this.whole = await this.#cutBack().then(
        () => true,
        () => false,
      )
      throw error
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#data.close(), this.#ends.close()])
  }

  async #cutBack(): Promise<void> {
    await this.#data.truncate(this.size)
    await this.#ends.truncate(this.#endsSize)
    await this.#data.sync()
    await this.#ends.sync()
  }
}

function begunOf(name: string): number {
  const [, date = '', hour, minute, second] = /(\d{8})T(\d\d)(\d\d)(\d\d)Z-\d{6,}/.exec(name)!
  return Date.parse(`${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6)}T${hour}:${minute}:${second}Z`)
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    at += (await file.write(bytes, at, bytes.length - at, position + at)).bytesWritten
  }
}

/** As `attempt`, for what takes its time. */
async function attemptAsync<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    return attempt(path, () => {
      throw error
    })
  }
}
