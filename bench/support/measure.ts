/** Whole-process figures of a command and everything it starts: CPU and wall seconds, peak of the summed resident memory. Linux. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

export interface Measured {
  readonly cpu: number
  readonly wall: number
  readonly peakRssMb: number
  readonly stdout: string
  readonly status: number | null
}

export async function measure(
  command: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Measured> {
  const before = childrenCpu()
  const started = performance.now()
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...environment } })
  let stdout = ''
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk
  })
  let peak = 0
  const sample = setInterval(() => {
    peak = Math.max(peak, treeRss(child.pid!))
  }, 50)
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve))
  clearInterval(sample)
  const wall = (performance.now() - started) / 1000
  return { cpu: childrenCpu() - before, wall, peakRssMb: peak / 2 ** 20, stdout, status }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Rounded for a report: three significant digits are more than the noise allows. */
export const round = (value: number): number => Number(value.toPrecision(3))

// --- internal ---

/** Seconds of user and system time of all children that were waited for, and of theirs (proc(5), fields 16 and 17). */
function childrenCpu(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[13]) + Number(fields[14])) / 100
}

function treeRss(pid: number): number {
  try {
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1])
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
    return children.reduce((sum, child) => sum + treeRss(Number(child)), pages * 4096)
  } catch {
    // The process ended between two reads.
    return 0
  }
}
