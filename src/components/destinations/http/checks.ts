/** Lines of `forward check` that HTTP destinations share. */
import type { HttpResponse } from '../../../platform/httpClient.ts'
import type { DestinationCheck, Outcome } from '../../destination.ts'
import { type Asking, faultOutcome } from './answers.ts'

export function addressCheck({ host, protocol }: URL): DestinationCheck {
  return { name: 'address', ok: true, detail: `${host} answers${protocol === 'https:' ? ', TLS verified' : ''}` }
}

/** The clocks of both sides, by the Date of an answer; undefined without one. */
export function clockCheck(
  { headers }: HttpResponse,
  asking: Asking,
  tolerableMs: number,
): DestinationCheck | undefined {
  const there = Date.parse(headers.date ?? '')
  if (Number.isNaN(there)) return undefined
  const aheadMs = asking.now() / 1000 - there
  const seconds = Math.round(Math.abs(aheadMs) / 1000)
  const detail = `this clock is ${seconds} s ${aheadMs < 0 ? 'behind' : 'ahead of'} the receiver's`
  if (Math.abs(aheadMs) <= tolerableMs) return { name: 'clock', ok: true, detail }
  return { name: 'clock', ok: false, detail, hint: 'Set the clock (NTP): signatures with another time are refused.' }
}

/** What no answer means. */
export function faultCheck(error: unknown, asking: Asking): DestinationCheck {
  return refusalCheck('address', faultOutcome(error, asking))
}

/** An outcome other than accepted. */
export function refusalCheck(name: string, outcome: Outcome): DestinationCheck {
  if (outcome.kind === 'denied') return { name, ok: false, detail: outcome.error.message, hint: outcome.error.hint }
  const detail = outcome.kind === 'accepted' ? 'accepted' : outcome.reason
  return { name, ok: false, detail, hint: 'Look at the receiver, and at DNS, proxy and firewall on the way to it.' }
}
