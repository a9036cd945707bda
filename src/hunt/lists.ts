/** Lists of indicators: a text file, one a line. Lines are bounded, so that a file that is none takes no memory. */
import { createReadStream } from 'node:fs'
import { ColdtrailError } from '../core/errors.ts'

/** Longer than any indicator is. */
export const MAX_LINE_BYTES = 65_536

/** Lines without comments and blanks; a longer one is cut. `-` is standard input. E_FILE_READ. */
export async function* listLines(path: string, signal?: AbortSignal): AsyncGenerator<string> {
  const input = path === '-' ? process.stdin : createReadStream(path, { highWaterMark: 2 ** 18 })
  let rest: Buffer = Buffer.alloc(0)
  let isLong = false
  const line = (bytes: Buffer): string[] => {
    const text = withoutComment(bytes.toString('utf8', 0, MAX_LINE_BYTES))
    return text === '' ? [] : [text]
  }
  try {
    for await (const chunk of input) {
      signal?.throwIfAborted()
      const bytes: Buffer = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer])
      let start = 0
      for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
        if (!isLong) yield* line(bytes.subarray(start, end))
        isLong = false
        start = end + 1
      }
      rest = bytes.subarray(start)
      if (rest.length > MAX_LINE_BYTES) {
        if (!isLong) yield* line(rest)
        isLong = true
        rest = Buffer.alloc(0)
      }
    }
    if (!isLong) yield* line(rest)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === undefined || error instanceof ColdtrailError) throw error
    throw new ColdtrailError('E_FILE_READ', { path, cause: message }, { cause: error })
  }
}

/** A # of a URL belongs to it; the mark of UTF-8 at the beginning of a file to nothing. */
const withoutComment = (line: string): string =>
  line
    .replace(/^\uFEFF/, '')
    .replace(/(^|\s)#.*$/s, '')
    .trim()
