/**
 * Listing a bucket. Trees that AWS services write are enumerated once, level by level; of their dated parts only the
 * days in range are listed, several at a time. Everything else is listed whole.
 */
import { ListObjectsV2Command, type ListObjectsV2CommandOutput, type S3Client } from '@aws-sdk/client-s3'
import type { SourceObject } from '../../../core/sourceObject.ts'
import type { ListStatistics } from '../../source.ts'
import type { Selection } from '../selection.ts'
import { type DateStyle, dayPrefixes, isYear, placeOf } from './awsLayout.ts'
import { parallelPages } from './parallelPages.ts'
import type { S3Calls } from './s3Calls.ts'

export interface ListingOptions {
  readonly source: string
  readonly bucket: string
  readonly prefix: string
  readonly layout: 'auto' | 'aws' | 'flat'
  readonly startAfter: string | undefined
  readonly requesterPays: boolean
  readonly parallel: number
  /** How long an enumeration of a tree holds before it is made again: new accounts and regions appear seldom. */
  readonly refreshMilliseconds: number
}

export class S3Listing {
  readonly #calls: S3Calls
  readonly #options: ListingOptions
  #plan: { readonly at: number; readonly plan: Plan } | undefined

  constructor(calls: S3Calls, options: ListingOptions) {
    this.#calls = calls
    this.#options = options
  }

  /** Every object that the selection keeps, in pages as they come; pages of different prefixes are interleaved. */
  async *list(selection: Selection, statistics: ListStatistics, signal?: AbortSignal): AsyncGenerator<SourceObject[]> {
    const plan = await this.#currentPlan(statistics, signal)
    const prefixes = [...plan.whole, ...plan.dated.flatMap((dated) => prefixesInRange(dated, selection))]
    const { startAfter = '', parallel } = this.#options
    const loose = plan.loose.filter((object) => object.key > startAfter && selection.keep(object))
    if (loose.length > 0) yield loose
    const jobs = prefixes.map((prefix) => () => this.#pages({ prefix, startAfter }, statistics, signal))
    for await (const { objects } of parallelPages(jobs, parallel)) {
      const kept = objects.filter((object) => selection.keep(object))
      if (kept.length > 0) yield kept
    }
  }

  async #currentPlan(statistics: ListStatistics, signal: AbortSignal | undefined): Promise<Plan> {
    const { layout, prefix, refreshMilliseconds } = this.#options
    if (layout === 'flat') return { ...EMPTY, whole: [prefix] }
    const now = performance.now()
    if (!this.#plan || now - this.#plan.at > refreshMilliseconds) {
      this.#plan = { at: now, plan: await this.#explore(prefix, 0, statistics, signal) }
    }
    return this.#plan.plan
  }

