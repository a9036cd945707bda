/**
 * Tagging files: a line in column 0 is a label, an indented line a rule of it, `#` begins a comment line, and a blank line
 * ends the label. docs/how-to/write-rules.md is the guide; where the original drops or takes everything in silence, the
 * file is refused with the place.
 *
 * `mode: strict` as first line makes the rules strict expressions, and gives labels a severity and a title:
 *
 *     mode: strict
 *     root_use
 *       severity: high
 *       title: The root user acted
 *       data_type == 'aws:cloudtrail:entry' and actor.user.type == 'Root'
 */
import { ColdtrailError } from '../../../core/errors.ts'
import { nearest } from '../../../core/nearest.ts'
import { compile, type Expression } from '../../../query/expression.ts'
import type { Rule, Severity } from '../../plugin.ts'
import { placeError } from '../rulePlace.ts'

export const TAGGING_FILE_BYTES = 8 * 2 ** 20
export const TAGGING_RULES = 10_000

export interface TaggingRule extends Rule {
  readonly file: string
  /** 1-based. */
  readonly line: number
  readonly compiled: Expression
}

/**
 * The rules of a file in its order. `file` is how messages call it, `name` how its rules do: `<name>/<label>`, the second
 * of a label `<name>/<label>/2`. E_RULE_FILE with line and column.
 */
export function parseTaggingFile(bytes: Buffer, file: string, name: string): TaggingRule[] {
  return new TaggingFile(file, name).rules(linesOf(bytes, file))
}

// --- internal ---

const SEVERITIES: readonly Severity[] = ['informational', 'low', 'medium', 'high', 'critical']
const TITLE_LENGTH = 200
const LABEL_LENGTH = 200
const OFFSET_OF_TEXT = /\S/
const ATTRIBUTE = /^(\w+)\s*:(?:\s|$)/

interface Label {
  readonly label: string
  readonly line: number
  readonly text: string
  rules: number
  severity?: Severity
  title?: string
}

function linesOf(bytes: Buffer, file: string): string[] {
  if (bytes.length > TAGGING_FILE_BYTES)
    throw placeError(file, 1, '', 0, { reason: `it has ${bytes.length} bytes; the limit is ${TAGGING_FILE_BYTES}` })
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    const { line, before } = invalidPlace(bytes)
    throw placeError(file, line, `${before}\ufffd`, before.length, { reason: 'this is no UTF-8' })
  }
  return text.split(/\r\n|\n|\r/)
}

/** Where the first bytes stand that are no UTF-8: the line, and what stands before them in it. */
function invalidPlace(bytes: Buffer): { line: number; before: string } {
  const decoded = bytes.toString('utf8')
  let at = 0
  // The first replacement character that the bytes do not write themselves.
  for (let offset = 0; ; at++) {
    const character = String.fromCodePoint(decoded.codePointAt(at)!)
    const length = Buffer.byteLength(character)
    if (character === '\ufffd' && !bytes.subarray(offset, offset + length).equals(Buffer.from(character))) break
    offset += length
    if (character.length === 2) at++
  }
  const lines = decoded.slice(0, at).split(/\r\n|\n|\r/)
  return { line: lines.length, before: lines.at(-1)! }
}

class TaggingFile {
  private readonly file: string
  private readonly name: string
  private readonly labels = new Map<string, Label>()
  private readonly found: TaggingRule[] = []
  private mode: 'plaso' | 'strict' = 'plaso'
  private label: Label | undefined
  private line = 0

  constructor(file: string, name: string) {
    this.file = file
    this.name = name
  }

  rules(lines: readonly string[]): TaggingRule[] {
    let isHead = true
    for (const raw of lines) {
      this.line += 1
      const text = raw.trimEnd()
      const at = text.search(OFFSET_OF_TEXT)
      if (at < 0) this.endLabel()
      else if (text[at] === '#') continue
      else if (isHead && /^mode\s*:/.test(text)) this.readMode(text)
      else if (at === 0) this.beginLabel(text)
      else this.indented(text, at)
      if (at >= 0) isHead = false
    }
    this.endLabel()
    // Severity and title may stand below the rules that they are of.
    return this.found.map((rule) => this.withFinding(rule))
  }

  private readMode(text: string): void {
    const given = text.replace(/^mode\s*:\s*/, '')
    if (given !== 'strict' && given !== 'plaso')
      throw this.fault(text, text.length - given.length, 'there is no such mode', ['strict', 'plaso'])
    this.mode = given
  }

