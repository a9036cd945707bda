/**
 * Deflate beside the main thread: as many threads as there are other cores, up to three, each started when those before
 * it are busy. They keep no process alive. Short inputs are not worth the way there.
 */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { Deflater } from '../core/deflater.ts'

export interface Piece {
  readonly raw: Uint8Array
  readonly before: Uint8Array | undefined
}

/** Pieces that are worth being under way at once: one more than there are threads, so that none waits. */
export const deflatingAtOnce = (): number => mostThreads() + 1

/** As Deflater.deflate. `raw` must stay as it is until then; in memory that is shared it is not copied. */
export async function deflateAside(raw: Uint8Array, before: Uint8Array | undefined): Promise<Buffer> {
  if (raw.length < WORTH_A_THREAD) {
    here ??= new Deflater()
    return here.deflate(raw, before)
  }
  let thread = threads.reduce((a, b) => (b.waiting < a.waiting ? b : a), threads[0] ?? newThread())
  if (thread.waiting > 0 && threads.length < mostThreads()) thread = newThread()
  return thread.deflate({ raw, before })
}

// --- internal ---

const WORTH_A_THREAD = 128 * 1024
const MOST_THREADS = 3
const mostThreads = (): number => Math.max(1, Math.min(MOST_THREADS, availableParallelism() - 1))

let here: Deflater | undefined
const threads: Thread[] = []

function newThread(): Thread {
  const thread = new Thread()
  threads.push(thread)
  return thread
}

class Thread {
  private readonly worker = new Worker(new URL(import.meta.url.replace(/deflateThreads\.(\w+)$/, 'deflateThread.$1')), {
    execArgv: ['--disable-warning=ExperimentalWarning'],
    stdout: false,
  })
  private readonly answers: { resolve(packed: Buffer): void; reject(error: Error): void }[] = []

  constructor() {
    this.worker.unref()
    this.worker.on('message', ({ buffer, byteOffset, byteLength }: Uint8Array) => {
      this.taken()!.resolve(Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength))
    })
    this.worker.on('error', (error) => {
      threads.splice(threads.indexOf(this), 1)
      while (this.answers.length > 0) this.taken()!.reject(error)
    })
  }

  get waiting(): number {
    return this.answers.length
  }

  deflate(piece: Piece): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.answers.push({ resolve, reject }) === 1) this.worker.ref()
      this.worker.postMessage(piece)
    })
  }

  private taken() {
    if (this.answers.length === 1) this.worker.unref()
    return this.answers.shift()
  }
}
