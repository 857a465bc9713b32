// `npm test`: types, style, then every test file in a process group of its own, so that a crash or a hang of one file
// costs that file alone. Fast pure files come first, then those that make network namespaces, then those that start a
// virtual machine, one at a time. The last line is `N passed, N failed`; with arguments only files whose path contains
// one of them run, without types and style.
import { spawn } from 'node:child_process'
import { globSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** What one step came to. `shown` is what a person needs to see of it: failures, and why tests were left out. */
type Outcome = { passed: number; failed: number; skipped: number; shown: string[] }

type Stage = { of: (file: string) => boolean; workers: number; limitSeconds: number }

const root = new URL('..', import.meta.url).pathname
const bin = `${root}node_modules/.bin`
/** Node's compile cache: removing types and compiling is most of the work of a short test or a start of a program. */
const COMPILE_CACHE = `${root}node_modules/.cache/margay`

/** A file belongs to the first stage that takes it; stages run one after another. */
const stages: readonly Stage[] = [
  { of: file => !/(\.netns|\bvm)\.test\.ts$/.test(file), workers: 2, limitSeconds: 120 },
  // three: the tests with other BGP daemons mostly wait for those daemons' timers
  { of: file => /\.netns\.test\.ts$/.test(file), workers: 3, limitSeconds: 180 },
  { of: file => /\bvm\.test\.ts$/.test(file), workers: 1, limitSeconds: 480 },
]

type Ended = { code: number | null; overtime: boolean }

/** Runs a program and gives each line of its output to `line`; past the limit its whole process group is killed. */
function run(
  command: string,
  args: readonly string[],
  limitSeconds: number,
  line: (text: string) => void,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE }
    const child = spawn(command, args, { cwd: root, detached: true, env, stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(child.pid!)
    let overtime = false
    const timer = setTimeout(() => {
      overtime = true
      killGroup(child.pid!)
    }, limitSeconds * 1000)
    createInterface({ input: child.stdout }).on('line', line)
    createInterface({ input: child.stderr }).on('line', line)
    child.on('error', reject)
    child.on('exit', () => {
      clearTimeout(timer)
      if (overtime) return
      // A test may leave a process behind that still holds our pipes: it must not hold the run.
      setTimeout(() => killGroup(child.pid!), 2000).unref()
    })
    child.on('close', code => {
      running.delete(child.pid!)
      resolve({ code, overtime })
    })
  })
}

const running = new Set<number>()

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // The group is gone already.
  }
}

/** A whole-project check is one test: it passes with exit code 0. */
async function check(args: readonly [string, ...string[]]): Promise<Outcome> {
  const shown: string[] = []
  const { code } = await run(`${bin}/${args[0]}`, args.slice(1), 120, text => shown.push(text))
  return code === 0
    ? { passed: 1, failed: 0, skipped: 0, shown: [] }
    : { passed: 0, failed: 1, skipped: 0, shown: [...shown, `not ok - ${args.join(' ')}`] }
}

/**
 * One file under ava, its TAP lines counted. A test that logs a line starting with "skip" is counted as skipped.
 * Whatever ends abnormally without a `not ok` line of its own is one failure.
 */
async function testFile(file: string, limitSeconds: number): Promise<Outcome> {
  const outcome: Outcome = { passed: 0, failed: 0, skipped: 0, shown: [] }
  const all: string[] = []
  let title = ''
  let failing = false
  let planned = false
  const args = [`${bin}/ava`, '--tap', `--timeout=${limitSeconds + 60}s`, file]
  const { code, overtime } = await run(process.execPath, args, limitSeconds, text => {
    all.push(text)
    const result = /^(ok|not ok) \d+ - (.*)$/.exec(text)
    if (result !== null) {
      title = result[2]!
      failing = result[1] === 'not ok'
      if (title.endsWith('# SKIP')) outcome.skipped++
      else if (failing) outcome.failed++
      else outcome.passed++
      if (failing) outcome.shown.push(`not ok - ${file}: ${title}`)
    } else if (/^1\.\.\d+$/.test(text)) {
      planned = true
      failing = false
    } else if (!failing && title !== '' && /^# {2,}skip/i.test(text)) {
      outcome.passed--
      outcome.skipped++
      outcome.shown.push(`skipped - ${file}: ${title}: ${text.replace(/^#\s+/, '')}`)
      title = '' // one test is skipped once, however much it logs
    } else if (failing) outcome.shown.push(text)
  })
  if (overtime) {
    outcome.failed++
    outcome.shown.push(`not ok - ${file}: killed after ${limitSeconds} s; its last lines:`, ...all.slice(-20))
  } else if ((code !== 0 || !planned) && outcome.failed === 0) {
    outcome.failed++
    outcome.shown.push(`not ok - ${file}: the test process ended with ${code}`, ...all.slice(-30))
  }
  return outcome
}

const total: Outcome = { passed: 0, failed: 0, skipped: 0, shown: [] }

function report(name: string, startedMs: number, outcome: Outcome): void {
  total.passed += outcome.passed
  total.failed += outcome.failed
  total.skipped += outcome.skipped
  const counts = [`${outcome.passed} passed`]
  if (outcome.failed > 0) counts.push(`${outcome.failed} FAILED`)
  if (outcome.skipped > 0) counts.push(`${outcome.skipped} skipped`)
  console.log(`${name}: ${counts.join(', ')} (${((Date.now() - startedMs) / 1000).toFixed(1)} s)`)
  for (const line of outcome.shown) console.log(`  ${line}`)
}

async function runStage({ workers, limitSeconds }: Stage, files: string[]): Promise<void> {
  const work = async () => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) {
      const startedMs = Date.now()
      report(file, startedMs, await testFile(file, limitSeconds))
    }
  }
  await Promise.all(Array.from({ length: workers }, work))
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    // Tests clean up after an interrupt themselves; those that do not are swept by the next run.
    for (const pid of running) {
      try {
        process.kill(-pid, 'SIGINT')
      } catch {
        // Already gone.
      }
    }
    process.exit(130)
  })

const only = process.argv.slice(2)
if (only.length === 0)
  for (const args of [
    ['tsc', '--noEmit'],
    ['biome', 'check', '.'],
  ] as const) {
    const startedMs = Date.now()
    report(args.join(' '), startedMs, await check([...args]))
  }
const files = globSync('test/**/*.test.ts', { cwd: root })
  .filter(file => only.length === 0 || only.some(part => file.includes(part)))
  .sort()
for (const [i, stage] of stages.entries())
  await runStage(
    stage,
    files.filter(file => stages.findIndex(each => each.of(file)) === i),
  )
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : ''
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`)
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0
