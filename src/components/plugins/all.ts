/** Every plugin; written by npm run gen from this folder. */
import { sessionize } from './sessionize.ts'
import { testMemory } from './test_memory.ts'

export const PLUGINS = [sessionize, testMemory] as const
