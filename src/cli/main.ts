/** The process of ./coldtrail. */
import { endOnClosedOutput } from './io.ts'
import { runLine } from './runLine.ts'

endOnClosedOutput(process.argv.includes('--json'))
process.exitCode = await runLine(process.argv.slice(2))
