/**
 * Readers of this process share a lock. It is kept for a moment after the last of them, because taking it costs as much
 * as finding a needle: that is far shorter than the grace time of files that nobody reads any more.
 */
import type { Lock, Locks } from '../../platform/database/locks.ts'
import type { Hold } from '../catalog.ts'
import type { Database } from './schema.ts'

const KEPT_MILLISECONDS = 1_000

/** A lock against every retirement from `since` on. */
interface Shared {
  readonly since: number
  readonly lock: Lock
  readers: number
  end?: NodeJS.Timeout
}

export class Readers {
  private readonly db: Database
  private readonly locks: Locks
  /** What the next reader may share. An older one ends with its last reader. */
  private current: Shared | undefined

  constructor(db: Database, locks: Locks) {
    this.db = db
    this.locks = locks
  }

  async register(): Promise<Hold> {
    for (;;) {
      const since = await this.retirement()
      if (this.current?.since === since && !this.current.lock.lost) return this.join(this.current)
      const lock = await this.locks.acquireReader(since)
      // A replacement committed in between would not count this reader.
      if ((await this.retirement()) === since) {
        const before = this.current
        this.current = { since, lock, readers: 0 }
        const hold = this.join(this.current)
        if (before) await this.endUnused(before)
        return hold
      }
      await lock.release()
    }
  }

  /** Gives up a lock that nobody uses, so that it keeps no file from being removed. */
  async letGo(): Promise<void> {
    const { current } = this
    if (!current || current.readers > 0) return
    this.current = undefined
    await this.endUnused(current)
  }

  // --- internal ---

  /** Number that the next replacement takes. */
  private async retirement(): Promise<number> {
    const query = this.db.selectFrom('counters').select('next').where('name', '=', 'retirement')
    return (await query.executeTakeFirstOrThrow()).next
  }

  private join(shared: Shared): Hold {
    shared.readers += 1
    clearTimeout(shared.end)
    let isHeld = true
    return {
      release: async () => {
        if (!isHeld) return
        isHeld = false
        shared.readers -= 1
        if (shared !== this.current) await this.endUnused(shared)
        // A connection that breaks meanwhile has ended the lock already.
        else if (shared.readers === 0)
          shared.end = setTimeout(() => this.letGo().catch(() => undefined), KEPT_MILLISECONDS).unref()
      },
    }
  }

  private async endUnused(shared: Shared): Promise<void> {
    if (shared.readers > 0) return
    clearTimeout(shared.end)
    await shared.lock.release()
  }
}
