/**
 * JSON of strangers, read so that nothing of it is lost or believed: numbers that a double cannot hold stay as written, a
 * repeated key is a fault of the row that has it, and a fault of the file is named with line and column. Canonical JSON of
 * what was read is RFC 8785, but for such numbers.
 */
import { isUtf8 } from 'node:buffer'
import { ColdtrailError } from '../../core/errors.ts'

export type Json = null | boolean | number | string | ExactNumber | readonly Json[] | JsonObject
export interface JsonObject {
  readonly [name: string]: Json
}

/** A number whose digits a double would change, as written. */
export class ExactNumber {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

export interface JsonFile {
  readonly value: Json
  /** Line where an object or list of the upper levels begins; 1 for others. */
  lineOf(value: Json): number
  /** Why an object of the upper levels cannot be taken as it is, such as a key given twice inside it. */
  faultOf(value: Json): string | undefined
}

/** No longer file is read at once. */
export const MAX_FILE_BYTES = 256 * 1024 * 1024

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof ExactNumber)

/** An own property, never one of a prototype: names come from files. */
export const property = (object: JsonObject, name: string): Json | undefined =>
  Object.hasOwn(object, name) ? object[name] : undefined

export const textOf = (value: Json | undefined): string | undefined => (typeof value === 'string' ? value : undefined)

export const listOf = (value: Json | undefined): readonly Json[] => (Array.isArray(value) ? value : [])

/** Bytes as text, without a byte order mark. E_LIBRARY_FILE with line and column of what is no UTF-8. */
export function decodeText(bytes: Uint8Array, path: string): string {
  if (bytes.length > MAX_FILE_BYTES)
    throw fileFault(path, 1, 1, `it has ${bytes.length} bytes; at most ${MAX_FILE_BYTES} are read at once`)
  if (isUtf8(bytes)) return new TextDecoder().decode(bytes)
  let line = 1
  for (let start = 0; ; line++) {
    const newline = bytes.indexOf(0x0a, start)
    const end = newline < 0 ? bytes.length : newline
    const piece = bytes.subarray(start, end)
    if (!isUtf8(piece)) {
      const column = new TextDecoder('utf-8', { ignoreBOM: true }).decode(piece).indexOf('\ufffd') + 1
      throw fileFault(path, line, column, 'these bytes are not UTF-8')
    }
    start = end + 1
  }
}

/** E_LIBRARY_FILE with line and column. */
export function parseJson(text: string, path: string): JsonFile {
  const parser = new Parser(text, path)
  const value = parser.document()
  return {
    value,
    lineOf: (of) => parser.lineAt(parser.spans.get(of as object)?.[0] ?? 0),
    faultOf(of) {
      const span = parser.spans.get(of as object)
      return span && parser.faults.find(({ at }) => at >= span[0] && at < span[1])?.reason
    },
  }
}

