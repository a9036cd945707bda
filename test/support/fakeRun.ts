/** A run over fake segments: every event is tagged, the first of each segment is a finding. */
import { join } from 'node:path'
import canonicalize from 'canonicalize'
import type { Catalog, Owner } from '../../src/store/catalog.ts'
import { type FindingLine, findingsName, findingUid, type SealedFindings } from '../../src/store/findings.ts'
import { HashedFile } from '../../src/store/hashedFile.ts'
import { runRequest, tag, writeTags } from './tagging.ts'

export async function committedRun(catalog: Catalog, owner: Owner, resumed?: number): Promise<number> {
  const segments = await catalog.segments({ collection: 'main', state: 'live' })
  const run = resumed ?? (await catalog.beginRun(owner, runRequest(segments)))
  if (resumed !== undefined) await catalog.resumeRun(owner, resumed)
  for (const { segment, rows } of segments)
    await catalog.taskDone(owner, run, { segment, first: 0, rows, state: 'done', attempts: 1, result: { segment } })
  const ids = segments.flatMap(({ id1, rows }) => Array.from({ length: rows }, (_, i) => id1! + i))
  const tagFiles = writeTags(
    run,
    segments,
    ids.map((id) => tag(id, 'seen')),
  )
  const findings = fakeFindings(
    catalog,
    run,
    segments.map(({ id1 }) => id1!),
  )
  await catalog.commitRun(owner, { run, state: 'finished', tagFiles, findings, report: { ids }, counters: { n: 1 } })
  return run
}

export function fakeFindings(catalog: Catalog, run: number, events: readonly number[]): SealedFindings {
  const name = findingsName(run)
  const file = new HashedFile(join(catalog.manifestDirectory('main'), name))
  for (const event of events) {
    const event_uid = event.toString(16).padStart(32, '0')
    const facts = { kind: 'rule', rule: 'seen_rule', label: 'seen', plugin: 'tagging' }
    const uid = findingUid(facts.kind, facts.rule, facts.label, event_uid)
    const line: FindingLine = { ...facts, uid, severity: 'medium', title: 'Seen', event, event_uid, time: event }
    file.write(Buffer.from(`${canonicalize(line)}\n`))
  }
  file.publish()
  return { run, name, rows: events.length, size: file.size, sha256: file.digest() }
}
