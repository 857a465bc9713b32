// `npm run bench:bfd`: BFD sessions of 3 x 50 ms with BIRD, over a link and multihop, in both families, while the thread of the
// speaker announces and withdraws 200,000 networks again and again and makes garbage: how often one is lost in `--minutes N`
// (60; a look: 0.2), and how long packets are lost when a router falls silent, with 3 x 50 ms and with the defaults. Ends with 1
// where a session was lost while every processor ran. BIRD has the priority that our thread has: the load is for us alone. A process
// on each processor, above both, watches it: a machine that stands still loses sessions too, which is no fault of the thread. V8 is set
// as the agent and margay-bgp set it. Needs root.
import { cpus } from 'node:os'
import { setImmediate as turn } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { limitYoungGeneration } from '../../agent/heap.ts'
import { BfdThread } from '../../bgp/bfd/thread.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import { runInNetns } from '../../kernel/netns.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { birdBfd, familyOfPath, PATHS, type Path } from '../../test/bgp/bfd/daemons.ts'
import { Failover } from '../../test/bgp/bfd/failover.ts'
import { passable } from '../../test/bgp/bfd/thread.ts'
import { makeLink, OURS, type TestLink, THEIRS, until } from '../../test/bgp/interop.ts'
import { fromArguments, HELP_OPTION, WrongUsage } from '../usage.ts'

const PROGRAM = pathToFileURL(new URL('../../agent/bfd-worker.ts', import.meta.url).pathname)
const NETWORKS = 200_000
const INTERVAL_MS = 50
const CUTS = 10
/** A packet later than this after the one before may cost a session. */
const STANDSTILL_MS = INTERVAL_MS

/** Says when its processor was not there for it: when it came back, and for how long it had been away. */
const WATCHER = `
let last = performance.now()
setInterval(() => {
  const now = performance.now()
  if (now - last > ${STANDSTILL_MS}) console.log(Date.now(), Math.round(now - last))
  last = now
}, 5)
`

async function main(minutes: number): Promise<boolean> {
  limitYoungGeneration()
  await using link = await passable(makeLink())
  const bfd = runInNetns(link.ours.path, () => new BfdThread(PROGRAM))
  const { command, args } = birdBfd.prepare(link, { paths: PATHS, intervalMs: INTERVAL_MS, multiplier: 3 })
  link.run('theirs', { name: 'bird', command: systemProgram('chrt'), args: ['-r', '1', command, ...args] })
  const losses = await underLoad(link, bfd, minutes)
  await bfd.close()
  for (const multihop of [false, true]) for (const intervalMs of [50, 300]) await failover(intervalMs, multihop)
  return losses === 0
}

async function allUp(link: TestLink, bfd: BfdThread): Promise<void> {
  for (const path of PATHS)
    bfd.setSession(path, { ...endsOf(path), desiredMinTxMs: INTERVAL_MS, requiredMinRxMs: INTERVAL_MS })
  await until('all are Up with the times of both', async () => {
    const { sessions } = await bfd.status()
    return (
      sessions.every(each => each.state === 'Up' && each.detectionTimeMs === 3 * INTERVAL_MS) &&
      birdBfd.sessions(link).every(each => each.state === 'up' && each.detectionMs === 3 * INTERVAL_MS)
    )
  })
}

function endsOf(path: Path) {
  const family = familyOfPath(path)
  const multihop = path === family ? undefined : { minTtl: birdBfd.multihopTtl }
  return { local: OURS[family], peer: THEIRS[family], multihop }
}

