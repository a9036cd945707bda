/**
 * Set-up of a clone: the packages of package-lock.json, and with them the Node runtime. Runs on Node 20 without any
 * dependency, asks nothing, prints on standard error only. `node_modules/.coldtrail-setup` is a copy of the lock file
 * that was installed; the launcher compares the two, so that a changed lock and nothing else sets up again.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const lockFile = join(root, 'package-lock.json')
const stamp = join(root, 'node_modules', '.coldtrail-setup')
const turn = join(root, '.coldtrail-setup.lock')
// Whatever NODE_ENV or the user's npm configuration say: the runtime is an optional package, the type checker a dev one.
const NPM_CI = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error']
const json = process.argv.includes('--json')

await takeTurn()
try {
  if (!isSetUp()) {
    if (!installed()) install()
    const fresh = `${stamp}.${process.pid}`
    copyFileSync(lockFile, fresh)
    renameSync(fresh, stamp)
  }
} finally {
  rmSync(turn, { force: true })
}

// --- internal ---

function isSetUp() {
  return existsSync(stamp) && readFileSync(stamp).equals(readFileSync(lockFile))
}

/** Whether npm has already installed exactly this lock: then nothing is fetched, and no network is needed. */
function installed() {
  const record = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(record)) return false
  const have = JSON.parse(readFileSync(record, 'utf8')).packages
  const wanted = Object.entries(JSON.parse(readFileSync(lockFile, 'utf8')).packages)
  return wanted.every(
    ([path, entry]) =>
      path === '' ||
      (have[path] ? have[path].version === entry.version && existsSync(join(root, path)) : entry.optional),
  )
}

function install() {
  process.stderr.write('coldtrail: first start, installing the packages of package-lock.json …\n')
  const { status, error, stdout, stderr } = spawnSync('npm', NPM_CI, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 64 * 1024 * 1024,
  })
  if (status === 0) return
  const cause = (error?.message ?? (stderr || stdout)).trim().split('\n').slice(0, 12).join('\n  ')
  rmSync(turn, { force: true })
  fail(
    'E_SETUP_NPM',
    `The set-up failed: npm ci ended with ${status ?? error?.code ?? 'a signal'}.\n  ${cause}`,
    'Check the network and the registry (npm ping), then run it again; across an air gap copy node_modules too.',
  )
}

/**
 * Two processes started at once: one installs, the other waits. The turn is a symbolic link whose target is the process
 * id: made and named in one step. One whose process is gone is taken over.
 */
async function takeTurn() {
  for (let said = false; ; ) {
    try {
      symlinkSync(String(process.pid), turn)
      return
    } catch (error) {
      if (error.code !== 'EEXIST') {
        fail(
          'E_SETUP_WRITE',
          `Cannot write into ${root}: ${error.message}.`,
          'Run it once as a user who may write there.',
        )
      }
    }
    if (abandoned()) {
      rmSync(turn, { force: true })
      continue
    }
    if (!said) process.stderr.write('coldtrail: another process is doing the set-up, waiting …\n')
    said = true
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

function abandoned() {
  try {
    process.kill(Number(readlinkSync(turn)), 0)
    return false
  } catch (error) {
    // ENOENT: the turn has just ended. EPERM: another user's process, alive.
    return error.code === 'ESRCH'
  }
}

function fail(code, message, hint) {
  const text = json
    ? JSON.stringify({ type: 'error', code, message, hint, exit: 1, retry: 'never', values: {} })
    : `coldtrail: ${message} (${code})\n  hint: ${hint}`
  process.stderr.write(`${text}\n`)
  process.exit(1)
}
