/**
 * A Logs Ingestion API until standard input ends; prints its endpoint and what the environment of a sender needs. Counts
 * requests and bytes only; `--rows FILE` writes every row of AWSCloudTrail to a file instead. Ends with a line of counts.
 */
import { createWriteStream } from 'node:fs'
import { startIngestionServer } from '../../src/demo/ingestionServer.ts'

export const RULE = 'dcr-00000000000000000000000000000000'

const rows = process.argv[2] === '--rows' ? createWriteStream(process.argv[3]!) : undefined
const server = await startIngestionServer({
  rules: { [RULE]: { 'Custom-AWSCloudTrail': {}, 'Custom-AWSVPCFlow': {} } },
  parse: rows !== undefined,
  open: true,
  keepRows: 0,
  ...(rows && { onRow: (_stream, row) => rows.write(`${JSON.stringify(row)}\n`) }),
})
console.log(JSON.stringify({ endpoint: server.endpoint, environment: server.identityEnvironment }))
process.stdin.resume().on('end', async () => {
  const { requests, wireBytes, decodedBytes } = server.stream('Custom-AWSCloudTrail')
  await server.close()
  if (rows) await new Promise((resolve) => rows.end(resolve))
  console.log(JSON.stringify({ requests, wireBytes, decodedBytes }))
})
