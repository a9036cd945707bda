/** VPC flow log lines, version 2 (the default fields) and version 5 (all of its fields). */
import type { Random } from './random.ts'

export interface Flow {
  /** Start of the aggregation, in milliseconds. */
  readonly time: number
  readonly seconds: number
  readonly source: string
  readonly sourcePort: number
  readonly destination: string
  readonly destinationPort: number
  /** IANA number: 6 is TCP, 17 UDP. */
  readonly protocol: number
  readonly packets: number
  readonly bytes: number
  readonly accepted: boolean
}

export interface FlowNetwork {
  readonly account: string
  readonly region: string
  readonly vpc: string
  readonly subnet: string
  /** Interface and instance of each private address. */
  readonly hosts: readonly { readonly address: string; readonly networkInterface: string; readonly instance: string }[]
}

const FIELDS_V2 =
  'version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status'

export const FLOW_HEADERS = {
  2: FIELDS_V2,
  5: `${FIELDS_V2} vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path`,
} as const

export function flowNetwork(account: string, region: string, index: number, random: Random): FlowNetwork {
  const hosts = Array.from({ length: 40 }, (_, at) => ({
    address: `10.${20 + index}.${1 + (at >> 3)}.${10 + at}`,
    networkInterface: `eni-0${random.hex(16)}`,
    instance: `i-0${random.hex(16)}`,
  }))
  return { account, region, vpc: `vpc-0${random.hex(16)}`, subnet: `subnet-0${random.hex(16)}`, hosts }
}

/** Everyday flows: clients on the load balancers, applications on databases and DNS, scanners that are turned away. */
export function everydayFlow(network: FlowNetwork, time: number, random: Random): Flow {
  const here = random.pick(network.hosts).address
  const there = random.pick(network.hosts).address
  const outside = random.chance(0.7)
    ? `198.18.${random.int(0, 255)}.${random.int(1, 254)}`
    : `192.0.2.${random.int(1, 254)}`
  const packets = 1 + Math.floor(400 * random.next() ** 6)
  const base = { time, seconds: random.int(1, 59), packets, accepted: true, protocol: 6 }
  const high = random.int(32768, 60999)
  const kind = random.next()
  if (kind < 0.3)
    return {
      ...base,
      source: outside,
      sourcePort: high,
      destination: here,
      destinationPort: 443,
      bytes: packets * random.int(52, 900),
    }
  if (kind < 0.55)
    return {
      ...base,
      source: here,
      sourcePort: 443,
      destination: outside,
      destinationPort: high,
      bytes: packets * random.int(300, 1400),
    }
  if (kind < 0.8)
    return {
      ...base,
      source: here,
      sourcePort: high,
      destination: there,
      destinationPort: random.pick([5432, 6379, 8080]),
      bytes: packets * random.int(60, 1400),
    }
  if (kind < 0.88)
    return {
      ...base,
      protocol: 17,
      source: here,
      sourcePort: high,
      destination: here.replace(/\.\d+$/, '.2'),
      destinationPort: 53,
      packets: 1,
      bytes: random.int(58, 120),
    }
  return {
    ...base,
    accepted: false,
    source: outside,
    sourcePort: high,
    destination: here,
    destinationPort: random.pick([22, 23, 445, 3389, 8443]),
    packets: 1,
    bytes: 44,
  }
}

export function flowLine(version: 2 | 5, network: FlowNetwork, flow: Flow): string {
  const host = hostOf(network, flow)
  const start = Math.floor(flow.time / 1000)
  const line =
    `${version} ${network.account} ${host.networkInterface} ${flow.source} ${flow.destination} ${flow.sourcePort} ` +
    `${flow.destinationPort} ${flow.protocol} ${flow.packets} ${flow.bytes} ${start} ${start + flow.seconds} ` +
    `${flow.accepted ? 'ACCEPT' : 'REJECT'} OK`
  if (version === 2) return line
  const outgoing = host.address === flow.source
  const flags = flow.protocol === 6 ? (flow.accepted ? 19 : 2) : 0
  return (
    `${line} ${network.vpc} ${network.subnet} ${host.instance} ${flags} IPv4 ${flow.source} ${flow.destination} ` +
    `${network.region} use1-az4 - - - - ${outgoing ? 'egress' : 'ingress'} ${outgoing ? '8' : '-'}`
  )
}

/** The line of an interface without traffic: every field of a flow is `-`. */
export function noDataLine(version: 2 | 5, network: FlowNetwork, time: number): string {
  const start = Math.floor(time / 1000)
  const host = network.hosts[0]!
  const line = `${version} ${network.account} ${host.networkInterface} - - - - - - - ${start} ${start + 60} - NODATA`
  if (version === 2) return line
  return `${line} ${network.vpc} ${network.subnet} ${host.instance} - - - - ${network.region} use1-az4 - - - - - -`
}

// --- internal ---

function hostOf(network: FlowNetwork, flow: Flow): FlowNetwork['hosts'][number] {
  const { hosts } = network
  const found = hosts.find((host) => host.address === flow.source || host.address === flow.destination)
  return found ?? hosts[0]!
}
