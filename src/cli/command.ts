/**
 * What a command of the CLI is: one declaration gives parsing, help, the reference page and the types that `run` sees.
 * A command parses, calls the library API and prints; it has no logic of its own.
 */
import { ColdtrailError, EXIT } from '../core/errors.ts'
import type { Io } from './io.ts'

export interface Option<T> {
  /** Name of the value in help; a switch has none. */
  readonly value?: string
  readonly description: string
  readonly initial?: T
  readonly choices?: readonly string[]
  readonly repeatable?: boolean
  readonly parse?: (text: string, flag: string) => T
}

export type Options = Readonly<Record<string, Option<unknown>>>

export type OptionValues<O extends Options> = { readonly [K in keyof O]: O[K] extends Option<infer T> ? T : never }

export interface Argument {
  /** `<name>` required, `[name]` optional, `[name…]` any number. */
  readonly name: string
  readonly description: string
}

export interface Command<O extends Options = Options> {
  /** Words as typed: `source list`. */
  readonly name: string
  readonly summary: string
  /** More for the help page, in whole sentences. */
  readonly details?: string
  readonly arguments?: readonly Argument[]
  /** Keys are camelCase; the flag is their kebab-case. */
  readonly options: O
  /** Without `./coldtrail`; each is parsed by a test. */
  readonly examples: readonly { readonly line: string; readonly note: string }[]
  /** Exit statuses beside those that every command has (0, 1, 2, 130). */
  readonly exits?: readonly (keyof typeof EXIT)[]
  /** Returns the exit status when it is not 0. */
  run(args: readonly string[], options: OptionValues<O>, io: Io): Promise<number | undefined>
}

/** Gives `run` the types of its options; the list of commands does not care about them. */
export function defineCommand<O extends Options>(command: Command<O>): Command {
  return command as unknown as Command
}

export const flag = (description: string): Option<boolean> => ({ description, initial: false })

export const text = (value: string, description: string): Option<string | undefined> => ({ value, description })

export const textOr = (value: string, initial: string, description: string): Option<string> => ({
  value,
  initial,
  description,
})

export const texts = (value: string, description: string): Option<readonly string[]> => ({
  value,
  description,
  initial: [],
  repeatable: true,
})

export const choice = <const C extends string>(choices: readonly C[], description: string): Option<C | undefined> => ({
  value: choices.join('|'),
  description,
  choices,
  parse: oneOf(choices),
})

export const choiceOr = <const C extends string>(
  choices: readonly C[],
  initial: NoInfer<C>,
  description: string,
): Option<C> => ({ value: choices.join('|'), description, choices, initial, parse: oneOf(choices) })

export const integer = (value: string, description: string, minimum = 0): Option<number | undefined> => ({
  value,
  description,
  parse: (given, name) => wholeNumber(given, name, minimum),
})

export const integerOr = (value: string, initial: number, description: string, minimum = 0): Option<number> => ({
  value,
  description,
  initial,
  parse: (given, name) => wholeNumber(given, name, minimum),
})

/** Said of a repeatable option behind its description, in help and reference. */
export const MAY_BE_REPEATED = ' May be repeated.'

/** Options of every command. */
export const GLOBAL_OPTIONS = {
  json: flag('Machine output: one JSON object per line on standard output, errors as one on standard error.'),
  dataDir: text('DIR', 'Directory of the data; the default is data_dir of the configuration, else ./coldtrail-data.'),
  config: text('FILE', 'Configuration; the default is ./coldtrail.yaml where there is one.'),
  logLevel: choice(
    ['debug', 'info', 'warn', 'error', 'silent'],
    'Log lines on standard error; the default is warn on a terminal and with --json, else info.',
  ),
  color: { description: 'Plain text on a terminal. NO_COLOR in the environment does the same.', initial: true },
} as const satisfies Options

export type GlobalOptions = OptionValues<typeof GLOBAL_OPTIONS>

/** `dataDir` -> `--data-dir`; a switch that is on by itself is turned off: `color` -> `--no-color`. */
export function flagName(key: string, option: Option<unknown>): string {
  const name = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
  return option.value === undefined && option.initial === true ? `--no-${name}` : `--${name}`
}

/** `exits` of a command with those that every command has, in order. */
export function exitStatuses(command: Command): readonly (keyof typeof EXIT)[] {
  const all = new Set<keyof typeof EXIT>(['ok', 'fault', 'usage', 'interrupted', ...(command.exits ?? [])])
  return [...all].sort((a, b) => EXIT[a] - EXIT[b])
}

// --- internal ---

function oneOf<C extends string>(choices: readonly C[]) {
  return (given: string, name: string): C => {
    const found = choices.find((choice) => choice === given)
    if (found !== undefined) return found
    throw new ColdtrailError('E_USAGE', { message: `${name}: "${given}" is none of ${choices.join(', ')}.` })
  }
}

function wholeNumber(given: string, name: string, minimum: number): number {
  const number = /^\d{1,15}$/.test(given) ? Number(given) : Number.NaN
  if (number >= minimum) return number
  throw new ColdtrailError('E_USAGE', { message: `${name}: "${given}" is not a whole number from ${minimum} on.` })
}
