/**
 * What is hunted: indicators of the library, of a list, or as typed, and the observables by which keysets can answer them.
 * A block of addresses becomes the prefixes or addresses that make it up; one that is made up of too many is asked for by
 * the prefix that covers it, which can only say `possible`.
 */
import { createHash } from 'node:crypto'
import { cidrRange, ipKey } from '../core/ipAddress.ts'
import {
  classify,
  EXTRACTOR,
  endsAtCut,
  lastLabel,
  normalize,
  OBSERVABLE_TYPES,
  type Observable,
  type ObservableType,
  stemOf,
} from '../core/observables.ts'

/** An indicator as somebody gave it. */
export interface GivenIndicator {
  /** Name of its type, as its giver says: of the library (`FQDN`), or of an observable (`domain`). */
  readonly type: string
  readonly value: string
  /** Of the library's object. */
  readonly uid?: string
}

/** How keysets answer an indicator. */
export interface IndicatorPlan {
  /** The type whose coverage decides. */
  readonly type: ObservableType
  /** Any of them is it. */
  readonly observables: readonly Observable[]
  /** When false, what is found may be a neighbour's: the prefix covers more than was asked. */
  readonly isExact: boolean
  /** Last label of a domain or e-mail address. */
  readonly suffix?: string
  /** An internationalised name may have been passed over. */
  readonly isPunycode: boolean
  /** Free text does not show it whole and nothing watches for it: not found is never a proof. */
  readonly isOpaque: boolean
}

/** A line of a list, or a word of the command line; undefined when it is no indicator. `user:NAME` means a user. */
export function indicatorOf(text: string): GivenIndicator | undefined {
  const given = text.trim()
  const named = /^([a-z_0-9]+):(?!\/\/)(.+)$/s.exec(given)
  const type = NAMED_TYPES.get(named?.[1] ?? '')
  const value = type && normalize(type, named![2]!)
  if (type !== undefined && value !== undefined) return { type, value }
  const block = blockText(given)
  if (block !== undefined) return { type: 'cidr', value: block }
  const plain = given.replace(/^\*\./, '')
  const found = classify(plain)
  if (found) return { type: found.type, value: found.value }
  // Of a last label that no list knows: keysets say whether they passed over such names.
  const domain = normalize('domain', plain)
  return domain === undefined ? undefined : { type: 'domain', value: domain }
}

/** undefined: no keyset covers its type, or the value has not its form. */
export function planOf({ type, value }: GivenIndicator): IndicatorPlan | undefined {
  if (type === 'cidr' || type === 'CIDR Block') {
    const found = blockPlan(blockText(value) ?? '')
    return found && { ...found, isPunycode: false, isOpaque: false }
  }
  const observable = observableOf(type, value)
  if (!observable) return undefined
  const { type: of, value: canonical } = observable
  const plan = { type: of, isExact: true, isPunycode: canonical.includes('xn--'), isOpaque: false }
  if (of === 'domain' || of === 'email') return { ...plan, observables: [observable], suffix: lastLabel(canonical) }
  if ((of !== 'url' && of !== 'arn') || WHOLE_TOKEN.test(canonical)) return { ...plan, observables: [observable] }
  const stem = stemOf(canonical)
  return stem !== undefined && endsAtCut(canonical)
    ? { ...plan, observables: [observable, { type: 'stem', value: stem }] }
    : { ...plan, observables: [observable], isOpaque: true }
}

/** A block of addresses as a range of keys (ipAddress.ts); undefined for other indicators. */
export const blockRange = ({ type, value }: GivenIndicator): { from: string; to: string } | undefined =>
  type === 'cidr' || type === 'CIDR Block' ? cidrRange(blockText(value) ?? '') : undefined

/** Many indicators, packed: some 100 bytes each. */
export class IndicatorSet {
  private readonly types = new Texts()
  private readonly typeNumbers = new Map<string, number>()
  private readonly values = new Texts()
  private readonly uids = new Texts()
  private readonly typeOf = new Numbers(Uint16Array)
  private readonly canonical = new Texts()
  private readonly observableTypes = new Numbers(Uint8Array)
  private readonly owners = new Numbers(Uint32Array)
  private readonly firsts = new Numbers(Uint32Array)
  private readonly classes = new Numbers(Uint16Array)
  private readonly classNumbers = new Map<string, number>()
  /** Indicators that differ in nothing that decides what is unknown share one. */
  readonly coverages: Pick<IndicatorPlan, 'type' | 'suffix' | 'isPunycode' | 'isOpaque' | 'isExact'>[] = []
  /** By type: given, and by no keyset covered. */
  readonly notCovered = new Map<string, number>()

