/**
 * Finds where a JSON value ends that is damaged, nested too deeply or too long, so that its neighbours can still be read.
 * Lenient: brackets are matched outside strings, and whatever else stands there is passed over. The damage ends early
 * where a neighbour certainly begins:
 *
 * - at a raw line feed inside a string, which JSON does not allow;
 * - at a `{` that begins a line at its very start, or where no value may stand;
 * - at a closing bracket that nothing inside opened: it belongs to what surrounds the value.
 */
export class RecordEnd {
  /** The containers that are open, OPEN_BRACE or OPEN_BRACKET each. */
  private open = new Uint8Array(64)
  private depth = 0
  private inString = false
  private escaped = false
  /** The last byte that is neither space nor inside a string. */
  private before = 0
  /** Blanks since the last line feed; -1 when other text stands on the line. */
  private indent = -1
  /** Lines that begin sooner are not taken for neighbours. */
  private ignored: number

  /** `ignored`: so many bytes from the first on, no line is looked at for a neighbour. */
  constructor(ignored = 0) {
    this.ignored = ignored
  }

  /** Goes on at `bytes[at]`, which is `{`, `[` or `"` at first; after the end, or -1 when it lies beyond the buffer. */
  find(bytes: Buffer, at: number): number {
    const firstLine = at + this.ignored
    for (let p = at; p < bytes.length; p++) {
      const c = bytes[p]!
      if (this.inString) {
        if (c === NEWLINE && p >= firstLine) return p
        if (this.escaped) this.escaped = false
        else if (c === BACKSLASH) this.escaped = true
        else if (c === QUOTE) {
          this.inString = false
          if (this.depth === 0) return p + 1
        }
      } else if (c === NEWLINE) this.indent = p >= firstLine ? 0 : -1
      else if (c === 32 || c === 9 || c === 13) {
        if (this.indent >= 0) this.indent++
      } else {
        const end = this.outside(c, p)
        if (end >= 0) return end
        this.before = c
        this.indent = -1
      }
    }
    this.ignored = Math.max(0, firstLine - bytes.length)
    return -1
  }

  private outside(c: number, p: number): number {
    const { open } = this
    if (c === QUOTE) this.inString = true
    else if (c === OPEN_BRACE || c === OPEN_BRACKET) {
      if (c === OPEN_BRACE && (this.indent === 0 || (this.indent > 0 && !this.takesValue()))) return p
      if (this.depth === open.length) {
        this.open = new Uint8Array(open.length * 2)
        this.open.set(open)
      }
      this.open[this.depth++] = c
    } else if (c === CLOSE_BRACE || c === CLOSE_BRACKET) {
      const opening = c === CLOSE_BRACE ? OPEN_BRACE : OPEN_BRACKET
      // What was left open inside ends with it.
      const found = open.lastIndexOf(opening, this.depth - 1)
      if (this.depth === 0 || found < 0) return p
      this.depth = found
      if (found === 0) return p + 1
    }
    return -1
  }

  private takesValue(): boolean {
    const { before } = this
    if (before === COLON || before === OPEN_BRACKET) return true
    return before === COMMA && this.open[this.depth - 1] === OPEN_BRACKET
  }
}

// --- internal ---

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const COMMA = 0x2c
const NEWLINE = 0x0a
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
