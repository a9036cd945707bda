/** Faults that a test scripts into an embedded server: what happens to which request, and to which passing of it. */
export interface CountedRule<Action> {
  /** The first matching request that is hit, from 1. */
  readonly from?: number
  /** How many matching requests are hit from there on; all of them with Infinity. Default 1. */
  readonly times?: number
  readonly action: Action
}

export class FaultPlan<Rule extends CountedRule<unknown>, Request> {
  readonly #matches: (rule: Rule, request: Request) => boolean
  #rules: { readonly rule: Rule; seen: number }[] = []

  constructor(matches: (rule: Rule, request: Request) => boolean) {
    this.#matches = matches
  }

  add(rule: Rule): void {
    this.#rules.push({ rule, seen: 0 })
  }

  clear(): void {
    this.#rules = []
  }

  /** Counts the request against every rule; the first rule that hits decides. */
  take(request: Request): Rule['action'] | undefined {
    let action: Rule['action'] | undefined
    for (const entry of this.#rules) {
      if (!this.#matches(entry.rule, request)) continue
      entry.seen += 1
      const first = entry.rule.from ?? 1
      if (entry.seen >= first && entry.seen < first + (entry.rule.times ?? 1)) action ??= entry.rule.action
    }
    return action
  }
}