async function underLoad(link: TestLink, bfd: BfdThread, minutes: number): Promise<number> {
  await allUp(link, bfd)
  const before = new Map((await bfd.status()).sessions.map(each => [each.name, each]))
  const watchers = cpus().map((_, i) =>
    link.run('ours', {
      name: `watcher-${i}`,
      command: systemProgram('chrt'),
      args: ['-r', '2', systemProgram('taskset'), '-c', String(i), process.execPath, '-e', WATCHER],
    }),
  )
  const lost: { name: string; atMs: number }[] = []
  bfd.onChange(({ name, to, atMs }) => {
    if (to === 'Down') lost.push({ name, atMs })
  })
  const startMs = performance.now()
  const speaker = new Speaker({ asn: 65001, routerId: OURS.ipv4 }, { transport: new TcpTransport() })
  let [rounds, longestMs] = [0, 0]
  while (performance.now() - startMs < minutes * 60_000) {
    const turnMs = performance.now()
    // one turn of the event loop for each: nothing else of this thread gets through meanwhile
    for (let i = 0; i < NETWORKS; i++) speaker.announce({ prefix: prefixOf(i) })
    const garbage = Array.from({ length: 1_000_000 }, (_, i) => ({ i, text: `${i}` }))
    for (let i = 0; i < NETWORKS; i++) speaker.withdraw(prefixOf(i))
    if (garbage.length > 0) rounds++
    longestMs = Math.max(longestMs, performance.now() - turnMs)
    await turn()
  }
  await speaker.close()
  const { sessions } = await bfd.status()
  const minutesTaken = (performance.now() - startMs) / 60_000
  console.log(
    `${rounds} rounds of ${NETWORKS} networks in ${minutesTaken.toFixed(1)} minutes; the longest held this thread up for ${Math.round(longestMs)} ms`,
  )
  for (const { name, sent, received, losses, diagnostic } of sessions) {
    const was = before.get(name)!
    console.log(
      `${name}: ${sent - was.sent} sent, ${received - was.received} received, lost ${losses - was.losses} times${losses > was.losses ? ` (${diagnostic})` : ''}`,
    )
  }
  const stood = watchers.flatMap((watcher, cpu) =>
    [...watcher.output().matchAll(/^(\d+) (\d+)$/gm)].map(([, at, ms]) => ({ cpu, atMs: Number(at), ms: Number(ms) })),
  )
  console.log(
    `the processors were away ${stood.length} times for over ${STANDSTILL_MS} ms, the longest ${Math.max(0, ...stood.map(({ ms }) => ms))} ms`,
  )
  const explained = (atMs: number) =>
    stood.find(each => atMs >= each.atMs - each.ms && atMs <= each.atMs + 3 * INTERVAL_MS)
  for (const { name, atMs } of lost) {
    const { cpu, ms } = explained(atMs) ?? {}
    console.log(
      `${name} was lost at ${new Date(atMs).toISOString()}: ${ms === undefined ? 'both processors ran' : `processor ${cpu} was away for ${ms} ms`}`,
    )
  }
  return lost.filter(({ atMs }) => explained(atMs) === undefined).length
}

/** From the moment when the better of two routers falls silent to the last packet that is lost, of a thousand a second. */
async function failover(intervalMs: number, multihop: boolean): Promise<void> {
  await using world = await Failover.open({ intervalMs, multihop })
  const took: { lostMs: number; heardMs: number }[] = []
  for (let i = 0; i < CUTS; i++) {
    await world.ready()
    took.push(await world.lost())
  }
  const sorted = took.toSorted((a, b) => a.lostMs - b.lostMs)
  const of = (place: number) => Math.round(sorted[place]!.lostMs)
  const heard = took.map(({ heardMs }) => Math.round(heardMs)).toSorted((a, b) => a - b)
  const rest = took.map(({ lostMs, heardMs }) => Math.round(lostMs - heardMs)).toSorted((a, b) => a - b)
  console.log(
    `3 x ${intervalMs} ms${multihop ? ' over routers' : ''}: the last packet was lost ${of(CUTS >> 1)} ms after the router fell silent (median of ${CUTS}), ${of(CUTS - 1)} ms at most; BFD said so after ${heard[0]} to ${heard.at(-1)} ms, and from then on the routes took ${rest[0]} to ${rest.at(-1)} ms`,
  )
}

const prefixOf = (i: number) => `${100 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.0/24`

const HELP = `Usage: npm run bench:bfd [-- --minutes N]

Sessions of 3 x 50 ms with BIRD beside a busy speaker: how often one is lost, and for how long packets are when a router falls silent.

  --minutes N  how long the speaker is kept busy (default 60; 0.2 is a look)
  --help       this text

Exit codes: 0 no session was lost, 1 one was, 2 wrong usage.
`

const minutes = fromArguments(HELP, () => {
  const { values } = parseArgs({ options: { minutes: { type: 'string', default: '60' }, ...HELP_OPTION } })
  const number = Number(values.minutes)
  if (!(number > 0)) throw new WrongUsage(`--minutes ${values.minutes}: give a number above 0`)
  return { ...values, number }
}).number
process.exitCode = (await main(minutes)) ? 0 : 1
