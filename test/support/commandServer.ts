/**
 * A process that runs command lines one after another as ./coldtrail runs one: `{ args, cwd, env }` comes over its channel,
 * `{ status, stdout, stderr }` goes back. It ends with its parent.
 */
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

export interface CommandRequest {
  readonly args: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
}

const CACHE = join(import.meta.dirname, '../../node_modules/.cache/coldtrail')
enableCompileCache(CACHE)
// What the launcher leaves in the environment.
const inherited = { NODE_COMPILE_CACHE: CACHE }
const { runLine } = await import('../../src/cli/runLine.ts')

process.on('message', (request: CommandRequest) => {
  void answer(request).then((outcome) => process.send!(outcome))
})
process.on('disconnect', () => process.exit())
process.send!('ready')

// --- internal ---

async function answer({ args, cwd, env }: CommandRequest) {
  process.chdir(cwd)
  for (const name of Object.keys(process.env)) delete process.env[name]
  Object.assign(process.env, inherited, env)
  const [stdout, stderr] = [capture(process.stdout), capture(process.stderr)]
  try {
    const status = await runLine(args)
    return { status, stdout: stdout.text(), stderr: stderr.text() }
  } finally {
    for (const each of [stdout, stderr]) each.release()
    // The next one's directory is its own; this one's may be removed.
    process.chdir('/')
  }
}

function capture(stream: NodeJS.WriteStream) {
  const pieces: Buffer[] = []
  const { write } = stream
  stream.write = ((piece: string | Uint8Array, ...rest: unknown[]) => {
    pieces.push(Buffer.from(piece as string))
    const written = rest.find((each) => typeof each === 'function') as (() => void) | undefined
    if (written) process.nextTick(written)
    return true
  }) as typeof write
  return {
    text: () => Buffer.concat(pieces).toString(),
    release() {
      stream.write = write
    },
  }
}
