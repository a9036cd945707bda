/**
 * Profilers: what a run spends its time and memory on, as CSV files in a folder, one a kind and process:
 * `<kind>-<identifier>.csv`. They cost little and change no result.
 */
import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attempt, makeDirectory } from '../platform/files.ts'

export const PROFILERS = {
  analyzers: 'Time that each plugin took with each piece of work.',
  memory: 'Resident memory of each process, sampled with each piece of work.',
  processing: 'Time of each step: reading, rules, plugins, sorting, writing.',
  serializers: 'Time and bytes of task files.',
  storage: 'Time and rows of reading events.',
  task_queue: 'Pieces of work waiting, under way and done.',
  tasks: 'What became of each piece of work, and when.',
} as const

export type Profiler = keyof typeof PROFILERS

export interface ProfileOptions {
  readonly profilers: readonly Profiler[]
  readonly directory: string
}

const COLUMNS: Readonly<Record<Profiler, readonly string[]>> = {
  analyzers: ['time', 'plugin', 'task', 'seconds'],
  memory: ['time', 'name', 'bytes'],
  processing: ['time', 'step', 'task', 'seconds'],
  serializers: ['time', 'operation', 'task', 'seconds', 'bytes'],
  storage: ['time', 'operation', 'task', 'seconds', 'rows'],
  task_queue: ['time', 'queued', 'processing', 'to_merge', 'abandoned', 'total'],
  tasks: ['time', 'task', 'status'],
}

export class Profile {
  private readonly options: ProfileOptions | null
  private readonly identifier: string
  private readonly begun = new Set<Profiler>()

  /** `identifier` names the process: `main`, `worker_00`. */
  constructor(options: ProfileOptions | null, identifier: string) {
    this.options = options
    this.identifier = identifier
  }

  has(profiler: Profiler): boolean {
    return this.options?.profilers.includes(profiler) ?? false
  }

  /** A line, behind the time now in seconds since 1970. */
  note(profiler: Profiler, ...values: readonly (string | number)[]): void {
    if (!this.options || !this.has(profiler)) return
    const path = join(this.options.directory, `${profiler}-${this.identifier}.csv`)
    const line = (cells: readonly (string | number)[]): string => `${cells.map(csvCell).join(',')}\n`
    attempt(path, () => {
      if (!this.begun.has(profiler)) {
        makeDirectory(this.options!.directory)
        writeFileSync(path, line(COLUMNS[profiler]))
        this.begun.add(profiler)
      }
      appendFileSync(path, line([(Date.now() / 1000).toFixed(3), ...values]))
    })
  }

  /** Measures an action with its seconds as last value. */
  async timed<T>(profiler: Profiler, values: readonly (string | number)[], action: () => Promise<T>): Promise<T> {
    if (!this.has(profiler)) return action()
    const started = performance.now()
    try {
      return await action()
    } finally {
      this.note(profiler, ...values, secondsSince(started))
    }
  }
}

export const secondsSince = (started: number): string => ((performance.now() - started) / 1000).toFixed(6)

// --- internal ---

const csvCell = (value: string | number): string => {
  const text = String(value)
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
