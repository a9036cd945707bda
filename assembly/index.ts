/** What the module gives to src/core/byteModule.ts. */
export { reserveInput, state } from './memory'
export { seedStrings } from './strings'
export { setSipKey } from './sip'
export { setReader, extract, user, hashes, handed, short } from './observables'
export { scanRecord, skipValue, reservePool, newTable, newNode, newEntry, linkEntry } from './json'
export { reservePlan, givenAt, rowAt, writeRow } from './rows'
import { prepareClasses } from './observables'

prepareClasses()
