/** One immutable input file as a source lists it. Its identity is source + bucket + key + version. */
export interface SourceObject {
  /** Name of the source, part of every identity: `s3://bucket`, `file:///real/root`. */
  readonly source: string
  /** Bucket, or the real path of the root folder. */
  readonly bucket: string
  /** Key inside the bucket, or path relative to the root with `/`. Hostile: never used as a path to write to. */
  readonly key: string
  /** ETag (or version id); for files `size:mtime_ns` until the bytes were read, then `sha256:<hex>` decides. */
  readonly version: string
  readonly size: number
  /** Microseconds UTC. */
  readonly lastModified: number
  /** S3 storage class when it is not STANDARD. */
  readonly storageClass?: string
}
