/**
 * A limit on what a worker may allocate, set by `prlimit` where the system has it: the watch over resident memory looks
 * ten times a second, and a process can take gigabytes between two looks. Heap flags do not bound buffers.
 */
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** How to fork a Node process with that limit: options of `fork`. `flags` are those of Node. */
export function dataLimited(
  memoryBytes: number,
  flags: readonly string[],
): { readonly execPath?: string; readonly execArgv: string[] } {
  const program = memoryBytes > 0 ? prlimit() : undefined
  if (program === undefined) return { execArgv: [...flags] }
  // It becomes the process that it starts: process id and channel are the same.
  return { execPath: program, execArgv: [`--data=${memoryBytes + RESERVED_BYTES}`, process.execPath, ...flags] }
}

// --- internal ---

/** What a process reserves and never touches: stacks of its threads, arenas; 0.6 GB were seen. */
const RESERVED_BYTES = 2 ** 30

let found: { readonly path: string | undefined } | undefined

function prlimit(): string | undefined {
  if (process.platform !== 'linux') return undefined
  const places = (process.env.PATH ?? '').split(delimiter).filter((directory) => directory.startsWith('/'))
  found ??= { path: places.map((directory) => join(directory, 'prlimit')).find((path) => existsSync(path)) }
  return found.path
}
