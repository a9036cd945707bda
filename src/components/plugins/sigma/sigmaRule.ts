/** A Sigma rule as a rule of ours: its searches joined by its condition, over the events of its log source. */
import { ColdtrailError } from '../../../core/errors.ts'
import { compile } from '../../../query/expression.ts'
import type { Rule, Severity } from '../../plugin.ts'
import { conjunction, disjunction, FieldTests, grouped, type Placeholders } from './fieldTests.ts'
import { type LogSource, logSourceOf } from './logSources.ts'
import { ruleDocuments, type SigmaNode, type SigmaSource } from './ruleDocuments.ts'
import { ConditionFault, parseCondition, type SearchCondition } from './searchCondition.ts'
import { UnsupportedRule } from './unsupported.ts'

/** What became of a document: rules, or why it is not one for us. */
export type SigmaOutcome =
  | { readonly kind: 'rule'; readonly rule: Rule; readonly severity: Severity; readonly line: number }
  | { readonly kind: 'unsupported'; readonly title: string; readonly what: string; readonly line: number }

/** E_RULE_FILE for what is no rule. `name` is how a rule without id is called. */
export function readSigmaRules(source: SigmaSource, name: string, placeholders: Placeholders): SigmaOutcome[] {
  return ruleDocuments(source).flatMap((document, i) => {
    const reader = new RuleReader(source, i === 0 ? name : `${name}#${i + 1}`, placeholders)
    return reader.outcomes(document)
  })
}

// --- internal ---

const SEVERITIES: readonly Severity[] = ['informational', 'low', 'medium', 'high', 'critical']
/** Characters of an expression: names repeated in a condition can make a small rule large. */
const EXPRESSION_LENGTH = 2 ** 20
const TITLE_LENGTH = 200
const LABEL_LENGTH = 120

type MapNode = SigmaNode & { readonly kind: 'map' }

class RuleReader {
  private readonly source: SigmaSource
  private readonly name: string
  private readonly placeholders: Placeholders

  constructor(source: SigmaSource, name: string, placeholders: Placeholders) {
    this.source = source
    this.name = name
    this.placeholders = placeholders
  }

  outcomes(document: SigmaNode): SigmaOutcome[] {
    if (document.kind !== 'map') throw this.source.fault(document.at, 'a rule is a map')
    const title = this.text(document, 'title') ?? this.name
    try {
      return this.rules(document, title)
    } catch (thrown) {
      if (!(thrown instanceof UnsupportedRule)) throw thrown
      return [{ kind: 'unsupported', title, what: thrown.what, line: this.source.lineOf(thrown.at) }]
    }
  }

  private rules(document: MapNode, title: string): SigmaOutcome[] {
    for (const [key, what] of Object.entries(OTHER_DOCUMENTS)) {
      const entry = document.entries.find((found) => found.key === key)
      if (entry) throw new UnsupportedRule(what, entry.at)
    }
    if (this.text(document, 'title') === undefined) throw this.source.fault(document.at, 'the rule has no title')
    if (title.length > TITLE_LENGTH)
      throw this.source.fault(document.at, `a title has at most ${TITLE_LENGTH} characters`)
    const level = this.text(document, 'level') ?? 'informational'
    const severity = SEVERITIES.find((known) => known === level.toLowerCase())
    if (!severity) throw this.source.fault(this.at(document, 'level'), `there is no level ${level}`, SEVERITIES)
    const events = this.logSource(document)
    const detection = this.required(document, 'detection')
    const timeframe = detection.entries.find(({ key }) => key === 'timeframe')
    if (timeframe) throw new UnsupportedRule('timeframe', timeframe.at)
    const conditions = this.conditions(detection)
    const id = this.text(document, 'id') ?? this.name
    return conditions.map(({ text, at }, i) => ({
      kind: 'rule',
      severity,
      line: this.source.lineOf(document.at),
      rule: {
        label: labelOf(title),
        rule: i === 0 ? id : `${id}/${i + 1}`,
        expression: this.expression(events, detection, text, at),
        mode: 'strict',
        finding: { severity, title },
      },
    }))
  }

  private logSource(document: MapNode): LogSource {
    const node = this.required(document, 'logsource')
    const [product, service, category] = ['product', 'service', 'category'].map((key) => this.text(node, key))
    const name = {
      ...(product !== undefined && { product }),
      ...(service !== undefined && { service }),
      ...(category !== undefined && { category }),
    }
    const found = logSourceOf(name)
    if (found) return found
    const said = Object.entries(name).map(([key, value]) => `${key} ${value}`)
    throw new UnsupportedRule(`the log source ${said.join(', ') || '(none)'}`, node.at)
  }

  private conditions(detection: MapNode): { text: string; at: number }[] {
    const entry = detection.entries.find(({ key }) => key === 'condition')
    if (!entry) throw this.source.fault(detection.at, 'the detection has no condition')
    const nodes = entry.value.kind === 'list' ? entry.value.items : [entry.value]
    return nodes.map((node) => {
      if (node.kind === 'scalar' && typeof node.value === 'string') return { text: node.value, at: node.at }
      throw this.source.fault(node.at, 'a condition is a text')
    })
  }

