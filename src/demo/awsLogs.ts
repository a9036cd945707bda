/**
 * A deterministic set of AWS logs as a bucket would hold them: CloudTrail and VPC flow logs of two accounts, three
 * regions and three days, with the attack of `attack.ts` told through them; and CloudTrail of any size for benchmarks.
 */
import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { ATTACK, attackCalls, attackFlows, ordinaryCalls } from './attack.ts'
import { type Call, Company, cloudTrailRecord } from './cloudTrailRecords.ts'
import { Random, Weights } from './random.ts'
import { everydayFlow, FLOW_HEADERS, type FlowNetwork, flowLine, flowNetwork, noDataLine } from './vpcFlowRecords.ts'

export interface LogObject {
  readonly key: string
  readonly body: Buffer
  /** Milliseconds since 1970. */
  readonly lastModified: number
}

export interface AwsLogOptions {
  readonly seed?: number
  /** 2026-03-10, as in the key dates and event times. */
  readonly firstDay?: string
  readonly days?: number
  /** Everyday records; those of the attack come on top. */
  readonly cloudTrailEvents?: number
  readonly flowRecords?: number
}

/** Counted while the logs are made, so that what a collection and its searches find can be compared. */
export interface ExpectedCounts {
  readonly objects: number
  /** Objects that hold events: all but the digests. */
  readonly eventObjects: number
  readonly digestObjects: number
  readonly events: number
  readonly cloudTrailEvents: number
  /** With the NODATA lines. */
  readonly flowRecords: number
  readonly flowNoData: number
  readonly byOperation: Readonly<Record<string, number>>
  readonly byErrorCode: Readonly<Record<string, number>>
  /** CloudTrail records from the attacker's address, and those of them that were refused. */
  readonly attackerCalls: number
  readonly attackerDenied: number
  /** With the leaked key: its owner's and the attacker's. */
  readonly leakedKeyCalls: number
  readonly attackerFlows: number
  readonly exfiltratedBytes: number
  readonly firstAttackerEvent: string
  readonly lastAttackerEvent: string
}

export interface AwsLogSet {
  readonly objects: readonly LogObject[]
  readonly expected: ExpectedCounts
  readonly firstDay: string
  readonly lastDay: string
}

export const ACCOUNTS = [ATTACK.account, ATTACK.secondAccount] as const
export const REGIONS = ['us-east-1', 'eu-west-1', 'ap-southeast-2'] as const
/** Everything of the set lies below this prefix. */
export const LOG_PREFIX = 'AWSLogs/'

export function awsLogSet(options: AwsLogOptions = {}): AwsLogSet {
  const { seed = 1, firstDay = '2026-03-10', days = 3, cloudTrailEvents = 40_000, flowRecords = 60_000 } = options
  const random = new Random(seed)
  const period = { start: Date.parse(`${firstDay}T00:00:00Z`), days }
  const counts = new Counter()
  const objects = [
    ...cloudTrailObjects(period, cloudTrailEvents, random, counts),
    ...digestObjects(period, random, counts),
    ...flowObjects(period, flowRecords, random, counts),
  ]
  const lastDay = new Date(period.start + (days - 1) * DAY).toISOString().slice(0, 10)
  return { objects, expected: counts.expected(objects.length), firstDay, lastDay }
}

export interface CloudTrailFile extends LogObject {
  readonly records: number
  readonly uncompressedBytes: number
}

/** CloudTrail files of at least so many bytes uncompressed in all, made one at a time; for benchmarks. */
export function* cloudTrailFiles(options: {
  readonly bytes: number
  readonly seed?: number
  /** Uncompressed size of one file; AWS's are of up to 50 MB. */
  readonly fileBytes?: number
}): Generator<CloudTrailFile> {
  const { bytes, seed = 1, fileBytes = 4_000_000 } = options
  const random = new Random(seed)
  const since = Date.parse('2026-03-10T00:00:00Z')
  const company = new Company({ accounts: ACCOUNTS, users: 400, roles: 200, addresses: 4000, since }, random)
  for (let made = 0, file = 0; made < bytes; file += 1) {
    const account = ACCOUNTS[file % ACCOUNTS.length]!
    const region = REGIONS[file % REGIONS.length]!
    const wanted = Math.min(fileBytes, bytes - made)
    const records: string[] = []
    let size = 0
    const start = since + file * 60_000
    while (size < wanted) {
      const call = company.call(account, region, start + random.int(0, 299) * 1000)
      const record = JSON.stringify(cloudTrailRecord(call, random))
      records.push(record)
      size += record.length + 1
    }
    const text = Buffer.from(`{"Records":[${records.join(',')}]}`)
    made += text.length
    const key = cloudTrailKey(account, region, start + DELIVERY_LAG, random)
    const object = { key, body: gzipSync(text), lastModified: start + DELIVERY_LAG }
    yield { ...object, records: records.length, uncompressedBytes: text.length }
  }
}

