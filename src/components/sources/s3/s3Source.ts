/** A bucket as a source: credentials, calls, listing and fetching put together. */
import type { SourceContext } from '../../component.ts'
import type { Source } from '../../source.ts'
import type { S3Config } from '../s3.ts'
import { selection } from '../selection.ts'
import { openCalls } from './s3Client.ts'
import { openObject, readObject } from './s3Fetch.ts'
import { S3Listing } from './s3Listing.ts'

export async function createS3Source(options: S3Config, context: SourceContext): Promise<Source> {
  const { bucket, prefix } = options
  const name = `s3://${bucket}`
  const calls = await openCalls(options, context)
  const listing = new S3Listing(calls, {
    source: name,
    bucket,
    prefix,
    layout: options.layout,
    startAfter: options.start_after,
    requesterPays: options.requester_pays,
    parallel: options.max_list_requests,
    refreshMilliseconds: options.layout_refresh_secs * 1000,
  })
  const fetch = { requesterPays: options.requester_pays }
  return {
    name,
    list: (range, statistics, signal) => listing.list(selection(options, range, statistics), statistics, signal),
    open: (object, signal) => openObject(calls, object, fetch, signal),
    read: (object, signal) => readObject(calls, object, fetch, signal),
    statistics: calls.statistics,
    close: async () => calls.close(),
  }
}
