/** Faults of the embedded S3 server. */
import { type CountedRule, FaultPlan } from './faultPlan.ts'

export interface FaultRule extends CountedRule<FaultAction> {
  /** ListObjectsV2, GetObject, HeadObject or PutObject; any when absent. */
  readonly operation?: string
  readonly bucket?: string
  /** Exact key, or pattern; of a LIST, its prefix. */
  readonly key?: string | RegExp
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

export interface S3Request {
  readonly operation: string
  readonly bucket: string
  readonly key: string
}

export const s3FaultPlan = (): FaultPlan<FaultRule, S3Request> =>
  new FaultPlan((rule, { operation, bucket, key }) => {
    if (rule.operation !== undefined && rule.operation !== operation) return false
    if (rule.bucket !== undefined && rule.bucket !== bucket) return false
    return typeof rule.key === 'string' ? rule.key === key : rule.key === undefined || rule.key.test(key)
  })
