/**
 * Where the files of a segment lie now. They are written into the directory of their segment; tiers move them, each by
 * itself, and a `move` link says where to. A file that is not where it should lie is *offline*.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type FileKind, type SegmentFile, segmentFileName } from './segment.ts'

export const TIERS = ['hot', 'warm', 'cold'] as const
export type Tier = (typeof TIERS)[number]

/** In every local place of a tier, made when it is first used: where it lacks, what should be mounted there is not. */
export const PLACE_MARK = '.coldtrail-place'

export interface HeldFile extends SegmentFile {
  readonly tier: Tier
  /** Where it lies now: absolute, or `s3://bucket/prefix`, which no local reader reads. */
  readonly directory: string
  /** Of the volume it went to, as an operator knows it. */
  readonly label?: string
  /** A `delete` link says that it is no more. */
  readonly deleted: boolean
}

/** What is to be known of a segment to find its files; `directory`: where it was written. */
export interface HeldFiles {
  readonly segment: number
  readonly directory: string
  readonly files: readonly HeldFile[]
}

type SegmentFileKind = Exclude<FileKind, 'tag'>

/** Path of a file of a segment as it lies now, whether or not it is there; what it never had would lie with the segment. */
export function heldPath(segment: HeldFiles, kind: SegmentFileKind): string {
  const file = segment.files.find((one) => one.kind === kind)
  return placedPath(file?.directory ?? segment.directory, segmentFileName(kind, segment.segment))
}

/** Whether the file is there for readers of this host. */
export function isHeldHere(segment: HeldFiles, kind: SegmentFileKind): boolean {
  const file = segment.files.find((one) => one.kind === kind)
  return file !== undefined && !file.deleted && isLocal(file.directory) && existsSync(heldPath(segment, kind))
}

export const isLocal = (directory: string): boolean => !directory.startsWith('s3://')

export const placedPath = (directory: string, name: string): string =>
  isLocal(directory) ? join(directory, name) : `${directory}/${name}`

/** Every local directory that files of these segments, their labels included, lie in. */
export function localDirectories(
  segments: readonly (HeldFiles & { readonly tags?: readonly { readonly directory: string }[] })[],
): string[] {
  const all = segments.flatMap(({ directory, files, tags = [] }) => [
    directory,
    ...[...files, ...tags].map((file) => file.directory),
  ])
  return [...new Set(all)].filter(isLocal)
}
