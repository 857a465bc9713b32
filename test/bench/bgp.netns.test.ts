import test, { type ExecutionContext } from 'ava'
import { runScenario } from '../../bench/bgp/arena.ts'
import { type DaemonName, isInstalled } from '../../bench/bgp/daemons.ts'
import { ROWS, SCENARIOS, type ScenarioName, type Sizes } from '../../bench/bgp/scenarios.ts'

const SIZES: Sizes = { routes: 20_000, peers: 5, each: 400, shared: 360, idle: 10, idleSeconds: 1, quietMs: 300 }
const LIMIT_MS = 120_000
/** Tests share the machine with others: this only tells a speaker that works from one that does not. */
const TIMES_BIRD = 20
const LEAST_SECONDS = 1

function skipped(t: ExecutionContext): boolean {
  if (process.getuid?.() === 0) return false
  t.log('skipped: network namespaces need root')
  t.pass()
  return true
}

async function measure(daemon: DaemonName, scenario: ScenarioName) {
  const { measured } = await runScenario(daemon, scenario, SIZES, AbortSignal.timeout(LIMIT_MS))
  return new Map(Object.entries(measured))
}

test.serial(
  '20,000 routes pass through margay-bgp not much slower than through BIRD, again on request, and leave',
  async t => {
    if (skipped(t)) return
    const ours = await measure('margay', 'routes')
    const rows = ['all routes: time', 'route refresh: time', 'withdraw all: time']
    for (const row of rows) t.true(ours.get(row)! > 0, row)
    t.true(ours.get('all routes: peak memory')! < 400)
    if (!isInstalled('bird')) return t.log('no BIRD to compare with')
    const bird = await measure('bird', 'routes')
    const most = Math.max(LEAST_SECONDS, TIMES_BIRD * bird.get('all routes: time')!)
    t.true(
      ours.get('all routes: time')! < most,
      `${ours.get('all routes: time')} s, BIRD ${bird.get('all routes: time')} s`,
    )
  },
)

test.serial('the scenarios of many peers, of latency, of kernel routes and of idle peers fill their rows', async t => {
  if (skipped(t)) return
  const rows = new Set<string>()
  for (const scenario of Object.keys(SCENARIOS) as ScenarioName[]) {
    if (scenario === 'routes') continue
    for (const [row, value] of await measure('margay', scenario)) {
      t.true(Number.isFinite(value), row)
      rows.add(row)
    }
  }
  t.is(rows.size, Object.keys(ROWS).length - 7)
})
