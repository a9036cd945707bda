/**
 * JSON as DuckDB's reader (yyjson) takes it, so that SQL and predicate see the same record: of equal keys the first
 * counts, a comma may stand before a closing bracket, `NaN` and `Infinity` are numbers (which compare with nothing), a
 * lone surrogate escape makes the whole text no JSON. Depth is not bounded: no recursion.
 */
export type Json = string | number | boolean | null | readonly Json[] | ReadonlyMap<string, Json>

/** The value, or undefined when the text is no JSON. */
export function parseJson(text: string): Json | undefined {
  if (text === lastText) return lastValue
  lastText = text
  lastValue = new JsonReader(text).whole()
  return lastValue
}

/**
 * `valuesAt` of a record's text, which is read to its end and built only where the path leads; undefined when it is no
 * JSON.
 */
export function valuesIn(text: string, segments: readonly string[]): readonly Json[] | undefined {
  if (text === lastText) return lastValue === undefined ? undefined : valuesAt(lastValue, segments)
  const json = new JsonReader(text, { path: segments }).whole()
  return json === undefined ? undefined : valuesAt(json, segments)
}

/**
 * Every value at a path: an array stands for its elements (one level), except before a numeric segment, which is an
 * index of an array or a key of an object. JSON nulls are left out.
 */
export function valuesAt(json: Json, segments: readonly string[]): readonly Json[] {
  let found: readonly Json[] = [json]
  for (const segment of segments) {
    const next: Json[] = []
    for (const value of isIndex(segment) ? found : unfolded(found)) {
      const child =
        value instanceof Map ? value.get(segment) : Array.isArray(value) ? value[index(segment, value)] : undefined
      if (child !== undefined) next.push(child)
    }
    found = next
  }
  return unfolded(found).filter((value) => value !== null)
}

/** What stands at a place, an index meaning an item of a list: texts as they are, numbers as written, others as JSON. */
export function textAt(text: string, path: readonly string[]): string | undefined {
  const found = at(new JsonReader(text, { path, asNumbers: false }).whole(), path)
  if (found === undefined || found === null) return undefined
  return typeof found === 'object' ? written(at(new JsonReader(text, { path }).whole(), path)!) : String(found)
}

export function isIndex(segment: string): boolean {
  return /^(0|[1-9]\d{0,8})$/.test(segment)
}

// --- internal ---

/** Several conditions of one expression ask for the same record one after another. */
let lastText: string | undefined
let lastValue: Json | undefined

function at(json: Json | undefined, path: readonly string[]): Json | undefined {
  let found = json
  for (const segment of path)
    if (found instanceof Map) found = (found as ReadonlyMap<string, Json>).get(segment)
    else found = Array.isArray(found) && isIndex(segment) ? (found[Number(segment)] as Json | undefined) : undefined
  return found
}

function index(segment: string, value: readonly Json[]): number {
  return isIndex(segment) ? Number(segment) : value.length
}

function unfolded(values: readonly Json[]): Json[] {
  return values.flatMap((value) => (Array.isArray(value) ? (value as Json[]) : [value]))
}

const BACKSLASH = 0x5c
const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const ZERO = 0x30
/** More digits are left to `Number`. */
const PLAIN_DIGITS = 15
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|-?(?:nan|inf(?:inity)?)/iy
const WORDS = [
  ['true', true],
  ['false', false],
  ['null', null],
] as const
const NO_JSON = Symbol('no JSON')
const OPENED = Symbol('opened')

/** What is kept of a value: everything, nothing, or what the rest of the path from a segment on leads to. */
const WHOLE = -1
const NOTHING = -2

interface Open {
  readonly isList: boolean
  /** Undefined: nothing of it is kept. */
  readonly list: Json[] | undefined
  readonly map: Map<string, Json> | undefined
  readonly kept: number
  /** Of the value that comes next, where it is kept. */
  key: string
  /** What is kept of that value. */
  next: number
}

class JsonReader {
  private readonly text: string
  /** Else numbers are their texts. */
  private readonly asNumbers: boolean
  private readonly path: readonly string[]
  private readonly open: Open[] = []
  private at = 0

  /** With a path, what it does not lead to is read over and not there. */
  constructor(
    text: string,
    { path = [], asNumbers = true }: { readonly path?: readonly string[]; readonly asNumbers?: boolean } = {},
  ) {
    this.text = text
    this.path = path
    this.asNumbers = asNumbers
  }

