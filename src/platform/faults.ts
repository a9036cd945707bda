/**
 * Named fault points: places where a test kills the process, as a power cut would. `COLDTRAIL_FAULT=name` (or
 * `name:3` for its third passing) makes the process that passes it die by SIGKILL. Workers inherit the variable:
 * `name@worker` and `name@main` mean only them, or only the process that started them. Unset, a point costs one
 * comparison.
 */
const [, armedName, armedRole, armedCount = '1'] =
  /^([\w.-]+)(?:@(worker|main))?(?::(\d+))?$/.exec(process.env.COLDTRAIL_FAULT ?? '') ?? []
// A worker has a channel to its foreman.
const isMeant = armedRole === undefined || armedRole === (process.send ? 'worker' : 'main')
let passed = 0

/** Every name in use; the crash tests run over this list, so a point cannot be forgotten. */
export const FAULT_POINTS = [
  'file.temp-written',
  'file.synced',
  'file.renamed',
  'file.directory-synced',
  'segment.files-durable',
  'claim.committed',
  'commit.begun',
  'commit.rows-written',
  'commit.link-written',
  'commit.done',
  'history.appended',
  'archive.rotated',
  'archive.written',
  'archive.log-removed',
  'archive.merged',
  'replace.files-durable',
  'retire.unlinked',
  'move.announced',
  'move.copied',
  'move.files-durable',
  'left.unlinked',
  'anchor.written',
  'erase.segment-durable',
  'erase.files-durable',
  'erase.history-cut',
  'archive.cut',
  'run.begun',
  'run.task-recorded',
  'run.files-durable',
  'restore.copied',
  'restore.files-durable',
  'custody.written',
  'workbench.unlinked',
  'rollup.written',
  'rollup.listed',
  'outbox.begun',
  'outbox.settled',
  'receipt.appended',
  'staging.loaded',
  'merge.inserted',
  'merge.applying',
  'merge.published',
] as const

export type FaultPoint = (typeof FAULT_POINTS)[number]

export function faultPoint(name: FaultPoint): void {
  if (armedName !== name || !isMeant) return
  passed += 1
  if (passed >= Number(armedCount)) process.kill(process.pid, 'SIGKILL')
}
