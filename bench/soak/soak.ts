// Pods come and go at random while what they need is killed. Which pods, where and what follows from the seed; when each
// thing happens depends on the machine.
import { setTimeout as pause } from 'node:timers/promises'
import { type Double, Ledger, type Lost, percentile, type Start, TARGETS } from './ledger.ts'
import { type Leak, pick, type Random, type Victim, type World } from './world.ts'

export type SoakOptions = {
  starts: number
  /** After so many no pod is started any more. */
  mostSeconds: number
  kill: readonly Victim[]
  random: Random
  /** Pods that are started or ended at the same time. */
  atOnce: number
  /** Pods that live at the same time, at the most. */
  live: number
  /** The mean pause between two kills of one kind. */
  killSeconds: number
  /** Whether agents start again before what is left is looked for, which takes two minutes less. */
  restartAtEnd: boolean
  say: (text: string) => void
}

export type Outcome = {
  starts: number
  seconds: number
  lost: Lost[]
  doubles: Double[]
  leaks: Leak[]
  /** Paths between nodes that agents called lost or translated, though none was; undefined where that is not asked. */
  alarms: string[] | undefined
  /** Pods that never ran, with the reason. */
  failed: string[]
  refused: number | undefined
  kills: ReadonlyMap<Victim, number>
  /** Milliseconds; undefined where they are not measured. */
  add: Times | undefined
  start: Times | undefined
  firstAnswer: Times | undefined
  memory: { start: ReadonlyMap<string, number>; end: ReadonlyMap<string, number> }
}

export type Times = { p50: number; p99: number; most: number }

/** Blocks are published up to two minutes late, and released addresses rest for half a minute before. */
const LEAK_LIMIT_MS = 240_000
const LOOK_MS = 10_000
const PROGRESS_MS = 10_000

/** Runs it to its end. Rejects when what was killed does not come back. */
export async function soak(world: World, options: SoakOptions): Promise<Outcome> {
  const { starts, mostSeconds, kill, random, say } = options
  const ledger = new Ledger()
  const kills = new Map<Victim, number>(kill.map(victim => [victim, 0]))
  const answerMs: number[] = []
  const live: Start[] = []
  const failed: string[] = []
  const memoryAtStart = await world.memory()
  const startedMs = performance.now()
  const since = () => performance.now() - startedMs
  let begun = 0

  const endOne = async () => {
    const [start] = live.splice(Math.floor(random() * live.length), 1)
    if (start === undefined) return
    ledger.ending(start)
    await world.end(start)
  }
  const startOne = async () => {
    const start = await world.start(pick(world.nodes, random), random)
    const before = [ledger.lost.length, ledger.doubles.length] as const
    ledger.started(start, since())
    live.push(start)
    for (const answer of Object.values(start.answered)) if (typeof answer === 'number') answerMs.push(answer)
    for (const lost of ledger.lost.slice(before[0])) say(`LOST ${lostText(lost)}`)
    for (const double of ledger.doubles.slice(before[1])) say(`TWICE ${doubleText(double)}`)
  }
  const work = async () => {
    while (begun < starts && since() < mostSeconds * 1000) {
      begun++
      await startOne().catch((error: Error) => {
        failed.push(error.message)
        say(`NOT STARTED ${error.message}`)
      })
      while (random() * options.live < live.length) await endOne()
    }
  }
  const strikes = async (victim: Victim, isOver: () => boolean) => {
    while (!isOver()) {
      const waitMs = options.killSeconds * 1000 * (0.5 + random())
      for (const end = since() + waitMs; since() < end && !isOver(); ) await pause(Math.min(200, waitMs))
      if (isOver()) return
      say(`killed ${await world.strike(victim, random)}`)
      kills.set(victim, kills.get(victim)! + 1)
    }
  }

  let over = false
  const progress = setInterval(() => {
    const rate = (ledger.starts / (since() / 1000)).toFixed(1)
    const killed = [...kills].map(([victim, count]) => `${victim} ${count}`).join(', ')
    say(
      `${ledger.starts} of ${starts} starts, ${rate}/s, ${ledger.lost.length} lost, ${ledger.doubles.length} doubles, ${live.length} pods live; killed: ${killed || 'nothing'}`,
    )
  }, PROGRESS_MS)
  try {
    const working = Promise.all(Array.from({ length: options.atOnce }, work)).finally(() => {
      over = true
    })
    await Promise.all([working, ...kill.map(victim => strikes(victim, () => over))])
  } finally {
    over = true
    clearInterval(progress)
  }
  const seconds = since() / 1000
  say(`${ledger.starts} starts in ${seconds.toFixed(0)} s; taking the last ${live.length} pods away`)
  await Promise.all(
    Array.from({ length: options.atOnce }, async () => {
      while (live.length > 0) await endOne()
    }),
  )
  const memoryAtEnd = await world.memory()
  await world.settled()
  if (options.restartAtEnd) await world.restartAgents()
  const leaks = await leaksAtEnd(world, ledger.given, say)
  const alarms = await world.alarms()
  for (const alarm of alarms ?? []) say(`ALARM ${alarm}`)
  return {
    alarms,
    ...{ starts: ledger.starts, seconds, lost: ledger.lost, doubles: ledger.doubles, leaks, failed, kills },
    refused: world.refused,
    ...{ add: timesOf(ledger.addMs), start: timesOf(ledger.startMs), firstAnswer: timesOf(answerMs) },
    memory: { start: memoryAtStart, end: memoryAtEnd },
  }
}

/** What is left when nothing more goes by itself. */
async function leaksAtEnd(world: World, given: ReadonlySet<string>, say: (text: string) => void): Promise<Leak[]> {
  const end = performance.now() + LEAK_LIMIT_MS
  for (;;) {
    const leaks = await world.leaks(given)
    if (leaks.length === 0 || performance.now() > end) {
      for (const { kind, what } of leaks) say(`LEFT ${kind}: ${what}`)
      return leaks
    }
    say(`${leaks.length} things not gone yet, such as ${leaks[0]!.kind}: ${leaks[0]!.what}`)
    await pause(LOOK_MS)
  }
}

function timesOf(values: readonly number[]): Times | undefined {
  const [p50, p99, most] = [50, 99, 100].map(percent => percentile(values, percent))
  return p50 === undefined || p99 === undefined || most === undefined ? undefined : { p50, p99, most }
}

function lostText({ pod, node, to, asked, why, atMs }: Lost): string {
  return `${TARGETS[to]} (${asked}): ${pod} on ${node} after ${(atMs / 1000).toFixed(1)} s: ${why}`
}

function doubleText({ address, pods, atMs }: Double): string {
  return `${address} of ${pods.join(' and ')} after ${(atMs / 1000).toFixed(1)} s`
}
