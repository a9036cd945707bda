/** The process of ./coldtrail. */
import { existsSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

// Before anything else is loaded: reading and compiling the sources costs more than most commands. Beside the packages,
// where only who installed them may write.
const packages = join(import.meta.dirname, '../../node_modules')
if (existsSync(packages)) enableCompileCache(join(packages, '.cache/coldtrail'))
const { EXIT } = await import('../core/errors.ts')
const { endOnClosedOutput } = await import('./io.ts')
const { runLine } = await import('./runLine.ts')

endOnClosedOutput(process.argv.includes('--json'))
const status = await runLine(process.argv.slice(2))
process.exitCode = status
// What a plugin of somebody else still waits for holds nobody who interrupted it.
if (status === EXIT.interrupted) setTimeout(() => process.exit(), 1_000).unref()
