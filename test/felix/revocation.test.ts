import test from 'ava'
import type { Condition } from '../../api/status.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import type { Policy } from '../../felix/policy/model.ts'
import type { JudgedPacket } from '../../felix/policy/verdict.ts'
import { Revocation } from '../../felix/revocation.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Flow, FlowTuple } from '../../kernel/port/conntrack.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { eventually, setUpNode } from './node-kernel.ts'

const POD = '10.244.0.1'
/** Another test of this file keeps the processor busy for seconds. */
const LIMIT_MS = 60_000
let lastId = 0

/** From a pod's port 40000 to port 80 of `to`, answered by `behind`. */
function aFlow(from: string, to: string, { behind = to, port = 80, protocol = 6, isExpected = false } = {}): Flow {
  const tuple = (source: string, destination: string, ports: FlowTuple['ports']): FlowTuple =>
    protocol === 1
      ? { source, destination, protocol, icmp: { type: 8, code: 0, id: 7 } }
      : { source, destination, protocol, ports }
  return {
    ...{ id: ++lastId, family: 'ipv4', isExpected, isAnswered: true },
    original: tuple(from, to, { source: 40_000, destination: 80 }),
    reply: tuple(behind, from, { source: port, destination: 40_000 }),
  }
}

type Denies = (direction: string, packet: JudgedPacket) => boolean

async function aNode({ denies = () => true, sources = [] }: { denies?: Denies; sources?: readonly string[] } = {}) {
  const world = new FakeWorld()
  const kernel = world.kernel()
  const lo = (await kernel.link('lo'))!.index
  await kernel.addAddress({ ifindex: lo, address: '192.168.10.1', length: 32, scope: 0 })
  const clock = new ManualClock()
  const told: (Condition | undefined)[] = []
  const cuts: (string | undefined)[] = []
  const shut: string[] = []
  const walks: string[][] = []
  const refuses: { errno?: number; comesBack?: true } = {}
  const judge = { denies }
  const revocation = new Revocation({
    kernel: {
      addresses: () => kernel.addresses(),
      links: () => kernel.links(),
      lookupRoute: dst => kernel.lookupRoute(dst),
      flowsOf: (addresses, each) => {
        walks.push([...addresses])
        return kernel.flowsOf(addresses, each)
      },
      deleteFlows: async flows => {
        if (refuses.comesBack) return flows.map(() => undefined)
        if (refuses.errno === undefined) return kernel.deleteFlows(flows)
        return flows.map(() => new KernelError(refuses.errno!, 'delete connection', 'one'))
      },
    },
    policy: {
      judgedEndpoints: () => ['pod'],
      judgedEndpoint: key => (key === 'pod' ? { kind: 'pod', interfaceName: 'cali1', addresses: [POD] } : undefined),
      verdicts: {
        verdict: (_key, direction, packet) => (judge.denies(direction, packet) ? 'deny' : 'allow'),
        hostDenial: () => undefined,
      },
      judgedInterfaces: () => [],
      setCut: ({ interfaceName }, isCut) =>
        void shut.push(`${isCut ? 'shut' : 'open'} ${interfaceName}, ${world.tracked.flows.length} left`),
    },
    sourcesOf: () => sources,
    told: async () => {},
    ...{ clock, log: silentLog, report: condition => told.push(condition), cut: () => cuts.push(revocation.pods) },
  })
  const settled = async () => {
    for (let i = 0; i < 20; i++) await new Promise(resolve => setImmediate(resolve))
  }
  return { world, kernel, clock, told, cuts, shut, walks, refuses, judge, revocation, settled }
}

test('a connection is judged by what the rules saw of it: behind a Service, and by the side on which the pod is', async t => {
  const seen: [string, JudgedPacket][] = []
  const node = await aNode({ denies: (direction, packet) => seen.push([direction, packet]) < 0 })
  node.world.tracked.flows = [
    aFlow(POD, '10.96.0.1', { behind: '10.244.7.7', port: 8080 }),
    aFlow('10.244.9.9', POD, { protocol: 1 }),
    aFlow('10.244.9.9', '10.244.8.8'),
  ]
  node.revocation.want(['pod', 'another that is gone'], undefined)
  await node.settled()
  t.deepEqual(seen, [
    ['egress', { source: POD, destination: '10.244.7.7', protocol: 6, ports: { source: 40_000, destination: 8080 } }],
    ['ingress', { source: '10.244.9.9', destination: POD, protocol: 1, icmp: { type: 8, code: 0 } }],
  ])
  t.is(node.world.tracked.flows.length, 3)
})