  private expression(events: LogSource, detection: MapNode, text: string, at: number): string {
    const types = events.dataTypes.map((type) => `'${type}'`)
    const kind = types.length === 1 ? `data_type == ${types[0]}` : `data_type in (${types.join(', ')})`
    const expression = conjunction([
      kind,
      ...(events.where === undefined ? [] : [events.where]),
      this.searched(events, detection, text, at),
    ])
    if (expression.length > EXPRESSION_LENGTH) throw new UnsupportedRule('more conditions than one rule may have', at)
    try {
      compile(expression)
    } catch (error) {
      if (!(error instanceof ColdtrailError)) throw error
      if (error.code === 'E_EXPRESSION_LIMIT') throw new UnsupportedRule(String(error.values.what), at)
      throw this.source.fault(at, String(error.values.reason ?? error.message))
    }
    return expression
  }

  private searched(events: LogSource, detection: MapNode, text: string, at: number): string {
    const searches = detection.entries.filter(({ key }) => key !== 'condition')
    const tests = new FieldTests(events, this.placeholders, (place, reason) => this.source.fault(place, reason))
    const known = new Map<string, string>()
    let length = 0
    const search = (key: string): string => {
      let found = known.get(key)
      if (found === undefined) {
        found = this.search(tests, searches.find((entry) => entry.key === key)!.value)
        known.set(key, found)
      }
      length += found.length
      if (length > EXPRESSION_LENGTH) throw new UnsupportedRule('more conditions than one rule may have', at)
      return found
    }
    const namesOf = (pattern: string): string[] => {
      const isThem = pattern.toLowerCase() === 'them'
      const parts = pattern.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
      const regex = new RegExp(`^${parts.join('.*')}$`, 's')
      return searches.map(({ key }) => key).filter((key) => (isThem ? !key.startsWith('_') : regex.test(key)))
    }
    const written = (condition: SearchCondition): string => {
      switch (condition.kind) {
        case 'not':
          return `not ${grouped(written(condition.term))}`
        case 'and':
          return conjunction(condition.terms.map(written))
        case 'or':
          return disjunction(condition.terms.map(written))
        case 'name':
          if (searches.some(({ key }) => key === condition.name)) return search(condition.name)
          throw new ConditionFault(condition.at, `there is no search ${condition.name}`)
        case 'of': {
          const names = namesOf(condition.pattern)
          if (names.length === 0) throw new ConditionFault(condition.at, `no search is called ${condition.pattern}`)
          return condition.quantity === 'all' ? conjunction(names.map(search)) : disjunction(names.map(search))
        }
      }
    }
    try {
      return written(parseCondition(text))
    } catch (thrown) {
      if (thrown instanceof ConditionFault)
        throw this.source.fault(this.placeIn(text, at, thrown.at), thrown.reason, thrown.expected)
      if (thrown instanceof UnsupportedRule && CONDITION_WORDS.test(thrown.what))
        throw new UnsupportedRule(`${thrown.what} in the condition`, at)
      throw thrown
    }
  }

  /** In a text that stands as it is, behind a quote perhaps. */
  private placeIn(text: string, at: number, offset: number): number {
    const start = [at, at + 1].find((place) => this.source.text.startsWith(text, place))
    return start === undefined ? at : start + offset
  }

  /** A map: all of its fields; a list: any of its items, which are maps or words for the whole record. */
  private search(tests: FieldTests, node: SigmaNode): string {
    if (node.kind === 'scalar') return tests.keyword(node)
    if (node.kind === 'list') {
      if (node.items.length === 0) throw this.source.fault(node.at, 'the search is empty')
      return disjunction(
        node.items.map((item) => {
          if (item.kind === 'list') throw this.source.fault(item.at, 'a list within a list means nothing here')
          return this.search(tests, item)
        }),
      )
    }
    if (node.entries.length === 0) throw this.source.fault(node.at, 'the search is empty')
    return conjunction(node.entries.map(({ key, at, value }) => tests.item(key, at, value)))
  }

  private text(map: MapNode, key: string): string | undefined {
    const entry = map.entries.find((found) => found.key === key)
    if (!entry || (entry.value.kind === 'scalar' && entry.value.value === null)) return undefined
    if (entry.value.kind === 'scalar') return String(entry.value.value)
    throw this.source.fault(entry.value.at, `${key} is a text`)
  }

  private at(map: MapNode, key: string): number {
    return map.entries.find((found) => found.key === key)?.value.at ?? map.at
  }

  private required(map: MapNode, key: string): MapNode {
    const entry = map.entries.find((found) => found.key === key)
    if (!entry) throw this.source.fault(map.at, `the rule has no ${key}`)
    if (entry.value.kind !== 'map') throw this.source.fault(entry.value.at, `${key} is a map`)
    return entry.value
  }
}

const CONDITION_WORDS = /^(aggregation|near|\d+ of)$/
const OTHER_DOCUMENTS: Readonly<Record<string, string>> = {
  correlation: 'correlation of other rules',
  action: 'action (documents that belong together)',
  filter: 'a filter for other rules',
}

function labelOf(title: string): string {
  const words = title
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^_+|_+$/g, '')
  return `sigma_${words || 'rule'}`.slice(0, LABEL_LENGTH)
}
