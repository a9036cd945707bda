/** Every plugin; written by npm run gen from this folder. */
import { sessionize } from './sessionize.ts'
import { tagging } from './tagging.ts'
import { testMemory } from './test_memory.ts'

export const PLUGINS = [sessionize, tagging, testMemory] as const
