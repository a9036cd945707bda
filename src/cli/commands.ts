/** Every command, in the order of the help page. */

import { catalogRebuildCommand } from './catalogRebuild.ts'
import { collectCommand } from './collect.ts'
import type { Command } from './command.ts'
import { doctorCommand } from './doctor.ts'
import { initCommand } from './init.ts'
import { manifestQueryCommand } from './manifestQuery.ts'
import { sourceCatCommand } from './sourceCat.ts'
import { sourceListCommand } from './sourceList.ts'

export const COMMANDS: readonly Command[] = [
  initCommand,
  collectCommand,
  sourceListCommand,
  sourceCatCommand,
  manifestQueryCommand,
  catalogRebuildCommand,
  doctorCommand,
]
