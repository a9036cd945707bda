/** Several async iterations at a time, merged as their items come; a failing one ends the whole with its error. */
export async function* parallelPages<T>(jobs: readonly (() => AsyncIterator<T>)[], width: number): AsyncGenerator<T> {
  const running = new Map<AsyncIterator<T>, Promise<Step<T>>>()
  const step = (iterator: AsyncIterator<T>) => iterator.next().then((result) => ({ iterator, result }))
  let started = 0
  try {
    for (;;) {
      while (running.size < width && started < jobs.length) {
        const iterator = jobs[started]!()
        started += 1
        running.set(iterator, step(iterator))
      }
      if (running.size === 0) return
      const { iterator, result } = await Promise.race(running.values())
      if (result.done) running.delete(iterator)
      else {
        running.set(iterator, step(iterator))
        yield result.value
      }
    }
  } finally {
    for (const iterator of running.keys()) iterator.return?.().catch(() => undefined)
  }
}

// --- internal ---

interface Step<T> {
  readonly iterator: AsyncIterator<T>
  readonly result: IteratorResult<T>
}
