/**
 * `obs/1`: the one observable normaliser and extractor, for keysets, library and plugins. This file is its plain form
 * and the oracle of the byte-level one (observableExtractor.ts). What it covers is what an `absent` of a keyset claims,
 * so any change of what is found or how it is normalised is `obs/2`; docs/design.md has it for readers.
 *
 * Of every string: tokens are the maximal runs of `[A-Za-z0-9._:/@%+=-]`. In each token
 *   names   maximal `[A-Za-z0-9_-]` labels joined by single dots: IPv4 addresses, domains with their parents
 *   words   maximal `[A-Za-z0-9]`: file hashes, access keys
 *   parts   between `= / @ % +`: IPv6 addresses, with at most eight trailing `.` and `:` dropped one by one
 *   `://`   from its scheme to the end of the token: URLs;  `@`: e-mail addresses;  `arn:`: ARNs
 * So the host of a URL or e-mail address, the address of `ip:port`, of a CIDR block and of `SRC=ip` are found too. A
 * whole value with other characters may be a URL, ARN or internationalised domain. A string that is JSON gives its
 * strings (keys too), and one with backslashes its unescaped form, to eight levels.
 *
 * Two helper types make `absent` a proof that later suffix lists and free text cannot break: `suffix` holds the last
 * labels of dotted names refused as domains, `stem` the URLs and ARNs of free text that a character outside the token
 * alphabet cut off.
 */
import { domainToASCII } from 'node:url'
import ipaddr from 'ipaddr.js'
import { parse as parseHost } from 'tldts'

export const EXTRACTOR = 'obs/1'

/** Numbers are part of every hash and file: fixed for ever, never reused, below 128. 0 is the value of a column. */
export const OBSERVABLE_TYPES = {
  ip: 1,
  /** Its /16 (IPv6: /32), as `10.248.0.0/16`. */
  ip16: 2,
  /** Its /24 (IPv6: /48). */
  ip24: 3,
  domain: 4,
  url: 5,
  email: 6,
  md5: 7,
  sha1: 8,
  sha256: 9,
  sha512: 10,
  aws_access_key: 11,
  arn: 12,
  user: 13,
  suffix: 14,
  stem: 15,
} as const

export type ObservableType = keyof typeof OBSERVABLE_TYPES

export interface Observable {
  readonly type: ObservableType
  readonly value: string
}

export type EmitObservable = (type: ObservableType, value: string) => void

/** In `suffix`: a string held a dot and non-ASCII text, so that an internationalised name may have been passed over. */
export const NON_ASCII_MARK = 'non-ascii'
/** Characters beyond the token alphabet that a URL or ARN in free text may go on with. */
export const CUT_CHARACTERS = "?&~!$'()*,;[]#"
export const MAX_NESTED_STRINGS = 8

/**
 * The canonical form of an indicator of this type, or undefined when it has not the form: such a value is outside the
 * coverage. Takes defanged text (`hxxp://evil[.]com`). A domain needs no known public suffix here.
 */
export function normalize(type: ObservableType, text: string): string | undefined {
  const given = text.trim()
  if (type === 'user') return canonicalUser(given)
  if (type === 'arn') return canonicalArn(given)
  if (type === 'aws_access_key') return ACCESS_KEY.test(given) ? given : undefined
  if (type === 'md5' || type === 'sha1' || type === 'sha256' || type === 'sha512') {
    return hashType(given) === type ? given.toLowerCase() : undefined
  }
  const fanged = refang(given)
  switch (type) {
    case 'ip':
      return canonicalIp(fanged.replace(/%[\w.-]+$/, '').replace(/^\[(.*)\]$/, '$1'))?.ip
    case 'ip16':
      return canonicalIp(fanged.replace(/\/(?:16|32)$/, ''))?.ip16
    case 'ip24':
      return canonicalIp(fanged.replace(/\/(?:24|48)$/, ''))?.ip24
    case 'domain':
      return canonicalDomain(fanged.replace(/^\*\./, ''))
    case 'url':
      return canonicalUrl(fanged)
    case 'email': {
      const at = fanged.lastIndexOf('@')
      const domain = canonicalDomain(fanged.slice(at + 1))
      const local = fanged.slice(0, Math.max(at, 0)).replace(/^[.%+-]+/, '')
      return domain && /^[A-Za-z0-9._%+-]{1,64}$/.test(local) ? `${local.toLowerCase()}@${domain}` : undefined
    }
    case 'suffix':
      return fanged.toLowerCase()
    case 'stem':
      return stemOf(fanged)
  }
}

