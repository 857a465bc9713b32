// How long a new pod's interface takes to have all that felix writes, in a kernel that already holds the neighbours and
// forwarding entries of many other nodes: from the link's creation until felix says that the endpoint is applied; and how long
// a route is away that somebody else removes, beside very many of another program. Medians, in ms. Needs root.
import { setTimeout } from 'node:timers/promises'
import { podElements, podFilterPrograms } from '../felix/calc/pod-filter.ts'
import { Felix } from '../felix/loop.ts'
import { nodeMarks } from '../felix/marks.ts'
import { openKernel } from '../kernel/linux/kernel.ts'
import { addNetns, netnsPath, removeNetns } from '../kernel/netns.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route, type RouteChange } from '../kernel/port/routes.ts'
import { NftTables } from '../kernel/reconcile/nft-tables.ts'
import { nftElementKey } from '../kernel/reconcile/objects.ts'
import { systemClock } from '../lib/clock.ts'
import { silentLog } from '../lib/log.ts'
import type { Row } from './row.ts'

const PODS = 30
/** Elements of pods in the pod filter while one more pod's are measured. */
const FILTERED = [0, 500]
/** Routes of another program while one of ours is removed again and again. */
const FOREIGN = [0, 100_000]
const REMOVALS = 40
/** What is undone more than twenty times a second is repaired more slowly. */
const PAUSE_MS = 100

export async function benchFelixKernel(): Promise<Row[]> {
  const rows: Row[] = []
  for (const nodes of [0, 1_000, 5_000]) {
    const { fullMs, podMs } = await once(nodes)
    const unit = 'ms'
    if (nodes > 0) rows.push({ name: `felix: entries of ${nodes} VTEPs written, from nothing`, value: fullMs, unit })
    rows.push({ name: `felix: a new pod is applied, ${nodes} VTEPs in the kernel`, value: podMs, unit })
  }
  for (const pods of FILTERED)
    rows.push({
      name: `felix: a pod's elements in the pod filter, ${pods} pods there`,
      value: await filtered(pods),
      unit: 'ms',
    })
  for (const foreign of FOREIGN) {
    const { awayMs, usedMs } = await removed(foreign)
    const beside = `${foreign} routes of another program beside it`
    rows.push({ name: `felix: a route that was removed is back, ${beside}`, value: awayMs, unit: 'ms' })
    rows.push({ name: `felix: processor for a route that was removed, ${beside}`, value: usedMs, unit: 'ms' })
  }
  return rows
}

/** From the removal of one route until the kernel tells that it is there again. */
async function removed(foreign: number): Promise<{ awayMs: number; usedMs: number }> {
  using host = openKernel()
  const name = `margay-bench-${process.pid}`
  addNetns(name)
  try {
    using kernel = host.inside(netnsPath(name))
    using other = host.inside(netnsPath(name))
    await addUplink(kernel)
    const { index } = (await kernel.link('eth0'))!
    const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
    const felix = new Felix(kernel, { clock: systemClock, log: silentLog, marks, onConditions: () => {} })
    tell(felix, 0)
    felix.set('pool', 'pods', { cidr: '10.0.0.0/8', ipip: 'Never', vxlan: 'Never', isExchanged: true })
    felix.set('learned', '10.2.0.0/26', { prefix: '10.2.0.0/26', nextHop: '192.168.0.2', encapsulations: [] })
    await other.changeRoutes(Array.from({ length: foreign }, (_, n) => foreignRoute(n, index)))
    felix.start()
    await felix.inSync()
    const [ours] = await other.routes({ table: ROUTE_TABLE.main, dst: '10.2.0.0/26' })
    const [away, used]: [number[], number[]] = [[], []]
    for (let n = 0; n < REMOVALS; n++) {
      const [startMs, before] = [performance.now(), process.cpuUsage()]
      await removedOnce(other, ours!)
      away.push(performance.now() - startMs)
      // what is read back belongs to it
      await felix.applied()
      const { user, system } = process.cpuUsage(before)
      used.push((user + system) / 1000)
      await setTimeout(PAUSE_MS)
    }
    await felix.close()
    const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[REMOVALS >> 1]!
    return { awayMs: median(away), usedMs: median(used) }
  } finally {
    removeNetns(name)
  }
}

async function removedOnce(other: Kernel, route: Route): Promise<void> {
  const { promise: isBack, resolve } = Promise.withResolvers<void>()
  const monitor = other.monitor(event => {
    if (event.type === 'route' && event.route.dst === route.dst) resolve()
  })
  await other.changeRoutes([{ verb: 'delete', route }])
  await isBack
  monitor.close()
}

