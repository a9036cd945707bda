/**
 * Whether a record can pass a test of a place in its JSON, told from its bytes alone: the key must be there, and behind
 * it a value that passes, or one that has to be looked into. It never says no to a match; most records end here.
 */
import type { BlockRecord } from '../core/eventBlock.ts'
import type { Field, Test } from './condition.ts'
import { escapeMark } from './escapedText.ts'
import { isIndex, type Json } from './jsonText.ts'
import { jsonTest } from './predicate.ts'

export type RecordGate = (record: BlockRecord) => boolean

/** Undefined where every record may pass. */
export function recordGate(field: Field, test?: Test): RecordGate | undefined {
  if (field.kind === 'column') return undefined
  const segments = field.kind === 'json' ? field.segments : [field.name]
  const key = segments.findLast((segment) => !isIndex(segment))
  if (key === undefined || key === '') return undefined
  // A number behind the key says which item of what it holds.
  const isWhole = key === segments.at(-1)
  const passes = isWhole && test && test.kind !== 'truthy' ? jsonTest(test) : undefined
  const name = Buffer.from(JSON.stringify(key).slice(1, -1))
  const mark = Buffer.from(escapeMark(key))
  return (record) => {
    const { bytes, start, end, isEscaped } = record
    const own = bytes.subarray(start, end)
    if (isEscaped && own.includes(mark)) return true
    for (let at = own.indexOf(name); at > 0; at = own.indexOf(name, at + 1)) {
      const behind = at + name.length
      if (own[at - 1] !== QUOTE || own[behind] !== QUOTE) continue
      const colon = skipBlank(own, behind + 1)
      if (own[colon] === COLON && mayPass(own, skipBlank(own, colon + 1), passes)) return true
    }
    return false
  }
}

// --- internal ---

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const SCALAR_END = /[^-+.\w]/
/** What `Number` reads as JSON does; other forms are looked at closely. */
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/
const SCALARS: Readonly<Record<string, boolean | null>> = { true: true, false: false, null: null }
const LONGEST_SCALAR = 64

function skipBlank(bytes: Buffer, at: number): number {
  for (;;) {
    const c = bytes[at]
    if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return at
    at++
  }
}

function mayPass(bytes: Buffer, at: number, passes: ((value: Json) => boolean) | undefined): boolean {
  if (!passes) return true
  const first = bytes[at]
  if (first === QUOTE) {
    const end = bytes.indexOf(QUOTE, at + 1)
    if (end < 0) return false
    const text = bytes.subarray(at + 1, end)
    return text.includes(BACKSLASH) || passes(text.toString())
  }
  const text = bytes.toString('latin1', at, at + LONGEST_SCALAR)
  const end = text.search(SCALAR_END)
  const scalar = end < 0 ? text : text.slice(0, end)
  if (Object.hasOwn(SCALARS, scalar)) {
    const value = SCALARS[scalar]!
    return value !== null && passes(value)
  }
  // Lists, objects, NaN, and what is no JSON.
  return end < 0 || !NUMBER.test(scalar) || passes(Number(scalar))
}