test('of a pod with other sources those connections are cut that lie among them and are reached over its interface, on the side that is denied', async t => {
  const node = await aNode({ sources: ['198.51.100.0/24'], denies: direction => direction === 'egress' })
  const { kernel } = node
  await setUpNode(kernel)
  for (const name of ['cali1', 'cali2']) {
    await kernel.createLink({ kind: 'veth', name, peer: { name: `p-${name}` } })
    await kernel.setLink(name, { up: true })
  }
  const over = async (name: string, dst: string) => {
    const ifindex = (await kernel.link(name))!.index
    const route = { table: 254, type: 'unicast', protocol: 4, scope: 253, dst, ifindex } as const
    t.deepEqual(await kernel.changeRoutes([{ verb: 'add', route }]), [undefined])
  }
  await over('cali1', '198.51.100.0/25')
  await over('cali2', '198.51.100.128/25')
  const kept = [
    aFlow('198.51.100.200', '10.244.9.9'),
    aFlow('203.0.113.9', '10.244.9.9'),
    aFlow('10.244.9.9', '198.51.100.9'),
  ]
  node.world.tracked.flows = [...kept, aFlow('198.51.100.9', '10.244.9.9')]
  node.revocation.want(['pod'], undefined)
  await node.settled()
  t.deepEqual(node.world.tracked.flows, kept)
  t.deepEqual(node.shut, ['shut cali1, 4 left'])
  node.judge.denies = () => true
  const host = aFlow('192.168.10.1', '198.51.100.9')
  node.world.tracked.flows = [...kept, host]
  node.clock.advance(50)
  node.revocation.want(['pod'], undefined)
  await node.settled()
  t.deepEqual(node.world.tracked.flows, [...kept.slice(0, 2), host])
})

test('what this host opened itself, and what came with another connection, was allowed by no rule and stays', async t => {
  const node = await aNode()
  const kept = [aFlow('192.168.10.1', POD), aFlow('127.0.0.1', POD), aFlow('10.244.9.9', POD, { isExpected: true })]
  node.world.tracked.flows = [...kept, aFlow('10.244.9.9', POD)]
  node.revocation.want(['pod'], undefined)
  await node.settled()
  t.deepEqual(node.world.tracked.flows, kept)
})

test('the interface is shut to TCP out of nowhere before its connection is cut, and opened hours later', async t => {
  const node = await aNode()
  node.world.tracked.flows = [aFlow('10.244.9.9', POD)]
  node.revocation.want(['pod'], undefined)
  await node.settled()
  t.deepEqual(node.shut, ['shut cali1, 1 left'])
  t.deepEqual(node.world.tracked.flows, [])
  node.clock.advance(3 * 3600_000)
  await node.settled()
  t.deepEqual(node.shut.slice(1), ['open cali1, 0 left'])
  node.world.tracked.flows = [aFlow('10.244.9.9', POD, { protocol: 17 })]
  node.revocation.want(['pod'], undefined)
  await node.settled()
  t.is(node.shut.length, 2, 'what is no TCP cannot be told from what opens a connection')
})

test('what an earlier run had shut is opened when its time is over, also where nothing is cut since', async t => {
  const node = await aNode()
  node.revocation.adopt([{ of: 'own', interfaceName: 'cali9' }])
  node.clock.advance(2 * 3600_000 - 1)
  t.deepEqual(node.shut, [])
  node.clock.advance(1)
  t.deepEqual(node.shut, ['open cali9, 0 left'])
})

test('connections that come back as fast as they are cut are cut again after a pause, not without end', async t => {
  const node = await aNode()
  node.refuses.comesBack = true
  node.world.tracked.flows = Array.from({ length: 4096 }, () => aFlow('10.244.9.9', POD, { protocol: 17 }))
  node.revocation.want(['pod'], undefined)
  for (let i = 0; i < 50; i++) await node.settled()
  t.is(node.walks.length, 64)
  delete node.refuses.comesBack
  node.clock.advance(50)
  await node.settled()
  t.deepEqual([node.walks.length, node.world.tracked.flows], [66, []])
})

