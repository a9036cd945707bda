/** Seconds by step of an export or import, in the order of their first beginning. */
export interface Stopwatch<Step> {
  step(name: Step): void
  /** Writes the totals. */
  end(): void
}

/** The part of a summary that is measured. */
export interface Measured<Step> {
  readonly steps: { step: Step; seconds: number }[]
  seconds: number
  rows_per_s: number
  /** Of the process so far, 10^6 bytes. */
  peak_rss_mb: number
}

/** `rows` is asked for at the end. */
export function stopwatch<Step>(summary: Measured<Step>, rows: () => number): Stopwatch<Step> {
  const started = performance.now()
  let last = started
  let current: Measured<Step>['steps'][number] | undefined
  const close = (): void => {
    const now = performance.now()
    if (current) current.seconds += (now - last) / 1_000
    last = now
  }
  return {
    step(name) {
      if (current?.step === name) return
      close()
      current = summary.steps.find(({ step }) => step === name)
      if (current) return
      current = { step: name, seconds: 0 }
      summary.steps.push(current)
    },
    end() {
      close()
      summary.seconds = (performance.now() - started) / 1_000
      summary.rows_per_s = Math.round(rows() / Math.max(summary.seconds, 0.001))
      summary.peak_rss_mb = Math.round((process.resourceUsage().maxRSS * 1_024) / 1e6)
    },
  }
}
