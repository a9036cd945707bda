/** One command line from words to exit status: parses it, runs the command, turns what was thrown into a message. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { CommanderError } from 'commander'
import { asColdtrailError, ColdtrailError, EXIT } from '../core/errors.ts'
import type { Coldtrail } from '../index.ts'
import { VERSION } from '../version.ts'
import { type Command, flagName, GLOBAL_OPTIONS, type GlobalOptions } from './command.ts'
import { createIo, errorText } from './io.ts'
import { originalCommand } from './manifestWords.ts'
import { type Chosen, createProgram } from './program.ts'

/** Runs one command line, prints what it has to say, and answers its exit status. */
export async function runLine(line: readonly string[]): Promise<number> {
  let status: number = EXIT.ok
  try {
    const words = originalCommand(line)
    const program = createProgram(VERSION, await commandsOf(words), async (chosen) => {
      status = await run(chosen)
    })
    if (line.length === 0) program.outputHelp()
    else await program.parseAsync(words, { from: 'user' })
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return EXIT.ok
    const error = thrown instanceof CommanderError ? usageError(thrown) : asColdtrailError(thrown)
    process.stderr.write(`${errorText(error, line.includes('--json'))}\n`)
    return error.exit
  }
  return status
}

// --- internal ---

/** As config.ts has it, which is not loaded for a name. */
const CONFIG_FILE = 'coldtrail.yaml'

/** A search of manifests is answered, and an analysis tells its first status, sooner than the other commands are loaded. */
async function commandsOf(line: readonly string[]): Promise<readonly Command[]> {
  const words = line.filter((word, i) => !word.startsWith('-') && !VALUED.has(line[i - 1] ?? ''))
  if (words[0] === 'manifest' && words[1] === 'query')
    return [(await import('./manifestQuery.ts')).manifestQueryCommand]
  if (words[0] === 'analyze') {
    const { ANALYZE_COMMANDS } = await import('./analyzeCommands.ts')
    return [(await import('./analyze.ts')).analyzeCommand, ...ANALYZE_COMMANDS]
  }
  return (await import('./commands.ts')).COMMANDS
}

const VALUED: ReadonlySet<string> = new Set(
  Object.entries(GLOBAL_OPTIONS).flatMap(([key, option]) => ('value' in option ? [flagName(key, option)] : [])),
)

/** Commander shows help where a command is missing; ours is an error that names the way to it. */
const HELP_INSTEAD = new Set(['commander.help', 'commander.helpDisplayed'])

async function run({ command, args, options, globals }: Chosen): Promise<number> {
  const { signal: interruption, release } = interruptible()
  let opened: Promise<Coldtrail> | undefined
  const open = (): Promise<Coldtrail> => {
    opened ??= openLibrary(globals, io.log)
    return opened
  }
  const io = createIo(globals, interruption, {
    open,
    async openManifests(collection) {
      const { dataDir, config } = globals
      if (dataDir === undefined || config !== undefined || existsSync(CONFIG_FILE)) return (await open()).manifests
      const { manifestSearch } = await import('../manifests.ts')
      return manifestSearch({ data_dir: resolve(dataDir) }, collection) ?? (await open()).manifests
    },
  })
  try {
    const status = await command.run(args, options as Parameters<Command['run']>[1], io)
    interruption.throwIfAborted()
    return status ?? EXIT.ok
  } catch (thrown) {
    // What an interruption breaks is not worth a message of its own.
    const error = asColdtrailError(interruption.aborted ? interruption.reason : thrown)
    io.note(errorText(error, io.json))
    if (error.code === 'E_INTERNAL' && globals.logLevel === 'debug' && error.cause instanceof Error) {
      io.note(error.cause.stack ?? '')
    }
    return error.exit
  } finally {
    io.flush()
    await opened
      ?.then((coldtrail) => coldtrail.close())
      .catch((thrown: unknown) => {
        io.log('debug', 'closing failed', { message: asColdtrailError(thrown).message })
      })
    release()
  }
}

async function openLibrary(globals: GlobalOptions, log: ReturnType<typeof createIo>['log']): Promise<Coldtrail> {
  const { loadConfig, open } = await import('../index.ts')
  const config = loadConfig({ file: globals.config, environment: process.env, dataDir: globals.dataDir })
  return open(config, { log })
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** The first signal asks the command to end, the second ends the process. A command may run others, one after another. */
function interruptible(): { readonly signal: AbortSignal; release(): void } {
  const controller = new AbortController()
  const interrupt = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted)
    controller.abort(new ColdtrailError('E_INTERRUPTED', { signal }))
  }
  for (const signal of SIGNALS) process.on(signal, interrupt)
  return {
    signal: controller.signal,
    release() {
      for (const signal of SIGNALS) process.off(signal, interrupt)
    },
  }
}

function usageError(error: CommanderError): ColdtrailError {
  const told = error.message.replace(/^error: /, '').replaceAll('\n', ' ')
  const message = error.code === 'commander.excessArguments' ? `${told} An expression is one of them: quote it.` : told
  return new ColdtrailError('E_USAGE', { message: HELP_INSTEAD.has(error.code) ? 'A command is missing.' : message })
}
