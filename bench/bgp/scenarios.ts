// What is measured, one function per start of a daemon. They run in the tester process, inside the tester's network
// namespace; times are from the first octet of the first UPDATE until the last peer has all it should have.
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { formatIpv4 } from '../../lib/ip.ts'
import { cpuSeconds, memoryMib } from '../process-use.ts'
import { longestTurnMs } from './diary.ts'
import { DAEMON, FIRST_PREFIX, place, type TestPlace } from './places.ts'
import { RouteWatch } from './route-watch.ts'
import { announcements, withdrawals } from './streams.ts'
import { TestPeer } from './test-peer.ts'

/** Row name to value; the name says what, `UNITS` says in which unit. */
export type Measured = Partial<Record<RowName, number>>

/** Every row of the table with its unit, in the order of the table. */
export const ROWS = {
  'all routes: time': 's',
  'all routes: CPU': 's',
  'all routes: peak memory': 'MiB',
  'route refresh: time': 's',
  'route refresh: CPU': 's',
  'withdraw all: time': 's',
  'withdraw all: CPU': 's',
  '100 peers: time': 's',
  '100 peers: CPU': 's',
  '100 peers: peak memory': 'MiB',
  'while routes arrive: latest KEEPALIVE': 'ms late',
  'while routes arrive: ESTABLISHED to first UPDATE': 'ms',
  'all routes held: ESTABLISHED to first UPDATE': 'ms',
  'into the kernel: time': 's',
  'into the kernel: CPU': 's',
  'into the kernel: memory at a tenth': 'MiB',
  'into the kernel: memory at half': 'MiB',
  'into the kernel: peak memory': 'MiB',
  'into the kernel: latest KEEPALIVE': 'ms late',
  'into the kernel: longest turn': 'ms',
  'one of two peers lost: time': 's',
  'one of two peers lost: CPU': 's',
  'one of two peers lost: requests to the kernel': '',
  'one of two peers lost: latest KEEPALIVE': 'ms late',
  'one of two peers lost: longest turn': 'ms',
  'out of the kernel: time': 's',
  'out of the kernel: CPU': 's',
  'out of the kernel: latest KEEPALIVE': 'ms late',
  'out of the kernel: longest turn': 'ms',
  'idle peers: memory': 'MiB',
  'idle peers: CPU': 's/min',
} as const
export type RowName = keyof typeof ROWS

/** How many routes, peers and seconds; results with `quick` sizes are not for a document. */
export type Sizes = {
  routes: number
  peers: number
  each: number
  shared: number
  idle: number
  idleSeconds: number
  quietMs: number
}

export type Scenario = {
  /** The peers that the daemon must know. */
  places(sizes: Sizes): TestPlace[]
  /** `diary`: the file of one that keeps a diary (diary.ts). */
  run(pid: number, sizes: Sizes, diary: string): Promise<Measured>
}

const HOLD_SECONDS = 90
const KEEPALIVE_HOLD_SECONDS = 3
/** Routes whose next hops are looked at. */
const CHECKED = 100