  get size(): number {
    return this.typeOf.length
  }
  get observables(): number {
    return this.owners.length
  }

  add(given: GivenIndicator): void {
    const plan = planOf(given)
    if (!plan) {
      this.notCovered.set(given.type, (this.notCovered.get(given.type) ?? 0) + 1)
      return
    }
    const { observables, type, suffix, isPunycode, isOpaque, isExact } = plan
    const coverage = { type, isPunycode, isOpaque, isExact, ...(suffix === undefined ? {} : { suffix }) }
    this.firsts.push(this.owners.length)
    for (const observable of observables) {
      this.canonical.push(observable.value)
      this.observableTypes.push(OBSERVABLE_TYPES[observable.type])
      this.owners.push(this.size)
    }
    this.classes.push(
      numberOf(this.classNumbers, `${type} ${suffix} ${isPunycode} ${isOpaque} ${isExact}`, () => {
        // So many last labels there are not; what is too much is asked like an opaque one: never absent.
        this.coverages.push(this.coverages.length < MAX_CLASSES ? coverage : { ...coverage, isOpaque: true })
      }),
    )
    this.typeOf.push(numberOf(this.typeNumbers, given.type, () => this.types.push(given.type)))
    this.values.push(given.value)
    this.uids.push(given.uid ?? '')
  }

  indicator(index: number): GivenIndicator {
    const uid = this.uids.at(index)
    return {
      ...{ type: this.types.at(this.typeOf.at(index)), value: this.values.at(index) },
      ...(uid === '' ? {} : { uid }),
    }
  }

  coverageOf(index: number): number {
    return this.classes.at(index)
  }

  /** Observables of an indicator: their numbers from `first` up to `end`. */
  observablesOf(index: number): { readonly first: number; readonly end: number } {
    return { first: this.firsts.at(index), end: index + 1 < this.size ? this.firsts.at(index + 1) : this.observables }
  }

  observable(number: number): { readonly type: number; readonly value: string; readonly owner: number } {
    return {
      type: this.observableTypes.at(number),
      value: this.canonical.at(number),
      owner: this.owners.at(number),
    }
  }

  /** The UTF-8 of an observable in one buffer, without a copy. */
  eachObservable(visit: (type: number, bytes: Buffer, start: number, end: number, number: number) => void): void {
    this.canonical.each((bytes, start, end, i) => visit(this.observableTypes.at(i), bytes, start, end, i))
  }

  /** SHA-256 over the observables in their order. */
  digest(): string {
    const digest = createHash('sha256').update(`${EXTRACTOR}\n`)
    digest.update(this.observableTypes.bytes())
    this.canonical.digestInto(digest)
    return digest.digest('hex')
  }
}

// --- internal ---

/** Prefixes or addresses that a block is made up of. */
const MAX_BLOCK_PARTS = 4_096
const MAX_CLASSES = 65_000
const WHOLE_TOKEN = /^[A-Za-z0-9._:/@%+=-]*$/
const MAPPED_BITS = 96

const NAMED_TYPES: ReadonlyMap<string, ObservableType> = new Map(
  (Object.keys(OBSERVABLE_TYPES) as ObservableType[])
    .filter((type) => !['suffix', 'stem', 'ip16', 'ip24'].includes(type))
    .map((type) => [type, type]),
)

const LIBRARY_TYPES: ReadonlyMap<string, ObservableType> = new Map([
  ['IP Address', 'ip'],
  ['IPv6 Address', 'ip'],
  ['FQDN', 'domain'],
  ['URL', 'url'],
  ['Email Address', 'email'],
  ['MD5', 'md5'],
  ['SHA-1', 'sha1'],
  ['SHA-256', 'sha256'],
  ['SHA-512', 'sha512'],
  ['Username', 'user'],
])

function observableOf(type: string, value: string): Observable | undefined {
  const known = LIBRARY_TYPES.get(type) ?? NAMED_TYPES.get(type)
  if (known === undefined) {
    // The library has no type of its own for these.
    const found = type === 'String' ? classify(value) : undefined
    return found?.type === 'arn' || found?.type === 'aws_access_key' ? found : undefined
  }
  const canonical = normalize(known, value)
  return canonical === undefined ? undefined : { type: known, value: canonical }
}