  whole(): Json | undefined {
    const { open } = this
    for (;;) {
      const found = this.value(open.length === 0 ? this.from(0) : open[open.length - 1]!.next)
      if (found === NO_JSON) return undefined
      if (found === OPENED) continue
      let value: Json = found
      for (;;) {
        const parent = open[open.length - 1]
        if (parent === undefined) return Number.isNaN(this.blank()) ? value : undefined
        if (parent.next !== NOTHING) {
          if (parent.list) parent.list.push(value)
          else if (!parent.map!.has(parent.key)) parent.map!.set(parent.key, value)
        }
        const c = this.blank()
        this.at++
        const close = parent.isList ? CLOSE_BRACKET : CLOSE_BRACE
        if (c === COMMA) {
          if (this.blank() !== close) {
            if (!parent.isList && !this.key(parent)) return undefined
            break
          }
          this.at++
        } else if (c !== close) return undefined
        value = parent.list ?? parent.map ?? null
        open.pop()
      }
    }
  }

  /** What is kept of a value that the path has reached by its first segments. */
  private from(segment: number): number {
    return segment === this.path.length ? WHOLE : segment
  }

  /** A value that is complete; OPENED when a container was opened whose first value comes next. */
  private value(kept: number): Json | typeof NO_JSON | typeof OPENED {
    const c = this.blank()
    if (c === QUOTE) return this.string(kept !== NOTHING) ?? NO_JSON
    if (c === OPEN_BRACE) {
      this.at++
      const map = kept === NOTHING ? undefined : new Map<string, Json>()
      if (this.blank() === CLOSE_BRACE) {
        this.at++
        return map ?? null
      }
      const parent: Open = { isList: false, list: undefined, map, kept, key: '', next: NOTHING }
      if (!this.key(parent)) return NO_JSON
      this.open.push(parent)
      return OPENED
    }
    if (c === OPEN_BRACKET) {
      this.at++
      const list = kept === NOTHING ? undefined : []
      if (this.blank() === CLOSE_BRACKET) {
        this.at++
        return list ?? null
      }
      // An array stands for its items; an index means one of them.
      const next = kept >= 0 && isIndex(this.path[kept]!) ? WHOLE : kept
      this.open.push({ isList: true, list, map: undefined, kept, key: '', next })
      return OPENED
    }
    return this.scalar(c)
  }

  private key(parent: Open): boolean {
    if (this.blank() !== QUOTE) return false
    const { kept } = parent
    const key = this.string(kept !== NOTHING)
    if (key === undefined || this.blank() !== COLON) return false
    parent.key = key
    parent.next = kept < 0 ? kept : key === this.path[kept] ? this.from(kept + 1) : NOTHING
    this.at++
    return true
  }

  /** Not `kept`: whether it is one, and no more. */
  private string(kept: boolean): string | undefined {
    const { text } = this
    const start = this.at
    let escaped = false
    for (let i = start + 1; i < text.length; i++) {
      const c = text.charCodeAt(i)
      if (c < 0x20) return undefined
      if (c === BACKSLASH) {
        escaped = true
        i++
      } else if (c === QUOTE) {
        this.at = i + 1
        if (escaped) return unescaped(text.slice(start, this.at))
        return kept ? text.slice(start + 1, i) : ''
      }
    }
    return undefined
  }

  private scalar(first: number): Json | typeof NO_JSON {
    const { text } = this
    // Most numbers are short and whole.
    if (first > ZERO && first <= ZERO + 9 && this.asNumbers) {
      let [number, i] = [first - ZERO, this.at + 1]
      const end = this.at + PLAIN_DIGITS
      let c = text.charCodeAt(i)
      for (; c >= ZERO && c <= ZERO + 9 && i < end; c = text.charCodeAt(++i)) number = number * 10 + c - ZERO
      // Neither a fraction, nor an exponent, nor more digits.
      if (c === COMMA || c === CLOSE_BRACE || c === CLOSE_BRACKET) {
        this.at = i
        return number
      }
    }
    for (const [word, value] of WORDS)
      if (text.startsWith(word, this.at)) {
        this.at += word.length
        return value
      }
    NUMBER.lastIndex = this.at
    const found = NUMBER.exec(text)?.[0]
    if (found === undefined) return NO_JSON
    this.at += found.length
    return this.asNumbers ? Number(found) : found
  }

  /** The next character that is no blank; NaN at the end. */
  private blank(): number {
    const { text } = this
    for (let i = this.at; ; i++) {
      const c = text.charCodeAt(i)
      if (c > 0x20 || (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09)) {
        this.at = i
        return c
      }
    }
  }
}

function unescaped(quoted: string): string | undefined {
  try {
    const value: string = JSON.parse(quoted)
    return value.isWellFormed() ? value : undefined
  } catch {
    return undefined
  }
}

function written(json: Json): string {
  if (json instanceof Map)
    return `{${[...json].map(([key, value]) => `${JSON.stringify(key)}:${written(value)}`).join(',')}}`
  return Array.isArray(json) ? `[${(json as Json[]).map(written).join(',')}]` : JSON.stringify(json)
}
