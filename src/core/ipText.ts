/** Whether a byte slice is an IP address as written in logs: a strict dotted quad, or anything with a colon that parses. */
import { ipKey } from './ipAddress.ts'

export function isIpText(bytes: Uint8Array, start: number, end: number): boolean {
  return (
    isDottedQuad(bytes, start, end) || (end - start <= 45 && hasColon(bytes, start, end) && parses(bytes, start, end))
  )
}

// --- internal ---

function isDottedQuad(bytes: Uint8Array, start: number, end: number): boolean {
  let octet = -1
  let dots = 0
  for (let at = start; at < end; at++) {
    const c = bytes[at]!
    if (c === 0x2e) {
      if (octet < 0) return false
      dots++
      octet = -1
    } else {
      // A leading zero may mean octal elsewhere: not an address here.
      if (c < 0x30 || c > 0x39 || octet === 0) return false
      octet = octet < 0 ? c - 0x30 : octet * 10 + c - 0x30
      if (octet > 255) return false
    }
  }
  return dots === 3 && octet >= 0
}

function hasColon(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] === 0x3a) return true
  return false
}

function parses(bytes: Uint8Array, start: number, end: number): boolean {
  return ipKey(Buffer.from(bytes.subarray(start, end)).toString('latin1')) !== undefined
}
