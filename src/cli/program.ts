/** Builds the parser of commander from the commands' declarations, and their help. */
import { Argument, Help, Command as Parser, Option as ParserOption } from 'commander'
import { EXIT, EXIT_MEANING } from '../core/errors.ts'
import { nearest } from '../core/nearest.ts'
import {
  type Command,
  exitStatuses,
  flagName,
  GLOBAL_OPTIONS,
  type GlobalOptions,
  MAY_BE_REPEATED,
  type Option,
} from './command.ts'

export interface Chosen {
  readonly command: Command
  readonly args: readonly string[]
  readonly options: Readonly<Record<string, unknown>>
  readonly globals: GlobalOptions
}

/** The parser over `commands`; `chosen` gets what was typed. Parsing faults are thrown as commander's errors. */
export function createProgram(
  version: string,
  commands: readonly Command[],
  chosen: (chosen: Chosen) => Promise<void>,
): Parser {
  const program = new Parser('coldtrail')
  program
    .description('Security evidence that lasts for years: collect logs, keep them, search them.')
    .version(version)
    .helpCommand(false)
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({ outputError: () => undefined, writeErr: () => undefined })
    .configureHelp({
      showGlobalOptions: true,
      // Not those of `forward` at `forward status`.
      visibleGlobalOptions: (command) => (command === program ? [] : [...program.options]),
      // What an option means that was not given once is in its description.
      optionDescription: (option) =>
        Array.isArray(option.defaultValue) ? option.description : new Help().optionDescription(option),
      sortSubcommands: false,
      helpWidth: 110,
    })
  for (const [key, option] of Object.entries(GLOBAL_OPTIONS)) program.addOption(parserOption(key, option))
  program.addHelpText(
    'after',
    '\nStart here:\n  ./coldtrail demo            see it work on generated logs\n' +
      '  ./coldtrail collect --help  runnable examples; every command has them',
  )

  for (const command of commands) {
    const words = command.name.split(' ')
    const parent = words.length === 1 ? program : group(program, words[0]!, commands)
    // Not inherited from the group: a second bundle behind `--file=$(ls …)` must not be passed over.
    const parser = parent.command(words.at(-1)!).allowExcessArguments(false)
    parser.description(command.summary + (command.details ? `\n\n${command.details}` : ''))
    parser.summary(command.summary)
    for (const argument of command.arguments ?? []) {
      parser.addArgument(new Argument(argument.name.replace('…', '...'), argument.description))
    }
    for (const [key, option] of Object.entries(command.options)) parser.addOption(parserOption(key, option))
    parser.addHelpText('after', afterHelp(command))
    parser.action(async () => {
      const { arguments: named = [] } = command
      const most = named.some(({ name }) => name.includes('…')) ? Number.POSITIVE_INFINITY : named.length
      if (parser.commands.length > 0 && parser.args.length > most) unknownCommand(parser)
      const globals = program.opts<GlobalOptions>()
      const options = parent === program ? parser.opts() : optionsBelow(parent, parser)
      await chosen({ command, args: parser.args, options, globals })
    })
  }
  return program
}

// --- internal ---

/** `source` of `source list`: a parser that only holds its commands. */
function group(program: Parser, name: string, commands: readonly Command[]): Parser {
  const existing = program.commands.find((parser) => parser.name() === name)
  // A command that has others below it (`forward`, `forward status`). A word too many is one of these, misspelt.
  if (existing) return existing.allowExcessArguments()
  const members = commands.filter((command) => command.name.startsWith(`${name} `))
  return program.command(name).summary(members.map((command) => command.name.split(' ')[1]).join(', '))
}

/**
 * Commander gives `--destination` of `forward status --destination x` to `forward`, which has an option of that name too:
 * here it comes back. What only `forward` has is refused rather than ignored.
 */
function optionsBelow(parent: Parser, parser: Parser): Record<string, unknown> {
  const options = { ...parser.opts() }
  for (const option of parent.options) {
    const name = option.attributeName()
    if (parent.getOptionValueSource(name) !== 'cli') continue
    if (!parser.options.some((own) => own.attributeName() === name)) {
      parser.error(`error: unknown option '${option.long}' of ${parent.name()} ${parser.name()}`, {
        code: 'commander.unknownOption',
      })
    }
    const given: unknown = parent.getOptionValue(name)
    const takesOne = !Array.isArray(parser.getOptionValue(name))
    options[name] = Array.isArray(given) && takesOne ? given.at(-1) : given
  }
  return options
}

function unknownCommand(parser: Parser): never {
  const known = parser.commands.map((command) => command.name())
  const [given = ''] = parser.args
  const guess = nearest(given, known)
  const suggestion = guess === undefined ? `There are ${known.join(', ')}.` : `Did you mean ${guess}?`
  return parser.error(`error: unknown command '${given}' of ${parser.name()}. ${suggestion}`, {
    code: 'commander.unknownCommand',
  })
}

function parserOption(key: string, option: Option<unknown>): ParserOption {
  const flag = flagName(key, option)
  const repeated = option.repeatable === true
  const description = option.description + (repeated ? MAY_BE_REPEATED : '')
  const result = new ParserOption(option.value === undefined ? flag : `${flag} <${option.value}>`, description)
  if (option.initial !== undefined && option.initial !== false) {
    result.default(option.initial)
  } else if (option.initial === false) {
    result.default(false, 'off')
  }
  if (repeated) {
    return result.argParser((given: string, before: readonly string[] | undefined) => [...(before ?? []), given])
  }
  const { parse } = option
  return parse ? result.argParser((given: string) => parse(given, flag)) : result
}

function afterHelp(command: Command): string {
  const examples = command.examples.flatMap(({ line, note }) => [`  # ${note}`, `  ./coldtrail ${line}`])
  const exits = exitStatuses(command).map((name) => `  ${String(EXIT[name]).padStart(3)}  ${EXIT_MEANING[name]}`)
  return ['', 'Examples:', ...examples, '', 'Exit status:', ...exits].join('\n')
}
