/** Events as lines of JSON in files of a folder, for whatever picks them up. */
import { accessSync, constants } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import { asColdtrailError, ColdtrailError } from '../../core/errors.ts'
import { bytesText } from '../../core/terminalText.ts'
import { fileSystemOf, nearestExisting } from '../../platform/fileSystem.ts'
import type { DestinationComponent, DestinationContext } from '../component.ts'
import { type BatchLimits, type Destination, type DestinationCheck, findingFeed, type Outcome } from '../destination.ts'
import { DATA_FIELD, ELEMENT_COLUMNS, eventElements } from '../rows/eventElement.ts'
import { RotatedFiles } from './file/rotatedFiles.ts'

const MIB = 1024 * 1024

const config = z.strictObject({
  path: z
    .string()
    .min(1)
    .refine((path) => !dirname(path).includes('*') && basename(path).split('*').length <= 2, {
      message: 'only the file name may have a *, and only one',
    })
    .describe(
      'A folder, or a folder with the form of its file names: out/aws-*.ndjson. Time and number take the place of *. ' +
        'Relative to the directory of this file.',
    ),
  compression: z.enum(['none', 'gzip', 'zstd']).default('none').describe('Of the files; .gz or .zst is appended.'),
  max_bytes: z
    .int()
    .min(MIB)
    .default(128 * MIB)
    .describe('A file is finished before it would be larger.'),
  max_age_secs: z.int().min(1).default(3600).describe('A file is finished when it is so old.'),
  daily: z.boolean().default(true).describe('Finish files at midnight UTC.'),
  data: DATA_FIELD,
})

export const file: DestinationComponent<typeof config> = {
  kind: 'destination',
  name: 'file',
  summary: 'Files of JSON lines in a folder, finished by size, age and day; growing ones end in .partial.',
  config,
  create: async (options, context) => fileDestination(options, context),
}

// --- internal ---

const CODEC_ENDING = { none: '', gzip: '.gz', zstd: '.zst' } as const

function fileDestination(options: z.output<typeof config>, context: DestinationContext): Destination {
  const codec = CODEC_ENDING[options.compression]
  const place = placeOf(resolve(context.base, options.path), context.name, codec)
  const files = new RotatedFiles({
    ...place,
    codec,
    maxBytes: options.max_bytes,
    maxAgeMs: options.max_age_secs * 1000,
    daily: options.daily,
    now: context.now,
    warn: context.warn,
  })
  const limits: BatchLimits = {
    framing: 'lines',
    compression: { kind: options.compression },
    wireBytes: Math.min(8 * MIB, options.max_bytes),
    decodedBytes: 64 * MIB,
    records: 100_000,
    inFlight: 1,
  }
  return {
    feeds: ['events', findingFeed('events')].map((name) => ({
      name,
      columns: ELEMENT_COLUMNS,
      limits,
      encode: eventElements({ data: options.data }),
      async send({ body }, signal): Promise<Outcome> {
        if (signal.aborted) return { kind: 'failed', reason: 'aborted before anything was written' }
        try {
          await files.append(body)
          return { kind: 'accepted' }
        } catch (error) {
          const fault = asColdtrailError(error)
          if (fault.code === 'E_INTERNAL') throw error
          return { kind: 'denied', error: fault }
        }
      },
    })),
    notices: [],
    async *check() {
      yield folderCheck(place.folder)
      yield lockCheck(files, place)
    },
    close: () => files.close(),
  }
}

interface Place {
  readonly folder: string
  readonly prefix: string
  readonly suffix: string
}

function placeOf(path: string, name: string, codec: string): Place {
  if (!basename(path).includes('*')) return { folder: path, prefix: `${name}-`, suffix: '.ndjson' }
  const [prefix = '', suffix = ''] = basename(path).split('*')
  const bare = codec !== '' && suffix.endsWith(codec) ? suffix.slice(0, -codec.length) : suffix
  return { folder: dirname(path), prefix, suffix: bare }
}

function folderCheck(folder: string): DestinationCheck {
  const existing = nearestExisting(folder)
  try {
    accessSync(existing, constants.W_OK | constants.X_OK)
    const { freeBytes, network } = fileSystemOf(existing)
    const free = `${folder} can be written, ${bytesText(freeBytes)} free`
    if (network === undefined) return { name: 'folder', ok: true, detail: free }
    const hint = 'Choose a local folder, and let a program that copies bring the finished files there.'
    return { name: 'folder', ok: false, detail: `${folder} is on ${network}, where locks do not hold`, hint }
  } catch (error) {
    const fault = new ColdtrailError('E_FILE_WRITE', { path: folder, cause: (error as Error).message })
    return { name: 'folder', ok: false, detail: fault.message, hint: fault.hint }
  }
}

function lockCheck(files: RotatedFiles, place: Place): DestinationCheck {
  const path = join(place.folder, `${place.prefix}*${place.suffix}`)
  try {
    if (!files.isHeldElsewhere()) return { name: 'lock', ok: true, detail: `nobody else writes ${path}` }
    throw new ColdtrailError('E_DESTINATION_BUSY', { path })
  } catch (error) {
    const fault = asColdtrailError(error)
    return { name: 'lock', ok: false, detail: fault.message, hint: fault.hint }
  }
}
