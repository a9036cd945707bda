/**
 * IP addresses in one sortable form: 32 lower-case hex digits of the IPv6 form, an IPv4 address as its mapped form
 * `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2), so that a CIDR block is a range of texts over both families.
 */
import ipaddr from 'ipaddr.js'

/**
 * The key of an address as logs write it; undefined for anything else. Strict: a dotted quad has four decimal parts
 * without leading zeros (`010.1.1.1`, `1`, `0x7f.1` mean different addresses to different programs), no zone (`%eth0`).
 */
export function ipKey(text: string): string | undefined {
  const quad = QUAD.exec(text)
  if (quad) return quadKey(quad)
  const bytes = sixBytes(text)
  return bytes?.map((byte) => HEX[byte]).join('')
}

/** The first and last key of a block: `10.0.0.0/8`, `2001:db8::/32`, or one address. Host bits are ignored. */
export function cidrRange(text: string): { readonly from: string; readonly to: string } | undefined {
  const slash = text.indexOf('/')
  const address = slash < 0 ? text : text.slice(0, slash)
  const key = ipKey(address)
  if (key === undefined) return undefined
  if (slash < 0) return { from: key, to: key }
  const bits = text.slice(slash + 1)
  const most = address.includes(':') ? 128 : 32
  if (!/^(0|[1-9]\d{0,2})$/.test(bits) || Number(bits) > most) return undefined
  const hostBits = BigInt(most - Number(bits))
  const first = (BigInt(`0x${key}`) >> hostBits) << hostBits
  const last = first | ((1n << hostBits) - 1n)
  return { from: hex32(first), to: hex32(last) }
}

/** The usual spellings of an address: as RFC 5952 writes it, an IPv4 address also in its mapped form. Empty for others. */
export function ipSpellings(text: string): readonly string[] {
  const key = ipKey(text)
  if (key === undefined) return []
  if (!key.startsWith(MAPPED)) return [canonicalSix(key)]
  const quad = [24, 26, 28, 30].map((at) => Number.parseInt(key.slice(at, at + 2), 16)).join('.')
  return [quad, `::ffff:${quad}`]
}

// --- internal ---

const OCTET = '(0|[1-9]\\d{0,2})'
const QUAD = new RegExp(`^${OCTET}\\.${OCTET}\\.${OCTET}\\.${OCTET}$`)
const MAPPED = '00000000000000000000ffff'
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

function quadKey(quad: RegExpExecArray): string | undefined {
  let key = MAPPED
  for (let part = 1; part <= 4; part++) {
    const octet = HEX[Number(quad[part])]
    if (octet === undefined) return undefined
    key += octet
  }
  return key
}

function sixBytes(text: string): number[] | undefined {
  if (text.length > 45 || !/^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*$/.test(text)) return undefined
  const dotted = text.slice(text.lastIndexOf(':') + 1)
  if (dotted.includes('.') && !(QUAD.test(dotted) && dotted.split('.').every((part) => Number(part) < 256)))
    return undefined
  return ipaddr.IPv6.isValid(text) ? ipaddr.IPv6.parse(text).toByteArray() : undefined
}

function canonicalSix(key: string): string {
  return ipaddr.fromByteArray((key.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16))).toString()
}

function hex32(value: bigint): string {
  return value.toString(16).padStart(32, '0')
}
