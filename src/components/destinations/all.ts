/** Every destination; written by npm run gen from this folder. */
import { file } from './file.ts'
import { http } from './http.ts'
import { sentinel } from './sentinel.ts'
import { sentinel_legacy } from './sentinel_legacy.ts'

export const DESTINATIONS = [file, http, sentinel, sentinel_legacy] as const
