// What path probes cost an agent, whatever the size of the cluster: rounds of five seconds, one after the other, between two network
// namespaces of this machine. The kernel's time for the far end and the link is in it too, which no agent has to itself.
import { closeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Paths } from '../agent/probes/paths.ts'
import { openProbeWire, type ProbeWire } from '../agent/probes/wire.ts'
import { openKernel } from '../kernel/linux/kernel.ts'
import { newNetns } from '../kernel/netns.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../kernel/port/routes.ts'
import type { Row } from './row.ts'

const NODES = 1_000
const ROUND_MS = 5_000
const [WARM_ROUNDS, ROUNDS] = [100, 300]
/** For all answers of a step. */
const ANSWERS_MS = 3
const [OWN, GATEWAY, ANSWERING] = ['10.126.0.1', '10.126.0.2', '10.127.0.0/16']

export async function benchProbes(): Promise<Row[]> {
  const namespace = newNetns()
  using host = openKernel()
  using far = host.inside(`/proc/${process.pid}/fd/${namespace}`)
  const wire = openProbeWire()
  try {
    using near = host.inside(wire.netns)
    await join(near, far, wire)
    const paths = new Paths({
      ...{ nodeName: 'n0', random: Math.random, isViewFresh: () => true },
      sessionOf: () => ({ is: 'up', forMs: 3_600_000 }),
    })
    for (let i = 1; i <= NODES; i++) {
      const of = { node: `n${i}`, family: 'ipv4', address: `10.127.${i >> 8}.${i & 255}` } as const
      paths.set(of.node, [{ ...of, tunnels: {}, lan: 'one' }], 0)
    }
    await rounds(paths, wire, 0, WARM_ROUNDS)
    const before = process.cpuUsage()
    await rounds(paths, wire, WARM_ROUNDS, ROUNDS)
    const { user, system } = process.cpuUsage(before)
    const lost = [...paths.all()].filter(({ state, lastAnswerMs }) => state !== 'passes' && lastAnswerMs !== undefined)
    if (lost.length > 0) throw new Error(`${lost.length} paths that were answered are not any more`)
    const ms = (user + system) / 1000 / ROUNDS
    const name = `path probes: a round of ${NODES} nodes`
    return [
      { name, value: ms, unit: 'ms' },
      { name: `${name}, each five seconds`, value: (ms / ROUND_MS) * 100, unit: '% of a core' },
    ]
  } finally {
    wire.close()
    closeSync(namespace)
  }
}

/** Goes through rounds as fast as answers come, by a clock of their own. */
async function rounds(paths: Paths, wire: ProbeWire, from: number, count: number): Promise<void> {
  for (let nowMs = from * ROUND_MS; nowMs < (from + count) * ROUND_MS; ) {
    wire.drain({ answered: (look, kind) => paths.answered(look, kind, nowMs), asked: () => undefined })
    const { packets, unclear, waitMs } = paths.step(nowMs)
    for (const packet of packets) wire.send(packet)
    for (const target of unclear) paths.sends(target, 'direct', nowMs)
    nowMs += waitMs
    if (packets.length > 0) await sleep(ANSWERS_MS)
  }
}

/** Links both namespaces; the far one has every address that is probed. */
async function join(near: Kernel, far: Kernel, wire: ProbeWire): Promise<void> {
  const peer = { name: 'eth0', netns: wire.netns }
  const there = await far.createLink({ kind: 'veth', name: 'near', peer })
  const here = (await near.link('eth0'))!
  await near.addAddress({ ifindex: here.index, address: OWN, length: 30, scope: ROUTE_SCOPE.universe })
  await far.addAddress({ ifindex: there.index, address: GATEWAY, length: 30, scope: ROUTE_SCOPE.universe })
  for (const [kernel, { index }] of [
    [near, here],
    [far, there],
  ] as const)
    await kernel.setLink(index, { up: true })
  await far.setLink('lo', { up: true })
  const { universe, host } = ROUTE_SCOPE
  const route = { dst: ANSWERING, protocol: ROUTE_PROTOCOL.static }
  const { main, local } = ROUTE_TABLE
  const lo = (await far.link('lo'))!.index
  const refused = [
    ...(await near.changeRoutes([
      {
        verb: 'add',
        route: { ...route, scope: universe, table: main, type: 'unicast', gateway: GATEWAY, ifindex: here.index },
      },
    ])),
    ...(await far.changeRoutes([
      { verb: 'add', route: { ...route, scope: host, table: local, type: 'local', ifindex: lo } },
    ])),
  ]
  for (const error of refused) if (error !== undefined) throw error
  wire.use([OWN])
}
