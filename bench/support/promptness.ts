/** How soon an analysis tells its first status, and how soon it has ended when it is interrupted while its workers work. */
import { spawn } from 'node:child_process'
import { COLDTRAIL } from './input.ts'
import { median } from './measure.ts'

/** Medians in milliseconds: from the start of the process to its first status line; from SIGINT to its end, no worker left. */
export async function promptness(data: string, plugins: string, repeats: number) {
  const firsts: number[] = []
  const aborts: number[] = []
  for (let i = 0; i < repeats; i++) {
    const started = performance.now()
    const view = ['--status-view', 'linear', '--status-view-interval', '0.1']
    const child = spawn(COLDTRAIL, ['analyze', '--plugins', plugins, ...view, '--data-dir', data], { stdio: 'pipe' })
    let first = 0
    let asked = 0
    let text = ''
    const look = (chunk: Buffer) => {
      text += chunk
      if (first === 0 && text.includes('Processing time:')) first = performance.now() - started
      // Wait for workers that are in the middle of a task.
      if (asked > 0 || !/worker_\d+ \(PID: \d+\) status: analyzing/.test(text)) return
      asked = performance.now()
      child.kill('SIGINT')
    }
    child.stdout.on('data', look)
    child.stderr.on('data', look)
    const status = await new Promise<number | null>((resolve) => child.on('close', resolve))
    if (asked === 0 || status !== 130) throw new Error(`status ${status}: it ended before it was interrupted\n${text}`)
    firsts.push(first)
    aborts.push(performance.now() - asked)
    const run = /run (\d+)/i.exec(text)?.[1]
    if (run !== undefined) await remove(data, run)
  }
  return { first_status_ms: Math.round(median(firsts)), abort_ms: Math.round(median(aborts)) }
}

// --- internal ---

function remove(data: string, run: string): Promise<unknown> {
  const child = spawn(COLDTRAIL, ['analyze', 'remove', run, '--data-dir', data], { stdio: 'ignore' })
  return new Promise((resolve) => child.on('close', resolve))
}