/** A block as `cidrRange` takes it; undefined for other texts, one address included. */
function blockText(text: string): string | undefined {
  const given = text.trim().replace(/[[({](?:\.|dot)[\])}]/gi, '.')
  return given.includes('/') && cidrRange(given) ? given : undefined
}

function blockPlan(text: string): Pick<IndicatorPlan, 'type' | 'observables' | 'isExact'> | undefined {
  const range = cidrRange(text)
  if (!range) return undefined
  const from = BigInt(`0x${range.from}`)
  const size = BigInt(`0x${range.to}`) - from + 1n
  const bits = 128 - (size.toString(2).length - 1)
  const isFour = bits >= MAPPED_BITS && range.from.startsWith('00000000000000000000ffff')
  const [wide, narrow] = isFour ? [MAPPED_BITS + 16, MAPPED_BITS + 24] : [32, 48]
  for (const [type, length] of [
    ['ip16', wide],
    ['ip24', narrow],
    ['ip', 128],
  ] as const) {
    if (length < bits || 2 ** (length - bits) > MAX_BLOCK_PARTS) continue
    const step = 1n << BigInt(128 - length)
    const observables = Array.from({ length: 2 ** (length - bits) }, (_, i) => {
      return { type, value: normalize(type, addressText(from + BigInt(i) * step))! }
    })
    return { type, observables, isExact: true }
  }
  for (const [type, length] of [
    ['ip24', narrow],
    ['ip16', wide],
  ] as const)
    if (bits >= length)
      return { type, observables: [{ type, value: normalize(type, addressText(from))! }], isExact: false }
  return undefined
}

const addressText = (key: bigint): string =>
  key
    .toString(16)
    .padStart(32, '0')
    .replace(/(.{4})(?!$)/g, '$1:')

/** Whether an address as logs write it lies in a block. */
export function isInRange(address: string, { from, to }: { readonly from: string; readonly to: string }): boolean {
  const key = ipKey(address)
  return key !== undefined && from <= key && key <= to
}

function numberOf(numbers: Map<string, number>, name: string, made: () => void): number {
  const known = numbers.get(name)
  if (known !== undefined) return known
  const number = Math.min(numbers.size, MAX_CLASSES)
  numbers.set(name, number)
  if (number === numbers.size - 1) made()
  return number
}

type NumberArray = Uint8Array | Uint16Array | Uint32Array

class Numbers<A extends NumberArray> {
  private array: A
  private readonly kind: new (
    length: number,
  ) => A
  length = 0

  constructor(kind: new (length: number) => A) {
    this.kind = kind
    this.array = new kind(256)
  }
  push(value: number): void {
    if (this.length === this.array.length) {
      const grown = new this.kind(this.length * 2)
      grown.set(this.array)
      this.array = grown
    }
    this.array[this.length++] = value
  }
  at(index: number): number {
    return this.array[index]!
  }
  bytes(): Uint8Array {
    const { buffer, byteOffset, BYTES_PER_ELEMENT } = this.array
    return new Uint8Array(buffer, byteOffset, this.length * BYTES_PER_ELEMENT)
  }
}

class Texts {
  private buffer = Buffer.allocUnsafe(4_096)
  private readonly ends = new Numbers(Uint32Array)
  private used = 0

  push(text: string): void {
    const most = text.length * 3
    if (this.used + most > this.buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, this.used + most))
      this.buffer.copy(grown, 0, 0, this.used)
      this.buffer = grown
    }
    this.used += this.buffer.write(text, this.used)
    this.ends.push(this.used)
  }
  at(index: number): string {
    return this.buffer.toString('utf8', index === 0 ? 0 : this.ends.at(index - 1), this.ends.at(index))
  }
  each(visit: (bytes: Buffer, start: number, end: number, index: number) => void): void {
    let start = 0
    for (let i = 0; i < this.ends.length; i++) {
      const end = this.ends.at(i)
      visit(this.buffer, start, end, i)
      start = end
    }
  }
  digestInto(digest: { update(bytes: Uint8Array): unknown }): void {
    digest.update(this.ends.bytes())
    digest.update(this.buffer.subarray(0, this.used))
  }
}
