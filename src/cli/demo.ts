import { join } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { bytesText } from '../core/terminalText.ts'
import { ATTACK_EXPRESSION, serveDemoBucket, serveDemoReceiver, story } from '../demo/demo.ts'
import { summaryLines } from './collect.ts'
import { defineCommand } from './command.ts'
import { summaryLines as forwardLines } from './forward.ts'
import type { Io } from './io.ts'
import { showProgress } from './progress.ts'

const DEMO_DIR = join('coldtrail-data', 'demo')

export const demoCommand = defineCommand({
  name: 'demo',
  summary: 'Collect generated AWS logs over S3, and find the attack in them',
  details:
    'Makes three days of logs of two accounts, serves them from an S3 server on loopback, collects them with the AWS ' +
    'SDK, asks the questions that an investigator would, runs the shipped rules over it, and forwards the attack to a Logs Ingestion API on loopback. ' +
    'Nothing leaves this machine; the second run has nothing new to collect or to forward.',
  options: {},
  examples: [
    { line: 'demo', note: `Into ./${DEMO_DIR}` },
    { line: 'demo --data-dir try', note: 'Into a directory of your own' },
  ],
  exits: ['partial', 'store'],
  async run(_args, _options, io) {
    const [{ loadConfig, open }, { runLine }] = await Promise.all([import('../index.ts'), import('./runLine.ts')])
    const dataDir = io.options.dataDir ?? DEMO_DIR
    const place = ['--data-dir', dataDir]
    const say = (text: string): void => {
      if (!io.json) io.print(text)
    }

    const bucket = await serveDemoBucket()
    const { expected } = bucket
    try {
      say(`Made ${expected.events.toLocaleString('en-US')} events of two AWS accounts, three regions and three days:`)
      say(`${bucket.objects.toLocaleString('en-US')} objects, ${bytesText(bucket.bytes)}. An attack is among them.`)
      say(`\n${prompt(['collect', bucket.uri, '--endpoint', bucket.endpoint, ...place])}`)
      const coldtrail = await open(loadConfig({ file: io.options.config, dataDir, environment: process.env }), {
        log: io.log,
      })
      const display = await showProgress(io)
      const summary = await coldtrail
        .collect({ sources: [bucket.uri], settings: bucket.settings, signal: io.signal, onProgress: display.update })
        .finally(() => display.stop())
      if (io.json) io.emit(summary)
      for (const line of summaryLines(summary)) say(line)
      if (summary.error) throw summary.error
      io.signal.throwIfAborted()

      for (const { says, line, proof } of story(expected)) {
        say(`\n${io.style('bold', says)}\n${prompt([...line, ...place])}`)
        io.flush()
        const status = await runLine([...line, ...place, ...(io.json ? ['--json'] : [])])
        if (status !== 0) return status
        if (proof === undefined) continue
        const { count } = await coldtrail.count({ expression: proof.expression, signal: io.signal })
        if (count !== proof.expected) throw new ColdtrailError('E_DEMO_COUNT', { ...proof, count })
        say(io.style('green', `${count} events, exactly as many as the generator wrote.`))
      }
      await coldtrail.close()
      await forwardAttack(io, dataDir, say)
    } finally {
      await bucket.close()
    }
    say(`\n${io.style('bold', 'The same with your own bucket:')}`)
    say('  ./coldtrail source list s3://YOUR-BUCKET/AWSLogs/ --from -1d')
    say('  ./coldtrail collect s3://YOUR-BUCKET/AWSLogs/ --from -1d')
    say('  ./coldtrail search "error == \'AccessDenied\'"')
    say('or with a folder: ./coldtrail collect ./logs. README.md has the rights that are needed.')
    say('To your own Microsoft Sentinel: ./coldtrail forward table, then ./coldtrail forward --dry-run.')
    return undefined
  },
})

// --- internal ---

/** To an embedded Logs Ingestion API, as to the real one; what it holds afterwards must be what was said. */
async function forwardAttack(io: Io, dataDir: string, say: (text: string) => void): Promise<void> {
  const { loadConfig, open, parseConfig } = await import('../index.ts')
  const receiver = await serveDemoReceiver()
  Object.assign(process.env, receiver.environment)
  const destination = { name: DESTINATION, type: 'sentinel', ...receiver.settings }
  const { destinations } = parseConfig(JSON.stringify({ destinations: [destination] }), {
    file: 'demo',
    environment: {},
  })
  const coldtrail = await open(
    { ...loadConfig({ file: io.options.config, dataDir, environment: process.env }), destinations },
    { log: io.log },
  )
  try {
    say(`\n${io.style('bold', 'To Microsoft Sentinel (here: its Logs Ingestion API on loopback), only the attack:')}`)
    say(prompt(['forward', '--destination', DESTINATION, '--where', ATTACK_EXPRESSION]))
    io.flush()
    const [summary] = await coldtrail.forward({
      destinations: [DESTINATION],
      where: ATTACK_EXPRESSION,
      signal: io.signal,
    })
    if (io.json) io.emit(summary!)
    for (const line of forwardLines(summary!)) say(line)
    if (summary!.error) throw summary!.error
    const { records, distinct } = receiver.receipt()
    if (records !== summary!.events || distinct !== records)
      throw new ColdtrailError('E_DEMO_COUNT', {
        expression: `forwarded ${ATTACK_EXPRESSION}`,
        expected: summary!.events,
        count: distinct,
      })
    const feeds = await coldtrail.forwardStatus([DESTINATION])
    const accepted = feeds.reduce((sum, { counters }) => sum + counters.accepted, 0)
    const { count } = await coldtrail.count({ expression: ATTACK_EXPRESSION, signal: io.signal })
    if (accepted !== count)
      throw new ColdtrailError('E_DEMO_COUNT', { expression: ATTACK_EXPRESSION, expected: count, count: accepted })
    say(
      io.style(
        'green',
        `The receiver holds ${distinct} distinct events of this run; all ${count} of the attack have a receipt.`,
      ),
    )
  } finally {
    await coldtrail.close()
    await receiver.close()
  }
}

const DESTINATION = 'demo-sentinel'

/** What to type, as a shell takes it. */
function prompt(words: readonly string[]): string {
  const quoted = words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `"${word.replace(/["\\$`]/g, '\\$&')}"`))
  return `$ ./coldtrail ${quoted.join(' ')}`
}
