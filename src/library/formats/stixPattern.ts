/**
 * What a STIX pattern compares, as indicators, and an indicator as a pattern. A pattern is read in one pass from left to
 * right; what it negates, orders or matches by expression is no indicator.
 */
import { indicatorTypeOf } from '../observables.ts'

/** Relationship of the indicators made from a pattern. */
export const PATTERN_LINK = 'pattern'

export interface PatternIndicator {
  readonly type: string
  readonly value: string
}

/** Indicators of a pattern, at most 10,000, each once, in its order. */
export function indicatorsOfPattern(pattern: string): PatternIndicator[] {
  const found = new Map<string, PatternIndicator>()
  const tokens = tokensOf(pattern)
  let path: string | undefined
  let negated = false
  for (let i = 0; i < tokens.length && found.size < MAX_INDICATORS; i++) {
    const { kind, text } = tokens[i]!
    if (kind === 'word') {
      const upper = text.toUpperCase()
      if (upper === 'NOT') negated = true
      else if (!['IN', 'ISSUBSET', '='].includes(upper) && text.includes(':')) {
        path = text
        negated = tokens[i - 1]?.text.toUpperCase() === 'NOT'
      }
      continue
    }
    if (kind !== 'literal' || path === undefined || negated) continue
    const operator = operatorBefore(tokens, i)
    if (operator !== '=' && operator !== 'IN' && operator !== 'ISSUBSET') continue
    const indicator = indicatorOf(path, text, tokens, i)
    if (indicator) found.set(`${indicator.type}\0${indicator.value}`, indicator)
  }
  return [...found.values()]
}

