/**
 * What Log Analytics would store of records that it has accepted, with all it does silently: columns that the stream
 * does not declare are dropped, values of another type become null, texts are cut, a TimeGenerated that is too old or
 * too far ahead becomes the time of receipt.
 */
export interface StreamColumn {
  readonly name: string
  readonly type: string
}

export type StoredRow = Record<string, unknown>

/** `receivedAt` in milliseconds. Without columns everything is stored as it came. */
export function storedRow(
  record: Readonly<Record<string, unknown>>,
  columns: readonly StreamColumn[] | undefined,
  receivedAt: number,
): StoredRow {
  const row: StoredRow = {}
  if (columns === undefined) {
    for (const [name, value] of Object.entries(record)) row[name] = shortened(value)
  } else {
    for (const { name, type } of columns) {
      const value = record[name]
      if (value !== undefined) row[name] = converted(value, type)
    }
  }
  const time = typeof row.TimeGenerated === 'string' ? Date.parse(row.TimeGenerated) : Number.NaN
  const kept = time >= receivedAt - 2 * DAY_MS && time <= receivedAt + DAY_MS
  if (!kept) row.TimeGenerated = new Date(receivedAt).toISOString()
  return row
}

/** Texts of more bytes are cut, without a word. */
export const FIELD_BYTES = 65_536

// --- internal ---

const DAY_MS = 24 * 3600 * 1000

function shortened(value: unknown): unknown {
  if (typeof value !== 'string') return value
  const bytes = Buffer.from(value)
  return bytes.length <= FIELD_BYTES ? value : bytes.subarray(0, FIELD_BYTES).toString()
}

function converted(value: unknown, type: string): unknown {
  if (value === null) return null
  switch (type) {
    case 'int':
    case 'long': {
      const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
      const limit = type === 'int' ? 2 ** 31 : 2 ** 63
      return typeof number === 'number' && Number.isInteger(number) && number >= -limit && number < limit
        ? number
        : null
    }
    case 'real': {
      const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
      return typeof number === 'number' && Number.isFinite(number) ? number : null
    }
    case 'boolean':
      return typeof value === 'boolean' ? value : value === 'true' ? true : value === 'false' ? false : null
    case 'datetime':
      return typeof value === 'string' && !Number.isNaN(Date.parse(value)) ? value : null
    case 'dynamic':
      return value
    default:
      return typeof value === 'object' ? shortened(JSON.stringify(value)) : shortened(String(value))
  }
}