function foreignRoute(n: number, ifindex: number): RouteChange {
  const dst = `20.${n >> 16}.${(n >> 8) & 255}.${n & 255}/32`
  const { main: table } = ROUTE_TABLE
  const route = {
    dst,
    table,
    type: 'unicast',
    protocol: ROUTE_PROTOCOL.static,
    scope: ROUTE_SCOPE.link,
    ifindex,
  } as const
  return { verb: 'add', route }
}

/** The time for the elements of one pod more, which is a part of what a new pod takes. */
async function filtered(pods: number): Promise<number> {
  using host = openKernel()
  const name = `margay-bench-${process.pid}`
  const marks = { table: 'margay', interfacePrefix: 'cali' }
  addNetns(name)
  try {
    using kernel = host.inside(netnsPath(name))
    const tables = new NftTables(kernel)
    for (const [key, program] of podFilterPrograms(marks, {
      ipip: true,
      vxlan: true,
      vxlanOverIpv6: false,
      vxlanPort: 4789,
    }))
      tables.wantTable(key, program)
    const want = (n: number) => {
      const pod = { interfaceName: `cali${n}`, addresses: [`10.1.${n >> 8}.${n & 255}`], mac: '02:00:00:00:00:01' }
      for (const element of podElements(marks, pod)) tables.wantElement(nftElementKey(element), element)
    }
    for (let n = 0; n < pods; n++) want(n)
    await tables.put()
    const times: number[] = []
    for (let n = pods; n < pods + PODS; n++) {
      want(n)
      const startMs = performance.now()
      await tables.put()
      times.push(performance.now() - startMs)
    }
    return times.toSorted((a, b) => a - b)[PODS >> 1]!
  } finally {
    removeNetns(name)
  }
}

async function once(nodes: number): Promise<{ fullMs: number; podMs: number }> {
  using host = openKernel()
  const name = `margay-bench-${process.pid}`
  addNetns(name)
  try {
    using kernel = host.inside(netnsPath(name))
    await addUplink(kernel)
    const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
    const felix = new Felix(kernel, { clock: systemClock, log: silentLog, marks, onConditions: () => {} })
    tell(felix, nodes)
    const startMs = performance.now()
    felix.start()
    await felix.inSync()
    const fullMs = performance.now() - startMs
    const times: number[] = []
    for (let n = 0; n < PODS; n++) times.push(await podAdded(kernel, felix, n))
    await felix.close()
    return { fullMs, podMs: times.toSorted((a, b) => a - b)[PODS >> 1]! }
  } finally {
    removeNetns(name)
  }
}

function tell(felix: Felix, nodes: number): void {
  felix.configure({
    node: { name: 'node', ipv4: '192.168.0.1/16', uplink: 'eth0', vxlanTunnelAddress: '10.255.0.1' },
    capabilities: { ipip: false, vxlan: true },
  })
  felix.set('pool', 'pods', { cidr: '10.0.0.0/8', ipip: 'Never', vxlan: 'Always', isExchanged: true })
  for (let i = 0; i < nodes; i++) {
    const low = `${(i >> 8) + 1}.${i & 255}`
    felix.set('remote', `node-${i}`, {
      name: `node-${i}`,
      address: `192.168.${low}`,
      vxlanTunnelAddress: `10.254.${low}`,
    })
  }
  for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
}

async function podAdded(kernel: Kernel, felix: Felix, n: number): Promise<number> {
  const startMs = performance.now()
  await addVeth(kernel, `cali${n}`)
  felix.set('endpoint', `pod${n}`, {
    id: `pod${n}`,
    interfaceName: `cali${n}`,
    ifname: 'eth0',
    netns: '',
    addresses: [`10.1.0.${n}`],
    mac: `02:00:00:00:00:${n.toString(16).padStart(2, '0')}`,
    mtu: 1450,
  })
  await felix.applied(`pod${n}`)
  return performance.now() - startMs
}

async function addUplink(kernel: Kernel): Promise<void> {
  await addVeth(kernel, 'eth0')
  const { index } = (await kernel.link('eth0'))!
  await kernel.addAddress({ ifindex: index, address: '192.168.0.1', length: 16, scope: 0 })
}

async function addVeth(kernel: Kernel, name: string): Promise<void> {
  await kernel.createLink({ kind: 'veth', name, peer: { name: `p-${name}` } })
  await kernel.setLink(`p-${name}`, { up: true })
  await kernel.setLink(name, { up: true })
}
