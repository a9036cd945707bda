/** Whether a byte slice is an IP address as written in logs: a strict dotted quad, or anything with a colon that parses. */
import { ipKey } from './ipAddress.ts'

export function isIpText(bytes: Uint8Array, start: number, end: number): boolean {
  let octet = -1
  let dots = 0
  for (let at = start; at < end; at++) {
    const c = bytes[at]!
    if (c === 0x2e) {
      if (octet < 0) return false
      dots++
      octet = -1
    } else if (c >= 0x30 && c <= 0x39) {
      // A leading zero may mean octal elsewhere: not an address here.
      if (octet === 0) return false
      octet = octet < 0 ? c - 0x30 : octet * 10 + c - 0x30
      if (octet > 255) return false
    } else
      return end - start <= 45 && end - start >= 2 && hasColon(bytes, start, end) && parsesAsIPv6(bytes, start, end)
  }
  if (dots === 3) return octet >= 0
  return false
}

// --- internal ---

function hasColon(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] === 0x3a) return true
  return false
}

function parsesAsIPv6(bytes: Uint8Array, start: number, end: number): boolean {
  return ipKey(Buffer.from(bytes.subarray(start, end)).toString('latin1')) !== undefined
}
