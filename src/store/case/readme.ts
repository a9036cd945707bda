/** The page in a case that tells a third party what is in it and how it is checked. */
import { printable } from '../../core/errors.ts'
import type { AnchoredHead } from '../anchor.ts'
import type { CaseSummary } from './exportCase.ts'

export function caseReadme(
  facts: Pick<CaseSummary, 'events' | 'sessions' | 'missing' | 'complete' | 'why' | 'keyId'> & {
    readonly collection: string
    readonly head: AnchoredHead
  },
): string {
  const { events, sessions, missing, complete, why, keyId, collection, head } = facts
  const time = new Date(head.time / 1000).toISOString()
  const lacking = missing.map(({ session, key, reason }) => `- session ${session}, ${printable(key, 300)}: ${reason}`)
  return `# A case of ${events} events

Everything that is needed to check ${events} log events from ${sessions} collected objects, without the program that made this folder.

## Check it

You need Node.js 18 or later, nothing else:

    node verify.mjs
    node verify.mjs . --public-key KEY.pem --anchor ANCHOR

The first line proves that the case is one piece and signed by the key ${keyId}. Whose key that is, this folder cannot say: ask its owner for
the id, or for the public key itself, and use the second line. An anchor that was kept in another place proves as well that
the chain was not written anew since. If somebody may have changed verify.mjs too, take it from the publisher of Coldtrail.

Every file at fault is named. Status 0: all records are proven. 3: no fault, but some records have no object here.

## What is proven

1. A record's bytes lie at its offset in the object as it was received (\`objects/\`), decoded.
2. The object's SHA-256, as received and decoded, is in its session row (\`segments/session-*.parquet\`).
3. The session file's SHA-256 is in its manifest (\`manifests.ndjson\`), and the manifest's in a link of the chain (\`links.ndjson\`).
4. Each link is signed and names the hash of the one before, up to link ${head.number} of collection ${collection}
   (${head.hash}, ${time}), which \`anchor.json\` has, signed.
5. \`case.json\` lists every file with its digest, signed.

Not proven: that what the object says happened. Columns of \`events.*\` are Coldtrail's reading of the record; the record is the evidence.

## Files

| file | what |
|---|---|
| \`events.ndjson\`, \`events.parquet\` | the events, one a line or row; times in UTC |
| \`records.bin\`, \`records.ndjson\` | the bytes of each record, and where they lie: here (\`at\`, \`length\`) and in their object (\`offset\`) |
| \`objects/<session>.bin\` | objects as they were received: compressed, if they came so |
| \`sessions.ndjson\` | the rows of these objects: source, key, version, times, digests |
| \`segments/\` | whole session files, so that their digests can be checked; they name other objects too |
| \`manifests.ndjson\`, \`links.ndjson\`, \`anchor.json\`, \`public-key.pem\` | the chain of proof |
| \`case.json\` | what was asked, when, and the signed list of files |

${complete ? 'The question could be answered from all data.' : `The question could not look at everything: ${why.map(({ reason, count }) => `${count} ${reason}`).join(', ')}.`}
${lacking.length > 0 ? `\nObjects that are not here:\n\n${lacking.join('\n')}\n` : ''}`
}
