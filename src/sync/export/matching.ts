/** Objects for which the expression of `--where` holds. */
import { headSequence } from '../../library/changes.ts'
import type { Library } from '../../library/library.ts'
import { OBJECT_TABLE_BY_CODE, type Table } from '../../library/model.ts'
import { compileObjectExpression, OBJECT_VOCABULARY } from '../../library/objectExpressions.ts'
import { listObjects } from '../../library/read.ts'
import { check } from '../../query/check.ts'
import { parse } from '../../query/parse.ts'

export interface Match {
  readonly table: Table
  /** Hex. */
  readonly uid: string
}

export interface ObjectMatches {
  /** It counts from the clock: an object may come to match that nobody changed. */
  readonly moves: boolean
  /** Gives the matches as of a sequence number; undefined when the library is at another one. */
  at<R>(
    library: Library,
    seq: number,
    deleted: boolean,
    use: (matches: AsyncIterable<Match>) => Promise<R>,
  ): Promise<R | undefined>
}

/** E_EXPRESSION… as of `compile`. */
export function objectMatches(text: string): ObjectMatches {
  const now = Date.now() * 1_000
  const where = compileObjectExpression(text, now)
  return {
    moves: meaning(text, now) !== meaning(text, now + DAY_AND_MORE),
    at: (library, seq, deleted, use) =>
      library.database.read(async (tx) =>
        (await headSequence(tx)) === seq
          ? use(matches(listObjects(library, { where, deleted, context: 'needed', tx })))
          : undefined,
      ),
  }
}

// --- internal ---

/** Long enough for `today` to be another day. */
const DAY_AND_MORE = 100_000_000_000

const meaning = (text: string, now: number): string =>
  JSON.stringify(check(parse(text, 'strict'), text, now, OBJECT_VOCABULARY), (_, value) =>
    typeof value === 'bigint' ? String(value) : value,
  )

async function* matches(objects: ReturnType<typeof listObjects>): AsyncGenerator<Match> {
  const custom = OBJECT_TABLE_BY_CODE.get('custom_object')!
  for await (const { object, uid } of objects)
    yield { table: OBJECT_TABLE_BY_CODE.get(object) ?? custom, uid: uid.replaceAll('-', '') }
}