/** What kind of indicator a text is, with its canonical form; never `user`, `suffix` or `stem`. */
export function classify(text: string): Observable | undefined {
  for (const type of CLASSIFY_ORDER) {
    const value = normalize(type, text)
    if (value === undefined) continue
    if ((type === 'domain' || type === 'email') && !isKnownSuffix(lastLabel(value))) continue
    return { type, value }
  }
  const prefix = /^(.*)\/(16|24|32|48)$/.exec(refang(text.trim()))
  const address = prefix && canonicalIp(prefix[1]!)
  if (!address) return undefined
  const six = address.ip.includes(':')
  if (prefix[2] === (six ? '32' : '16')) return { type: 'ip16', value: address.ip16 }
  return prefix[2] === (six ? '48' : '24') ? { type: 'ip24', value: address.ip24 } : undefined
}

/** Every observable of one string of a record (unescaped); `isUser`: its key ends in userName. May repeat itself. */
export function observablesOf(text: string, isUser = false): Observable[] {
  const found: Observable[] = []
  collectObservables(text, isUser, (type, value) => found.push({ type, value }))
  return found
}

/** `observablesOf` without the array. */
export function collectObservables(text: string, isUser: boolean, emit: EmitObservable, depth = 0): void {
  if (isUser) {
    const user = canonicalUser(text.trim())
    if (user !== undefined) emit('user', user)
  }
  const whole = text.trim()
  const wholeStart = text.length - text.trimStart().length
  // A value that is nothing but one URL or ARN is not cut off where a token of it ends.
  const single = SINGLE_LOCATOR.test(whole)
  for (const [type, canonical] of LOCATORS) {
    const value = canonical(whole)
    if (value !== undefined) emit(type, value)
  }
  for (const match of text.matchAll(TOKEN)) {
    collectOfToken(match[0], emit)
    const next = text.charCodeAt(match.index + match[0].length)
    if (next >= 0x80 || CUT_CODES.has(next)) {
      collectLocators(match[0], (_, value, start) => {
        if (!(single && match.index + start === wholeStart)) emit('stem', value)
      })
    }
  }
  if (NON_ASCII.test(text)) collectNonAscii(text, whole, emit)
  if (depth === MAX_NESTED_STRINGS) return
  for (const inner of innerStrings(text, whole)) collectObservables(inner.text, inner.isUser, emit, depth + 1)
}

/** The observables of one maximal token, cut-off marks aside. */
export function collectOfToken(token: string, emit: EmitObservable): void {
  if (token.includes('.')) {
    for (const [name] of token.matchAll(NAME)) if (name.includes('.')) collectOfName(name, emit)
  }
  if (token.length >= 16) {
    for (let start = 0; start + 16 <= token.length; ) {
      let end = start
      while (end < token.length && isAlphanumeric(token.charCodeAt(end))) end++
      if (end - start >= 16) collectOfWord(token.slice(start, end), emit)
      start = end + 1
    }
  }
  if (token.includes(':')) {
    for (const part of token.split(/[=/@%+]/)) {
      if (!part.includes(':')) continue
      emitIp(ipOfPart(part), emit)
    }
    collectLocators(token, emit)
  }
  if (token.includes('@')) collectEmails(token, emit)
}

/** A URL or ARN as far as the token alphabet goes: what free text shows of it. Undefined when that is no URL or ARN. */
export function stemOf(locator: string): string | undefined {
  const head = /^[A-Za-z0-9._:/@%+=-]*/.exec(locator)![0]
  return canonicalUrl(head) ?? canonicalArn(head)
}

/** Whether free text shows a URL or ARN up to a character that `stem` watches for. */
export function endsAtCut(locator: string): boolean {
  const next = locator.charCodeAt(/^[A-Za-z0-9._:/@%+=-]*/.exec(locator)![0].length)
  return next >= 0x80 || CUT_CODES.has(next)
}

export const lastLabel = (domain: string): string => domain.slice(domain.lastIndexOf('.') + 1)