/** Keys in order of their UTF-16 code units, no spaces. */
export function canonicalJson(value: Json): string {
  if (value instanceof ExactNumber) return value.text
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (!isObject(value)) return JSON.stringify(value)
  const members = Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name]!)}`)
  return `{${members.join(',')}}`
}

export function sameJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return !(a === 0 && Object.is(a, -0) !== Object.is(b, -0))
  if (a === undefined || b === undefined || typeof a !== typeof b || typeof a !== 'object') return false
  return canonicalJson(a) === canonicalJson(b)
}

/** Sets an own property whatever its name: `__proto__` is one too. */
export function setProperty(object: JsonObject, name: string, value: Json): void {
  if (name === '__proto__')
    Object.defineProperty(object, name, { value, enumerable: true, writable: true, configurable: true })
  else (object as Record<string, Json>)[name] = value
}

export function fileFault(path: string, line: number, column: number, cause: string): ColdtrailError {
  return new ColdtrailError('E_LIBRARY_FILE', { path, line, column, cause })
}

// --- internal ---

const MAX_DEPTH = 200
/** Levels whose objects have a line: the rows of every format lie within. */
const SPAN_DEPTH = 7
const MAX_FAULTS = 10_000

const QUOTE = 0x22
const PLAIN = /[^"\\\u0000-\u001f]*/y
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const SPACE = /[ \t\n\r]*/y
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
])

class Parser {
  readonly spans = new WeakMap<object, readonly [number, number]>()
  readonly faults: { readonly at: number; readonly reason: string }[] = []
  readonly #text: string
  readonly #path: string
  #at = 0
  #lineStart = 0
  /** Of the line that begins at `#lineStart`; -1: the last one. */
  #lineEnd: number | undefined
  #line = 1

  constructor(text: string, path: string) {
    this.#text = text
    this.#path = path
  }

  document(): Json {
    this.#space()
    const value = this.#value(0)
    this.#space()
    if (this.#at < this.#text.length) throw this.#fault('nothing may follow the value')
    return value
  }

  lineAt(offset: number): number {
    if (offset < this.#lineStart) {
      this.#lineStart = 0
      this.#line = 1
      this.#lineEnd = undefined
    }
    for (;;) {
      // Kept: a file of one line would be searched to its end for every row.
      this.#lineEnd ??= this.#text.indexOf('\n', this.#lineStart)
      if (this.#lineEnd < 0 || this.#lineEnd >= offset) return this.#line
      this.#lineStart = this.#lineEnd + 1
      this.#line += 1
      this.#lineEnd = undefined
    }
  }

  #value(depth: number): Json {
    if (depth > MAX_DEPTH) throw this.#fault(`nested deeper than ${MAX_DEPTH} levels`)
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(depth)
      case '[':
        return this.#list(depth)
      case '"':
        return this.#string()
      case 't':
        return this.#word('true', true)
      case 'f':
        return this.#word('false', false)
      case 'n':
        return this.#word('null', null)
      case undefined:
        throw this.#fault('the file ends here, before its value does')
      default:
        return this.#number()
    }
  }

  #object(depth: number): JsonObject {
    const start = this.#at
    const object: JsonObject = {}
    this.#at += 1
    this.#space()
    if (this.#text[this.#at] === '}') this.#at += 1
    else
      for (;;) {
        if (this.#text.charCodeAt(this.#at) !== QUOTE) throw this.#fault('a key in quotes is missing')
        const keyAt = this.#at
        const name = this.#string()
        this.#space()
        if (this.#text[this.#at] !== ':') throw this.#fault('":" is missing')
        this.#at += 1
        this.#space()
        if (Object.hasOwn(object, name) && this.faults.length < MAX_FAULTS)
          this.faults.push({
            at: keyAt,
            reason: `the key ${JSON.stringify(name.slice(0, 80))} stands twice in one object`,
          })
        setProperty(object, name, this.#value(depth + 1))
        if (this.#goesOn('}')) break
      }
    if (depth < SPAN_DEPTH) this.spans.set(object, [start, this.#at])
    return object
  }

  #list(depth: number): readonly Json[] {
    const start = this.#at
    const list: Json[] = []
    this.#at += 1
    this.#space()
    if (this.#text[this.#at] === ']') this.#at += 1
    else
      for (;;) {
        list.push(this.#value(depth + 1))
        if (this.#goesOn(']')) break
      }
    if (depth < SPAN_DEPTH) this.spans.set(list, [start, this.#at])
    return list
  }

  /** Behind a member: true at the end. */
  #goesOn(close: '}' | ']'): boolean {
    this.#space()
    const next = this.#text[this.#at]
    if (next !== ',' && next !== close)
      throw this.#fault(
        next === undefined ? 'the file ends here, before its value does' : `"," or "${close}" is missing`,
      )
    this.#at += 1
    if (next === close) return true
    this.#space()
    return false
  }

  #string(): string {
    let found = ''
    this.#at += 1
    for (;;) {
      PLAIN.lastIndex = this.#at
      PLAIN.exec(this.#text)
      found += this.#text.slice(this.#at, PLAIN.lastIndex)
      this.#at = PLAIN.lastIndex
      const next = this.#text[this.#at]
      if (next === '"') {
        this.#at += 1
        return found
      }
      if (next !== '\\')
        throw this.#fault(next === undefined ? 'the file ends inside a text' : 'a control character stands in a text')
      found += this.#escape()
    }
  }

  #escape(): string {
    const letter = this.#text[this.#at + 1] ?? ''
    const plain = ESCAPES.get(letter)
    if (plain !== undefined) {
      this.#at += 2
      return plain
    }
    const digits = this.#text.slice(this.#at + 2, this.#at + 6)
    if (letter !== 'u' || !/^[0-9a-fA-F]{4}$/.test(digits)) throw this.#fault('no such escape')
    this.#at += 6
    return String.fromCharCode(Number.parseInt(digits, 16))
  }

  #number(): Json {
    NUMBER.lastIndex = this.#at
    const text = NUMBER.exec(this.#text)?.[0]
    if (text === undefined) throw this.#fault('no JSON value begins so')
    this.#at += text.length
    const number = Number(text)
    return Number.isFinite(number) && !Object.is(number, -0) && decimal(String(number)) === decimal(text)
      ? number
      : new ExactNumber(text)
  }

  #word<T extends Json>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#fault('no JSON value begins so')
    this.#at += word.length
    return value
  }

  #space(): void {
    const code = this.#text.charCodeAt(this.#at)
    if (code > 0x20) return
    SPACE.lastIndex = this.#at
    SPACE.exec(this.#text)
    this.#at = SPACE.lastIndex
  }

  #fault(cause: string): ColdtrailError {
    const line = this.lineAt(this.#at)
    return fileFault(this.#path, line, this.#at - this.#lineStart + 1, cause)
  }
}

/** A decimal number as sign, digits and exponent, so that two spellings of one number are one text. */
function decimal(text: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const digits = (whole + fraction).replace(/^0+/, '')
  const significant = digits.replace(/0+$/, '')
  if (significant === '') return '0'
  return `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`
}
