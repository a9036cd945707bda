import { readFileSync } from 'node:fs'

/** Version of the package; it stands in every manifest that this program writes. */
export const VERSION = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version
