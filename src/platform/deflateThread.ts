/** A thread of deflateThreads.ts: answers each piece in turn. */
import { parentPort } from 'node:worker_threads'
import { Deflater } from '../core/deflater.ts'
import type { Piece } from './deflateThreads.ts'

const deflater = new Deflater()
parentPort!.on('message', ({ raw, before }: Piece) => {
  const packed = deflater.deflate(raw, before)
  parentPort!.postMessage(packed, [packed.buffer as ArrayBuffer])
})