/** A public suffix of the ICANN section (private ones such as github.io are domains like others), or a local one. */
export function isKnownSuffix(label: string): boolean {
  let known = suffixes.get(label)
  if (known === undefined) {
    known = LOCAL_SUFFIXES.has(label) || parseHost(`x.${label}`, { allowPrivateDomains: false }).isIcann === true
    if (suffixes.size >= 4096) suffixes.clear()
    suffixes.set(label, known)
  }
  return known
}

/** A JSON key whose string values are covered by the `user` type. */
export const isUserKey = (key: string): boolean => key.endsWith('userName')

// --- internal ---

const TOKEN = /[A-Za-z0-9._:/@%+=-]+/g
const NAME = /[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*/g
const TRAILING = '.:/@%+=-'
const ACCESS_KEY = /^(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,28}$/
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/
const SINGLE_LOCATOR = /^(?:[A-Za-z][A-Za-z0-9+.-]{1,31}:\/\/|arn:)[A-Za-z0-9._:/@%+=?&~!$*#-]+$/
const NON_ASCII = /[^\x00-\x7f]/
const UNICODE_NAME = /[\p{L}\p{N}\p{M}_-]+(?:[.\u3002\uff0e\uff61][\p{L}\p{N}\p{M}_-]+)*/gu
const ANY_DOT = /[.\u3002\uff0e\uff61]/
const MAX_URL = 4096
const MAX_ARN = 2048
const MAX_USER = 256
const CUT_CODES = new Set([...CUT_CHARACTERS].map((c) => c.charCodeAt(0)))
const LOCAL_SUFFIXES = new Set('corp home internal intranet lan local localdomain private'.split(' '))
const CLASSIFY_ORDER = [
  'ip',
  'url',
  'email',
  'arn',
  'md5',
  'sha1',
  'sha256',
  'sha512',
  'aws_access_key',
  'domain',
] as const satisfies readonly ObservableType[]

/** A hash or an access key: a maximal run of 16 or more letters and digits. */
function collectOfWord(word: string, emit: EmitObservable): void {
  const type = hashType(word)
  if (type) emit(type, word.toLowerCase())
  else if (ACCESS_KEY.test(word)) emit('aws_access_key', word)
}

const isAlphanumeric = (code: number): boolean =>
  (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122)

const suffixes = new Map<string, boolean>()

interface CanonicalIp {
  readonly ip: string
  readonly ip16: string
  readonly ip24: string
}

function canonicalIp(text: string): CanonicalIp | undefined {
  if (IPV4.test(text)) return fourPrefixes(text)
  if (text.length > 45 || !/^[0-9A-Fa-f:.]*$/.test(text)) return undefined
  // Times of day have colons too; the library's answer to them is dear.
  if (!text.includes('::') && text.split(':').length < 7) return undefined
  if (!ipaddr.IPv6.isValid(text)) return undefined
  const six = ipaddr.IPv6.parse(text)
  if (six.isIPv4MappedAddress()) return fourPrefixes(six.toIPv4Address().toString())
  const prefix = (groups: number) => {
    const parts = six.parts.map((part, index) => (index < groups ? part : 0))
    return `${new ipaddr.IPv6(parts).toRFC5952String()}/${groups * 16}`
  }
  return { ip: six.toRFC5952String(), ip16: prefix(2), ip24: prefix(3) }
}

/** A trailing colon may belong to the address (`fe80::`) or to the text. */
function ipOfPart(part: string): CanonicalIp | undefined {
  for (let end = part.length; end > 0 && end >= part.length - 8; end--) {
    const address = canonicalIp(part.slice(0, end))
    if (address) return address
    if (!'.:'.includes(part[end - 1]!)) return undefined
  }
  return undefined
}

function fourPrefixes(ip: string): CanonicalIp {
  const third = ip.lastIndexOf('.')
  const second = ip.lastIndexOf('.', third - 1)
  return { ip, ip16: `${ip.slice(0, second)}.0.0/16`, ip24: `${ip.slice(0, third)}.0/24` }
}

function emitIp(address: CanonicalIp | undefined, emit: EmitObservable): void {
  if (!address) return
  emit('ip', address.ip)
  emit('ip16', address.ip16)
  emit('ip24', address.ip24)
}

function collectOfName(name: string, emit: EmitObservable): void {
  const trimmed = trimName(name)
  if (IPV4.test(trimmed)) emitIp(fourPrefixes(trimmed), emit)
  else emitDomain(asciiDomain(trimmed), emit)
}

/** The name and every parent of at least two labels: where a registered domain ends may change, its parents do not. */
function emitDomain(domain: string | undefined, emit: EmitObservable): void {
  if (domain === undefined) return
  const last = lastLabel(domain)
  if (!isKnownSuffix(last)) {
    emit('suffix', last)
    return
  }
  for (let parent = domain; parent !== last; parent = parent.slice(parent.indexOf('.') + 1)) emit('domain', parent)
}

const trimName = (name: string): string => withoutTail(name, '-_.').replace(/^[-.]+/, '')

/** Lower-case, two labels or more, the last alphabetic or punycode; undefined when it has not the form. */
function asciiDomain(name: string): string | undefined {
  if (name.length < 4 || name.length > 253) return undefined
  const lower = name.toLowerCase()
  const labels = lower.split('.')
  if (labels.length < 2 || !/^(?:[a-z]{2,63}|xn--[a-z0-9-]{1,59})$/.test(labels.at(-1)!)) return undefined
  return labels.every((label) => /^[a-z0-9_-]{1,63}$/.test(label)) ? lower : undefined
}

function canonicalDomain(text: string): string | undefined {
  return asciiDomain(trimName(NON_ASCII.test(text) ? domainToASCII(text) : text))
}

function canonicalUser(text: string): string | undefined {
  const user = text.normalize('NFC').toLowerCase()
  return user.length > 0 && user.length <= MAX_USER ? user : undefined
}

/** Scheme and authority in lower case, without default port, fragment and trailing punctuation. */
function canonicalUrl(text: string): string | undefined {
  const match = /^([A-Za-z][A-Za-z0-9+.-]{1,31}):\/\/([^/?#]*)([^#]*)/.exec(text.slice(0, MAX_URL * 2))
  if (!match || text.length > MAX_URL * 2 || UNSAFE_IN_URL.test(text)) return undefined
  const scheme = match[1]!.toLowerCase()
  const port = DEFAULT_PORTS.get(scheme)
  let authority = match[2]!.toLowerCase()
  if (port !== undefined && authority.endsWith(port)) authority = authority.slice(0, -port.length)
  if (NON_ASCII.test(authority)) authority = domainToASCII(authority) || authority
  const url = withoutTail(`${scheme}://${authority}${match[3]!}`, TRAILING)
  return url.length > scheme.length + 3 && url.length <= MAX_URL ? url : undefined
}
const UNSAFE_IN_URL = /[\s"<>\\^`{|}\x00-\x1f\x7f]/
const DEFAULT_PORTS = new Map([
  ['http', ':80'],
  ['https', ':443'],
])

function canonicalArn(text: string): string | undefined {
  if (text.length > MAX_ARN || !text.startsWith('arn:')) return undefined
  const arn = withoutTail(text, `${TRAILING} `)
  return /^arn:[a-z0-9-]+:[a-z0-9-]+:[a-z0-9-]*:[a-z0-9-]*:(?: |[^\s\x00-\x1f\x7f])+$/.test(arn) ? arn : undefined
}

const LOCATORS = [
  ['url', canonicalUrl],
  ['arn', canonicalArn],
] as const

/** URLs and ARNs inside a token: from where each starts to the token's end. */
function collectLocators(token: string, emit: (type: 'url' | 'arn', value: string, start: number) => void): void {
  const text = withoutTail(token, TRAILING)
  for (let at = text.indexOf('://'); at >= 0; at = text.indexOf('://', at + 3)) {
    let start = at
    while (start > 0 && at - start < 32 && /[A-Za-z0-9+.-]/.test(text[start - 1]!)) start--
    while (start < at && !/[A-Za-z]/.test(text[start]!)) start++
    if (text.length - start > MAX_URL + 4) continue
    const url = canonicalUrl(text.slice(start))
    if (url !== undefined) emit('url', url, start)
  }
  for (let at = text.indexOf('arn:'); at >= 0; at = text.indexOf('arn:', at + 4)) {
    if (text.length - at > MAX_ARN || (at > 0 && /[A-Za-z0-9]/.test(text[at - 1]!))) continue
    const arn = canonicalArn(text.slice(at))
    if (arn !== undefined) emit('arn', arn, at)
  }
}

/** A loop, since a pattern with `+$` takes quadratic time over hostile text. */
function withoutTail(text: string, characters: string): string {
  let end = text.length
  while (end > 0 && characters.includes(text[end - 1]!)) end--
  return text.slice(0, end)
}

function collectEmails(token: string, emit: EmitObservable): void {
  for (let at = token.indexOf('@'); at >= 0; at = token.indexOf('@', at + 1)) {
    let start = at
    while (start > 0 && at - start <= 64 && /[A-Za-z0-9._%+-]/.test(token[start - 1]!)) start--
    const local = token.slice(start, at).replace(/^[.%+-]+/, '')
    const name = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*/.exec(token.slice(at + 1, at + 1 + 320))
    if (local.length === 0 || local.length > 64 || at - start > 64 || !name) continue
    const domain = asciiDomain(trimName(name[0]))
    if (domain && isKnownSuffix(lastLabel(domain))) emit('email', `${local.toLowerCase()}@${domain}`)
  }
}

function hashType(text: string): 'md5' | 'sha1' | 'sha256' | 'sha512' | undefined {
  const type = HASH_LENGTHS.get(text.length)
  return type && /^[0-9A-Fa-f]+$/.test(text) ? type : undefined
}
const HASH_LENGTHS: ReadonlyMap<number, 'md5' | 'sha1' | 'sha256' | 'sha512'> = new Map([
  [32, 'md5'],
  [40, 'sha1'],
  [64, 'sha256'],
  [128, 'sha512'],
])

function collectNonAscii(text: string, whole: string, emit: EmitObservable): void {
  if (!ANY_DOT.test(text)) return
  let isWhole = false
  for (const [name] of text.matchAll(UNICODE_NAME)) {
    if (name.length > 253 || !NON_ASCII.test(name) || !ANY_DOT.test(name)) continue
    const domain = canonicalDomain(name)
    emitDomain(domain, emit)
    isWhole = domain !== undefined && isKnownSuffix(lastLabel(domain)) && name === whole
  }
  if (!isWhole) emit('suffix', NON_ASCII_MARK)
}

function innerStrings(text: string, whole: string): { text: string; isUser: boolean }[] {
  if (/^[[{"]/.test(whole)) {
    try {
      return stringsOfJson(JSON.parse(whole))
    } catch {
      // Not JSON after all: text like any other.
      return unescaped(text)
    }
  }
  return unescaped(text)
}

const unescaped = (text: string) => (text.includes('\\') ? [{ text: looselyUnescaped(text), isUser: false }] : [])

/** Every string of a parsed JSON value, keys included. */
function stringsOfJson(root: unknown): { text: string; isUser: boolean }[] {
  const found: { text: string; isUser: boolean }[] = []
  const pending: { value: unknown; isUser: boolean }[] = [{ value: root, isUser: false }]
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { value, isUser } = next
    if (typeof value === 'string') found.push({ text: value, isUser })
    else if (Array.isArray(value)) for (const item of value) pending.push({ value: item, isUser })
    else if (typeof value === 'object' && value !== null) {
      for (const [key, item] of Object.entries(value)) {
        found.push({ text: key, isUser: false })
        pending.push({ value: item, isUser: isUserKey(key) })
      }
    }
  }
  return found
}

/** Defanged text as it was meant. */
const refang = (text: string): string =>
  text
    .replace(/^hxxp/i, 'http')
    .replace(/^fxp/i, 'ftp')
    .replace(/[[({](?:\.|dot)[\])}]/gi, '.')
    .replace(/[[({](?:@|at)[\])}]/gi, '@')
    .replace(/\[:\]/g, ':')
    .replace(/\[:\/\/\]/g, '://')

/** Text that holds JSON escapes without being JSON, such as a broken record or a line that ends in an object. */
function looselyUnescaped(text: string): string {
  return text.replace(/\\(?:u([0-9A-Fa-f]{4})|(.))/gs, (_, code: string | undefined, letter: string) =>
    code === undefined ? (/[bfnrt]/.test(letter) ? ' ' : letter) : String.fromCharCode(Number.parseInt(code, 16)),
  )
}