  /** The parts of a tree: each object below `prefix` is in exactly one of them. */
  async #explore(
    prefix: string,
    depth: number,
    statistics: ListStatistics,
    signal: AbortSignal | undefined,
  ): Promise<Plan> {
    const place = placeOf(prefix)
    const whole: Plan = { ...EMPTY, whole: [prefix] }
    if (place.kind === 'dated') return { ...EMPTY, dated: [{ prefix, style: place.style }] }
    if (place.kind === 'leaf') return whole
    const outside = place.kind === 'outside'
    const bounded = outside && this.#options.layout === 'auto'
    if (bounded && depth > MAX_OUTSIDE_DEPTH) return whole
    const children: string[] = []
    const loose: SourceObject[] = []
    for await (const page of this.#pages({ prefix, delimiter: '/' }, statistics, signal)) {
      children.push(...page.children)
      loose.push(...page.objects)
      if (bounded && (page.truncated || children.length > MAX_OUTSIDE_CHILDREN)) return whole
    }
    if (!outside && children.length > 0 && children.every((child) => isYear(child.slice(prefix.length, -1)))) {
      return { dated: [{ prefix, style: 'padded' }], whole: [], loose }
    }
    const plans: Plan[] = []
    for (let at = 0; at < children.length; at += this.#options.parallel) {
      const some = children.slice(at, at + this.#options.parallel)
      plans.push(...(await Promise.all(some.map((child) => this.#explore(child, depth + 1, statistics, signal)))))
    }
    const dated = plans.flatMap((plan) => plan.dated)
    if (outside && dated.length === 0) return whole
    return { dated, whole: plans.flatMap((plan) => plan.whole), loose: [...loose, ...plans.flatMap((p) => p.loose)] }
  }

  async *#pages(query: Query, statistics: ListStatistics, signal: AbortSignal | undefined): AsyncGenerator<Page> {
    let token: string | undefined
    let lastKey: string | undefined
    let empty = 0
    do {
      const started = performance.now()
      const send = async (client: S3Client, abortSignal: AbortSignal) => {
        statistics.requests += 1
        return checkedPage(await client.send(this.#command(query, token), { abortSignal }))
      }
      const answer = await this.#calls.run(
        'ListObjectsV2',
        query.prefix,
        (client, guard) => send(client, guard.signal),
        signal,
      )
      statistics.milliseconds += performance.now() - started
      const next = answer.IsTruncated ? answer.NextContinuationToken : undefined
      const page = this.#page(answer)
      const key = page.objects.at(-1)?.key
      if ((next !== undefined && next === token) || (key !== undefined && key === lastKey))
        throw this.#calls.fault('ListObjectsV2', query.prefix, REPEATED_PAGE)
      token = next
      lastKey = key
      empty = page.objects.length + page.children.length > 0 ? 0 : empty + 1
      if (next !== undefined && empty >= MAX_EMPTY_PAGES)
        throw this.#calls.fault('ListObjectsV2', query.prefix, EMPTY_PAGES)
      yield page
    } while (token !== undefined)
  }

  #command({ prefix, delimiter, startAfter }: Query, token: string | undefined): ListObjectsV2Command {
    return new ListObjectsV2Command({
      Bucket: this.#options.bucket,
      Prefix: prefix,
      EncodingType: 'url',
      OptionalObjectAttributes: ['RestoreStatus'],
      ...(delimiter && { Delimiter: delimiter }),
      ...(token !== undefined ? { ContinuationToken: token } : startAfter && { StartAfter: startAfter }),
      ...(this.#options.requesterPays && { RequestPayer: 'requester' }),
    })
  }

  #page(answer: ListObjectsV2CommandOutput): Page {
    const { source, bucket } = this.#options
    const decode = answer.EncodingType === 'url' ? decodeKey : (key: string) => key
    const objects = (answer.Contents ?? []).map((entry): SourceObject => {
      const restored = entry.RestoreStatus?.RestoreExpiryDate !== undefined
      return {
        source,
        bucket,
        key: decode(entry.Key!),
        version: (entry.ETag ?? '').replace(/^"|"$/g, ''),
        size: entry.Size ?? 0,
        lastModified: (entry.LastModified?.getTime() ?? 0) * 1000,
        ...(entry.StorageClass &&
          entry.StorageClass !== 'STANDARD' &&
          !restored && { storageClass: entry.StorageClass }),
      }
    })
    const children = (answer.CommonPrefixes ?? []).map((common) => decode(common.Prefix!))
    return { objects, children, truncated: answer.IsTruncated === true }
  }
}

// --- internal ---

/** An AWS tree is looked for this deep below the prefix, where no level has more folders than this. */
const MAX_OUTSIDE_DEPTH = 2
const MAX_OUTSIDE_CHILDREN = 20

/** A broken service that answers the same page for ever must not be listed for ever. */
const REPEATED_PAGE = Object.assign(new Error('the next page is the page before'), { code: 'RepeatedPage' })

/**
 * S3 may answer a page without an object that is not the last one, as where many versions were deleted; so many in a row
 * are a service that never ends.
 */
const MAX_EMPTY_PAGES = 1000
const EMPTY_PAGES = Object.assign(new Error(`${MAX_EMPTY_PAGES} pages in a row without an object`), {
  code: 'EmptyPages',
})

interface Dated {
  readonly prefix: string
  readonly style: DateStyle
}

/** `loose`: objects that lie on the levels above the dated parts. */
interface Plan {
  readonly dated: readonly Dated[]
  readonly whole: readonly string[]
  readonly loose: readonly SourceObject[]
}

const EMPTY: Plan = { dated: [], whole: [], loose: [] }

interface Query {
  readonly prefix: string
  readonly delimiter?: string
  readonly startAfter?: string
}

interface Page {
  readonly objects: readonly SourceObject[]
  readonly children: readonly string[]
  readonly truncated: boolean
}

/** Before S3 existed and a year from now there are no keys: a boundless range does not list a prefix per year of it. */
const FIRST_DAY = Date.UTC(2006, 0, 1) / 86_400_000
const DAYS_AHEAD = 366

/** A range open to the past is not cut: one list of the whole is cheaper than one for each year there might be. */
function prefixesInRange({ prefix, style }: Dated, { days }: Selection): string[] {
  if (days.from === undefined) return [prefix]
  const last = Math.floor(Date.now() / 86_400_000) + DAYS_AHEAD
  return dayPrefixes(prefix, style, { from: Math.max(days.from, FIRST_DAY), to: Math.min(days.to ?? last, last) })
}

/** An answer that is no listing (a proxy's page, an empty body) must not pass for an empty bucket. */
function checkedPage(answer: ListObjectsV2CommandOutput): ListObjectsV2CommandOutput {
  const complete = answer.IsTruncated === false || (answer.IsTruncated && answer.NextContinuationToken !== undefined)
  if (!complete) throw new Error('the answer is not a listing')
  return answer
}

/** Keys arrive percent-encoded, with `+` for a space; one that is not UTF-8 keeps its encoding and will not be found. */
function decodeKey(key: string): string {
  if (!key.includes('%') && !key.includes('+')) return key
  try {
    return decodeURIComponent(key.replaceAll('+', ' '))
  } catch {
    return key
  }
}
