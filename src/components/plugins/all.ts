/** Every plugin; written by npm run gen from this folder. */
import { bloom } from './bloom.ts'
import { browserSearch } from './browser_search.ts'
import { bruteForce } from './brute_force.ts'
import { chromeExtension } from './chrome_extension.ts'
import { indicatorMatch } from './indicator_match.ts'
import { nsrlsvr } from './nsrlsvr.ts'
import { rare } from './rare.ts'
import { sessionize } from './sessionize.ts'
import { sigma } from './sigma.ts'
import { tagging } from './tagging.ts'
import { testMemory } from './test_memory.ts'
import { uniqueDomainsVisited } from './unique_domains_visited.ts'
import { virustotal } from './virustotal.ts'

export const PLUGINS = [
  bloom,
  browserSearch,
  bruteForce,
  chromeExtension,
  indicatorMatch,
  nsrlsvr,
  rare,
  sessionize,
  sigma,
  tagging,
  testMemory,
  uniqueDomainsVisited,
  virustotal,
] as const