// --- internal ---

const DAY = 86_400_000
const CLOUDTRAIL_SLOT = 20 * 60_000
const FLOW_SLOT = 30 * 60_000
const DIGEST_SLOT = 3_600_000
const DELIVERY_LAG = 5 * 60_000
const NO_DATA_LINES_PER_DAY = 4

interface Period {
  readonly start: number
  readonly days: number
}

class Counter {
  readonly #operations: Record<string, number> = {}
  readonly #errors: Record<string, number> = {}
  readonly #attackTimes: number[] = []
  #cloudTrail = 0
  #attackerDenied = 0
  #leakedKey = 0
  #attackerFlows = 0
  #exfiltrated = 0
  flows = 0
  noData = 0
  digests = 0

  call(call: Call): void {
    this.#cloudTrail += 1
    this.#operations[call.operation] = (this.#operations[call.operation] ?? 0) + 1
    if (call.error) this.#errors[call.error.code] = (this.#errors[call.error.code] ?? 0) + 1
    if (call.caller.identity.accessKeyId === ATTACK.accessKeyId) this.#leakedKey += 1
    if (call.caller.address !== ATTACK.ip) return
    this.#attackTimes.push(call.time)
    if (call.error) this.#attackerDenied += 1
  }

  flow(source: string, destination: string, bytes: number): void {
    this.flows += 1
    if (source === ATTACK.ip || destination === ATTACK.ip) this.#attackerFlows += 1
    if (destination === ATTACK.ip) this.#exfiltrated += bytes
  }

  expected(objects: number): ExpectedCounts {
    const times = this.#attackTimes.toSorted((a, b) => a - b)
    return {
      objects,
      eventObjects: objects - this.digests,
      digestObjects: this.digests,
      events: this.#cloudTrail + this.flows + this.noData,
      cloudTrailEvents: this.#cloudTrail,
      flowRecords: this.flows + this.noData,
      flowNoData: this.noData,
      byOperation: this.#operations,
      byErrorCode: this.#errors,
      attackerCalls: times.length,
      attackerDenied: this.#attackerDenied,
      leakedKeyCalls: this.#leakedKey,
      attackerFlows: this.#attackerFlows,
      exfiltratedBytes: this.#exfiltrated,
      firstAttackerEvent: new Date(times[0] ?? 0).toISOString(),
      lastAttackerEvent: new Date(times.at(-1) ?? 0).toISOString(),
    }
  }
}

function* cloudTrailObjects(period: Period, total: number, random: Random, counts: Counter): Generator<LogObject> {
  const company = new Company({ accounts: ACCOUNTS, users: 24, roles: 14, addresses: 60, since: period.start }, random)
  const told = [...ordinaryCalls(period.start, period.days, random), ...attackCalls(period.start, random)]
  const attack = groupBy(told, (call) => {
    const slot = Math.floor((call.time - period.start) / CLOUDTRAIL_SLOT)
    return `${call.account} ${call.region} ${slot}`
  })
  for (const { account, region, slot, start, share } of slots(period, CLOUDTRAIL_SLOT, total, random)) {
    const calls = [...(attack.get(`${account} ${region} ${slot}`) ?? [])]
    for (let at = 0; at < share; at += 1) {
      calls.push(company.call(account, region, start + random.int(0, CLOUDTRAIL_SLOT / 1000 - 1) * 1000))
    }
    if (calls.length === 0) continue
    calls.sort((a, b) => a.time - b.time)
    for (const call of calls) counts.call(call)
    const records = calls.map((call) => JSON.stringify(cloudTrailRecord(call, random)))
    const time = start + CLOUDTRAIL_SLOT + DELIVERY_LAG
    const body = gzipSync(`{"Records":[${records.join(',')}]}`, { level: 1 })
    yield { key: cloudTrailKey(account, region, time, random), body, lastModified: time }
  }
}

