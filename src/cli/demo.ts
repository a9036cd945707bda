import { existsSync, mkdirSync, renameSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { ColdtrailError } from '../core/errors.ts'
import { bytesText } from '../core/terminalText.ts'
import {
  ATTACK_DAY,
  ATTACK_EXPRESSION,
  ATTACKER,
  NO_ATTACKER,
  serveDemoBucket,
  serveDemoReceiver,
  story,
} from '../demo/demo.ts'
import type { Coldtrail } from '../index.ts'
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
    'Then the days of the attack leave on a volume; a hunt says that they could hold an address, and a restore brings them back. ' +
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
    const years = new Years(io, dataDir)
    await years.bringBack()
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
      await years.tell(place, say)
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

/** What becomes of logs in years: they leave on a volume, and come back when an indicator asks for them. */
class Years {
  private readonly io: Io
  private readonly dataDir: string
  private readonly volume: string
  private readonly safe: string

  constructor(io: Io, dataDir: string) {
    this.io = io
    this.dataDir = dataDir
    this.volume = resolve(dataDir, 'volume')
    this.safe = resolve(dataDir, 'safe')
  }

  async tell(place: readonly string[], say: (text: string) => void): Promise<void> {
    const { io } = this
    const until = ['--to', ATTACK_DAY]
    say(`\n${io.style('bold', 'Years later the days of the attack are on a volume, and the volume is in a safe:')}`)
    say(prompt(['tier', 'move', 'cold', ...until, '--label', LABEL]))
    const { moved } = await this.move('cold')
    renameSync(this.volume, this.safe)
    say(`${moved.files} files (${bytesText(moved.bytes)}) have left. Their manifests and keysets stay.`)
    if (io.json) io.emit({ type: 'tier move', ...moved })
    const { hunts, away } = await this.with(async (coldtrail) => {
      const hunts = await coldtrail.hunts.run({ values: [ATTACKER, NO_ATTACKER], signal: io.signal })
      return { hunts, away: hunts.segments.filter(({ isHere }) => !isHere).map(({ segment }) => String(segment)) }
    })
    const verdicts = Object.fromEntries([...hunts.verdicts(true)].map(({ value, verdict }) => [value, verdict]))
    if (verdicts[ATTACKER] !== 'possible' || verdicts[NO_ATTACKER] !== 'absent' || away.length === 0)
      throw new ColdtrailError('E_DEMO_COUNT', { expression: 'hunt', expected: 'possible, absent', count: verdicts })
    await this.line(
      'Today two addresses are reported. Which of the logs, most of them offline, could contain them?',
      say,
      [...['hunt', ATTACKER.replaceAll('.', '[.]'), NO_ATTACKER], ...place],
    )
    await this.line(
      'One is proved absent. For the other, restore exactly what could have it, from what the safe held:',
      say,
      [
        ...['restore', 'run', ...away, '--from-folder', join(this.dataDir, 'safe')],
        ...['--workbench', WORKBENCH, '--reason', 'reported address', ...place],
      ],
    )
    await this.line('And confirm:', say, [
      ...['hunt', ATTACKER, '--confirm', '--collection', `main,${WORKBENCH}`],
      ...place,
    ])
    await this.with(async (coldtrail) => {
      const collection = `main,${WORKBENCH}`
      const expression = `ip == '${ATTACKER}'`
      const restored = await coldtrail.count({ expression, collection, signal: io.signal })
      await this.bringBack()
      const { count: expected } = await coldtrail.count({ expression, signal: io.signal })
      if (restored.count !== expected || !restored.complete)
        throw new ColdtrailError('E_DEMO_COUNT', { expression, expected, count: restored.count })
      say(io.style('green', `${expected} events from there, as many as before they left. The volume is back now.`))
    })
  }

  /** Ends a story that was interrupted, too: the volume is found, its files become hot, the workbench goes. */
  async bringBack(): Promise<void> {
    if (existsSync(this.safe)) renameSync(this.safe, this.volume)
    if (!existsSync(this.volume)) return
    await this.move('hot')
    await this.with(async (coldtrail) => {
      const made = await coldtrail.workbenches.list()
      if (made.some(({ name }) => name === WORKBENCH)) await coldtrail.workbenches.remove(WORKBENCH, 'told')
    })
  }

  // --- internal ---

  private async move(to: 'hot' | 'cold') {
    mkdirSync(this.volume, { recursive: true })
    const days = { until: Date.parse(`${ATTACK_DAY}T23:59:59.999Z`) * 1_000 }
    const request = to === 'hot' ? { to } : { to, ...days, label: LABEL }
    const summary = await this.with((coldtrail) => coldtrail.tiers.move({ ...request, signal: this.io.signal }))
    const [fault] = summary.faults
    if (fault) throw new ColdtrailError('E_INTERNAL', { message: `${fault.name}: ${fault.reason}` })
    return summary
  }

  private async line(says: string, say: (text: string) => void, line: readonly string[]): Promise<void> {
    const { runLine } = await import('./runLine.ts')
    say(`\n${this.io.style('bold', says)}\n${prompt(line)}`)
    this.io.flush()
    const status = await runLine([...line, ...(this.io.json ? ['--json'] : [])])
    if (status !== 0) throw new ColdtrailError('E_INTERNAL', { message: `it ended with ${status}` })
  }

  /** The configuration, with a volume for what is cold. */
  private async with<R>(action: (coldtrail: Coldtrail) => Promise<R>): Promise<R> {
    const { loadConfig, open, parseConfig } = await import('../index.ts')
    const tiers = { hot: '=1t', cold: `${this.volume}=1t` }
    const { tiers: parsed } = parseConfig(JSON.stringify({ tiers }), { file: 'demo', environment: {} })
    const config = loadConfig({ file: this.io.options.config, dataDir: this.dataDir, environment: process.env })
    const coldtrail = await open({ ...config, tiers: parsed }, { log: this.io.log })
    try {
      return await action(coldtrail)
    } finally {
      await coldtrail.close()
    }
  }
}

const LABEL = 'safe 3'
const WORKBENCH = 'reported'

/** What to type, as a shell takes it. */
function prompt(words: readonly string[]): string {
  const quoted = words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `"${word.replace(/["\\$`]/g, '\\$&')}"`))
  return `$ ./coldtrail ${quoted.join(' ')}`
}
