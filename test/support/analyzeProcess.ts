/** A run of analyses in a process of its own, for tests that kill it: data directory, plugins and options as JSON. */
import { runAnalysis } from './analyses.ts'

const [dataDir, plugins = '{}', options = '{}'] = process.argv.slice(2) as [string, string, string]
try {
  const summary = await runAnalysis(dataDir, JSON.parse(plugins), JSON.parse(options))
  process.stdout.write(JSON.stringify({ run: summary.run, state: summary.report.state }))
} catch (error) {
  process.stdout.write(JSON.stringify(error))
  process.exitCode = 1
}