/** A pattern that gives the indicator back; undefined for a type that STIX has no property for. */
export function patternOfIndicator({ type, value }: PatternIndicator): string | undefined {
  const path = PATH_OF_TYPE.get(type)
  if (path === undefined) return undefined
  if (type === 'ASN') {
    const number = /^(?:AS)?(\d{1,10})$/i.exec(value)?.[1]
    return number === undefined ? undefined : `[${path} = ${number}]`
  }
  const literal = value.replace(/['\\]/g, '\\$&')
  const six = type === 'CIDR Block' && value.includes(':')
  return `[${six ? 'ipv6-addr:value' : path} = '${literal}']`
}

/** Indicators of an observable (STIX Cyber-observable Object): the values of its own properties. */
export function indicatorsOfObservable(type: string, textAt: (path: string) => string | undefined): PatternIndicator[] {
  const found: PatternIndicator[] = []
  for (const [path, indicatorType] of TYPE_OF_PATH) {
    if (!path.startsWith(`${type}:`)) continue
    const value = textAt(path.slice(type.length + 1))
    const indicator = value === undefined || value === '' ? undefined : typed(path, indicatorType, value)
    if (indicator) found.push(indicator)
  }
  return found
}

// --- internal ---

const MAX_INDICATORS = 10_000
const MAX_VALUE = 65_500

/** Property of an observable to indicator type. */
const TYPE_OF_PATH: ReadonlyMap<string, string> = new Map([
  ['ipv4-addr:value', 'IP Address'],
  ['ipv6-addr:value', 'IPv6 Address'],
  ['domain-name:value', 'FQDN'],
  ['url:value', 'URL'],
  ['email-addr:value', 'Email Address'],
  ['email-message:subject', 'Email Subject'],
  ['mac-addr:value', 'MAC Address'],
  ['autonomous-system:number', 'ASN'],
  ['file:hashes.MD5', 'MD5'],
  ['file:hashes.SHA-1', 'SHA-1'],
  ['file:hashes.SHA-256', 'SHA-256'],
  ['file:hashes.SHA-384', 'SHA-384'],
  ['file:hashes.SHA-512', 'SHA-512'],
  ['file:hashes.SSDEEP', 'Fuzzy Hash'],
  ['file:name', 'Filename'],
  ['directory:path', 'File Path'],
  ['mutex:name', 'Mutex'],
  ['windows-registry-key:key', 'Registry Key'],
  ['user-account:account_login', 'Username'],
  ['user-account:user_id', 'Username'],
  ['x509-certificate:serial_number', 'x509 Serial'],
  ['x509-certificate:subject', 'x509 Subject'],
  ['network-traffic:extensions.http-request-ext.request_header.User-Agent', 'User-agent'],
  ['process:extensions.windows-service-ext.service_name', 'Service Name'],
  ['vulnerability:name', 'CVE'],
])

/** The other way, as a pattern spells it. */
const PATH_OF_TYPE: ReadonlyMap<string, string> = new Map([
  ...[...TYPE_OF_PATH].reverse().map(([path, type]) => [type, spelt(path)] as const),
  ['CIDR Block', 'ipv4-addr:value'],
])

function spelt(path: string): string {
  const [object = '', rest = ''] = path.split(':')
  return `${object}:${rest
    .split('.')
    .map((step) => (/^[a-z_][a-zA-Z0-9_]*$|^MD5$|^SSDEEP$/.test(step) ? step : `'${step}'`))
    .join('.')}`
}

interface Token {
  readonly kind: 'word' | 'literal' | 'sign'
  readonly text: string
}

const WORD = /[A-Za-z0-9_:.*-]/

function tokensOf(pattern: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  const quoted = (): string => {
    let text = ''
    for (at += 1; at < pattern.length && pattern[at] !== "'"; at++) {
      if (pattern[at] === '\\' && at + 1 < pattern.length) at += 1
      text += pattern[at]
    }
    at += 1
    return text
  }
  while (at < pattern.length && tokens.length < 200_000) {
    const character = pattern[at]!
    if (character === "'") tokens.push({ kind: 'literal', text: quoted() })
    else if (WORD.test(character)) {
      // A path: words, and steps in quotes behind a dot.
      let text = ''
      for (;;) {
        const start = at
        while (at < pattern.length && WORD.test(pattern[at]!)) at += 1
        text += pattern.slice(start, at)
        if (pattern[at] === "'" && text.endsWith('.') && text.includes(':')) text += quoted()
        else if (pattern[at] === '[' && text.includes(':')) {
          const close = pattern.indexOf(']', at)
          at = close < 0 ? pattern.length : close + 1
        } else break
      }
      tokens.push({ kind: /^-?\d+(?:\.\d+)?$/.test(text) ? 'literal' : 'word', text })
    } else {
      if (!/\s/.test(character)) tokens.push({ kind: 'sign', text: character })
      at += 1
    }
  }
  return tokens
}

/** The operator that a literal is compared by; of a list `IN`. */
function operatorBefore(tokens: readonly Token[], at: number): string | undefined {
  for (let i = at - 1; i >= 0; i--) {
    const { kind, text } = tokens[i]!
    if (kind === 'literal' || text === ',' || text === '(') continue
    if (text === '=') {
      const sign = tokens[i - 1]
      return sign?.kind === 'sign' && '<>!'.includes(sign.text) ? undefined : '='
    }
    return text.toUpperCase()
  }
  return undefined
}

function indicatorOf(path: string, value: string, tokens: readonly Token[], at: number): PatternIndicator | undefined {
  const type =
    TYPE_OF_PATH.get(path) ?? TYPE_OF_PATH.get(path.replace(/^file:hashes\.(SHA)(\d)/i, 'file:hashes.SHA-$2'))
  if (path === 'windows-registry-key:values.name' || value === '' || value.length > MAX_VALUE) return undefined
  // What follows the last object of a path comparison (`parent_directory_ref.path`) belongs to no type of ours.
  return type === undefined || tokens[at] === undefined ? undefined : typed(path, type, value)
}

/** An address with a prefix is a block; a value must not have a form that its type cannot have. */
function typed(path: string, type: string, value: string): PatternIndicator | undefined {
  if (!value.isWellFormed() || value.includes('\0') || value.length > MAX_VALUE) return undefined
  if (/^ipv[46]-addr:/.test(path) && value.includes('/')) {
    const whole = /^(.*)\/(?:32|128)$/.exec(value)
    if (whole && !(value.includes(':') && value.endsWith('/32'))) return { type, value: whole[1]! }
    return { type: 'CIDR Block', value }
  }
  if (type === 'ASN') return { type, value: `AS${value.replace(/^AS/i, '')}` }
  if (type === 'CVE' && indicatorTypeOf(value)?.type !== 'CVE') return undefined
  return { type, value }
}
