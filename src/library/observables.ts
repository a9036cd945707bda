/**
 * The canonical form of an indicator by ThreatQ's type name, on the normaliser that the keysets use. Another result for
 * any value is another LIBRARY_NORMALIZER: natural keys hang on it.
 */
import { cidrRange, ipSpellings } from '../core/ipAddress.ts'
import { classify, EXTRACTOR, normalize, type ObservableType } from '../core/observables.ts'

/** Kept in `facts` of each library. */
export const LIBRARY_NORMALIZER = `library/1 ${EXTRACTOR}`

/** Canonical and idempotent. A value that has not its type's form, or a type without one: the value in Unicode NFC. */
export function normalizeIndicator(typeName: string, value: string): string {
  const form = FORMS.get(typeName)
  // Defanging within defanging, a port behind a port: until nothing changes, or the value has no canonical form.
  let canonical: string | undefined = value
  for (let round = 0; form !== undefined && canonical !== undefined && round < MAX_ROUNDS; round++) {
    const next: string | undefined = form(canonical)
    if (next === canonical) return canonical
    canonical = next
  }
  return isAscii(value) ? value : value.normalize('NFC')
}

export interface TypedIndicator {
  readonly type: string
  readonly value: string
}

/** What a line of a plain list is, with its canonical form; takes defanged text. Undefined when it is none of these. */
export function indicatorTypeOf(text: string): TypedIndicator | undefined {
  const given = text.trim()
  for (const type of ['CVE', 'CIDR Block', 'SHA-384'] as const) {
    const value = FORMS.get(type)!(given)
    if (value !== undefined) return { type, value }
  }
  const found = classify(given)
  const type = found && TYPE_NAMES[found.type]
  if (!type) return undefined
  const isSix = found.type === 'ip' && found.value.includes(':')
  return { type: isSix ? 'IPv6 Address' : type, value: normalizeIndicator(type, found.value) }
}

// --- internal ---

const MAX_ROUNDS = 5
const isAscii = (text: string): boolean => !/[^\x00-\x7f]/.test(text)

const observable =
  (type: ObservableType) =>
  (value: string): string | undefined =>
    normalize(type, value)

const hexDigits =
  (count: number) =>
  (value: string): string | undefined => {
    const given = value.trim()
    return given.length === count && /^[0-9A-Fa-f]+$/.test(given) ? given.toLowerCase() : undefined
  }

const FORMS: ReadonlyMap<string, (value: string) => string | undefined> = new Map(
  Object.entries({
    ASN: (value: string) => {
      const match = /^(?:ASN?)?\s*0*(\d{1,10})$/i.exec(value.trim())
      return match ? `AS${match[1]}` : undefined
    },
    'CIDR Block': block,
    CVE: (value: string) => {
      const given = value.trim().toUpperCase()
      return /^CVE-\d{4}-\d{4,19}$/.test(given) ? given : undefined
    },
    'Email Address': observable('email'),
    // With its asterisk: it means other names than the one without.
    FQDN: (value: string) => {
      const given = value.trim()
      const domain = normalize('domain', given)
      return domain !== undefined && given.startsWith('*.') ? `*.${domain}` : domain
    },
    'GOST Hash': hexDigits(64),
    'IP Address': observable('ip'),
    'IPv6 Address': observable('ip'),
    'MAC Address': (value: string) => {
      const digits = value.trim().toLowerCase().replace(/[:.-]/g, '')
      return /^[0-9a-f]{12}$/.test(digits) ? digits.replace(/..(?!$)/g, '$&:') : undefined
    },
    MD5: observable('md5'),
    'SHA-1': observable('sha1'),
    'SHA-256': observable('sha256'),
    'SHA-384': hexDigits(96),
    'SHA-512': observable('sha512'),
    URL: observable('url'),
    Username: observable('user'),
  }),
)

/** ThreatQ has no type of its own for ARNs and access keys. */
const TYPE_NAMES: Partial<Record<ObservableType, string>> = {
  ip: 'IP Address',
  domain: 'FQDN',
  url: 'URL',
  email: 'Email Address',
  md5: 'MD5',
  sha1: 'SHA-1',
  sha256: 'SHA-256',
  sha512: 'SHA-512',
  aws_access_key: 'String',
  arn: 'String',
}

/** Its first address and its length; defanged dots are taken. */
function block(value: string): string | undefined {
  const given = value.trim().replace(/[[({](?:\.|dot)[\])}]/gi, '.')
  const slash = given.indexOf('/')
  if (slash < 0) return undefined
  const range = cidrRange(given)
  if (!range) return undefined
  const [first] = ipSpellings(range.from.replace(/(.{4})(?!$)/g, '$1:'))
  return first === undefined ? undefined : `${first}/${given.slice(slash + 1)}`
}
