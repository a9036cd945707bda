/** Every destination; written by npm run gen from this folder. */
import { file } from './file.ts'

export const DESTINATIONS = [file] as const
