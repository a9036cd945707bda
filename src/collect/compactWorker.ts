/** The helper process that merges small segments, so that collecting goes on meanwhile. */
import { serve } from '../engine/worker.ts'
import { type MergeTask, mergeSegments } from '../store/compact.ts'

serve<null, MergeTask>(() => ({ run: mergeSegments }))
