import { ColdtrailError, printable } from '../core/errors.ts'
import { textTable } from '../core/terminalText.ts'
import type { Coldtrail, KnownKey } from '../index.ts'
import { defineCommand, integer } from './command.ts'
import type { Io } from './io.ts'

export const syncKeysCommand = defineCommand({
  name: 'sync keys',
  summary: 'List, rotate, trust and revoke the keys that sign bundles',
  details:
    'Without an action, or with list: the keys of this site, of which one signs, and those of other sites that are trusted ' +
    'here. rotate: a new key for this site, introduced by the present one; other sites take it from the next bundle. ' +
    'trust SITE KEY: a key of another site, as id or as file of its public key. revoke KEY: trusted no more; an own one ' +
    'that was rotated out ends now instead of after its overlap.',
  arguments: [
    { name: '[action]', description: 'list, rotate, trust or revoke.' },
    { name: '[values…]', description: 'SITE and KEY of trust, KEY of revoke.' },
  ],
  options: {
    overlapDays: integer('DAYS', 'rotate: how long bundles signed with the old key stay good; the default is 90.'),
  },
  examples: [
    { line: 'sync keys list', note: 'The fingerprint to tell the other site, and those that are trusted here' },
    { line: 'sync keys rotate', note: 'A new key; the old one is good for 90 more days' },
    {
      line: 'sync keys trust low /media/usb/site-0123456789abcdef0123456789abcdef.pub',
      note: 'Before its first bundle',
    },
    { line: 'sync keys revoke 0123456789abcdef0123456789abcdef', note: 'A key that is no longer safe' },
  ],
  exits: ['store'],
  async run([action = 'list', ...values], { overlapDays }, io) {
    const perform = Object.hasOwn(ACTIONS, action) ? ACTIONS[action as keyof typeof ACTIONS] : undefined
    if (!perform)
      throw new ColdtrailError('E_USAGE', {
        message: `sync keys: "${action}" is none of ${Object.keys(ACTIONS).join(', ')}.`,
      })
    if (values.length !== perform.values.length)
      throw new ColdtrailError('E_USAGE', {
        message: `sync keys ${action} takes ${perform.values.join(' and ') || 'nothing more'}.`,
      })
    if (overlapDays !== undefined && action !== 'rotate')
      throw new ColdtrailError('E_USAGE', { message: '--overlap-days is of sync keys rotate.' })
    await perform.run(await io.open(), values, io, overlapDays)
    return undefined
  },
})

// --- internal ---

interface Action {
  readonly values: readonly string[]
  run(coldtrail: Coldtrail, values: readonly string[], io: Io, overlapDays: number | undefined): Promise<void>
}

const ACTIONS = {
  list: {
    values: [],
    async run({ sync }, _values, io) {
      const keys = await sync.keys()
      if (io.json) {
        for (const key of keys) io.emit(key)
        return
      }
      const head = ['site', 'key', 'origin', 'valid until', '']
      const rows = keys.map((key) => [key.site, key.key, key.origin, key.valid_until ?? '', stateOf(key)])
      for (const line of textTable(head, rows, io.width, (text) => io.style('bold', text))) io.print(line)
      const file = keys.find(({ signs }) => signs)?.file
      if (file !== undefined) io.note(`Public key of this site: ${printable(file, 1_000)}`)
    },
  },
  rotate: {
    values: [],
    async run({ sync }, _values, io, overlapDays) {
      const key = await sync.rotateKey(overlapDays)
      if (io.json) io.emit({ type: 'rotated', ...key })
      else io.print(`Key ${key.key} signs for ${printable(key.site)} from now on; the next bundle introduces it.`)
    },
  },
  trust: {
    values: ['SITE', 'KEY'],
    async run({ sync }, [site, key], io) {
      const known = await sync.trustKey(site!, key!)
      if (io.json) io.emit({ type: 'trusted', ...known })
      else io.print(`Key ${known.key} is trusted for ${known.site}.`)
    },
  },
  revoke: {
    values: ['KEY'],
    async run({ sync }, [key], io) {
      const sites = await sync.revokeKey(key!)
      if (io.json) io.emit({ type: 'revoked', key, sites })
      else io.print(`Key ${printable(key!)} of ${sites.map((site) => printable(site)).join(', ')} is trusted no more.`)
    },
  },
} as const satisfies Record<string, Action>

const stateOf = ({ revoked, signs }: KnownKey): string => (revoked ? 'revoked' : signs ? 'signs' : '')
