import {
  type Command,
  exitStatuses,
  flagName,
  GLOBAL_OPTIONS,
  MAY_BE_REPEATED,
  type Option,
} from '../../src/cli/command.ts'
import { COMMANDS } from '../../src/cli/commands.ts'
import { EXIT, EXIT_MEANING } from '../../src/core/errors.ts'
import { code, GENERATED, page, table } from './page.ts'

export function commandsPage(): string {
  return page(
    '# Commands',
    GENERATED,
    '`./coldtrail COMMAND --help` says the same. These options go with every command:',
    optionTable(Object.entries<Option<unknown>>(GLOBAL_OPTIONS)),
    ...COMMANDS.flatMap(section),
  )
}

// --- internal ---

function section(command: Command): string[] {
  const names = (command.arguments ?? []).map((argument) => argument.name)
  const options = Object.entries(command.options)
  return [
    `## ${command.name}`,
    command.summary,
    ...(command.details ? [command.details] : []),
    code(['./coldtrail', command.name, ...names, ...(options.length > 0 ? ['[options]'] : [])].join(' ')),
    ...(names.length > 0
      ? [
          table(
            ['argument', 'meaning'],
            (command.arguments ?? []).map((argument) => [code(argument.name), argument.description]),
          ),
        ]
      : []),
    ...(options.length > 0 ? [optionTable(options)] : []),
    ['```sh', ...command.examples.flatMap(({ line, note }) => [`# ${note}`, `./coldtrail ${line}`]), '```'].join('\n'),
    `Exit status: ${exitStatuses(command)
      .map((name) => `${EXIT[name]} ${EXIT_MEANING[name].replace(/\.$/, '').toLowerCase()}`)
      .join(' · ')}`,
  ]
}

function optionTable(options: readonly (readonly [string, Option<unknown>])[]): string {
  return table(
    ['option', 'default', 'meaning'],
    options.map(([key, option]) => {
      const name = flagName(key, option)
      return [
        code(option.value === undefined ? name : `${name} ${option.value}`),
        defaultOf(option),
        option.description + (option.repeatable ? MAY_BE_REPEATED : ''),
      ]
    }),
  )
}

function defaultOf({ initial, value }: Option<unknown>): string {
  if (value === undefined) return ''
  return initial === undefined || Array.isArray(initial) ? '' : code(String(initial))
}
