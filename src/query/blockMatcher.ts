/**
 * Conditions over blocks of events, many at once: the fourth reading of a condition beside predicate, SQL and pruning, for
 * rules by the hundred. A test of a text column is made once a distinct value, a test that several conditions share once a
 * block, and sets of rows do the rest. Only rows that the columns let through are looked at one by one, and of these only
 * such as the record's bytes cannot exclude have their record parsed.
 */
import type { BlockRecord, BlockTexts, EventBlock } from '../core/eventBlock.ts'
import type { Condition, Field, Test } from './condition.ts'
import { type EventAccess, type Predicate, predicate, valueTest } from './predicate.ts'
import { type RecordGate, recordGate } from './recordGate.ts'
import {
  difference,
  emptySet,
  has,
  intersection,
  NONE,
  normal,
  type RowSet,
  rowsMarked,
  rowsOf,
  rowsWhere,
  sizeOf,
  union,
} from './rowSet.ts'

/** What is asked of events: a condition, or where there is none a predicate, which sees each event. */
export interface Question {
  condition(): Condition | undefined
  predicate(event: EventAccess): boolean
}

export class BlockMatcher {
  private readonly roots: readonly Node[]
  private readonly leaves = new Map<string, Leaf>()

  constructor(questions: readonly Question[]) {
    this.roots = questions.map((question) => {
      const condition = question.condition()
      return condition ? this.node(condition) : new RowLeaf((event) => question.predicate(event))
    })
  }

  /**
   * Which of the rows `within` the questions asked match, by their numbers; each with its rows in order. `beat` is called
   * between rows that are looked at one by one.
   */
  match(
    block: EventBlock,
    within: RowSet,
    asked: readonly number[],
    found: (question: number, rows: Uint32Array) => void,
    beat: () => void = () => undefined,
  ): void {
    const { rows } = block
    const open: { readonly question: number; readonly rows: RowSet; readonly matching: Uint32Array }[] = []
    let doubtful: RowSet = NONE
    for (const question of asked) {
      const { yes, may } = this.roots[question]!.within(block, within)
      const rest = yes === NONE ? may : difference(may, yes, rows)
      if (rest === NONE) {
        if (yes !== NONE) found(question, rowsOf(yes, rows))
        continue
      }
      const matching = typeof yes === 'number' ? emptySet(rows) : yes.slice()
      open.push({ question, rows: rest, matching })
      doubtful = union(doubtful, rest)
    }
    // Row by row and not question by question: each record is read once.
    const list = rowsOf(doubtful, rows)
    for (let i = 0; i < list.length; i++) {
      const row = list[i]!
      const event = new BlockEvent(block, row)
      for (const { question, rows: own, matching } of open)
        if (has(own, row) && this.roots[question]!.at(block, row, event)) matching[row >> 5]! |= 1 << (row & 31)
      if ((i & 1023) === 1023) beat()
    }
    for (const { question, matching } of open) {
      const own = rowsOf(matching, rows)
      if (own.length > 0) found(question, own)
    }
  }

  // --- internal ---

  private node(condition: Condition): Node {
    switch (condition.kind) {
      case 'always':
        return new Constant(true)
      case 'never':
        return new Constant(false)
      case 'not':
        return new Not(this.node(condition.term))
      case 'and':
        return new And(condition.terms.map((term) => this.node(term)))
      case 'or':
        return new Or(condition.terms.map((term) => this.node(term)))
      case 'pair':
      case 'test': {
        const key = JSON.stringify(condition, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))
        let leaf = this.leaves.get(key)
        if (!leaf) {
          leaf = leafOf(condition)
          this.leaves.set(key, leaf)
        }
        return leaf
      }
    }
  }
}

// --- internal ---

/** Rows that match for certain, and rows that may; the rest does not. Both lie within what was asked. */
interface Answer {
  readonly yes: RowSet
  readonly may: RowSet
}

interface Node {
  /** About how many bytes `within` has to read of a block; infinite: it has to look at rows one by one. */
  cost(block: EventBlock): number
  within(block: EventBlock, within: RowSet): Answer
  /** Of one row. */
  at(block: EventBlock, row: number, event: BlockEvent): boolean
}

type Leaf = Node

class BlockEvent implements EventAccess {
  private readonly block: EventBlock
  private readonly row: number
  private found: BlockRecord | undefined

  constructor(block: EventBlock, row: number) {
    this.block = block
    this.row = row
  }

  get(column: string): unknown {
    return column === 'data' ? this.data() : this.block.value(column, this.row)
  }

  data(): string {
    return this.record().text
  }

  record(): BlockRecord {
    this.found ??= this.block.record(this.row)
    return this.found
  }
}

class Constant implements Node {
  private readonly holds: boolean

  constructor(holds: boolean) {
    this.holds = holds
  }

