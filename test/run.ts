// `npm test`: types, style, then every test file, each in a process of its own, so that a crash or a hang of one file
// costs that file alone. The virtual machine and the tests that wait for other daemons' timers begin first, beside each
// other; short pure files fill the rest, several after one another under one start of ava. The last line is
// `N passed, N failed`; with arguments only files whose path contains one of them run, without types and style.
import { spawn } from 'node:child_process'
import { globSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { buildPrograms } from '../lab/built-programs.ts'

/** What one step came to. `shown` is what a person needs to see of it: failures, and why tests were left out. */
type Outcome = { passed: number; failed: number; skipped: number; shown: string[] }

const root = new URL('..', import.meta.url).pathname
const bin = `${root}node_modules/.bin`
/** Node's compile cache: removing types and compiling is most of the work of a short test or a start of a program. */
const COMPILE_CACHE = `${root}node_modules/.cache/margay`

/**
 * How files run. `cores` is the part of a processor that one keeps busy, as measured: files run beside each other as long
 * as the sum is at most `CORES`. `together` is how many share a start of ava, which costs as much as a short file itself.
 * Past `limitSeconds` a file is killed.
 */
type Kind = { of: RegExp; cores: number; together: number; limitSeconds: number }

/** A file is of the first kind whose pattern it matches, and kinds begin in this order. */
const kinds: readonly Kind[] = [
  // two emulated processors
  { of: /\bvm\.test\.ts$/, cores: 1.4, together: 1, limitSeconds: 480 },
  // these mostly wait: for the timers of other BGP daemons, for leases to end
  {
    of: /bgp\/(bfd\/)?(gobgp|frr|bird3?|exabgp|openbgpd|bgp|racks|next-hops|drain)\.netns|controllers\/stopped-leader|agent\/(bgp-passwords|filters)/,
    cores: 0.25,
    together: 1,
    limitSeconds: 300,
  },
  { of: /\.netns\.test\.ts$/, cores: 0.66, together: 1, limitSeconds: 180 },
  // a browser that draws by the processor; skipped at once where none is installed
  { of: /ui\/page/, cores: 1.2, together: 1, limitSeconds: 300 },
  // several builds, in `npm run test:image` alone; elsewhere it is skipped at once
  { of: /image\/whole-image/, cores: 1, together: 1, limitSeconds: process.env['MARGAY_TEST_IMAGE'] ? 1800 : 120 },
  // an API server of their own each
  { of: /manifests\/(kubectl|calico-crds)/, cores: 0.66, together: 1, limitSeconds: 240 },
  // pure files of more than some seconds: begun before the short ones, so that none of them ends the run alone
  {
    of: /ctl\/(program|socket|resources|calicoctl|completion|kubectl-plugin|output\/templates)|apiserver\/(abuse|durability)|cni\/(plugin|crash|power-cut|history)|package\/package|image\/programs|manifests\/helm|walks|calculator|ipam\/(race|every-order)|dns\/hostile-pods/,
    cores: 1,
    together: 1,
    limitSeconds: 120,
  },
  { of: /./, cores: 1, together: 8, limitSeconds: 120 },
]

/** Two processors, and a little for the rounding of the sum. */
const CORES = 2.1

/** The folder of what tests start as programs, built once: a start takes half the time. Undefined: they start the source. */
let built: string | undefined

type Ended = { code: number | null; overtime: boolean }

/**
 * Runs a program and gives each line of its output to `line`; past the limit its whole process group is killed. Where the
 * whole run may take longer, the limit is for the time without a line.
 */
function run(
  command: string,
  args: readonly string[],
  limitSeconds: number,
  line: (text: string) => void,
  wholeSeconds = limitSeconds,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE, MARGAY_TEST_PROGRAMS: built }
    const child = spawn(command, args, { cwd: root, detached: true, env, stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(child.pid!)
    let overtime = false
    const kill = () => {
      overtime = true
      killGroup(child.pid!)
    }
    const timer = setTimeout(kill, limitSeconds * 1000)
    const whole = setTimeout(kill, wholeSeconds * 1000)
    for (const input of [child.stdout, child.stderr])
      createInterface({ input }).on('line', text => {
        if (wholeSeconds > limitSeconds) timer.refresh()
        line(text)
      })
    child.on('error', reject)
    child.on('exit', () => {
      clearTimeout(timer)
      clearTimeout(whole)
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

type FileOutcome = Outcome & { file: string; endedMs: number }

/**
 * Files under one ava, one after another, their TAP lines counted by file. A test that logs a line starting with "skip"
 * is counted as skipped. What ends abnormally without a `not ok` line of its own is one failure. Where ava cannot say
 * which file of several did that, each is run again alone, and it stays a failure if all of them pass.
 */
async function testFiles(files: readonly string[], limitSeconds: number): Promise<FileOutcome[]> {
  const { outcomes, fault } = await runAva(files, limitSeconds)
  if (fault === undefined) return outcomes
  const blame = (outcome: FileOutcome) => {
    outcome.failed++
    outcome.shown.push(`not ok - ${files.join(', ')}: ${fault[0]}`, ...fault.slice(1))
  }
  if (files.length === 1) {
    blame(outcomes[0]!)
    return outcomes
  }
  const alone: FileOutcome[] = []
  for (const file of files) alone.push(...(await testFiles([file], limitSeconds)))
  if (alone.every(({ failed }) => failed === 0)) blame(alone[0]!)
  return alone
}

/** `fault`: how it ended abnormally, and its last lines. */
type AvaRun = { outcomes: FileOutcome[]; fault: string[] | undefined }

/** The limit is for one file as a whole, and for each line of several. */
async function runAva(files: readonly string[], limitSeconds: number): Promise<AvaRun> {
  const outcomes = files.map(file => ({ file, endedMs: 0, passed: 0, failed: 0, skipped: 0, shown: [] as string[] }))
  const all: string[] = []
  let current = outcomes[0]!
  let title = ''
  let failing = false
  let planned = false
  let stranger: string | undefined
  // never ava's own time limit: when it is over, the TAP reporter of 8.0.1 throws
  const args = [`${bin}/ava`, '--tap', '--concurrency=1', '--timeout=1h', ...files]
  const line = (text: string) => {
    all.push(text)
    const result = /^(ok|not ok) \d+ - (.*)$/.exec(text)
    if (result !== null) {
      title = result[2]!
      failing = result[1] === 'not ok'
      const index = fileOf(title, files)
      if (index < 0) stranger = title
      current = outcomes[index] ?? current
      current.endedMs = Date.now()
      if (title.endsWith('# SKIP')) current.skipped++
      else if (failing) current.failed++
      else current.passed++
      if (failing) current.shown.push(`not ok - ${current.file}: ${title}`)
    } else if (/^1\.\.\d+$/.test(text)) {
      planned = true
      failing = false
    } else if (!failing && title !== '' && /^# {2,}skip/i.test(text)) {
      current.passed--
      current.skipped++
      current.shown.push(`skipped - ${current.file}: ${title}: ${text.replace(/^#\s+/, '')}`)
      title = '' // one test is skipped once, however much it logs
    } else if (failing) current.shown.push(text)
  }
  const { code, overtime } = await run(process.execPath, args, limitSeconds, line, limitSeconds * files.length)
  const failed = outcomes.some(outcome => outcome.failed > 0)
  const silent = outcomes.find(({ endedMs }) => endedMs === 0)
  const end = overtime
    ? `killed after ${limitSeconds} s`
    : !planned || (code !== 0 && !failed)
      ? `the test process ended with ${code}`
      : (stranger ?? (silent && `no test of ${silent.file} gave a result`))
  return { outcomes, fault: end === undefined ? undefined : [`${end}; its last lines:`, ...all.slice(-30)] }
}

/**
 * Which of several files a title of ava belongs to: it begins with the file's path below their common folder, or names the
 * file. Below zero: it does not say.
 */
function fileOf(title: string, files: readonly string[]): number {
  if (files.length === 1) return 0
  const first = files[0]!.split('/')
  const shared = first.findIndex((part, i) => files.some(file => file.split('/')[i] !== part))
  const starts = files.map(
    file =>
      `${file
        .replace(/\.test\.ts$/, '')
        .split('/')
        .slice(shared)
        .join(' › ')} › `,
  )
  const lengths = starts.map((start, i) => (title.startsWith(start) || title.includes(files[i]!) ? start.length : 0))
  const longest = Math.max(...lengths)
  return longest === 0 ? -1 : lengths.indexOf(longest)
}

const total: Outcome = { passed: 0, failed: 0, skipped: 0, shown: [] }

function report(name: string, ms: number, outcome: Outcome): void {
  total.passed += outcome.passed
  total.failed += outcome.failed
  total.skipped += outcome.skipped
  const counts = [`${outcome.passed} passed`]
  if (outcome.failed > 0) counts.push(`${outcome.failed} FAILED`)
  if (outcome.skipped > 0) counts.push(`${outcome.skipped} skipped`)
  console.log(`${name}: ${counts.join(', ')} (${(ms / 1000).toFixed(1)} s)`)
  for (const line of outcome.shown) console.log(`  ${line}`)
}

type Job = { cores: number; work: () => Promise<void> }

/**
 * Runs the jobs, each as soon as the processors have room for it; of several that have, the first. One that needs much may
 * be passed by others: it should be the first of all.
 */
async function runJobs(jobs: readonly Job[]): Promise<void> {
  const waiting = [...jobs]
  const working = new Set<Promise<void>>()
  let busy = 0
  while (waiting.length > 0 || working.size > 0) {
    const next = waiting.findIndex(({ cores }) => busy + cores <= CORES)
    if (next < 0) {
      await Promise.race(working)
      continue
    }
    const [{ cores, work }] = waiting.splice(next, 1) as [Job]
    busy += cores
    const done = work().finally(() => {
      busy -= cores
      working.delete(done)
    })
    working.add(done)
  }
}

function checkJob(args: readonly [string, ...string[]]): Job {
  const work = async () => {
    const startedMs = Date.now()
    const outcome = await check(args)
    report(args.join(' '), Date.now() - startedMs, outcome)
  }
  return { cores: 1, work }
}

/** The jobs of a kind: its files, `together` at a time. */
function fileJobs({ cores, together, limitSeconds }: Kind, files: readonly string[]): Job[] {
  const groups = Array.from({ length: Math.ceil(files.length / together) }, (_, i) =>
    files.slice(i * together, (i + 1) * together),
  )
  return groups.map(group => ({
    cores,
    work: async () => {
      let startedMs = Date.now()
      const outcomes = await testFiles(group, limitSeconds)
      for (const outcome of outcomes.sort((a, b) => a.endedMs - b.endedMs)) {
        const endedMs = Math.max(startedMs, group.length === 1 ? Date.now() : outcome.endedMs)
        report(outcome.file, endedMs - startedMs, outcome)
        startedMs = endedMs
      }
    },
  }))
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
const files = globSync('test/**/*.test.ts', { cwd: root })
  .filter(file => only.length === 0 || only.some(part => file.includes(part)))
  .sort()
const [longest = [], ...others] = kinds.map((kind, i) =>
  fileJobs(
    kind,
    files.filter(file => kinds.findIndex(({ of }) => of.test(file)) === i),
  ),
)
const startedMs = Date.now()
try {
  built = await buildPrograms(['agent/main', 'agent/margay-bgp', 'apiserver/main', 'ctl/main'], COMPILE_CACHE)
} catch (error) {
  report('build', Date.now() - startedMs, { passed: 0, failed: 1, skipped: 0, shown: [`not ok - build: ${error}`] })
}
const checks = [checkJob(['tsc', '--noEmit']), checkJob(['tsc', '-p', 'ui/pages']), checkJob(['biome', 'check', '.'])]
// what needs the most of the processors begins while they are free: nothing waits for room for it
await runJobs([...longest, ...(only.length === 0 ? checks : []), ...others.flat()])
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : ''
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`)
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0
