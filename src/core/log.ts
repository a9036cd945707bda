/** Where warnings and progress go. Values are shown by whoever prints them, escaped there; never secrets. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export type Log = (level: LogLevel, message: string, values?: Readonly<Record<string, unknown>>) => void
