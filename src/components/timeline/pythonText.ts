/** Values as Python prints them, which is how psort does: `str()`, and `json.dumps(…, sort_keys=True)`. */

/** A number with the digits that it came with. */
export class NumberText {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** What a JSON text says, numbers as NumberText; undefined when it is no JSON. */
export function parseExactly(text: string): unknown {
  try {
    return parseJson(text, (_, value, { source }) => (typeof value === 'number' ? new NumberText(source) : value))
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** `str(value)`. */
export function pythonText(value: unknown): string {
  return typeof value === 'string' ? value : representation(value)
}

/** `json.dumps(value, sort_keys=True)`: keys sorted, blanks behind commas and colons, ASCII alone. Members that are undefined are left out. */
export function pythonJson(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (typeof value === 'string') return jsonString(value)
  if (typeof value === 'boolean') return String(value)
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`
  if (value instanceof NumberText || typeof value !== 'object') return numberText(value)
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  members.sort(([a], [b]) => compareTexts(a, b))
  return `{${members.map(([key, member]) => `${jsonString(key)}: ${pythonJson(member)}`).join(', ')}}`
}

/** The order in which Python sorts texts: by code points. */
export function compareTexts(a: string, b: string): number {
  if (SURROGATE.test(a) || SURROGATE.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b))
  return a < b ? -1 : a > b ? 1 : 0
}

// --- internal ---

type Reviver = (key: string, value: unknown, context: { readonly source: string }) => unknown
const parseJson = JSON.parse as (text: string, reviver: Reviver) => unknown
const SURROGATE = /[\ud800-\udfff]/

function representation(value: unknown): string {
  if (value === null || value === undefined) return 'None'
  if (typeof value === 'string') return quoted(value)
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (Array.isArray(value)) return `[${value.map(representation).join(', ')}]`
  if (value instanceof NumberText || typeof value !== 'object') return numberText(value)
  return `{${Object.entries(value)
    .map(([key, member]) => `${quoted(key)}: ${representation(member)}`)
    .join(', ')}}`
}

function numberText(value: unknown): string {
  const text = value instanceof NumberText ? value.text : String(value)
  if (!/[.eE]/.test(text)) return text === '-0' ? '0' : text
  const number = Number(text)
  if (!Number.isFinite(number)) return number > 0 ? 'Infinity' : '-Infinity'
  const size = Math.abs(number)
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    const [digits, exponent] = number.toExponential().split('e') as [string, string]
    return `${digits}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`
  }
  const plain = Object.is(number, -0) ? '-0' : String(number)
  return plain.includes('.') ? plain : `${plain}.0`
}

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'"
  const escaped = text.replace(/[\\\n\r\t]|[\p{C}\p{Z}]|['"]/gu, (c) => {
    if (c === ' ' || ((c === "'" || c === '"') && c !== quote)) return c
    const plain = ESCAPES[c]
    if (plain !== undefined) return plain
    if (c === quote) return `\\${c}`
    const code = c.codePointAt(0)!
    if (code <= 0xff) return `\\x${code.toString(16).padStart(2, '0')}`
    return code <= 0xffff ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`
  })
  return `${quote}${escaped}${quote}`
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function jsonString(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
