/** Collects the keyset of one open segment: every observable of its records, and the exact values of indexed columns. */
import { type EventColumn, INDEXED_COLUMNS } from '../core/columns.ts'
import { ObservableExtractor } from '../core/observableExtractor.ts'
import { sipKey } from '../core/sipHash.ts'
import { sha256 } from './chain.ts'
import type { ValueObserver } from './eventBuilder.ts'
import { columnHash, describeKeyset, encodeKeyset, KeysetBuilder, type KeysetContent } from './keyset.ts'
import type { KeysetKey } from './keysetKeys.ts'
import type { Manifest } from './manifest.ts'

/** A keyset as its file's bytes, and what the manifest says of it. */
export interface EncodedKeyset {
  readonly bytes: Buffer
  readonly description: NonNullable<Manifest['keyset']>
}

export function encodedKeyset(content: KeysetContent): EncodedKeyset {
  const bytes = encodeKeyset(content)
  return { bytes, description: { file: 'keyset.ks', sha256: sha256(bytes), ...describeKeyset(content) } }
}

export class SegmentKeyset implements ValueObserver {
  private readonly builder: KeysetBuilder
  readonly extractor: ObservableExtractor
  private readonly key: ReturnType<typeof sipKey>

  constructor(key: KeysetKey) {
    this.key = sipKey(key.key)
    this.builder = new KeysetBuilder({ key, columns: INDEXED_COLUMNS.map(({ name }) => name) })
    this.extractor = new ObservableExtractor(this.key, (type, hash48) => this.builder.add(type, hash48))
  }

  observe(bytes: Buffer, start: number, end: number, isUser: boolean): void {
    this.extractor.extract(bytes, start, end)
    if (isUser) this.extractor.user(bytes, start, end)
  }

  columnValue(column: EventColumn, bytes: Buffer, start: number, end: number): void {
    this.builder.addColumn(column.name, columnHash(this.key, bytes, start, end))
    if (column.name.startsWith('actor_user_')) this.extractor.user(bytes, start, end)
  }

  /** A reject: its text is covered as far as it is kept, but which of its strings are user names is not known. */
  reject(bytes: Buffer, start: number, end: number, kept: number): void {
    this.extractor.extract(bytes, start, Math.min(end, start + kept))
    this.builder.incomplete('user names in rejects', 'user')
    if (end - start > kept) this.builder.incomplete('a reject longer than its kept bytes')
  }

  encode(): EncodedKeyset {
    return encodedKeyset(this.content())
  }

  /** All that was seen so far. */
  content(): KeysetContent {
    this.extractor.flush()
    return this.builder.finish()
  }
}
