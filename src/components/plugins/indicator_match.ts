/**
 * The library's active indicators in events: addresses and blocks, domains and what lies below them, URLs, hashes, users,
 * user agents, keys. Values are compared in the one canonical form that library, keysets and plugins share.
 */
import { z } from 'zod'
import type { TextColumn } from '../../core/columnBatch.ts'
import { NULL_TEXT } from '../../core/columnBatch.ts'
import { ipSpellings } from '../../core/ipAddress.ts'
import type { Hit, MapPlugin, PluginComponent, PluginContext, Severity } from '../plugin.ts'
import { byCount, perValue } from './distinctValues.ts'
import {
  type IndicatorTable,
  openIndicatorTable,
  type TableIndicator,
  writeIndicatorTable,
} from './indicators/indicatorTable.ts'
import { kindOf, lookedAt, lookFor } from './indicators/lookFor.ts'

const options = z.strictObject({
  severity: z
    .enum(['informational', 'low', 'medium', 'high', 'critical'])
    .default('medium')
    .describe('Severity of the findings.'),
})

export interface Work {
  readonly severity: Severity
  readonly table: string
  readonly columns: readonly string[]
  /** Of the blocks, in bits of IPv6. */
  readonly lengths: readonly number[]
  readonly count: number
  /** Indicators by type that are looked for nowhere. */
  readonly others: readonly (readonly [type: string, count: number])[]
}

export const indicatorMatch: PluginComponent<typeof options, Work> = {
  kind: 'plugin',
  name: 'indicator_match',
  summary: 'Find active indicators of the library in events',
  version: 1,
  options,
  async prepare({ severity }, context) {
    const table = context.scratchFile('indicators')
    const lengths = new Set<number>()
    const others = new Map<string, number>()
    const count = await writeIndicatorTable(table, known(context, lengths, others))
    if (count === 0) context.warn('The library holds no active indicator that events could match')
    return {
      ...{ severity, table, count, columns: lookedAt(context.dataTypes.some(isTimeline)) },
      lengths: [...lengths].sort((a, b) => a - b),
      others: byCount(others),
    }
  },
  start: matches,
}

// --- internal ---

/** Collected logs have the hash of a file in its column; timelines have those of the file that an event is from. */
const isTimeline = (dataType: string): boolean => !/^(aws:|json:|syslog:line$|text:line$)/.test(dataType)

/** In the order of the library; `lengths` and `others` are filled on the way. */
async function* known(
  { indicators, signal }: PluginContext,
  lengths: Set<number>,
  others: Map<string, number>,
): AsyncGenerator<TableIndicator> {
  for await (const { type, value, uid } of indicators()) {
    signal?.throwIfAborted()
    const found = kindOf(type, value)
    if (!found) {
      others.set(type, (others.get(type) ?? 0) + 1)
      continue
    }
    if (found.kind === 'cidr') lengths.add(Number(found.value.slice(found.value.indexOf('/') + 1)))
    yield { type, uid, ...found }
  }
}

function matches({ severity, table, columns, lengths, count, others }: Work): MapPlugin {
  let opened: IndicatorTable | undefined
  const look = new Map(columns.map((name) => [name, perValue((value) => hitsOf(name, value))]))

  function hitsOf(column: string, value: string): readonly Hit[] | undefined {
    opened ??= openIndicatorTable(table)
    const { find } = opened
    let hits: Hit[] | undefined
    lookFor(column, value, lengths, (kind, wanted) => {
      for (const indicator of find(kind, wanted)) {
        hits ??= []
        if (!hits.some(({ rule }) => rule === indicator.uid)) hits.push(hitOf(indicator, severity))
      }
    })
    return hits
  }

  return {
    shape: 'map',
    columns,
    label(batch, emit) {
      for (const name of columns) {
        const column = batch.columns[name] as TextColumn
        const hits = look.get(name)!(column)
        if (!hits.some((one) => one)) continue
        for (let row = 0; row < batch.rows; row++) {
          const index = column.indexes[row]!
          if (index !== NULL_TEXT) for (const hit of hits[index] ?? []) emit(row, hit)
        }
      }
    },
    report: (labels) => ({
      counters: [
        ['indicators', count],
        ...[...labels].sort(([a], [b]) => (a < b ? -1 : 1)),
        ...others.map(([type, number]) => [`not looked for: ${type}`, number] as const),
      ],
    }),
  }
}

/** The same for every event and column: a finding is known by its rule, which is the indicator's uid. */
function hitOf({ kind, type, value, uid }: TableIndicator, severity: Severity): Hit {
  const shown = kind === 'below' ? `*.${value}` : kind === 'cidr' ? shownBlock(value) : value
  return { label: `indicator_${kind}`, rule: uid, finding: { severity, title: `${type} ${shown}`.slice(0, MAX_TITLE) } }
}

const MAX_TITLE = 300

/** A block as people write it. */
function shownBlock(text: string): string {
  const [address = ''] = ipSpellings(text.slice(0, 32).replace(/(.{4})(?!$)/g, '$1:'))
  const bits = Number(text.slice(33))
  return `${address}/${address.includes(':') ? bits : bits - 96}`
}
