/** The dictionary rows that every library has from the start, with ThreatQ's names, and what TLP's names mean. */
import { drawIds, newChange, publish } from './changes.ts'
import { naturalKey, uidOfNaturalKey } from './identity.ts'
import { GENERIC_OBJECTS, TABLE_BY_NAME } from './model.ts'
import type { LibraryTx } from './schema.ts'

/** `reversed` gives the rows other ids: nothing may depend on them. */
export type SeedOrder = 'reversed'

/** Inserts the built-in rows under one change. Their uids are made from their natural keys, the same everywhere. */
export async function seedDictionaries(tx: LibraryTx, order?: SeedOrder): Promise<void> {
  const change = await newChange(tx, { kind: 'seed' })
  for (const [table, entries] of Object.entries(SEEDS)) {
    const { naturalKey: key } = TABLE_BY_NAME.get(table)!
    const ordered = order === 'reversed' ? entries.toReversed() : entries
    const first = await drawIds(tx, table, ordered.length)
    const rows = ordered.map((entry, i) => {
      const nk = naturalKey(
        table,
        key.map((name) => String(entry[name])),
      )
      const common = { id: first + i, uid: uidOfNaturalKey(nk), nk, created_at: 0, updated_at: 0 }
      return { ...common, created_change: change, change, ...entry }
    })
    await tx.insertInto(table).values(rows).execute()
  }
  await publish(tx, change)
}

/** Names of `tlp` by how far a row may go, the widest first. */
export const TLP_NAMES = ['white', 'green', 'amber', 'amber+strict', 'red'] as const
export type TlpName = (typeof TLP_NAMES)[number]

/** `TLP:AMBER`, `clear` (white's name since TLP 2.0), `Amber Strict`, …; undefined for another text. */
export function tlpNamed(text: string): TlpName | undefined {
  const name = text
    .trim()
    .toLowerCase()
    .replace(/^tlp\s*[:-]\s*/, '')
    .replace(/[\s_+-]+/g, '+')
  return name === 'clear' ? 'white' : TLP_NAMES.find((known) => known === name)
}

/** 0 for white to 4 for red. */
export const tlpRank = (name: TlpName): number => TLP_NAMES.indexOf(name)

// --- internal ---

type Entry = Readonly<Record<string, string | number | null>>

const named = (names: readonly string[], more: Entry = {}): Entry[] => names.map((name) => ({ name, ...more }))

const NETWORK_TYPES = new Set(
  'ASN,CIDR Block,Email Address,Email Attachment,Email Subject,FQDN,IP Address,IPv6 Address,MAC Address,URL,URL Path,User-agent,X-Mailer,x509 Serial,x509 Subject'.split(
    ',',
  ),
)

const INDICATOR_TYPES =
  'ASN,Binary String,CIDR Block,CVE,Email Address,Email Attachment,Email Subject,File Mapping,File Path,Filename,FQDN,Fuzzy Hash,GOST Hash,Hash ION,IP Address,IPv6 Address,MAC Address,MD5,Mutex,Password,Registry Key,Service Name,SHA-1,SHA-256,SHA-384,SHA-512,String,x509 Serial,x509 Subject,URL,URL Path,User-agent,Username,X-Mailer'.split(
    ',',
  )

const INDICATOR_STATUSES: readonly (readonly [name: string, description: string, isProtected: boolean])[] = [
  ['Active', 'Poses a threat and is being exported to detection tools.', false],
  ['Expired', 'No longer poses a serious threat.', false],
  ['Indirect', 'Associated to an active indicator or event (i.e. pDNS).', false],
  ['Review', 'Requires further analysis.', false],
  ['Whitelisted', 'Poses no risk and should never be deployed.', true],
]

const OWN_OBJECTS: readonly (readonly [code: string, name: string, plural: string])[] = [
  ['indicator', 'Indicator', 'Indicators'],
  ['adversary', 'Adversary', 'Adversaries'],
  ['event', 'Event', 'Events'],
  ['attachment', 'File', 'Files'],
  ['signature', 'Signature', 'Signatures'],
  ['task', 'Task', 'Tasks'],
  ['investigation', 'Investigation', 'Investigations'],
]

/**
 * Names of sync.md §3.2. `protected` marks the statuses that incoming data must not take away, as ThreatQ's
 * whitelisting does; an Active that were protected could never expire.
 */
const SEEDS: Readonly<Record<string, readonly Entry[]>> = {
  tlp: named(['red', 'amber', 'green', 'white', 'amber+strict']),
  objects: [...GENERIC_OBJECTS, ...OWN_OBJECTS].map(([code, name, name_plural]) => ({
    code,
    name,
    name_plural,
    is_custom: 'N',
  })),
  indicator_types: INDICATOR_TYPES.map((name) => ({
    name,
    class: NETWORK_TYPES.has(name) ? 'network' : 'host',
    wildcard_matching: 'N',
  })),
  indicator_statuses: INDICATOR_STATUSES.map(([name, description, isProtected]) => ({
    name,
    description,
    visible: 'Y',
    protected: isProtected ? 'Y' : 'N',
    include_in_export: 'Y',
    user_editable: 'N',
  })),
  event_types: named(
    'Spearphish,Watering Hole,SQL Injection Attack,DoS Attack,Malware,Watchlist,Command and Control,Anonymization,Exfiltration,Host Characteristics,Compromised PKI Certificate,Login Compromise,Incident,Sighting'.split(
      ',',
    ),
    { user_editable: 'N' },
  ),
  attachment_types: named(
    'Cuckoo,CrowdStrike Intelligence,Early Warning and Indicator Notice (EWIN),FireEye Analysis,FBI FLASH,Generic Text,Intelligence Whitepaper,iSight Report,iSight ThreatScape Intelligence Report,JIB,MAEC,Malware Analysis Report,Malware Initial Findings Report (MFIR),Malware Sample,Packet Capture,Palo Alto Networks WildFire XML,PCAP,PDF,Private Industry Notification (PIN),Spearphish Attachment,STIX,ThreatAnalyzer Analysis,ThreatQ CSV File,Whitepaper'.split(
      ',',
    ),
    { is_parsable: 'N' },
  ),
  signature_types: named('Bro,Custom,Cybox,OpenIOC,Regex,Snort,STIX Indicator Pattern,YARA'.split(',')),
  signature_statuses: [
    ...named(['Active', 'Expired', 'Indirect'], { protected: 'N' }),
    { name: 'Non-malicious', protected: 'Y' },
    { name: 'Review', protected: 'N' },
    { name: 'Whitelisted', protected: 'Y' },
  ],
  task_statuses: named(['To Do', 'In Progress', 'Review', 'Done']),
}
