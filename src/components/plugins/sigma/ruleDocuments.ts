/**
 * YAML of strangers as plain nodes that know where they stand. Bounded: size, documents, depth; aliases are refused, since
 * a few lines of them can stand for any number of values, and Sigma rules have no use for them.
 */
import { isAlias, isMap, isScalar, isSeq, parseAllDocuments, type Node as YamlNode } from 'yaml'
import type { ColdtrailError } from '../../../core/errors.ts'
import { placeError } from '../rulePlace.ts'

export const SIGMA_FILE_BYTES = 2 ** 20

export type SigmaNode = { readonly at: number } & (
  | { readonly kind: 'map'; readonly entries: readonly SigmaEntry[] }
  | { readonly kind: 'list'; readonly items: readonly SigmaNode[] }
  | { readonly kind: 'scalar'; readonly value: string | number | bigint | boolean | null }
)

export interface SigmaEntry {
  readonly key: string
  readonly at: number
  readonly value: SigmaNode
}

/** The text of a file, for errors with a place in it. */
export class SigmaSource {
  readonly file: string
  readonly text: string

  constructor(file: string, text: string) {
    this.file = file
    this.text = text
  }

  lineOf(at: number): number {
    return this.text.slice(0, at).split('\n').length
  }

  /** E_RULE_FILE. */
  fault(at: number, reason: string, expected: readonly string[] = []): ColdtrailError {
    const place = Math.min(Math.max(at, 0), this.text.length)
    const start = this.text.lastIndexOf('\n', place - 1) + 1
    const end = this.text.indexOf('\n', place)
    const line = this.text.slice(start, end < 0 ? undefined : end).replace(/\r$/, '')
    return placeError(this.file, this.lineOf(place), line, Math.min(place - start, line.length), { reason, expected })
  }
}

/** Documents with a map each; empty ones are left out. E_RULE_FILE. */
export function ruleDocuments(source: SigmaSource): SigmaNode[] {
  if (source.text.length > SIGMA_FILE_BYTES) throw source.fault(0, `it has more than ${SIGMA_FILE_BYTES} characters`)
  checkDepth(source)
  const documents = parsed(source)
  if (documents.length > DOCUMENTS) throw source.fault(0, `more than ${DOCUMENTS} documents`)
  return documents.flatMap((document) => {
    const [error] = [...document.errors, ...document.warnings]
    if (error) throw source.fault(error.pos[0], error.message.split('\n')[0]!.replace(/[.:]$/, ''))
    const contents = document.contents as YamlNode | null
    const isEmpty = contents === null || (isScalar(contents) && contents.value === null)
    return isEmpty ? [] : [nodeOf(contents, source, 0)]
  })
}

// --- internal ---

const DOCUMENTS = 100
const DEPTH = 40
const MARKS = 1_000

/** The parser of YAML recurses: brackets and dashes that could nest deeper than it can go are counted first. */
function checkDepth(source: SigmaSource): void {
  let depth = 0
  for (let at = 0; at < source.text.length; at++) {
    const c = source.text.charCodeAt(at)
    if (c === 0x5b || c === 0x7b) depth++
    else if (c === 0x5d || c === 0x7d) depth = Math.max(0, depth - 1)
    if (depth > MARKS) throw source.fault(at, 'it is nested too deeply')
  }
  const nested = /^[ \t]*(?:[-?] *){200}/m.exec(source.text)
  if (nested) throw source.fault(nested.index, 'it is nested too deeply')
}

function parsed(source: SigmaSource) {
  try {
    const documents = parseAllDocuments(source.text, { intAsBigInt: true, prettyErrors: false, logLevel: 'silent' })
    return Array.isArray(documents) ? documents : []
  } catch (error) {
    // Of recursion; nothing else is thrown by the parser.
    if (error instanceof RangeError) throw source.fault(0, 'it is nested too deeply')
    throw error
  }
}

function nodeOf(node: YamlNode | null, source: SigmaSource, depth: number): SigmaNode {
  const at = node?.range?.[0] ?? 0
  if (depth > DEPTH) throw source.fault(at, 'it is nested too deeply')
  if (node === null) return { kind: 'scalar', value: null, at }
  if (isAlias(node)) throw source.fault(at, 'aliases are not read here', ['the value itself'])
  if (isScalar(node)) {
    const { value } = node
    if (value === null || ['string', 'number', 'bigint', 'boolean'].includes(typeof value))
      return { kind: 'scalar', value: value as string | number | bigint | boolean | null, at }
    throw source.fault(at, 'this is no text, number or boolean')
  }
  if (isSeq(node))
    return { kind: 'list', items: node.items.map((item) => nodeOf(item as YamlNode | null, source, depth + 1)), at }
  if (!isMap(node)) throw source.fault(at, 'this is neither a map, a list nor a value')
  const entries = node.items.map((pair) => {
    const key = pair.key as YamlNode | null
    const keyAt = key?.range?.[0] ?? at
    if (!isScalar(key)) throw source.fault(keyAt, 'this is no name')
    const value = nodeOf(pair.value as YamlNode | null, source, depth + 1)
    return { key: String(key.value), at: keyAt, value: value.at === 0 ? { ...value, at: keyAt } : value }
  })
  return { kind: 'map', entries, at }
}
