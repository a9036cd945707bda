/** The short form of a source on a command line: `s3://bucket/prefix`, `DIR`, `FILE`, `-` or `file:///path`. */
import { fileURLToPath } from 'node:url'
import { ColdtrailError } from '../../core/errors.ts'

export type SourceUri =
  | { readonly component: 's3'; readonly config: { readonly bucket: string; readonly prefix: string } }
  | { readonly component: 'directory'; readonly config: { readonly path: string } }

/** E_SOURCE_URI when it is neither. A key may hold anything: nothing after the bucket is decoded or normalised. */
export function parseSourceUri(uri: string): SourceUri {
  const refuse = (reason: string) => new ColdtrailError('E_SOURCE_URI', { uri, reason })
  if (uri.trim() === '') throw refuse('it is empty')
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(uri)?.[1]?.toLowerCase()
  if (scheme === undefined) return { component: 'directory', config: { path: uri } }
  if (scheme === 's3') {
    const rest = uri.slice('s3://'.length)
    const slash = rest.indexOf('/')
    const bucket = slash < 0 ? rest : rest.slice(0, slash)
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket)) throw refuse(`"${bucket}" is no bucket name`)
    return { component: 's3', config: { bucket, prefix: slash < 0 ? '' : rest.slice(slash + 1) } }
  }
  if (scheme !== 'file') throw refuse(`there is no source for ${scheme}://`)
  try {
    return { component: 'directory', config: { path: fileURLToPath(uri) } }
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : String(error))
  }
}