  private beginLabel(text: string): void {
    this.endLabel()
    const wrong = text.search(/[^A-Za-z0-9_]/)
    if (wrong >= 0) {
      const hint = /^\s*mode\s*:/.test(text) ? ['mode: as the first line of the file'] : ['letters, digits and _']
      const what = JSON.stringify(String.fromCodePoint(text.codePointAt(wrong)!))
      throw this.fault(text, wrong, `a label cannot hold ${what}`, hint)
    }
    if (text.length > LABEL_LENGTH)
      throw this.fault(text, LABEL_LENGTH, `a label has at most ${LABEL_LENGTH} characters`)
    const before = this.labels.get(text)
    if (before)
      throw this.fault(text, 0, `the label ${text} has its rules at line ${before.line} already; they belong together`)
    this.label = { label: text, line: this.line, text, rules: 0 }
    this.labels.set(text, this.label)
  }

  private endLabel(): void {
    const { label } = this
    this.label = undefined
    if (!label || label.rules > 0) return
    throw placeError(this.file, label.line, label.text, 0, {
      reason: `the label ${label.label} has no rule, which would match everything`,
      expected: ['an indented rule directly below it'],
    })
  }

  private indented(text: string, at: number): void {
    const { label } = this
    if (!label)
      throw this.fault(text, at, 'this rule belongs to no label: a blank line ends a label', ['a label in column 1'])
    const attribute = this.mode === 'strict' ? ATTRIBUTE.exec(text.slice(at)) : null
    if (attribute) {
      this.attribute(label, attribute[1]!, text, at)
      return
    }
    if (this.found.length >= TAGGING_RULES) throw this.fault(text, at, `more than ${TAGGING_RULES} rules`)
    const expression = text.slice(at)
    label.rules += 1
    const rule = `${this.name}/${label.label}${label.rules === 1 ? '' : `/${label.rules}`}`
    const compiled = this.compiled(expression, text, at)
    this.found.push({
      ...{ label: label.label, rule, expression, mode: this.mode },
      ...{ file: this.file, line: this.line, compiled },
    })
  }

  private attribute(label: Label, key: string, text: string, at: number): void {
    const value = text.slice(at).replace(ATTRIBUTE, '').trim()
    const valueAt = text.length - value.length
    if (key === 'severity') {
      const severity = SEVERITIES.find((known) => known === value)
      if (!severity) throw this.fault(text, valueAt, 'there is no such severity', SEVERITIES)
      if (label.severity) throw this.fault(text, at, 'the label has a severity already')
      label.severity = severity
    } else if (key === 'title') {
      if (value === '') throw this.fault(text, valueAt, 'the title is missing')
      if (value.length > TITLE_LENGTH) throw this.fault(text, valueAt, `a title has at most ${TITLE_LENGTH} characters`)
      if (label.title) throw this.fault(text, at, 'the label has a title already')
      label.title = value
    } else {
      const near = nearest(key, ['severity', 'title'])
      throw this.fault(text, at, `${key}: is neither severity: nor title:`, near === undefined ? [] : [`${near}:`])
    }
  }

  private compiled(expression: string, text: string, at: number): Expression {
    try {
      return compile(expression, { mode: this.mode })
    } catch (error) {
      if (!(error instanceof ColdtrailError)) throw error
      const { column, reason, expected, suggestion } = error.values
      const place = column === undefined ? at : at + offsetOf(expression, Number(column))
      throw placeError(this.file, this.line, text, place, {
        reason: String(reason ?? error.message),
        // Sentences already.
        ...(expected ? { after: ` ${String(expected).trim()}` } : {}),
        ...(suggestion ? { after: String(suggestion) } : {}),
      })
    }
  }

  private withFinding(rule: TaggingRule): TaggingRule {
    const { severity, title, label, line, text } = this.labels.get(rule.label)!
    if (severity) return { ...rule, finding: { severity, title: title ?? label } }
    if (title === undefined) return rule
    throw placeError(this.file, line, text, 0, {
      reason: `the label ${label} has a title and no severity`,
      expected: ['severity: high'],
    })
  }

  private fault(text: string, at: number, reason: string, expected: readonly string[] = []): ColdtrailError {
    return placeError(this.file, this.line, text, at, { reason, expected })
  }
}

/** A column, 1-based in characters, as UTF-16 offset. */
function offsetOf(text: string, column: number): number {
  return [...text].slice(0, column - 1).join('').length
}
