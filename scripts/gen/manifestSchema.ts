/** JSON Schema of the manifests that this program writes, for other programs that read them. */
import { z } from 'zod'
import { MANIFEST_FORMAT } from '../../src/store/manifest.ts'

const integer = (description: string) => z.int().describe(description)
const seconds = (what: string) => integer(`POSIX seconds, UTC: ${what}`)
const hex = (description: string) =>
  z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .describe(description)

export const manifestSchema = z
  .strictObject({
    v: z.literal(MANIFEST_FORMAT).describe('Format of the manifest.'),
    filename: z.string().describe('The file beside which it stands; of an index a directory.'),
    kind: z.enum(['session', 'meta', 'log', 'index', 'reject', 'tag']).describe('The database.'),
    collection: z.string(),
    segment: integer('The number in the name.'),
    format: z.string().describe('Format of the collected logs.'),
    day: z
      .string()
      .regex(/^(\d{4}-\d\d-\d\d|none)$/)
      .describe('Day of the collected objects; none where nothing tells it.'),
    size: integer('Bytes; of a directory the sum of its files.'),
    fileTime: seconds('creation, never a later change.'),
    sealTime: seconds('when it became immutable.'),
    id1: integer(
      'First id: of events in meta and tag, of sessions elsewhere. Absent when the file holds none.',
    ).optional(),
    id2: integer('Last id, included.').optional(),
    session1: integer('First session.'),
    session2: integer('Last session, included.'),
    time1: seconds('least time of an event of the segment. Absent when none has a time.').optional(),
    time2: seconds('greatest time.').optional(),
    metaId1: integer('Of session files: first event id that its sessions own.').optional(),
    metaId2: integer('Last event id, included.').optional(),
    packetId1: integer('First session whose raw records are kept in a log file.').optional(),
    packetId2: integer('Last one, included.').optional(),
    compression: z.literal('zstd').optional(),
    schema: z
      .string()
      .regex(/^sha256:[0-9a-f]{64}$/)
      .describe(
        'Digest of names, types, field ids and nullability of the columns, in canonical JSON; of Parquet files.',
      )
      .optional(),
    eventTime: z
      .strictObject({
        min: seconds('least time of the events that are no outliers.'),
        max: seconds('greatest time of these.'),
        p01: seconds('one of a hundred events is earlier.'),
        p99: seconds('one of a hundred events is later.'),
        future: integer('Events later than the sealing.'),
        missing: integer('Events without a time.'),
        outliers: z
          .array(z.tuple([z.int(), z.int(), z.int()]))
          .max(8)
          .describe(
            'First time, last time and number of events that lie more than a week from all others; a search by time takes each as an interval of its own. Absent where not every time was looked at.',
          )
          .optional(),
      })
      .optional(),
    rows: integer('Events of the segment; of a tag file its rows.'),
    rejects: integer('Records that the format refused.'),
    rawBytes: integer('Bytes of the collected objects, unpacked.'),
    columns: z
      .record(
        z.string(),
        z.strictObject({
          min: z.union([z.string(), z.int()]).optional(),
          max: z.union([z.string(), z.int()]).optional(),
          ndv: z.int().describe('Number of distinct values; exact or absent.').optional(),
          nulls: z.int(),
        }),
      )
      .describe('Of meta files: bounds of each column, exact or absent.')
      .optional(),
    keyset: z
      .strictObject({
        file: z.literal('keyset.ks'),
        sha256: hex('Of the bytes of the keyset.').optional(),
        bits: z.literal(48),
        epoch: z.string().describe('Of the key that hashed.'),
        key: z.string().describe('Id of that key.'),
        extractor: z.string().describe('What was looked for, with its version.'),
        n: z.record(z.string(), z.int()).describe('Number of keys by type.'),
        complete: z.boolean().describe('Whether absence proves anything.'),
        reason: z.string().optional(),
      })
      .describe('Of index directories.')
      .optional(),
    run: integer('Of tag files: the run that made it.').optional(),
    labels: z
      .record(z.string(), z.int())
      .describe('Of tag files: events by label; absent with more than 1,000 labels.')
      .optional(),
    producer: z.string().describe('Program and version.'),
    sha256: hex('Of the bytes of the file; of a directory over its sorted list of files.'),
  })
  .describe('Manifest of a database file. Its bytes are canonical JSON (RFC 8785) and a newline.')

export function manifestSchemaFile(): string {
  return `${JSON.stringify({ title: 'Manifest of Coldtrail', ...z.toJSONSchema(manifestSchema) }, null, 2)}\n`
}