export const SCENARIOS = {
  /** One feeder, one receiver: announce all, ask for all again, withdraw all. */
  routes: {
    places: () => [place(0), place(1)],
    async run(pid, { routes }) {
      await using stack = new AsyncDisposableStack()
      const [feeder, receiver] = [peer(stack, place(0), routes), peer(stack, place(1), routes)]
      const input = announcements(place(0), { first: 0, count: routes })
      const gone = withdrawals({ first: 0, count: routes })
      await Promise.all([feeder.establish(), receiver.establish()])
      const all = await timed(pid, async () => {
        const arrived = until(receiver, () => receiver.held.count === routes)
        await Promise.all([feeder.feed(input), arrived])
      })
      const peak = memoryMib(pid, 'VmHWM')
      const again = await timed(pid, () => {
        const from = receiver.held.announced
        const arrived = until(receiver, () => receiver.held.announced >= from + routes)
        receiver.requestRefresh()
        return arrived
      })
      const none = await timed(pid, async () => {
        const arrived = until(receiver, () => receiver.held.count === 0)
        await Promise.all([feeder.feed(gone), arrived])
      })
      return {
        'all routes: time': all.seconds,
        'all routes: CPU': all.cpu,
        'all routes: peak memory': peak,
        'route refresh: time': again.seconds,
        'route refresh: CPU': again.cpu,
        'withdraw all: time': none.seconds,
        'withdraw all: CPU': none.cpu,
      }
    },
  },
  /** Many peers that mostly announce the same: every route has many candidates and goes to every peer. */
  peers: {
    places: ({ peers }) => Array.from({ length: peers }, (_, n) => place(n)),
    async run(pid, { peers, each, shared, quietMs }) {
      await using stack = new AsyncDisposableStack()
      const own = each - shared
      const span = shared + peers * own
      const all = Array.from({ length: peers }, (_, n) => peer(stack, place(n), span))
      const inputs = all.map((_, n) => [
        ...announcements(place(n), { first: 0, count: shared }),
        ...announcements(place(n), { first: shared + n * own, count: own }),
      ])
      await Promise.all(all.map(one => one.establish()))
      // a route need not go to the peer it was learned from; FRR sends it there too
      const expected = peers * (peers - 1) * own + (peers - 1) * shared
      const { cpu, seconds } = await timed(pid, async () => {
        const done = settled(all, quietMs, () => all.reduce((sum, { held }) => sum + held.count, 0) >= expected)
        await Promise.all([...all.map((one, n) => one.feed(inputs[n]!)), done])
        return Math.max(...all.map(one => one.lastUpdateMs))
      })
      return {
        '100 peers: time': seconds,
        '100 peers: CPU': cpu,
        '100 peers: peak memory': memoryMib(pid, 'VmHWM'),
      }
    },
  },
  /** Latencies under load: a peer that gets KEEPALIVEs only, one that comes in the middle and one that comes after. */
  latency: {
    places: () => [place(0), place(1), place(2, 'ipv6'), place(3), place(4)],
    async run(pid, { routes }) {
      await using stack = new AsyncDisposableStack()
      const [feeder, receiver, late, later] = [0, 1, 3, 4].map(n => peer(stack, place(n), routes)) as Four
      const idle = peer(stack, place(2, 'ipv6'), 0, KEEPALIVE_HOLD_SECONDS)
      const input = announcements(place(0), { first: 0, count: routes })
      await Promise.all([feeder.establish(), receiver.establish(), idle.establish()])
      const halfway = until(receiver, () => receiver.held.count > routes / 2).then(() => late.establish())
      const all = until(receiver, () => receiver.held.count === routes)
      await Promise.all([feeder.feed(input), halfway, all, until(late, () => late.held.count === routes)])
      await atRest(pid)
      await later.establish()
      await until(later, () => later.held.count > 0)
      const heard = idle.keepalives
      while (idle.keepalives < heard + 2) await delay(50)
      const intervalMs = (KEEPALIVE_HOLD_SECONDS * 1000) / 3
      return {
        'while routes arrive: latest KEEPALIVE': Math.max(0, idle.longestSilenceMs - intervalMs),
        'while routes arrive: ESTABLISHED to first UPDATE': late.firstUpdateMs! - late.establishedMs,
        'all routes held: ESTABLISHED to first UPDATE': later.firstUpdateMs! - later.establishedMs,
      }
    },
  },
  /** Two peers announce the same routes over equal paths: all of them into the kernel's table, one peer goes, all out of it. */
  kernel: {
    // their AS paths are equally long
    places: () => [place(0), place(4), place(2, 'ipv6')],
    async run(pid, { routes, quietMs }, diary) {
      await using stack = new AsyncDisposableStack()
      const [first, second] = [peer(stack, place(0), routes), peer(stack, place(4), routes)]
      const idle = peer(stack, place(2, 'ipv6'), 0, KEEPALIVE_HOLD_SECONDS)
      const span = { first: 0, count: routes }
      const [input, other, gone] = [announcements(place(0), span), announcements(place(4), span), withdrawals(span)]
      await Promise.all([first, second, idle].map(one => one.establish()))
      const before = kernelPrefixes(pid)
      // the kernel counts a table by walking through it: not for more than a tenth of the time
      const written = async (count: number, each: (routes: number) => void = () => undefined) => {
        for (let tookMs = 0; ; await delay(20 + 9 * tookMs)) {
          const fromMs = performance.now()
          const now = kernelPrefixes(pid) - before
          each(now)
          if (now === count) return
          tookMs = performance.now() - fromMs
        }
      }
      const phase = async (work: () => Promise<unknown>) => {
        const fromMs = Date.now()
        idle.longestSilenceMs = 0
        const used = await timed(pid, work)
        const turnMs = longestTurnMs(diary, fromMs)
        // a silence is known when it ends
        for (const heard = idle.keepalives; idle.keepalives === heard; await delay(50));
        const lateMs = Math.max(0, idle.longestSilenceMs - (KEEPALIVE_HOLD_SECONDS * 1000) / 3)
        return { ...used, lateMs, ...(turnMs !== undefined && { turnMs }) }
      }
      const memory = new Map<number, number>()
      const into = await phase(() => {
        const note = (count: number) => {
          for (const part of [10, 2])
            if (count >= routes / part && !memory.has(part)) memory.set(part, memoryMib(pid, 'VmRSS'))
        }
        return Promise.all([first.feed(input), second.feed(other), written(routes, note)])
      })
      const peak = memoryMib(pid, 'VmHWM')
      await atRest(pid)
      using watch = new RouteWatch(pid)
      const lost = await phase(async () => {
        second.close()
        do await delay(quietMs / 10)
        while (performance.now() - watch.lastMs < quietMs || !(await isLedToFirst(watch, routes)))
        return watch.lastMs
      })
      watch[Symbol.dispose]()
      if (watch.isShort) throw new Error('the kernel told more changes of routes than could be counted')
      const out = await phase(() => Promise.all([first.feed(gone), written(0)]))
      return {
        'into the kernel: time': into.seconds,
        'into the kernel: CPU': into.cpu,
        'into the kernel: memory at a tenth': memory.get(10)!,
        'into the kernel: memory at half': memory.get(2)!,
        'into the kernel: peak memory': peak,
        'into the kernel: latest KEEPALIVE': into.lateMs,
        ...(into.turnMs !== undefined && { 'into the kernel: longest turn': into.turnMs }),
        'one of two peers lost: time': lost.seconds,
        'one of two peers lost: CPU': lost.cpu,
        'one of two peers lost: requests to the kernel': watch.requests,
        'one of two peers lost: latest KEEPALIVE': lost.lateMs,
        ...(lost.turnMs !== undefined && { 'one of two peers lost: longest turn': lost.turnMs }),
        'out of the kernel: time': out.seconds,
        'out of the kernel: CPU': out.cpu,
        'out of the kernel: latest KEEPALIVE': out.lateMs,
        ...(out.turnMs !== undefined && { 'out of the kernel: longest turn': out.turnMs }),
      }
    },
  },
  /** Peers with nothing to say but KEEPALIVE, every ten seconds. */
  idle: {
    places: ({ idle }) => Array.from({ length: idle }, (_, n) => place(n)),
    async run(pid, { idle, idleSeconds }) {
      await using stack = new AsyncDisposableStack()
      const all = Array.from({ length: idle }, (_, n) => peer(stack, place(n), 0, 30))
      for (let n = 0; n < idle; n += 50) await Promise.all(all.slice(n, n + 50).map(one => one.establish()))
      await atRest(pid)
      const from = cpuSeconds(pid)
      await delay(idleSeconds * 1000)
      return {
        'idle peers: memory': memoryMib(pid, 'VmRSS'),
        'idle peers: CPU': ((cpuSeconds(pid) - from) * 60) / idleSeconds,
      }
    },
  },
} as const satisfies Record<string, Scenario>
export type ScenarioName = keyof typeof SCENARIOS

