/** Fixtures of formats: `test/fixtures/formats/<format>/<case>.<ext>` beside `<case>.expected.jsonl`. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Format } from '../../src/components/component.ts'
import { parseWhole, type RecordedEvent, type RecordedReject } from './recordingSink.ts'

export interface FormatFixture {
  readonly format: string
  readonly name: string
  /** The file's name, which is its key too. */
  readonly key: string
  readonly bytes: Buffer
  readonly expectedPath: string
}

const root = join(import.meta.dirname, '../fixtures/formats')

export function formatFixtures(format: string): FormatFixture[] {
  const directory = join(root, format)
  if (!existsSync(directory)) return []
  const inputs = readdirSync(directory).filter((name) => !name.endsWith('.expected.jsonl'))
  return inputs.sort().map((key) => {
    const name = key.replace(/\.\w+$/, '')
    const expectedPath = join(directory, `${name}.expected.jsonl`)
    return { format, name, key, bytes: readFileSync(join(directory, key)), expectedPath }
  })
}

/** The golden text: a line for each item with sorted keys, times as text; or why the object is passed over. */
export function goldenText(format: Format, { bytes, key }: FormatFixture): string {
  const noise = format.noise?.(bytes.subarray(0, 4096), key)
  if (noise !== undefined) return `${JSON.stringify({ noise })}\n`
  return parseWhole(format, bytes)
    .items.map((item) => `${goldenLine(item)}\n`)
    .join('')
}

export function goldenLine(item: RecordedEvent | RecordedReject): string {
  const place = { record_offset: item.offset, record_length: item.data.length }
  if (item.kind === 'reject') return JSON.stringify({ reject: item.reason, ...place })
  const { time, ...columns } = item.columns
  const all: Record<string, unknown> = { ...columns, ...place, ...(item.text !== undefined && { data: item.text }) }
  if (item.labels) all.labels = item.labels
  if (time !== undefined) all.time = timeText(time as number)
  return JSON.stringify(all, Object.keys(all).sort())
}

// --- internal ---

function timeText(microseconds: number): string {
  const seconds = Math.floor(microseconds / 1e6)
  const fraction = String(microseconds - seconds * 1e6).padStart(6, '0')
  return `${new Date(seconds * 1000).toISOString().replace(/\.000Z$/, '')}.${fraction}Z`
}
