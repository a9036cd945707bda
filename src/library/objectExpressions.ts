/** The expression language over objects of the library: `library list --where`, `sync export --where`. */
import { compile, type EventAccess, type Expression, type Vocabulary } from '../query/expression.ts'
import type { LibraryObject } from './objectPages.ts'

const column = (name: string, type: 'text' | 'int' | 'time' | 'ip', ...aliases: string[]) => ({
  name,
  type,
  aliases,
  indexed: false,
})

/** `source`, `tlp` and `tag` have several values. docs/expressions.md lists them for readers. */
export const OBJECT_VOCABULARY: Vocabulary = {
  columns: [
    column('object', 'text'),
    column('type', 'text'),
    column('status', 'text'),
    column('value', 'text', 'name', 'title'),
    /** The value of an indicator that is an address: `in` takes blocks. */
    column('ip', 'ip'),
    column('description', 'text'),
    column('class', 'text'),
    column('score', 'int'),
    column('tlp', 'text'),
    column('source', 'text'),
    column('tag', 'text'),
    column('created_at', 'time'),
    column('updated_at', 'time'),
    column('published_at', 'time'),
    column('expires_at', 'time'),
    column('stix_id', 'text'),
    column('uid', 'text'),
  ],
  places: ['attributes'],
  elsewhere: {
    data: "attributes are data.attributes.<name>, as in data.attributes.Port == '443'",
    attribute: "attributes are data.attributes.<name>, as in data.attributes.Port == '443'",
    attributes: "attributes are data.attributes.<name>, as in data.attributes.Port == '443'",
  },
}

/** E_EXPRESSION… as of `compile`. `now` in microseconds. */
export const compileObjectExpression = (text: string, now?: number): Expression =>
  compile(text, { vocabulary: OBJECT_VOCABULARY, ...(now !== undefined && { now }) })

/** What of an object's context an expression reads. */
export function contextRead(expression: Expression | undefined): {
  readonly sources: boolean
  readonly tags: boolean
  readonly attributes: boolean
} {
  const names = expression?.columns() ?? new Set<string>()
  return {
    sources: names.has('source') || names.has('tlp'),
    tags: names.has('tag'),
    attributes: names.has('data'),
  }
}

/** An object as the predicate sees it. */
export class ObjectAccess implements EventAccess {
  private readonly object: LibraryObject
  private record: string | undefined

  constructor(object: LibraryObject) {
    this.object = object
  }

  get(name: string): unknown {
    const { object } = this
    switch (name) {
      case 'ip':
        return ADDRESS_TYPES.has(object.type ?? '') ? object.value : undefined
      case 'tlp':
        return object.sources.map(({ tlp }) => tlp)
      case 'source':
        return object.sources.map(({ name }) => name)
      case 'tag':
        return object.tags
      case 'created_at':
        return object.createdAt
      case 'updated_at':
        return object.updatedAt
      case 'published_at':
        return object.publishedAt
      case 'expires_at':
        return object.expiresAt
      case 'stix_id':
        return object.stixId
      case 'object':
      case 'type':
      case 'status':
      case 'value':
      case 'description':
      case 'class':
      case 'score':
      case 'uid':
        return object[name]
      default:
        return undefined
    }
  }

  data(): string {
    if (this.record !== undefined) return this.record
    const attributes = new Map<string, (string | null)[]>()
    for (const { name, value } of this.object.attributes) {
      const values = attributes.get(name)
      if (values) values.push(value)
      else attributes.set(name, [value])
    }
    // Not an object literal: an attribute may be named __proto__.
    const members = [...attributes].map(([name, values]) => `${JSON.stringify(name)}:${JSON.stringify(values)}`)
    this.record = `{"attributes":{${members.join()}}}`
    return this.record
  }
}

// --- internal ---

const ADDRESS_TYPES = new Set(['IP Address', 'IPv6 Address'])