test('changes that follow each other wait for one walk together, and more connections than are held at once are all cut', async t => {
  const node = await aNode()
  node.world.tracked.flows = Array.from({ length: 9000 }, () => aFlow('10.244.9.9', POD))
  node.revocation.want(['pod'], undefined)
  await node.settled()
  t.deepEqual([node.world.tracked.flows.length, node.walks.length], [0, 3])
  for (let i = 0; i < 100; i++) node.revocation.want(['pod'], undefined)
  await node.settled()
  t.is(node.walks.length, 3)
  node.clock.advance(50)
  await node.settled()
  t.is(node.walks.length, 4)
  node.clock.advance(60_000)
  await node.settled()
  t.is(node.walks.length, 4)
})

test('what the kernel refuses to delete is told, and tried again until it is gone', async t => {
  const node = await aNode()
  node.world.tracked.flows = [aFlow('10.244.9.9', POD)]
  node.refuses.errno = ERRNO.EBUSY
  node.revocation.want(['pod'], undefined)
  await node.settled()
  t.like(node.told.at(-1), { type: 'ConnectionsCut', reason: 'Refused' })
  delete node.refuses.errno
  node.clock.advance(5000)
  await node.settled()
  t.deepEqual([node.told.at(-1), node.world.tracked.flows.length], [undefined, 0])
})

test('where connections are to be kept none is looked at, and all are when that changes', async t => {
  const node = await aNode()
  node.world.tracked.flows = [aFlow('10.244.9.9', POD)]
  node.revocation.configure('keep')
  node.revocation.want(['pod'], undefined)
  await node.settled()
  t.deepEqual([node.walks.length, node.world.tracked.flows.length], [0, 1])
  node.revocation.configure('cut')
  await node.settled()
  t.is(node.world.tracked.flows.length, 0)
  node.revocation.close()
  t.is(node.clock.pending, 0)
})

test('how far this node is with Pods it says when the connections are cut that an address of one allowed, and no later than the next walk', async t => {
  const node = await aNode()
  node.revocation.want([], '1')
  t.is(node.revocation.pods, '1', 'nothing is to be cut')
  node.world.tracked.flows = [aFlow(POD, '10.244.9.9')]
  node.revocation.want(['pod'], '2')
  t.is(node.revocation.pods, '1')
  node.revocation.want([], '3')
  t.is(node.revocation.pods, '1', 'while the walk is under way')
  await node.settled()
  t.deepEqual([node.revocation.pods, node.world.tracked.flows, node.cuts], ['3', [], ['3']])
  // pods that go one after the other do not hold it back
  for (let version = 4; version < 8; version++) {
    node.world.tracked.flows = [aFlow(POD, '10.244.9.9')]
    node.revocation.want(['pod'], `${version}`)
    node.clock.advance(2000)
    node.revocation.want(['pod'], `${version} and more`)
    await node.settled()
    t.is(node.revocation.pods, `${version}`)
  }
  node.clock.advance(2000)
  await node.settled()
  t.is(node.revocation.pods, '7 and more')
})

test('while the kernel refuses to delete a connection this node does not say that it is through, and where they are kept it does at once', async t => {
  const node = await aNode()
  node.world.tracked.flows = [aFlow(POD, '10.244.9.9')]
  node.refuses.errno = ERRNO.EPERM
  node.revocation.want(['pod'], '2')
  await node.settled()
  t.is(node.revocation.pods, undefined)
  delete node.refuses.errno
  node.clock.advance(5000)
  await node.settled()
  t.is(node.revocation.pods, '2')
  node.revocation.configure('keep')
  node.revocation.want(['pod'], '3')
  t.is(node.revocation.pods, '3')
})

