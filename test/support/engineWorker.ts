/** A worker for the engine's tests: does as its task says. */
import { getCompileCacheDir } from 'node:module'
import { ColdtrailError } from '../../src/core/errors.ts'
import { serve } from '../../src/engine/worker.ts'

export type EngineTask =
  | { readonly do: 'double'; readonly value: number }
  | { readonly do: 'fail' | 'ask' | 'block' | 'hang' | 'grow' | 'crash' | 'ignore' | 'say' | 'cache' }

serve<{ readonly offset: number; readonly crash?: boolean }, EngineTask>((init, link) => {
  if (init.crash) throw new Error('no start today')
  const ballast: Buffer[] = []
  const notes: unknown[] = []
  return {
    note: (note) => void notes.push(note),
    async run(task) {
      switch (task.do) {
        case 'double':
          return task.value * 2 + init.offset
        case 'fail':
          throw new ColdtrailError('E_FILE_GONE', { path: 'x' })
        case 'ask':
          return link.ask('how much')
        case 'block':
          for (;;) Math.random()
        case 'hang':
          return new Promise(() => undefined)
        case 'grow':
          for (;;) ballast.push(Buffer.alloc(2 ** 24, ballast.length))
        case 'crash':
          throw setImmediate(() => {
            throw new Error('out of paper')
          })
        case 'ignore':
          process.on('SIGTERM', () => undefined)
          return process.pid
        case 'say':
          return notes
        case 'cache':
          return getCompileCacheDir()
      }
    },
  }
})