type Four = [TestPeer, TestPeer, TestPeer, TestPeer]

function peer(stack: AsyncDisposableStack, at: TestPlace, prefixes: number, holdSeconds = HOLD_SECONDS): TestPeer {
  const made = new TestPeer({ place: at, daemon: { ...DAEMON, port: 179 }, holdSeconds, prefixes })
  stack.defer(() => made.close())
  return made
}

/** IPv4 prefixes in the main table of the network namespace that a process is in. */
export function kernelPrefixes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/net/fib_triestat`, 'utf8')
  return Number(/^Main:.*?Prefixes:\s+(\d+)/ms.exec(text)?.[1])
}

/** Whether packets to some of the routes, the last one among them, go to the first peer alone. */
async function isLedToFirst(watch: RouteWatch, routes: number): Promise<boolean> {
  for (let n = routes - 1; n >= 0; n -= Math.ceil(routes / CHECKED)) {
    const gateways = await watch.gatewaysOf(formatIpv4((FIRST_PREFIX + n) * 256))
    if (gateways.join() !== place(0).address) return false
  }
  return true
}

/** Resolves in the read that makes `done` true. */
function until(one: TestPeer, done: () => boolean): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const before = one.onUpdates
  one.onUpdates = () => {
    before()
    if (done()) resolve()
  }
  one.onUpdates()
  return promise
}

/** Resolves when `done` holds and no peer got anything for a while: paths are no longer being exchanged. */
async function settled(all: readonly TestPeer[], quietMs: number, done: () => boolean): Promise<void> {
  do await delay(quietMs / 10)
  while (!done() || performance.now() - Math.max(...all.map(one => one.lastUpdateMs)) < quietMs)
}

/** Waits until the daemon uses no processor to speak of. */
async function atRest(pid: number): Promise<void> {
  for (let before = -1, now = cpuSeconds(pid); now - before > 0.01; now = cpuSeconds(pid)) {
    before = now
    await delay(300)
  }
}

/** Seconds and the daemon's processor seconds of `work`, which may answer the `performance.now()` of its own end. */
async function timed(pid: number, work: () => Promise<unknown>): Promise<{ seconds: number; cpu: number }> {
  const [cpuFrom, fromMs] = [cpuSeconds(pid), performance.now()]
  const answer = await work()
  const endMs = typeof answer === 'number' ? answer : performance.now()
  return { seconds: (endMs - fromMs) / 1000, cpu: cpuSeconds(pid) - cpuFrom }
}
