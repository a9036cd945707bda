/**
 * Rows of tables whose columns all have common forms, written by the byte module (assembly/rows.ts) from the slots that
 * its scanner has just filled. A row with a value that must be changed, refused or noted is left to rowEncoder.ts.
 */
import { type ByteModule, byteModule } from '../../core/byteModule.ts'
import type { ElementWriter } from '../destination.ts'
import type { JsonScanner } from '../json/jsonScanner.ts'

/** assembly/rows.ts knows these numbers too. */
export const FORM = { text: 1, boolean: 2, time: 3, given: 4, constant: 5 } as const
/** What is given with each record. */
export const GIVEN = { time: 0, uid: 1 } as const

export interface CommonColumn {
  readonly form: number
  /** What comes before the value: `"Name":`, with the quote of a text, or with the value of a constant. */
  readonly prefix: Buffer
  /** In order of preference; or which value is given. */
  readonly slots: readonly number[]
}

export class CommonRows {
  private readonly module: ByteModule = byteModule()
  private readonly plan: number
  private readonly columns: number
  private readonly slots: number
  private readonly row: number
  private readonly givenAt: number

  /** `slots`: of the scanner's table. */
  constructor(columns: readonly CommonColumn[], slots: number) {
    const { module } = this
    this.columns = columns.length
    this.slots = slots
    const words = columns.reduce((sum, { slots }) => sum + COLUMN_WORDS + slots.length, 0)
    const texts = columns.reduce((sum, { prefix }) => sum + prefix.length, 0)
    this.plan = module.reservePlan(words * 4 + texts + SLACK)
    this.row = module.exports.rowAt()
    this.givenAt = module.exports.givenAt()
    const { bytes } = module
    let at = this.plan
    let text = this.plan + words * 4
    for (const { form, prefix, slots } of columns) {
      for (const word of [form, text, prefix.length, slots.length, ...slots]) at = bytes.writeInt32LE(word, at)
      text += prefix.copy(bytes, text)
    }
  }

  /** Appends the row of the record that `scanner` has scanned last; false: it is to be made the other way. */
  write({ place, bias }: JsonScanner, time: Buffer, uid: string, out: ElementWriter): boolean {
    const { module, row, givenAt } = this
    if (uid.length > MOST_GIVEN) return false
    const { bytes } = module
    bytes[givenAt] = time.length
    for (let i = 0; i < time.length; i++) bytes[givenAt + 4 + i] = time[i]!
    bytes[givenAt + GIVEN_BYTES] = bytes.write(uid, givenAt + GIVEN_BYTES + 4, 'latin1')
    const length = module.exports.writeRow(this.plan, this.columns, place, this.slots, bias)
    if (length < 0) return false
    out.bytes(bytes, row, row + length)
    return true
  }
}

// --- internal ---

const COLUMN_WORDS = 4
const GIVEN_BYTES = 64
const MOST_GIVEN = 48
/** Prefixes are copied by vectors. */
const SLACK = 16
