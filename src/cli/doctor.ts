import { EXIT, printable } from '../core/errors.ts'
import { defineCommand } from './command.ts'

export const doctorCommand = defineCommand({
  name: 'doctor',
  summary: 'Check runtime, data directory, mount, space, clock, keys, catalog and sources',
  details: 'Names what is wrong and what to do. Fails when a check failed; a warning does not.',
  options: {},
  examples: [
    { line: 'doctor', note: 'Everything that ./coldtrail.yaml needs' },
    { line: 'doctor --data-dir /var/lib/coldtrail --json', note: 'One JSON object per check' },
  ],
  async run(_args, _options, io) {
    const coldtrail = await io.open()
    const checks = await coldtrail.doctor()
    for (const check of checks) {
      if (io.json) io.emit({ type: 'check', ...check })
      else {
        const mark = { ok: io.style('green', 'ok     '), warning: io.style('yellow', 'warning') }
        const status = check.status === 'failed' ? io.style('red', 'failed ') : mark[check.status]
        io.print(`${status}  ${check.name}: ${printable(check.message, 1_000)}`)
        if (check.hint !== undefined) io.print(`         ${printable(check.hint, 1_000)}`)
      }
    }
    return checks.some((check) => check.status === 'failed') ? EXIT.fault : EXIT.ok
  },
})
