/** Faults that a test scripts into the embedded S3 server: what happens to which request, and to which passing of it. */
export interface FaultRule {
  /** ListObjectsV2, GetObject, HeadObject or PutObject; any when absent. */
  readonly operation?: string
  readonly bucket?: string
  /** Exact key, or pattern; of a LIST, its prefix. */
  readonly key?: string | RegExp
  /** The first matching request that is hit, from 1. */
  readonly from?: number
  /** How many matching requests are hit from there on; all of them with Infinity. Default 1. */
  readonly times?: number
  readonly action: FaultAction
}

export type FaultAction =
  /** Answers with that S3 error: its code, and the status and message of the table unless given. */
  | { readonly kind: 'error'; readonly code: string; readonly status?: number; readonly message?: string }
  /** Destroys the socket before any answer, or after so many bytes of the body. */
  | { readonly kind: 'reset'; readonly after?: number }
  /** Ends the connection after so many bytes of the body, cleanly. */
  | { readonly kind: 'truncate'; readonly after: number }
  /** Sends so many bytes of the body and then nothing; without `after`, not even the headers. */
  | { readonly kind: 'stall'; readonly after?: number }
  | { readonly kind: 'delay'; readonly milliseconds: number }
  /** Flips one bit of the body, so that only a checksum can tell. */
  | { readonly kind: 'corrupt'; readonly at: number }
  /** Answers 200 with a body that is not what the operation promises. */
  | { readonly kind: 'garbage'; readonly body: string }
  /** Does something first, such as replacing the object between LIST and GET; then the request goes on. */
  | { readonly kind: 'run'; run(): void }

export class FaultPlan {
  #rules: { readonly rule: FaultRule; seen: number }[] = []

  add(rule: FaultRule): void {
    this.#rules.push({ rule, seen: 0 })
  }

  clear(): void {
    this.#rules = []
  }

  /** Counts the request against every rule; the first rule that hits decides. */
  take(operation: string, bucket: string, key: string): FaultAction | undefined {
    let action: FaultAction | undefined
    for (const entry of this.#rules) {
      const { rule } = entry
      if (rule.operation !== undefined && rule.operation !== operation) continue
      if (rule.bucket !== undefined && rule.bucket !== bucket) continue
      if (typeof rule.key === 'string' ? rule.key !== key : rule.key && !rule.key.test(key)) continue
      entry.seen += 1
      const first = rule.from ?? 1
      if (entry.seen >= first && entry.seen < first + (rule.times ?? 1)) action ??= rule.action
    }
    return action
  }
}
