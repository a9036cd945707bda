/**
 * Inflates many small pieces, one after another, with one zlib engine: making an engine costs more than such a piece. The
 * engine's own door is not part of Node's public interface, so it is tried at the start, and without it each piece has
 * an engine of its own.
 */
import { constants, createInflate, deflateSync, inflateSync } from 'node:zlib'

export type Inflated = Buffer | 'too long' | 'damaged'

export class Inflater {
  private readonly maxBytes: number
  private readonly engine: Engine | undefined
  private out: Buffer = Buffer.allocUnsafe(FIRST_BYTES)

  /** Longer pieces are `too long`. */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
    this.engine = openEngine()
  }

  /** zlib data, whole; what follows them is passed over. The answer holds until the next call. */
  inflate(bytes: Uint8Array): Inflated {
    const { engine } = this
    if (!engine) return this.byItself(bytes)
    const { handle, state, fault } = engine
    for (;;) {
      fault.code = 0
      handle.writeSync(constants.Z_FINISH, bytes, 0, bytes.length, this.out, 0, this.out.length)
      // After a fault the state is that of an earlier piece.
      const length = fault.code === 0 ? this.out.length - state[0]! : 0
      handle.reset()
      if (fault.code !== 0) return 'damaged'
      if (length < this.out.length) return this.out.subarray(0, length)
      // No room left: it may end exactly there.
      if (this.out.length > this.maxBytes) return 'too long'
      this.out = Buffer.allocUnsafe(Math.min(this.out.length * 8, this.maxBytes + 1))
    }
  }

  private byItself(bytes: Uint8Array): Inflated {
    try {
      return inflateSync(bytes, { chunkSize: 1024, maxOutputLength: this.maxBytes })
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? 'too long' : 'damaged'
    }
  }
}

// --- internal ---

const FIRST_BYTES = 16 * 1024

interface Engine {
  readonly handle: {
    onerror: (message: string, code: number) => void
    writeSync(
      flush: number,
      from: Uint8Array,
      fromStart: number,
      fromLength: number,
      to: Uint8Array,
      toStart: number,
      toLength: number,
    ): void
    reset(): void
  }
  /** Bytes of output left, then of input. */
  readonly state: Uint32Array
  readonly fault: { code: number }
}

function openEngine(): Engine | undefined {
  const { _handle: handle, _writeState: state } = createInflate() as unknown as {
    _handle?: Engine['handle']
    _writeState?: Uint32Array
  }
  if (typeof handle?.writeSync !== 'function' || typeof handle.reset !== 'function' || !(state instanceof Uint32Array))
    return undefined
  const fault = { code: 0 }
  handle.onerror = (_message, code) => {
    fault.code = code
  }
  // What it does is seen, not believed.
  const text = Buffer.from('a text, a text, a text')
  const out = Buffer.alloc(100)
  for (let i = 0; i < 2; i++) {
    const piece = deflateSync(text)
    handle.writeSync(constants.Z_FINISH, piece, 0, piece.length, out, 0, out.length)
    if (fault.code !== 0 || !out.subarray(0, out.length - state[0]!).equals(text)) return undefined
    handle.reset()
    out.fill(0)
  }
  return { handle, state, fault }
}