/** Digests hold no events; their signatures are not those of AWS. */
function* digestObjects(period: Period, random: Random, counts: Counter): Generator<LogObject> {
  for (const account of ACCOUNTS) {
    for (let time = period.start + DIGEST_SLOT; time < period.start + period.days * DAY; time += DIGEST_SLOT) {
      const [day, minute] = keyTimes(time)
      const second = minute.replace('Z', '00Z')
      const body = gzipSync(
        JSON.stringify({
          awsAccountId: account,
          digestStartTime: new Date(time - DIGEST_SLOT).toISOString(),
          digestEndTime: new Date(time).toISOString(),
          digestS3Bucket: 'acme-trail',
          digestSignatureAlgorithm: 'SHA256withRSA',
          previousDigestHashValue: createHash('sha256').update(`${account}${time}`).digest('hex'),
          previousDigestSignature: random.hex(64),
          logFiles: [],
        }),
      )
      counts.digests += 1
      const name = `${account}_CloudTrail-Digest_us-east-1_organisation_us-east-1_${second}.json.gz`
      yield { key: `${LOG_PREFIX}${account}/CloudTrail-Digest/us-east-1/${day}/${name}`, body, lastModified: time }
    }
  }
}

/** The first account writes version 2, the second one version 5. */
function* flowObjects(period: Period, total: number, random: Random, counts: Counter): Generator<LogObject> {
  const networks = new Map<string, FlowNetwork>()
  for (const account of ACCOUNTS) {
    for (const region of REGIONS)
      networks.set(`${account} ${region}`, flowNetwork(account, region, networks.size, random))
  }
  const attack = attackFlows(period.start, random)
  for (const { account, region, start, share } of slots(period, FLOW_SLOT, total, random)) {
    const version = account === ATTACK.account ? 2 : 5
    const network = networks.get(`${account} ${region}`)!
    const flows = Array.from({ length: share }, () =>
      everydayFlow(network, start + random.int(0, FLOW_SLOT / 1000 - 1) * 1000, random),
    )
    if (region === REGIONS[0]) {
      const host = network.hosts[7]!.address
      const here = attack.filter((entry) => entry.account === account).map((entry) => entry.flow(host))
      flows.push(...here.filter((flow) => flow.time >= start && flow.time < start + FLOW_SLOT))
    }
    if (flows.length === 0) continue
    const lines: string[] = [FLOW_HEADERS[version]]
    for (const flow of flows.sort((a, b) => a.time - b.time)) {
      counts.flow(flow.source, flow.destination, flow.bytes)
      lines.push(flowLine(version, network, flow))
    }
    if (start % (DAY / NO_DATA_LINES_PER_DAY) === 0) {
      counts.noData += 1
      lines.push(noDataLine(version, network, start))
    }
    const time = start + FLOW_SLOT + DELIVERY_LAG
    const [day, minute] = keyTimes(time)
    const name = `${account}_vpcflowlogs_${region}_fl-0${network.vpc.slice(5, 21)}_${minute}_${random.hex(8)}.log.gz`
    const body = gzipSync(`${lines.join('\n')}\n`, { level: 1 })
    yield { key: `${LOG_PREFIX}${account}/vpcflowlogs/${region}/${day}/${name}`, body, lastModified: time }
  }
}

interface Slot {
  readonly account: string
  readonly region: string
  readonly slot: number
  readonly start: number
  /** Everyday records of this slot. */
  readonly share: number
}

/** The period cut into deliveries; records fall into them by account, region and hour of the day, `total` exactly. */
function slots(period: Period, length: number, total: number, random: Random): Slot[] {
  const slotCount = (period.days * DAY) / length - 1
  const cells: Omit<Slot, 'share'>[] = []
  const weights: number[] = []
  for (let slot = 0; slot < slotCount; slot += 1) {
    const start = period.start + slot * length
    const hour = new Date(start).getUTCHours()
    for (const [a, account] of ACCOUNTS.entries()) {
      for (const [r, region] of REGIONS.entries()) {
        cells.push({ account, region, slot, start })
        weights.push((a === 0 ? 1.5 : 1) * [6, 3, 1][r]! * (hour >= 7 && hour < 19 ? 2 : 1))
      }
    }
  }
  const picker = new Weights(weights)
  const shares = new Uint32Array(cells.length)
  for (let at = 0; at < total; at += 1) shares[picker.at(random)]! += 1
  return cells.map((cell, at) => ({ ...cell, share: shares[at]! }))
}

function cloudTrailKey(account: string, region: string, time: number, random: Random): string {
  const [day, minute] = keyTimes(time)
  const suffix = random.id(16, 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789')
  const name = `${account}_CloudTrail_${region}_${minute}_${suffix}.json.gz`
  return `${LOG_PREFIX}${account}/CloudTrail/${region}/${day}/${name}`
}

/** `2026/03/10` and `20260310T0215Z` */
function keyTimes(time: number): [day: string, minute: string] {
  const text = new Date(time).toISOString()
  return [text.slice(0, 10).replaceAll('-', '/'), `${text.slice(0, 16).replaceAll(/[-:]/g, '')}Z`]
}

function groupBy<T>(items: readonly T[], name: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(name(item))
    if (group) group.push(item)
    else groups.set(name(item), [item])
  }
  return groups
}
