/**
 * A bundle in parts of a medium's size: `<file>.part01` …. Each begins with one line of canonical JSON that says which
 * bytes of which bundle it holds, with their digest; then come the bytes.
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { ColdtrailError } from '../../core/errors.ts'
import { createDurableFile } from '../../platform/files.ts'
import { type ByteSource, fileSource, joined, piecesOf, sliceOf } from './byteSource.ts'
import { BUNDLE_NAME, canonicalBytes } from './manifest.ts'

export interface PartsLabel {
  readonly bundle: string
  readonly manifest_sha256: string
}

/** A part must have room for its line and for something beside it. */
export const MIN_PART_BYTES = 64 * 1024

const MAX_LINE = 512
const MAX_PARTS = 9_999

/** Writes the parts of a file, none larger than `size`; returns their paths. */
export async function writeParts(
  path: string,
  content: ByteSource,
  size: number,
  label: PartsLabel,
): Promise<string[]> {
  const capacity = size - MAX_LINE
  const parts = Math.max(1, Math.ceil(content.size / capacity))
  if (parts > MAX_PARTS)
    throw new ColdtrailError('E_USAGE', {
      message: `--split-size: ${content.size} bytes would be ${parts} parts, and there may be ${MAX_PARTS}.`,
    })
  const width = Math.max(2, String(parts).length)
  const paths: string[] = []
  for (let part = 1; part <= parts; part++) {
    const offset = (part - 1) * capacity
    const bytes = Math.min(capacity, content.size - offset)
    const slice = sliceOf(content, offset, bytes)
    const sha256 = await digestOf(slice)
    const partPath = `${path}.part${String(part).padStart(width, '0')}`
    const line = canonicalBytes({ ...label, part, parts, offset, bytes, sha256 })
    const file = createDurableFile(partPath)
    try {
      file.write(line)
      file.write(NEWLINE)
      for await (const piece of piecesOf(slice)) file.write(piece)
      file.publish()
    } catch (error) {
      file.discard()
      // A part alone is no use, and its name would be in the way of the next try.
      for (const written of paths) rmSync(written, { force: true })
      throw error
    }
    paths.push(partPath)
  }
  return paths
}

/** A file as it is, or its parts joined. `label` is what the parts say that they belong to. E_BUNDLE_PARTS. */
export async function openParts(
  path: string,
): Promise<{ readonly source: ByteSource; readonly label?: PartsLabel; readonly parts: number }> {
  const base = baseOf(path)
  if (base === path && existsSync(path)) return { source: await fileSource(path), parts: 1 }
  const paths = partsBeside(base)
  // The name as it was given: neither the file nor a part of it is there.
  if (paths.length === 0) return { source: await fileSource(path), parts: 1 }
  const opened: Part[] = []
  try {
    for (const name of paths.slice(0, MAX_PARTS + 1)) opened.push(await openPart(join(dirname(base), name)))
    const found = inOrder(base, opened)
    const { bundle, manifest_sha256 } = found[0]!.line
    return {
      source: joined(found.map(({ content }) => content)),
      label: { bundle, manifest_sha256 },
      parts: found.length,
    }
  } catch (error) {
    for (const { content } of opened) await content.close()
    throw error
  }
}

/** Whether there is a file of that name, or any part of one. */
export const isThere = (path: string): boolean => existsSync(path) || partsBeside(baseOf(path)).length > 0

// --- internal ---

const baseOf = (path: string): string => PART_NAME.exec(path)?.[1] ?? path

/** Names of the parts of a file, in its directory. */
function partsBeside(base: string): string[] {
  const names = existsSync(dirname(base)) ? readdirSync(dirname(base)) : []
  return names.filter((name) => PART_NAME.exec(name)?.[1] === basename(base)).sort()
}

const NEWLINE = Buffer.from('\n')
const PART_NAME = /^(.+)\.part\d{2,4}$/s

const lineSchema = z.strictObject({
  bundle: z.string().regex(BUNDLE_NAME),
  manifest_sha256: z.string().regex(/^[0-9a-f]{64}$/),
  part: z.int().min(1).max(MAX_PARTS),
  parts: z.int().min(1).max(MAX_PARTS),
  offset: z.int().min(0),
  bytes: z.int().min(0),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
})

interface Part {
  readonly path: string
  readonly line: z.output<typeof lineSchema>
  readonly content: ByteSource
}

const refuse = (file: string, reason: string): ColdtrailError => new ColdtrailError('E_BUNDLE_PARTS', { file, reason })

/** Its bytes are those of its line: which part is bad is said, though digests of the bundle cover them all again. */
async function openPart(path: string): Promise<Part> {
  const file = await fileSource(path)
  try {
    const start = await file.read(0, MAX_LINE)
    const end = start.indexOf(NEWLINE)
    const line = end < 0 ? undefined : parseLine(start.subarray(0, end))
    if (!line) throw refuse(path, 'it does not begin as a part of a bundle')
    if (file.size !== end + 1 + line.bytes)
      throw refuse(path, `it has ${file.size - end - 1} bytes of the bundle and says ${line.bytes}`)
    const content = sliceOf(file, end + 1, line.bytes)
    if ((await digestOf(content)) !== line.sha256)
      throw refuse(path, 'its bytes are not those that it was written with')
    return { path, line, content }
  } catch (error) {
    await file.close()
    throw error
  }
}

function parseLine(bytes: Buffer): Part['line'] | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
  const line = lineSchema.safeParse(parsed)
  return line.success && canonicalBytes(line.data).equals(bytes) ? line.data : undefined
}

/** All of one bundle, each once, without a gap; whatever the files are called. */
function inOrder(base: string, found: readonly Part[]): Part[] {
  const sorted = [...found].sort((a, b) => a.line.part - b.line.part)
  const [first] = sorted
  const { bundle, manifest_sha256, parts } = first!.line
  const other = sorted.find(
    ({ line }) => line.bundle !== bundle || line.manifest_sha256 !== manifest_sha256 || line.parts !== parts,
  )
  if (other) throw refuse(other.path, `it is a part of another bundle than ${basename(first!.path)}`)
  const twice = sorted.find(({ line }, i) => i > 0 && line.part === sorted[i - 1]!.line.part)
  if (twice) throw refuse(twice.path, `part ${twice.line.part} is there twice`)
  const here = new Set(sorted.map(({ line }) => line.part))
  const missing = Array.from({ length: parts }, (_, i) => i + 1).filter((part) => !here.has(part))
  if (missing.length > 0) {
    const named = missing.slice(0, 20).join(', ') + (missing.length > 20 ? ', …' : '')
    throw refuse(base, `of ${parts} parts ${missing.length} are missing: ${named}`)
  }
  let offset = 0
  for (const { line, path } of sorted) {
    if (line.offset !== offset) throw refuse(path, `it begins at byte ${line.offset} instead of ${offset}`)
    offset += line.bytes
  }
  return sorted
}

async function digestOf(source: ByteSource): Promise<string> {
  const digest = createHash('sha256')
  for await (const piece of piecesOf(source)) digest.update(piece)
  return digest.digest('hex')
}
