/** Every command, in the order of the help page. */
import { analyzeCommand } from './analyze.ts'
import { ANALYZE_COMMANDS } from './analyzeCommands.ts'
import { anchorCommand } from './anchor.ts'
import { catalogRebuildCommand } from './catalogRebuild.ts'
import { collectCommand } from './collect.ts'
import type { Command } from './command.ts'
import { demoCommand } from './demo.ts'
import { doctorCommand } from './doctor.ts'
import { eraseCommand } from './erase.ts'
import { exportCommand } from './export.ts'
import { exportCaseCommand } from './exportCase.ts'
import { filesExportCommand } from './filesExport.ts'
import { findingsCommand } from './findings.ts'
import { forwardCommand } from './forward.ts'
import { FORWARD_COMMANDS } from './forwardCommands.ts'
import { HOLD_COMMANDS } from './hold.ts'
import { huntCommand } from './hunt.ts'
import { huntStandingCommand } from './huntStanding.ts'
import { initCommand } from './init.ts'
import { KEYS_COMMANDS } from './keys.ts'
import { libraryExportCommand } from './libraryExport.ts'
import { libraryImportCommand } from './libraryImport.ts'
import { LIBRARY_OBJECT_COMMANDS } from './libraryObjects.ts'
import { libraryQuarantineCommand } from './libraryQuarantine.ts'
import { libraryUndoCommand } from './libraryUndo.ts'
import { MANIFEST_COMMANDS } from './manifestCommands.ts'
import { manifestQueryCommand } from './manifestQuery.ts'
import { rejectsCommand } from './rejects.ts'
import { restorePlanCommand, restoreRunCommand } from './restore.ts'
import { searchCommand } from './search.ts'
import { showCommand } from './show.ts'
import { sourceCatCommand } from './sourceCat.ts'
import { sourceListCommand } from './sourceList.ts'
import { syncAckCommand } from './syncAck.ts'
import { syncExportCommand, threatqExportCommand } from './syncExport.ts'
import { syncFillHashCommand, threatqFillHashCommand } from './syncFillHash.ts'
import { syncImportCommand, threatqImportCommand } from './syncImport.ts'
import { syncKeysCommand } from './syncKeys.ts'
import { syncRunsCommand } from './syncRuns.ts'
import { syncStateCommand } from './syncState.ts'
import { syncVerifyCommand } from './syncVerify.ts'
import { TIER_COMMANDS } from './tier.ts'
import { timelineCommand } from './timeline.ts'
import { valuesCommand } from './values.ts'
import { verifyCommand } from './verify.ts'
import { WORKBENCH_COMMANDS } from './workbench.ts'

export const COMMANDS: readonly Command[] = [
  demoCommand,
  initCommand,
  collectCommand,
  searchCommand,
  valuesCommand,
  timelineCommand,
  showCommand,
  analyzeCommand,
  ...ANALYZE_COMMANDS,
  findingsCommand,
  exportCommand,
  exportCaseCommand,
  huntCommand,
  huntStandingCommand,
  rejectsCommand,
  forwardCommand,
  ...FORWARD_COMMANDS,
  libraryImportCommand,
  libraryExportCommand,
  ...LIBRARY_OBJECT_COMMANDS,
  libraryUndoCommand,
  libraryQuarantineCommand,
  filesExportCommand,
  syncExportCommand,
  syncImportCommand,
  syncAckCommand,
  syncStateCommand,
  syncRunsCommand,
  syncFillHashCommand,
  threatqExportCommand,
  threatqImportCommand,
  threatqFillHashCommand,
  syncVerifyCommand,
  syncKeysCommand,
  sourceListCommand,
  sourceCatCommand,
  manifestQueryCommand,
  ...MANIFEST_COMMANDS,
  ...TIER_COMMANDS,
  ...HOLD_COMMANDS,
  verifyCommand,
  anchorCommand,
  eraseCommand,
  restorePlanCommand,
  restoreRunCommand,
  ...WORKBENCH_COMMANDS,
  catalogRebuildCommand,
  ...KEYS_COMMANDS,
  doctorCommand,
]
