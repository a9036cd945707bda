/** Every source; written by npm run gen from this folder. */
import { directory } from './directory.ts'
import { s3 } from './s3.ts'

export const SOURCES = [directory, s3] as const