  cost(): number {
    return 0
  }

  within(_block: EventBlock, within: RowSet): Answer {
    return certain(this.holds ? within : NONE)
  }

  at(): boolean {
    return this.holds
  }
}

class Not implements Node {
  private readonly term: Node

  constructor(term: Node) {
    this.term = term
  }

  cost(block: EventBlock): number {
    return this.term.cost(block)
  }

  within(block: EventBlock, within: RowSet): Answer {
    const { yes, may } = this.term.within(block, within)
    const none = difference(within, may, block.rows)
    return { yes: none, may: yes === may ? none : difference(within, yes, block.rows) }
  }

  at(block: EventBlock, row: number, event: BlockEvent): boolean {
    return !this.term.at(block, row, event)
  }
}

class Terms {
  protected readonly terms: readonly Node[]
  private ordered: { readonly block: EventBlock; readonly terms: readonly Node[]; readonly cost: number } | undefined

  constructor(terms: readonly Node[]) {
    this.terms = terms
  }

  cost(block: EventBlock): number {
    return this.inOrder(block).cost
  }

  /** The cheapest first: what they leave, the others look at. */
  protected inOrder(block: EventBlock): NonNullable<Terms['ordered']> {
    if (this.ordered?.block === block) return this.ordered
    const costs = new Map(this.terms.map((term) => [term, term.cost(block)]))
    const terms = [...this.terms].sort((a, b) => (costs.get(a) === costs.get(b) ? 0 : costs.get(a)! - costs.get(b)!))
    let cost = 0
    for (const one of costs.values()) cost += one
    this.ordered = { block, terms, cost }
    return this.ordered
  }
}

class And extends Terms implements Node {
  within(block: EventBlock, within: RowSet): Answer {
    let [yes, may] = [within, within]
    for (const term of this.inOrder(block).terms) {
      const answer = term.within(block, may)
      may = answer.may
      if (may === NONE) return NOTHING
      yes = intersection(yes, answer.yes)
    }
    return { yes, may }
  }

  at(block: EventBlock, row: number, event: BlockEvent): boolean {
    for (const term of this.inOrder(block).terms) if (!term.at(block, row, event)) return false
    return true
  }
}

class Or extends Terms implements Node {
  within(block: EventBlock, within: RowSet): Answer {
    let answer = NOTHING
    let rest = within
    for (const term of this.inOrder(block).terms) {
      const { yes, may } = term.within(block, rest)
      answer = { yes: union(answer.yes, yes), may: union(answer.may, may) }
      if (yes !== NONE) rest = difference(rest, yes, block.rows)
      if (rest === NONE) break
    }
    return answer
  }

  at(block: EventBlock, row: number, event: BlockEvent): boolean {
    for (const term of this.inOrder(block).terms) if (term.at(block, row, event)) return true
    return false
  }
}

/** A test of texts that repeat: once a distinct value, and not before a row asks for it. */
class TextLeaf implements Leaf {
  private readonly column: string
  private readonly passes: (text: string) => boolean
  private block: EventBlock | undefined
  private texts: BlockTexts | undefined
  /** By value: 0 not looked at yet, 1 passes, 2 does not. */
  private verdicts = new Uint8Array(0)
  private rows: RowSet | undefined

  constructor(column: string, passes: (text: string) => boolean) {
    this.column = column
    this.passes = passes
  }

  cost(block: EventBlock): number {
    return block.weight(this.column)
  }

  within(block: EventBlock, within: RowSet): Answer {
    this.begin(block)
    const { texts } = this
    if (!texts) return NOTHING
    if (this.rows === undefined && sizeOf(within, block.rows) * FEW < texts.count) {
      const set = emptySet(block.rows)
      for (const row of rowsOf(within, block.rows)) if (this.passesAt(row)) set[row >> 5]! |= 1 << (row & 31)
      return certain(normal(set, block.rows))
    }
    this.rows ??= this.allRows(texts)
    return certain(intersection(this.rows, within))
  }

  at(block: EventBlock, row: number): boolean {
    this.begin(block)
    return this.passesAt(row)
  }

  private begin(block: EventBlock): void {
    if (this.block === block) return
    this.block = block
    this.texts = block.texts(this.column)
    this.verdicts = new Uint8Array(this.texts?.count ?? 0)
    this.rows = undefined
  }

  private passesAt(row: number): boolean {
    const code = this.texts ? this.texts.codes[row]! : -1
    return code >= 0 && this.verdictOf(code) === 1
  }

  private verdictOf(code: number): number {
    const known = this.verdicts[code]!
    if (known !== 0) return known
    const verdict = this.passes(this.texts!.text(code)) ? 1 : 2
    this.verdicts[code] = verdict
    return verdict
  }

