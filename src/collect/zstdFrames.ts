/**
 * Boundaries of zstd frames (RFC 8878 §3.1). Node's decompressor stops silently at the end of the first frame of a
 * piece, so bytes must reach it in pieces that no boundary cuts through.
 */

/** Walks frames over pieces of any size; every answer is where the piece must be cut. */
export class ZstdFrames {
  /** Bytes still missing of what is being read, and what follows it. */
  private needed = 4
  private stage: Stage = 'magic'
  private readonly field = Buffer.alloc(14)
  private filled = 0
  private checksum = false
  private last = false

  /** Offsets in `bytes` at which a frame ends, in order. Bytes that are no frame are left to the decompressor. */
  boundaries(bytes: Uint8Array): number[] {
    const ends: number[] = []
    let at = 0
    while (at < bytes.length && this.stage !== 'foreign') {
      const taken = Math.min(this.needed, bytes.length - at)
      if (this.stage !== 'skip') {
        this.field.set(bytes.subarray(at, at + taken), this.filled)
        this.filled += taken
      }
      at += taken
      this.needed -= taken
      if (this.needed === 0 && this.advance()) ends.push(at)
    }
    return ends
  }

  /** What was awaited is there. True at the end of a frame. */
  private advance(): boolean {
    const { field } = this
    switch (this.stage) {
      case 'magic': {
        const magic = field.readUInt32LE(0)
        if (magic === FRAME_MAGIC) this.await('descriptor', 1)
        else if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) this.await('size', 4)
        else this.stage = 'foreign'
        return false
      }
      case 'descriptor': {
        const descriptor = field[0]!
        const single = (descriptor >> 5) & 1
        this.checksum = ((descriptor >> 2) & 1) === 1
        const content = [single, 2, 4, 8][descriptor >> 6]!
        const header = 1 - single + [0, 1, 2, 4][descriptor & 3]! + content
        if (header > 0) this.await('header', header)
        else this.await('block', 3)
        return false
      }
      case 'header':
        this.await('block', 3)
        return false
      case 'block': {
        const block = field.readUIntLE(0, 3)
        this.last = (block & 1) === 1
        const isRle = ((block >> 1) & 3) === 1
        return this.skip(isRle ? 1 : block >> 3)
      }
      case 'size': {
        this.last = true
        this.checksum = false
        return this.skip(field.readUInt32LE(0))
      }
      case 'skip':
        return this.afterBlock()
      case 'foreign':
        return false
    }
  }

  private skip(length: number): boolean {
    this.await('skip', length)
    return length === 0 ? this.afterBlock() : false
  }

  private afterBlock(): boolean {
    if (!this.last) {
      this.await('block', 3)
      return false
    }
    if (this.checksum) {
      this.checksum = false
      this.await('skip', 4)
      return false
    }
    this.await('magic', 4)
    return true
  }

  private await(stage: Stage, needed: number): void {
    this.stage = stage
    this.needed = needed
    this.filled = 0
  }
}

export const FRAME_MAGIC = 0xfd2fb528
export const SKIPPABLE_MAGIC = 0x184d2a50

// --- internal ---

type Stage = 'magic' | 'descriptor' | 'header' | 'block' | 'size' | 'skip' | 'foreign'
