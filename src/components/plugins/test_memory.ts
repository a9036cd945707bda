/** For tests of the engine: takes memory until its worker is stopped. */
import { z } from 'zod'
import type { MapPlugin, PluginComponent } from '../plugin.ts'

const options = z.strictObject({
  event: z.int().min(0).optional().describe('Only at the event with this id; by default at every event.'),
})

export const testMemory: PluginComponent<typeof options, { readonly event?: number }> = {
  kind: 'plugin',
  name: 'test_memory',
  summary: 'Takes memory until its worker is stopped.',
  version: 1,
  hidden: true,
  options,
  prepare: async ({ event }) => ({ event }),
  start: ({ event }) => exhaust(event),
}

// --- internal ---

const CHUNK_BYTES = 2 ** 24

function exhaust(event: number | undefined): MapPlugin {
  return {
    shape: 'map',
    columns: [],
    label({ rows, ids }) {
      if (rows === 0 || (event !== undefined && !ids.includes(event))) return
      const held: Buffer[] = []
      // Filled, since pages that nobody wrote to take no memory.
      for (;;) held.push(Buffer.alloc(CHUNK_BYTES, held.length + 1))
    },
  }
}
