/** A condition as a function of an event. Never throws, whatever the event holds. */
import { ipKey } from '../core/ipAddress.ts'
import { fold } from './caseFolding.ts'
import type { Condition, Field, Order, Test } from './condition.ts'
import { type Json, parseJson, valuesIn } from './jsonText.ts'
import { matchesRegex } from './regex.ts'
import type { QueryColumn } from './vocabulary.ts'

/** As plaso's filter sees values: a missing one, zero, false, '' and empty lists and objects never compare. */
export function isTruthy(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0
  if (value instanceof Map) return value.size > 0
  return typeof value === 'number' ? value !== 0 : Boolean(value)
}

/** One event as an expression sees it. */
export interface EventAccess {
  /**
   * The value of a column by its name: texts as string, integers and times (microseconds) as number or
   * bigint, several values as an array of them; undefined or null when missing. A value of another type counts as missing.
   */
  get(column: string): unknown
  /** The record's own text; '' when there is none. */
  data(): string
}

export type Predicate = (event: EventAccess) => boolean

export function predicate(condition: Condition): Predicate {
  switch (condition.kind) {
    case 'always':
      return () => true
    case 'never':
      return () => false
    case 'not': {
      const term = predicate(condition.term)
      return (event) => !term(event)
    }
    case 'and': {
      const terms = condition.terms.map(predicate)
      return (event) => terms.every((term) => term(event))
    }
    case 'or': {
      const terms = condition.terms.map(predicate)
      return (event) => terms.some((term) => term(event))
    }
    case 'pair':
      return pairTest(condition)
    case 'test':
      return fieldTest(condition.field, condition.test)
  }
}

/** Texts in the order of their UTF-8 bytes, which is that of their code points. */
export function compareText(a: string, b: string): number {
  const least = Math.min(a.length, b.length)
  for (let i = 0; i < least; i++) {
    const [left, right] = [a.charCodeAt(i), b.charCodeAt(i)]
    if (left !== right) {
      const [leftHigh, rightHigh] = [isSurrogate(left), isSurrogate(right)]
      return leftHigh === rightHigh ? left - right : leftHigh ? 1 : -1
    }
  }
  return a.length - b.length
}

/** Of a value of a column that is there. */
export function valueTest(type: QueryColumn['type'], test: Test): (value: unknown) => boolean {
  if (type === 'int' || type === 'time') {
    const passes = integerTest(test)
    return (value) =>
      (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) && passes(value)
  }
  const passes = textTest(test)
  return (value) => typeof value === 'string' && passes(value)
}

/** Of a value in JSON. */
export function jsonTest(test: Test): (value: Json) => boolean {
  if (test.kind === 'exists') return () => true
  if (test.kind === 'boolean') return (value) => value === test.value
  if (test.kind === 'numbers') {
    const wanted = new Set(test.values)
    return (value) => typeof value === 'number' && Number.isFinite(value) && wanted.has(value)
  }
  if (test.kind === 'number')
    return (value) =>
      typeof value === 'number' && Number.isFinite(value) && inOrder(Math.sign(value - test.value), test.order)
  const passes = textTest(test)
  return (value) => typeof value === 'string' && passes(value)
}

// --- internal ---

function fieldTest(field: Field, test: Test): Predicate {
  if (field.kind === 'key') {
    const passes = test.kind === 'truthy' ? isTruthy : jsonTest(test)
    return (event) => {
      const json = parseJson(event.data())
      const value = json instanceof Map ? (json as ReadonlyMap<string, Json>).get(field.name) : undefined
      if (value === undefined || value === null) return false
      if (!field.items) return passes(value)
      return Array.isArray(value) && (value as Json[]).some((item) => item !== null && passes(item))
    }
  }
  if (field.kind === 'json') {
    const passes = jsonTest(test)
    return (event) => {
      const values = valuesIn(event.data(), field.segments)
      return values?.some(passes) ?? false
    }
  }
  const { name, type } = field.column
  const value = name === 'data' ? (event: EventAccess) => event.data() : (event: EventAccess) => event.get(name)
  if (test.kind === 'blocks') {
    const { ranges } = test
    return (event) => {
      const key = keyOf(event, name)
      return key !== undefined && ranges.some(({ from, to }) => key >= from && key <= to)
    }
  }
  const passes = valueTest(type, test)
  return (event) => {
    const found = value(event)
    return Array.isArray(found) ? found.some(passes) : passes(found)
  }
}

function pairTest({ one, other, where, folded }: Condition & { kind: 'pair' }): Predicate {
  const [ones, others] = [textsOf(one), textsOf(other)]
  const seen = folded ? fold : (value: string) => value
  const relates = (a: string, b: string): boolean => {
    if (where === 'whole') return a === b
    return where === 'start' ? a.startsWith(b) : where === 'end' ? a.endsWith(b) : a.includes(b)
  }
  return (event) => {
    const wanted = others(event).map(seen)
    return wanted.length > 0 && ones(event).some((value) => wanted.some((found) => relates(seen(value), found)))
  }
}

function textsOf(field: Field): (event: EventAccess) => readonly string[] {
  const texts = (values: readonly unknown[]) => values.filter((value) => typeof value === 'string')
  if (field.kind === 'column') {
    const { name } = field.column
    if (name === 'data') return (event) => [event.data()]
    return (event) => {
      const value = event.get(name)
      return texts(Array.isArray(value) ? value : [value])
    }
  }
  const segments = field.kind === 'json' ? field.segments : [field.name]
  return (event) => texts(valuesIn(event.data(), segments) ?? [])
}

function keyOf(event: EventAccess, name: string): string | undefined {
  const key = event.get(`${name}_key`)
  if (typeof key === 'string') return key
  const address = event.get(name)
  return typeof address === 'string' ? ipKey(address) : undefined
}

function integerTest(test: Test): (value: number | bigint) => boolean {
  if (test.kind === 'exists') return () => true
  if (test.kind === 'integer') {
    const { value: wanted, order } = test
    return (value) => inOrder(value < wanted ? -1 : value > wanted ? 1 : 0, order)
  }
  if (test.kind !== 'integers') return () => false
  const wanted = new Set(test.values)
  return (value) => wanted.has(BigInt(value))
}

function textTest(test: Test): (value: string) => boolean {
  switch (test.kind) {
    case 'exists':
      return () => true
    case 'texts': {
      const wanted = new Set(test.values)
      return test.folded ? (value) => wanted.has(fold(value)) : (value) => wanted.has(value)
    }
    case 'text':
      return (value) => inOrder(compareText(value, test.value), test.order)
    case 'regex':
      return (value) => matchesRegex(test.regex.js, value)
    case 'search':
      return searchTest(test)
    default:
      return () => false
  }
}

function searchTest({ where, value: wanted, folded, escaped }: Test & { kind: 'search' }): (value: string) => boolean {
  const seen = folded ? fold : (value: string) => value
  if (where === 'start') return (value) => seen(value).startsWith(wanted)
  if (where === 'end') return (value) => seen(value).endsWith(wanted)
  if (!escaped) return (value) => seen(value).includes(wanted)
  return (value) =>
    seen(value).includes(wanted) || (value.includes(escaped.mark) && matchesRegex(escaped.regex.js, value))
}

function inOrder(sign: number, order: Order): boolean {
  switch (order) {
    case '<':
      return sign < 0
    case '<=':
      return sign <= 0
    case '>':
      return sign > 0
    case '>=':
      return sign >= 0
  }
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff
}
