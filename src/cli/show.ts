import { COLUMN_BY_NAME } from '../core/columns.ts'
import { printable } from '../core/errors.ts'
import { timeText } from '../core/terminalText.ts'
import { defineCommand, flag, text } from './command.ts'
import { eventJson } from './eventOutput.ts'

export const showCommand = defineCommand({
  name: 'show',
  summary: 'Show one event with its tags and the object that it came from, or the record as it came',
  arguments: [{ name: '<id>', description: 'id or uid of an event, as search gives them.' }],
  options: {
    raw: flag('Only the bytes of the record, exactly as they came.'),
    collection: text('A,B,…', 'Collections and workbenches to look in; the default is main.'),
    allVersions: flag('Events of objects that were replaced later, too.'),
  },
  examples: [
    { line: 'show 1234', note: 'Every column, its tags, and where it came from' },
    { line: 'show 1234 --raw > record.json', note: "The record's own bytes" },
  ],
  exits: ['store', 'incomplete'],
  async run([id], { raw, collection, allVersions }, io) {
    const coldtrail = await io.open()
    const request = { collection, allVersions, signal: io.signal }
    if (raw) {
      const bytes = await coldtrail.showRaw(id!, request)
      // On a terminal the record is hostile text like any other.
      if (io.terminal) io.print(printable(bytes.toString(), 1_000_000))
      else io.write(bytes)
      return undefined
    }
    const { event, session, tags } = await coldtrail.show(id!, request)
    if (io.json) {
      io.emit({ ...eventJson(event), ...(tags.length > 0 && { tags }), session })
      return undefined
    }
    const line = (name: string, value: unknown): void =>
      io.print(`${io.style('bold', name.padEnd(32))}${printable(String(value), 100_000)}`)
    for (const [name, value] of Object.entries(event)) {
      if (value === null) continue
      line(name, COLUMN_BY_NAME.get(name)?.type === 'time' ? timeText(value as number) : value)
    }
    for (const { label, plugin, rule, run } of tags)
      line('tag', `${label}  (${plugin}${rule === '' ? '' : `, rule ${rule}`}, run ${run})`)
    io.print('')
    for (const [name, value] of Object.entries(session)) {
      if (value !== null)
        line(`session.${name}`, /^(last_modified|received|time[12])$/.test(name) ? timeText(value) : value)
    }
    return undefined
  },
})
