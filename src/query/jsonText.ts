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

export function isIndex(segment: string): boolean {
  return /^(0|[1-9]\d{0,8})$/.test(segment)
}

// --- internal ---

/** Several conditions of one expression ask for the same record one after another. */
let lastText: string | undefined
let lastValue: Json | undefined

function index(segment: string, value: readonly Json[]): number {
  return isIndex(segment) ? Number(segment) : value.length
}

function unfolded(values: readonly Json[]): Json[] {
  return values.flatMap((value) => (Array.isArray(value) ? (value as Json[]) : [value]))
}

const BACKSLASH = 0x5c
const QUOTE = 0x22
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|-?(?:nan|inf(?:inity)?)/iy
const WORDS = { true: true, false: false, null: null } as const
const NO_JSON = Symbol('no JSON')

type Open = { array: Json[] } | { map: Map<string, Json>; key: string | undefined }

class JsonReader {
  private readonly text: string
  private at = 0

  constructor(text: string) {
    this.text = text
  }

  whole(): Json | undefined {
    const open: Open[] = []
    for (;;) {
      let value = this.value(open)
      if (value === NO_JSON) return undefined
      if (value === undefined) continue
      for (;;) {
        const parent = open.at(-1)
        if (parent === undefined) return this.skipBlank() === undefined ? (value as Json) : undefined
        add(parent, value as Json)
        const c = this.skipBlank()
        this.at++
        const close = 'array' in parent ? ']' : '}'
        if (c === ',' && this.skipBlank() !== close) {
          if ('map' in parent && !this.key(parent)) return undefined
          break
        }
        if (c === ',') this.at++
        else if (c !== close) return undefined
        value = content(parent)
        open.pop()
      }
    }
  }

  /** A value that is complete; undefined when a container was opened whose first value comes next. */
  private value(open: Open[]): Json | undefined | typeof NO_JSON {
    const c = this.skipBlank()
    if (c === '{') {
      this.at++
      const map = new Map<string, Json>()
      if (this.skipBlank() === '}') {
        this.at++
        return map
      }
      const parent: Open = { map, key: undefined }
      if (!this.key(parent)) return NO_JSON
      open.push(parent)
      return undefined
    }
    if (c === '[') {
      this.at++
      if (this.skipBlank() === ']') {
        this.at++
        return []
      }
      open.push({ array: [] })
      return undefined
    }
    return c === '"' ? (this.string() ?? NO_JSON) : this.scalar()
  }

  private key(parent: { key: string | undefined }): boolean {
    if (this.skipBlank() !== '"') return false
    parent.key = this.string()
    if (parent.key === undefined || this.skipBlank() !== ':') return false
    this.at++
    return true
  }

  private string(): string | undefined {
    const start = this.at
    let escaped = false
    for (let i = start + 1; i < this.text.length; i++) {
      const c = this.text.charCodeAt(i)
      if (c < 0x20) return undefined
      if (c === BACKSLASH) {
        escaped = true
        i++
      } else if (c === QUOTE) {
        this.at = i + 1
        return escaped ? unescaped(this.text.slice(start, this.at)) : this.text.slice(start + 1, i)
      }
    }
    return undefined
  }

  private scalar(): Json | typeof NO_JSON {
    for (const [word, value] of Object.entries(WORDS))
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length
        return value
      }
    const number = this.match(NUMBER)
    return number === undefined ? NO_JSON : Number(number)
  }

  private skipBlank(): string | undefined {
    for (; ; this.at++) {
      const c = this.text[this.at]
      if (c !== ' ' && c !== '\n' && c !== '\r' && c !== '\t') return c
    }
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)?.[0]
    if (found !== undefined) this.at += found.length
    return found
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

function add(parent: Open, value: Json): void {
  if ('array' in parent) parent.array.push(value)
  else if (parent.key !== undefined && !parent.map.has(parent.key)) parent.map.set(parent.key, value)
}

function content(parent: Open): Json {
  return 'array' in parent ? parent.array : parent.map
}