  private allRows({ codes, count }: BlockTexts): RowSet {
    const marks = new Uint8Array(count + 1)
    let passing = 0
    for (let code = 0; code < count; code++)
      if (this.verdictOf(code) === 1) {
        marks[code + 1] = 1
        passing += 1
      }
    return passing === 0 ? NONE : rowsMarked(codes, marks)
  }
}

class NumberLeaf implements Leaf {
  private readonly column: string
  private readonly test: NumberTest
  private block: EventBlock | undefined
  private rows: RowSet | undefined

  constructor(column: string, test: NumberTest) {
    this.column = column
    this.test = test
  }

  cost(block: EventBlock): number {
    return block.weight(this.column)
  }

  within(block: EventBlock, within: RowSet): Answer {
    if (this.block !== block) {
      this.block = block
      this.rows = undefined
    }
    if (this.rows === undefined) {
      const bounds = block.bounds(this.column)
      const { least, most, passes } = this.test
      if (bounds && (bounds.most < least || bounds.least > most)) this.rows = NONE
      else {
        const values = block.numbers(this.column)
        this.rows = values ? rowsWhere(block.rows, (row) => passes(values[row]!)) : NONE
      }
    }
    return certain(intersection(this.rows, within))
  }

  at(block: EventBlock, row: number): boolean {
    const values = block.numbers(this.column)
    return values !== undefined && this.test.passes(values[row]!)
  }
}

/** A test of the record, or of what is not stored in columns. */
class RowLeaf implements Leaf {
  private readonly passes: Predicate
  private readonly gates: readonly RecordGate[]

  constructor(passes: Predicate, gates: readonly (RecordGate | undefined)[] = []) {
    this.passes = passes
    this.gates = gates.filter((gate) => gate !== undefined)
  }

  cost(): number {
    return Number.POSITIVE_INFINITY
  }

  within(_block: EventBlock, within: RowSet): Answer {
    return { yes: NONE, may: within }
  }

  at(_block: EventBlock, _row: number, event: BlockEvent): boolean {
    for (const gate of this.gates) if (!gate(event.record())) return false
    return this.passes(event)
  }
}

const NOTHING: Answer = { yes: NONE, may: NONE }
/** So many times fewer rows than values: then the rows are looked at. */
const FEW = 2

const certain = (rows: RowSet): Answer => ({ yes: rows, may: rows })

function leafOf(condition: Condition & { kind: 'test' | 'pair' }): Leaf {
  const passes = predicate(condition)
  if (condition.kind === 'pair') return new RowLeaf(passes, [recordGate(condition.one), recordGate(condition.other)])
  const { field, test } = condition
  if (field.kind !== 'column') return new RowLeaf(passes, [recordGate(field, test)])
  return columnLeaf(field, test) ?? new RowLeaf(passes)
}

/** Undefined for what is no stored column, and for the record itself. */
function columnLeaf({ column }: Field & { kind: 'column' }, test: Test): Leaf | undefined {
  const { name, type, several } = column
  if (several || name === 'data') return undefined
  if (test.kind === 'blocks') {
    const { ranges } = test
    return new TextLeaf(`${name}_key`, (key) => ranges.some(({ from, to }) => key >= from && key <= to))
  }
  if (type === 'int' || type === 'time') return new NumberLeaf(name, numberTest(test))
  return new TextLeaf(name, valueTest(type, test))
}

interface NumberTest {
  /** What passes is not below `least` and not above `most`. */
  readonly least: number
  readonly most: number
  /** NaN is no value. */
  passes(value: number): boolean
}

function numberTest(test: Test): NumberTest {
  const open = { least: -Infinity, most: Infinity }
  switch (test.kind) {
    case 'exists':
      return { ...open, passes: (value) => !Number.isNaN(value) }
    case 'integer': {
      const value = Number(test.value)
      switch (test.order) {
        case '<':
          return { ...open, most: value, passes: (found) => found < value }
        case '<=':
          return { ...open, most: value, passes: (found) => found <= value }
        case '>':
          return { ...open, least: value, passes: (found) => found > value }
        case '>=':
          return { ...open, least: value, passes: (found) => found >= value }
      }
      break
    }
    case 'integers': {
      const values = test.values.map(Number)
      const least = values.reduce((one, other) => Math.min(one, other), Infinity)
      const most = values.reduce((one, other) => Math.max(one, other), -Infinity)
      if (least >= 0 && most < TABLE) {
        const table = new Uint8Array(TABLE)
        for (const value of values) table[value] = 1
        return { least, most, passes: (value) => table[value] === 1 }
      }
      const wanted = new Set(values)
      return { least, most, passes: (value) => wanted.has(value) }
    }
  }
  return { least: Infinity, most: -Infinity, passes: () => false }
}

/** Ports and other small numbers. */
const TABLE = 65_536