test('of another node’s pod that is gone nothing is tracked here when this node says that it has heard of it', async t => {
  const world = new FakeWorld()
  const kernel = world.kernel()
  await setUpNode(kernel)
  const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
  const clock = new ManualClock()
  let pods = '1'
  const felix: Felix = new Felix(kernel, {
    clock,
    log: silentLog,
    marks,
    onConditions: () => {},
    podsVersion: () => pods,
  })
  felix.configure({ node: { name: 'n1', ipv4: '192.168.10.1/24', uplink: 'eth0' } })
  const ofDb = { action: 'allow', source: { selector: "app == 'db'" }, destination: {} } as const
  const toDb = { action: 'allow', source: {}, destination: { selector: "app == 'db'" } } as const
  felix.setPolicy('tier', 'default', { name: 'default', order: 1, defaultAction: 'deny' })
  felix.setPolicy('endpoint', 'x/a', { kind: 'pod', labels: { app: 'a' }, addresses: [POD], ports: [] })
  felix.setPolicy('endpoint', 'y/db', { kind: 'pod', labels: { app: 'db' }, addresses: ['10.244.9.9'], ports: [] })
  felix.setPolicy('policy', 'p', {
    ref: { kind: 'NetworkPolicy', namespace: 'x', name: 'p' },
    ...{ tier: 'default', order: 1, hostStage: 'normal', sortName: 'p', selector: "app == 'a'" },
    ...{ ingress: [ofDb], egress: [toDb] },
  })
  felix.setLocalEndpoint('x/a', { interfaceName: 'cali1', profiles: [] })
  for (const source of ['datastore', 'endpoints', 'bgp', 'policy'] as const) felix.complete(source)
  felix.start()
  const saying = (version: string) => {
    const says = () => {
      if (felix.policyReceipt()?.pods === version) return true
      clock.advance(50)
      return false
    }
    return eventually(`it says ${version}`, says, LIMIT_MS)
  }
  await saying('1')
  const other = aFlow('192.0.2.1', '192.0.2.2')
  const allowed = () => [aFlow(POD, '10.244.9.9'), aFlow('10.244.9.9', POD, { protocol: 17 })]
  world.tracked.flows = [...allowed(), other]
  felix.setPolicy('endpoint', 'z/new', { kind: 'pod', labels: {}, addresses: ['10.244.9.8'], ports: [] })
  await felix.applied()
  t.is(world.tracked.flows.length, 3, 'while the pod is there they stay')
  const walk = Promise.withResolvers<void>()
  const flowsOf = kernel.flowsOf.bind(kernel)
  kernel.flowsOf = async (...of) => {
    await walk.promise
    return flowsOf(...of)
  }
  pods = '2'
  felix.setPolicy('endpoint', 'y/db', undefined)
  await felix.applied()
  for (let i = 0; i < 20; i++) await new Promise(resolve => setImmediate(resolve))
  t.is(felix.policyReceipt()?.pods, '1', 'the rules are there, and the connection still is')
  t.is(world.tracked.flows.length, 3)
  walk.resolve()
  await saying('2')
  t.deepEqual(world.tracked.flows, [other])
  await felix.close()
})

test('a pass of felix that brings a denial cuts what stood, behind the rules, and nothing where connections are kept', async t => {
  const world = new FakeWorld()
  const kernel = world.kernel()
  await setUpNode(kernel)
  const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
  const clock = new ManualClock()
  const felix = new Felix(kernel, { clock, log: silentLog, marks, onConditions: () => {} })
  felix.configure({ node: { name: 'n1', ipv4: '192.168.10.1/24', uplink: 'eth0' } })
  const rule = { action: 'allow', source: {}, destination: {} } as const
  felix.setPolicy('tier', 'default', { name: 'default', order: 1, defaultAction: 'deny' })
  felix.setPolicy('profile', 'p', { ingress: [rule], egress: [rule] })
  felix.setPolicy('endpoint', 'x/a', { kind: 'pod', labels: { app: 'a' }, addresses: [POD], ports: [] })
  felix.setLocalEndpoint('x/a', { interfaceName: 'cali1', profiles: ['p'] })
  for (const source of ['datastore', 'endpoints', 'bgp', 'policy'] as const) felix.complete(source)
  felix.start()
  await felix.applied()
  const [udp, tcp] = [aFlow('10.244.9.9', POD, { protocol: 17 }), aFlow(POD, '10.244.9.9')]
  world.tracked.flows = [udp, tcp]
  const denies = (direction: 'ingress' | 'egress'): Policy => ({
    ...{
      ref: { kind: 'NetworkPolicy', namespace: 'x', name: direction },
      tier: 'default',
      order: 1,
      hostStage: 'normal',
    },
    ...{ sortName: direction, selector: 'all()', [direction]: [] },
  })
  felix.setPolicy('policy', 'in', denies('ingress'))
  const isCut = () => {
    clock.advance(50)
    return world.tracked.flows.length < 2
  }
  await eventually('the flow is cut', isCut, LIMIT_MS)
  t.deepEqual(world.tracked.flows, [tcp])
  const config = { vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 0, vxlanMtu: 0, workloadRouteProtocol: 3 }
  felix.configure({ config: { ...config, keepConnections: true } })
  felix.setPolicy('policy', 'out', denies('egress'))
  await felix.applied()
  clock.advance(60)
  for (let i = 0; i < 20; i++) await new Promise(resolve => setImmediate(resolve))
  t.deepEqual(world.tracked.flows, [tcp])
  await felix.close()
})
