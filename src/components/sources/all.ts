/** Every source by its name. Written by `npm run gen` from the files of this folder. */
import { directory } from './directory.ts'
import { s3 } from './s3.ts'

export const SOURCES = [directory, s3] as const
