/** Formatter files of plaso: YAML documents, one a data type. Apart from their use, so that workers do not load a parser. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { ColdtrailError } from '../../core/errors.ts'
import type { Formatter, Formatters, Helper } from './formatters.ts'

/** Reads a folder. E_FORMATTER_FILE names what it cannot use. */
export function readFormatters(folder: string): Formatters {
  const formatters: Record<string, Formatter> = {}
  const fault = (path: string, reason: string, cause?: unknown) =>
    new ColdtrailError('E_FORMATTER_FILE', { path, reason }, { cause })
  let names: string[]
  try {
    names = readdirSync(folder)
      .filter((name) => /\.ya?ml$/.test(name))
      .sort()
  } catch (error) {
    throw fault(folder, (error as Error).message, error)
  }
  if (names.length === 0) throw fault(folder, 'it holds no .yaml files')
  if (names.length > MAX_FILES) throw fault(folder, `it holds more than ${MAX_FILES} files`)
  for (const name of names) {
    const path = join(folder, name)
    try {
      if (statSync(path).size > MAX_FILE_BYTES) throw new Error(`it has more than ${MAX_FILE_BYTES} bytes`)
      for (const document of parseAllDocuments(readFileSync(path, 'utf8'), { logLevel: 'silent' })) {
        const [error] = document.errors
        if (error) throw new Error(error.message.split('\n')[0])
        // Aliases can stand for any number of values.
        const declared = document.toJS({ maxAliasCount: 0 }) as unknown
        if (declared === null) continue
        const [dataType, formatter] = formatterOf(declared)
        formatters[dataType] = formatter
      }
    } catch (error) {
      throw fault(path, (error as Error).message, error)
    }
  }
  return formatters
}

// --- internal ---

const MAX_FILES = 500
const MAX_FILE_BYTES = 4 * 2 ** 20

function formatterOf(declared: unknown): [string, Formatter] {
  const { type, data_type: dataType, message, separator = ' ', ...rest } = mapOf(declared, 'a document')
  if (typeof dataType !== 'string') throw new Error('a formatter without data_type')
  const fault = (reason: string) => new Error(`formatter of ${dataType.slice(0, 100)}: ${reason}`)
  if (type !== 'basic' && type !== 'conditional') throw fault('its type is neither basic nor conditional')
  const pieces = typeof message === 'string' ? [message] : message
  if (!Array.isArray(pieces) || !pieces.every((piece) => typeof piece === 'string'))
    throw fault('its message is no text')
  if (typeof separator !== 'string') throw fault('its separator is no text')
  const listOf = (name: string) => {
    const list = rest[name] ?? []
    if (!Array.isArray(list)) throw fault(`${name} is no list`)
    return list.map((one) => {
      const { input_attribute: input, output_attribute: output, ...other } = mapOf(one, name)
      if (typeof input !== 'string' || typeof output !== 'string') throw fault(`${name} without attributes`)
      return { input, output, other }
    })
  }
  const entriesOf = (values: unknown, name: string) =>
    Object.entries(mapOf(values, name)).map(([key, value]) => [key, String(value)] as const)
  const helpers: Helper[] = [
    ...listOf('boolean_helpers').map(({ input, output, other }) => {
      return {
        kind: 'boolean',
        input,
        output,
        no: String(other.value_if_false ?? ''),
        yes: String(other.value_if_true ?? ''),
      } as const
    }),
    ...listOf('enumeration_helpers').map(({ input, output, other }) => {
      const values = Object.fromEntries(entriesOf(other.values, 'enumeration_helpers'))
      const otherwise = other.default_value == null ? null : String(other.default_value)
      return { kind: 'enumeration', input, output, values, otherwise } as const
    }),
    ...listOf('flags_helpers').map(({ input, output, other }) => {
      const values = entriesOf(other.values, 'flags_helpers').map(([bits, name]) => [Number(bits), name] as const)
      return { kind: 'flags', input, output, values } as const
    }),
  ]
  return [dataType, { pieces, separator, isBasic: type === 'basic', helpers }]
}

function mapOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${what} is no map`)
  return value as Record<string, unknown>
}
