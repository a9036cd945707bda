/**
 * From indicators of the library and from columns of events to what they may have in common: the observables of `obs/1`.
 * A domain is looked for as every name of an event and every parent of it, so that an indicator finds what lies below it.
 */
import { cidrRange, ipKey } from '../../../core/ipAddress.ts'
import { classify, collectObservables, normalize, type ObservableType } from '../../../core/observables.ts'
import type { IndicatorKind } from './indicatorTable.ts'

/** By what an indicator of a type is found in events; undefined: by nothing that events have. */
export function kindOf(
  type: string,
  value: string,
): { readonly kind: IndicatorKind; readonly value: string } | undefined {
  const direct = KINDS.get(type)
  if (direct === 'domain' && value.startsWith('*.')) return { kind: 'below', value: value.slice(2) }
  if (direct === 'cidr') {
    const block = blockOf(value)
    return block === undefined ? undefined : { kind: 'cidr', value: block }
  }
  if (direct) return { kind: direct, value }
  // The library has no type of its own for these.
  if (type !== 'String') return undefined
  const found = classify(value)
  if (found?.type === 'arn') return { kind: 'arn', value: found.value }
  return found?.type === 'aws_access_key' ? { kind: 'access_key', value: found.value } : undefined
}

/** A block as it is looked for: its first address as a key, and its length in bits of IPv6. */
export function blockOf(text: string): string | undefined {
  const range = cidrRange(text)
  if (!range) return undefined
  const slash = text.indexOf('/')
  const given = slash < 0 ? undefined : Number(text.slice(slash + 1))
  const isSix = text.includes(':')
  return `${range.from}/${given === undefined ? 128 : isSix ? given : given + 96}`
}

export type Look = (kind: IndicatorKind, value: string) => void

/** Columns that are looked at. `timelines`: hashes in records too. */
export const lookedAt = (timelines: boolean): string[] => [
  ...COLUMNS.keys(),
  ...(timelines ? ['data.md5_hash', 'data.sha1_hash', 'data.sha256_hash'] : []),
]

/** All that a value of a column may be found by. `lengths`: of the blocks that there are, in bits of IPv6. */
export function lookFor(column: string, value: string, lengths: readonly number[], look: Look): void {
  COLUMNS.get(column)?.(value, lengths, look)
  if (column.startsWith('data.')) hash(value, lengths, look)
}

// --- internal ---

type Reader = (value: string, lengths: readonly number[], look: Look) => void

const KINDS: ReadonlyMap<string, IndicatorKind> = new Map([
  ['IP Address', 'ip'],
  ['IPv6 Address', 'ip'],
  ['CIDR Block', 'cidr'],
  ['FQDN', 'domain'],
  ['URL', 'url'],
  ['Email Address', 'email'],
  ['MD5', 'md5'],
  ['SHA-1', 'sha1'],
  ['SHA-256', 'sha256'],
  ['SHA-384', 'sha384'],
  ['SHA-512', 'sha512'],
  ['GOST Hash', 'gost'],
  ['Username', 'user'],
  ['User-agent', 'agent'],
])

/** What else the extractor finds is found by nothing of the library. */
const OBSERVED: Partial<Record<ObservableType, IndicatorKind>> = {
  url: 'url',
  email: 'email',
  md5: 'md5',
  sha1: 'sha1',
  sha256: 'sha256',
  sha512: 'sha512',
  aws_access_key: 'access_key',
  arn: 'arn',
}

function address(value: string, lengths: readonly number[], look: Look): void {
  // A dotted quad that is one is canonical.
  const ip = QUAD.test(value) && ipKey(value) !== undefined ? value : normalize('ip', value)
  if (ip === undefined) return
  look('ip', ip)
  if (lengths.length === 0) return
  const key = ipKey(ip)!
  for (const length of lengths) look('cidr', `${prefixOf(key, length)}/${length}`)
}

const QUAD = /^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$/

/** The first so many bits of a key, then zeros. */
function prefixOf(key: string, bits: number): string {
  const whole = bits >> 2
  const rest = bits & 3
  const head = key.slice(0, whole)
  const part = rest === 0 ? '' : (Number.parseInt(key[whole]!, 16) & (0xf0 >> rest) & 0xf).toString(16)
  return (head + part).padEnd(32, '0')
}

function domain(name: string, look: Look): void {
  look('domain', name)
  for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
    const parent = name.slice(dot + 1)
    look('below', parent)
    if (parent.includes('.')) look('domain', parent)
  }
}

/** Everything of free text. */
const text: Reader = (value, lengths, look) => {
  if (!MAY_HOLD.test(value)) return
  let previous = ''
  collectObservables(value, false, (type, found) => {
    if (type === 'ip') address(found, lengths, look)
    else if (type === 'domain') {
      // The extractor gives each name, then its parents: those are looked for with the name.
      if (!previous.endsWith(`.${found}`)) domain(found, look)
      previous = found
    } else {
      const kind = OBSERVED[type]
      if (kind) look(kind, found)
    }
  })
}
/** A dot, a colon or an at sign is in all that is looked for but hashes and keys of 16 characters and more. */
const MAY_HOLD = /[.:@]|[A-Za-z0-9]{16}|[^\x00-\x7f]/

const hash: Reader = (value, _, look) => {
  const given = value.trim().toLowerCase()
  if (!/^[0-9a-f]+$/.test(given)) return
  for (const kind of HASHES.get(given.length) ?? []) look(kind, given)
}
const HASHES: ReadonlyMap<number, readonly IndicatorKind[]> = new Map([
  [32, ['md5']],
  [40, ['sha1']],
  [64, ['sha256', 'gost']],
  [96, ['sha384']],
  [128, ['sha512']],
])

const COLUMNS: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ['src_endpoint_ip', address],
  ['dst_endpoint_ip', address],
  [
    'query_hostname',
    (value, lengths, look) => {
      const name = normalize('domain', value)
      if (name === undefined) address(value, lengths, look)
      else domain(name, look)
    },
  ],
  ['http_request_url', text],
  [
    'http_request_user_agent',
    (value, lengths, look) => {
      look('agent', value.normalize('NFC'))
      text(value, lengths, look)
    },
  ],
  ['file_hash', hash],
  [
    'actor_user_name',
    (value, lengths, look) => {
      const user = normalize('user', value)
      if (user !== undefined) look('user', user)
      text(value, lengths, look)
    },
  ],
  ['actor_user_uid', text],
  [
    'actor_user_credential_uid',
    (value, _, look) => {
      const key = normalize('aws_access_key', value)
      if (key !== undefined) look('access_key', key)
    },
  ],
  ['resource_uid', text],
])
