/** Labels that the plugins of a piece gave, as numbers: event id and kind. */
import type { Rule, Severity } from '../components/plugin.ts'
import type { TagKind } from '../store/tags.ts'

/** A label with its plugin and rule, and the finding that it makes. */
export interface HitKind extends TagKind {
  readonly finding?: { readonly severity: Severity; readonly title: string }
}

/** Sorted by id, then kind; kinds sorted by label, plugin, rule; each once. */
export interface SortedHits {
  readonly kinds: readonly HitKind[]
  readonly ids: Float64Array
  readonly kindOf: Uint32Array
  /** By plugin: events with each label. */
  readonly labels: Readonly<Record<string, Readonly<Record<string, number>>>>
}

export class HitList {
  private readonly kinds: HitKind[] = []
  private readonly codes = new Map<string, number>()
  private ids = new Float64Array(1_024)
  private kindOf = new Uint32Array(1_024)
  length = 0

  kind(plugin: string, { label, rule, finding }: Pick<Rule, 'label' | 'rule' | 'finding'>): number {
    const key = JSON.stringify([label, plugin, rule, finding?.severity, finding?.title])
    const known = this.codes.get(key)
    if (known !== undefined) return known
    const code = this.kinds.push({ label, plugin, rule, ...(finding && { finding }) }) - 1
    this.codes.set(key, code)
    return code
  }

  add(id: number, kind: number): void {
    if (this.length === this.ids.length) this.grow()
    this.ids[this.length] = id
    this.kindOf[this.length] = kind
    this.length += 1
  }

  /** Takes back everything behind a length it had. */
  truncate(length: number): void {
    this.length = length
  }

  /** Takes back what a plugin gave. */
  drop(plugin: string): void {
    let kept = 0
    for (let i = 0; i < this.length; i++) {
      if (this.kinds[this.kindOf[i]!]!.plugin === plugin) continue
      this.ids[kept] = this.ids[i]!
      this.kindOf[kept] = this.kindOf[i]!
      kept += 1
    }
    this.length = kept
  }

  sorted(): SortedHits {
    const ids = this.ids.slice(0, this.length)
    const kindOf = this.kindOf.slice(0, this.length)
    return distinct(sortHits(this.kinds, ids, kindOf), ids, kindOf)
  }

  private grow(): void {
    const ids = new Float64Array(this.ids.length * 2)
    const kindOf = new Uint32Array(this.ids.length * 2)
    ids.set(this.ids)
    kindOf.set(this.kindOf)
    Object.assign(this, { ids, kindOf })
  }
}

/** Sorts hits by id, then kind, in place; answers the kinds in their order, which the hits then name. */
export function sortHits(kinds: readonly HitKind[], ids: Float64Array, kindOf: Uint32Array): HitKind[] {
  const order = kinds.map((_, code) => code).sort((a, b) => compareKinds(kinds[a]!, kinds[b]!))
  const places = new Uint32Array(order.length)
  order.forEach((code, place) => {
    places[code] = place
  })
  for (let i = 0; i < kindOf.length; i++) kindOf[i] = places[kindOf[i]!]!
  sortPairs(ids, kindOf, order.length)
  return order.map((code) => kinds[code]!)
}

// --- internal ---

function compareKinds(a: HitKind, b: HitKind): number {
  for (const key of ['label', 'plugin', 'rule'] as const) if (a[key] !== b[key]) return a[key] < b[key] ? -1 : 1
  const [one, other] = [JSON.stringify(a.finding ?? null), JSON.stringify(b.finding ?? null)]
  return one < other ? -1 : one > other ? 1 : 0
}

/** By id, then kind; in place. Each pass of a plugin gave them in order, so that a single one needs no sort. */
function sortPairs(ids: Float64Array, kindOf: Uint32Array, kinds: number): void {
  let isSorted = true
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!
    if (i > 0 && (id < ids[i - 1]! || (id === ids[i - 1] && kindOf[i]! < kindOf[i - 1]!))) isSorted = false
    if (id < least) least = id
    if (id > most) most = id
  }
  if (isSorted) return
  if ((most - least + 1) * kinds < Number.MAX_SAFE_INTEGER) {
    // One number a pair: typed arrays sort numbers natively.
    const keys = ids
    for (let i = 0; i < keys.length; i++) keys[i] = (keys[i]! - least) * kinds + kindOf[i]!
    keys.sort()
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!
      kindOf[i] = key % kinds
      ids[i] = Math.floor(key / kinds) + least
    }
    return
  }
  const order = Uint32Array.from(ids, (_, i) => i).sort((a, b) => ids[a]! - ids[b]! || kindOf[a]! - kindOf[b]!)
  const [unsortedIds, unsortedKinds] = [ids.slice(), kindOf.slice()]
  order.forEach((from, to) => {
    ids[to] = unsortedIds[from]!
    kindOf[to] = unsortedKinds[from]!
  })
}

/** Without repeats; counts events per plugin and label on the way. */
function distinct(kinds: readonly HitKind[], ids: Float64Array, kindOf: Uint32Array): SortedHits {
  // Kinds of one label and plugin lie side by side, and so do those of one tag.
  const counted = kinds.map(({ label, plugin }) => ({ label, plugin, events: 0, last: Number.NaN }))
  const group = new Uint32Array(kinds.length)
  const tag = new Uint32Array(kinds.length)
  for (let i = 1; i < kinds.length; i++) {
    const [before, kind] = [kinds[i - 1]!, kinds[i]!]
    const isSameGroup = before.label === kind.label && before.plugin === kind.plugin
    group[i] = isSameGroup ? group[i - 1]! : i
    tag[i] = isSameGroup && before.rule === kind.rule ? tag[i - 1]! : i
  }
  let kept = 0
  for (let i = 0; i < ids.length; i++) {
    const [id, kind] = [ids[i]!, kindOf[i]!]
    if (kept > 0 && ids[kept - 1] === id && tag[kindOf[kept - 1]!] === tag[kind]) continue
    const count = counted[group[kind]!]!
    if (count.last !== id) {
      count.last = id
      count.events += 1
    }
    ids[kept] = id
    kindOf[kept] = kind
    kept += 1
  }
  const labels: Record<string, Record<string, number>> = {}
  for (const { label, plugin, events } of counted)
    if (events > 0) labels[plugin] = { ...labels[plugin], [label]: events }
  return { kinds, ids: ids.slice(0, kept), kindOf: kindOf.slice(0, kept), labels }
}
