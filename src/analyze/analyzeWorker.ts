/** The process of a worker: reads its own rows, runs the plugins on them, writes task files. It never opens a catalog. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { deserialize } from 'node:v8'
import { serve } from '../engine/worker.ts'
import { PieceWorker } from './pieceWork.ts'
import { loadPlugin } from './plugins.ts'
import { Profile } from './profile.ts'
import { type Piece, SECOND_PASS_FILE, type SecondPass, type WorkerInit } from './tasks.ts'

/** A plugin, its user's own among them, may loop for ever. */
const MAY_HANG = { mayHang: true }

serve<WorkerInit, Piece>(async (init, link) => {
  const plugins = []
  for (const { name, module, work } of init.plugins)
    plugins.push({ name, plugin: (await loadPlugin(name, module)).start(work) })
  const profile = new Profile(init.profile, `worker-${process.pid}`)
  const worker = new PieceWorker(init, { plugins, profile, tell: (progress) => link.report(progress) })
  let hasSecond = false
  return {
    async run(piece) {
      if (piece.pass === 2 && !hasSecond) {
        worker.beginSecondPass(deserialize(readFileSync(join(init.runDirectory, SECOND_PASS_FILE))) as SecondPass)
        hasSecond = true
      }
      return worker.run(piece)
    },
  }
}, MAY_HANG)
