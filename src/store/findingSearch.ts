/** Findings with the columns of their events, page by page from the catalog's index. */
import type { Catalog } from './catalog.ts'
import { collectionNames } from './collectionNames.ts'
import type { Finding, Severity } from './findings.ts'
import type { EventRow, Incompleteness, Question, StoreReader } from './search.ts'
import { homesOf } from './workbench.ts'

/** An expression is about events: then only findings whose event is here and matches are answered. */
export interface FindingQuestion extends Question {
  readonly run?: number
  /** This severe or more. */
  readonly severity?: Severity
  /** Of events; default: every column that people read. */
  readonly columns?: readonly string[]
  readonly limit?: number
}

export interface FoundFinding {
  readonly finding: Finding
  /** Null where it is offline. */
  readonly event: EventRow | null
}

/** In the order in which they were committed. `complete` and `why` are settled once all findings were read. */
export interface FindingSearch {
  readonly complete: boolean
  readonly why: readonly Incompleteness[]
  readonly findings: AsyncIterable<FoundFinding>
}

export function searchFindings(
  parts: { readonly catalog: Catalog; readonly reader: StoreReader },
  question: FindingQuestion,
): FindingSearch {
  const { catalog, reader } = parts
  const { run, severity, time1, time2, limit = Number.POSITIVE_INFINITY, columns, ...asked } = question
  const { collection = 'main', condition, allVersions = false } = asked
  let undecided = 0
  let told = 0
  async function* findings(): AsyncGenerator<FoundFinding> {
    const asked = collectionNames(collection)
    for (const home of await homesOf(catalog, collection)) yield* findingsOf(home, asked.includes(home))
  }
  /** `isWhole`: not only of what workbenches have copies of. */
  async function* findingsOf(home: string, isWhole: boolean): AsyncGenerator<FoundFinding> {
    let after: { sequence: number; line: number } | undefined
    while (told < limit) {
      question.signal?.throwIfAborted()
      const page = await catalog.findings({ collection: home, run, severity, time1, time2, after, limit: PAGE })
      const ids = page.flatMap(({ event }) => event ?? [])
      const every = await reader.eventsById(ids, { collection, columns, signal: asked.signal })
      const matches = condition ? await reader.eventsById(ids, { ...asked, columns: ['id'] }) : every
      for (const finding of page) {
        const event = finding.event === null ? undefined : every.get(finding.event)
        if (event?.isSuperseded && !allVersions) continue
        if (!isWhole && !event) continue
        if (condition && !event) undecided += 1
        if (condition && !(finding.event !== null && matches.has(finding.event))) continue
        yield { finding, event: event?.row ?? null }
        told += 1
        if (told >= limit) return
      }
      after = page.at(-1)
      if (page.length < PAGE) return
    }
  }
  const detail = 'findings whose events are offline could not be compared with the expression'
  return {
    findings: findings(),
    get complete() {
      return undecided === 0
    },
    get why() {
      return undecided === 0 ? [] : [{ reason: 'offline' as const, count: undecided, detail }]
    },
  }
}

// --- internal ---

const PAGE = 1_000
