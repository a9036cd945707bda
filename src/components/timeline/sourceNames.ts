/** What psort calls `source` and `source_long`: the kind of evidence, in a word of log2timeline's and in a few. */
import type { OutputEvent } from './outputEvent.ts'

export interface SourceName {
  readonly short: string
  readonly long: string
}

/** As the timeline itself says, else by the type of the event; `N/A` as in the original where nobody knows. */
export function sourceOf({ attributes, columns }: OutputEvent): SourceName {
  const { source_short: short, source_long: long, source } = attributes
  // In psort's `dynamic` the short one is called `source`.
  const given = typeof short === 'string' ? short : typeof long === 'string' ? source : undefined
  if (typeof given === 'string') return { short: given, long: typeof long === 'string' ? long : 'N/A' }
  const type = String(columns.data_type)
  const found = SOURCES.find(([prefix]) => type === prefix || (prefix.endsWith(':') && type.startsWith(prefix)))
  return found ? { short: found[1], long: found[2] } : UNKNOWN
}

// --- internal ---

const UNKNOWN: SourceName = { short: 'N/A', long: 'N/A' }

/** Type, or its beginning when it ends in a colon; the first counts. */
const SOURCES: readonly (readonly [type: string, short: string, long: string])[] = [
  ['aws:cloudtrail:', 'LOG', 'AWS CloudTrail log'],
  ['aws:vpcflow:', 'LOG', 'AWS VPC flow log'],
  ['json:line', 'LOG', 'JSON log'],
  ['text:line', 'LOG', 'Text log'],
  ['syslog:', 'LOG', 'System log'],
  ['selinux:', 'LOG', 'Audit log'],
  ['bash:history:', 'LOG', 'Bash history'],
  ['linux:utmp:', 'LOG', 'UTMP session'],
  ['fs:stat', 'FILE', 'File stat'],
  ['fs:stat:ntfs', 'FILE', 'NTFS file stat'],
  ['fs:bodyfile:entry', 'FILE', 'Body file'],
  ['chrome:', 'WEBHIST', 'Chrome'],
  ['firefox:', 'WEBHIST', 'Firefox'],
  ['msie:', 'WEBHIST', 'Internet Explorer'],
  ['msiecf:', 'WEBHIST', 'Internet Explorer'],
  ['opera:', 'WEBHIST', 'Opera'],
  ['safari:', 'WEBHIST', 'Safari'],
  ['windows:evtx:', 'EVT', 'Windows event log'],
  ['windows:evt:', 'EVT', 'Windows event log'],
  ['windows:registry:', 'REG', 'Registry'],
]
