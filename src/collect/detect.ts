/** Which format an object has, and to which day it belongs. */
import type { Format } from '../components/component.ts'
import { FORMATS } from '../components/formats/all.ts'
import type { EventSink } from '../core/eventSink.ts'
import { dayOfMicroseconds, dayText, keyDay } from '../core/keyDay.ts'

/** Decoded bytes that detection sees, and the search for a first time. */
export const DETECT_BYTES = 4096
export const PROBE_BYTES = 64 * 1024

/** The format that is surest of the object, or the reason why it holds no events at all. */
export function detectFormat(head: Buffer, key: string): { readonly format: Format } | { readonly noise: string } {
  const seen = head.subarray(0, DETECT_BYTES)
  let best: { format: Format; score: number } | undefined
  for (const format of FORMATS as readonly Format[]) {
    const noise = format.noise?.(seen, key)
    if (noise !== undefined) return { noise }
    const score = format.detect(seen, key)
    if (score > (best?.score ?? 0)) best = { format, score }
  }
  return best ? { format: best.format } : { noise: 'no format' }
}

/** `2023-07-10`: the day of the key, else of the first event that has a time; `none` without either. */
export function partitionDay(key: string, format: Format, head: Buffer, lastModified: number): string {
  const day = keyDay(key)
  if (day !== undefined) return dayText(day)
  const sink = new FirstTime()
  format.open(sink, { observe: false, lastModified }).push(head.subarray(0, PROBE_BYTES))
  return sink.found === undefined ? 'none' : dayText(dayOfMicroseconds(sink.found))
}

// --- internal ---

class FirstTime implements EventSink {
  found: number | undefined
  readonly observables = undefined
  time(microseconds: number): void {
    this.found ??= microseconds
  }
  begin(): void {}
  data(): void {}
  slice(): void {}
  known(): boolean {
    return true
  }
  text(): void {}
  constant(): void {}
  int(): void {}
  observe(): void {}
  phrase(): void {}
  label(): void {}
  fact(): void {}
  commit(): void {}
  cancel(): void {}
  reject(): void {}
}
