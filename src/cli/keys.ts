import { printable } from '../core/errors.ts'
import { type Command, defineCommand } from './command.ts'

export const keysListCommand = defineCommand({
  name: 'keys list',
  summary: 'List the keyset keys, without their secrets',
  options: {},
  examples: [{ line: 'keys list', note: 'Epochs and ids; manifests name the id of the key of their keyset' }],
  exits: ['store'],
  async run(_args, _options, io) {
    const coldtrail = await io.open()
    const keys = await coldtrail.keys.list()
    for (const { epoch, id } of keys) {
      if (io.json) io.emit({ epoch, id })
      else io.print(`${printable(epoch)}  ${printable(id)}`)
    }
    if (!io.json && keys.length === 0) io.note('No keys yet; the first collect makes one.')
    return undefined
  },
})

export const keysExportCommand = defineCommand({
  name: 'keys export',
  summary: 'Copy a keyset key to a file, for the safe or for another installation',
  details: 'Whoever has the key can test guesses against every keyset of its epoch. The file gets mode 0600.',
  arguments: [
    { name: '<epoch>', description: 'Epoch of the key, as keys list gives it.' },
    { name: '<file>', description: 'New file; an existing one is not replaced.' },
  ],
  options: {},
  examples: [{ line: 'keys export 2026 keyset-2026.key', note: 'The key of 2026' }],
  exits: ['store'],
  async run([epoch, file], _options, io) {
    const coldtrail = await io.open()
    const key = await coldtrail.keys.export(epoch!, file!)
    if (io.json) io.emit({ type: 'exported', ...key, file })
    else io.print(`Wrote key ${printable(key.id)} of ${printable(key.epoch)} to ${printable(file!)}.`)
    return undefined
  },
})

export const keysImportCommand = defineCommand({
  name: 'keys import',
  summary: 'Take in a keyset key that another installation exported',
  arguments: [{ name: '<file>', description: 'File that keys export wrote.' }],
  options: {},
  examples: [{ line: 'keys import keyset-2026.key', note: 'Keysets of that epoch can be searched from now on' }],
  exits: ['store'],
  async run([file], _options, io) {
    const coldtrail = await io.open()
    const key = await coldtrail.keys.import(file!)
    if (io.json) io.emit({ type: 'imported', ...key })
    else io.print(`Took in key ${printable(key.id)} of ${printable(key.epoch)}.`)
    return undefined
  },
})

export const KEYS_COMMANDS: readonly Command[] = [keysListCommand, keysExportCommand, keysImportCommand]
