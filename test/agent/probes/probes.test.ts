import test, { type ExecutionContext } from 'ava'
import type { NodeAgent } from '../../../agent/node-agent.ts'
import type { SizedPacket } from '../../../agent/probes/mtu.ts'
import { FELIX_ANNOTATION, NODE_ANNOTATION } from '../../../api/core.ts'
import type { Clock } from '../../../lib/clock.ts'
import { contains } from '../../../lib/ip.ts'
import { aResource } from '../../datastore/objects.ts'
import { fastClock } from '../fast-clock.ts'
import { aCluster, cni, eventually, startAgent } from '../machines.ts'
import { Fabric } from './fake-wire.ts'

/** Ten seconds in a quarter of one. */
const FACTOR = 40

function clock(): Clock {
  const fast = fastClock(FACTOR)
  const epochMs = Date.now() - fast.monotonicMs()
  return { ...fast, wallMs: () => epochMs + fast.monotonicMs() }
}

/** Two nodes with a pod each, that probe each other. */
async function aPair(t: ExecutionContext) {
  const { store, network, machines } = await aCluster(t)
  const fabric = new Fabric()
  const start = (i: 0 | 1) =>
    startAgent(t, machines[i], store, network, clock(), { probes: fabric.wireOf(machines[i].world) })
  const agents = [await start(0), await start(1)] as const
  for (const agent of agents)
    await eventually(
      t,
      'session',
      () => agent.status().peers.map(({ state }) => state),
      states => `${states}` === 'Established',
    )
  const annotation = async (name: string) =>
    (await store.get('Node', name)).metadata.annotations?.[NODE_ANNOTATION.probeAddress]
  const addPods = async () => {
    for (const agent of agents) t.is((await cni(agent, 'ADD', 'c1')).exitCode, 0)
    for (const name of ['n1', 'n2'])
      await eventually(
        t,
        `address of ${name}`,
        () => annotation(name),
        address => address !== undefined,
      )
  }
  const broken = (i: 0 | 1) =>
    agents[i]
      .conditions()
      .filter(({ type, status }) => type === 'PathsPass' && status !== 'True')
      .map(({ reason, object }) => `${reason} ${object?.name}`)
  const kernels = machines.map(({ world }) => world.kernel())
  return { agents, store, fabric, annotation, addPods, broken, kernels, machines, start }
}

/** How many paths the metrics count in each state. */
function metricsPaths(agent: NodeAgent): Map<string, number> {
  return new Map(
    Map.groupBy(agent.numbers().paths, ({ state }) => state)
      .entries()
      .map(([state, all]) => [state, all.length]),
  )
}

test('a node has an address for probes once a pod is there, by an interface that belongs to no pod, and gives it back', async t => {
  const { agents, store, annotation, addPods, kernels } = await aPair(t)
  t.is(await annotation('n1'), undefined)
  t.is(await kernels[0]!.link('caliprobe'), undefined)
  await addPods()
  const address = (await annotation('n1'))!
  t.true(agents[0].status().blocks!.some(({ cidr }) => contains(cidr, address)))
  t.true((await kernels[0]!.link('caliprobe'))?.up)
  t.true((await kernels[0]!.routes({})).some(({ dst }) => dst === `${address}/32`))
  t.is(agents[0].status().endpoints!.length, 1)
  t.true(agents[0].ready())
  const { findings, addresses } = await agents[0].checkAddresses()
  t.deepEqual(findings, [])
  t.like(
    addresses.find(each => each.address === address),
    { use: 'tunnel', owner: 'probeAddress' },
  )

  const annotations = { [FELIX_ANNOTATION.probes]: 'Disabled' }
  await store.create(
    'FelixConfiguration',
    aResource('FelixConfiguration', { metadata: { name: 'default', annotations }, spec: {} }),
  )
  await eventually(
    t,
    'annotation',
    () => annotation('n1'),
    is => is === undefined,
  )
  const held = () => [...agents[0].allocator.held().keys()].filter(handle => handle.includes('probe'))
  await eventually(t, 'address is given back', held, handles => handles.length === 0)
  t.is(await kernels[0]!.link('caliprobe'), undefined)
})

test('a path that is lost is told about the other node and takes no readiness, and passes again', async t => {
  const { agents, fabric, addPods, broken } = await aPair(t)
  await addPods()
  await eventually(
    t,
    'probes arrive',
    () => fabric.ends.size,
    ends => ends === 2,
  )
  // both have had an answer in this session
  let asked = 0
  fabric.loses = () => {
    asked++
    return false
  }
  await eventually(
    t,
    'looks',
    () => asked,
    count => count > 8,
  )
  t.deepEqual([...broken(0), ...broken(1)], [])
  fabric.loses = ({ kind }) => kind === 'pod'
  await eventually(
    t,
    'lost',
    () => [broken(0), broken(1)],
    ([one, two]) => `${one} ${two}` === 'PathLost n2 PathLost n1',
  )
  t.true(agents[0].ready())
  t.like(agents[0].paths()[0], { node: 'n2', family: 'ipv4', state: 'lost', loss: 'PathLost', encapsulation: 'direct' })
  t.true(agents[0].paths()[0]!.sinceMs > agents[0].paths()[0]!.lastAnswerMs!)
  t.deepEqual([...metricsPaths(agents[0])], [['lost', 1]])
  fabric.loses = () => false
  await eventually(
    t,
    'passes',
    () => [...broken(0), ...broken(1)],
    all => all.length === 0,
  )
})

test('packets of the size of pods that are lost on the way are told with the size that passes, and only as long as they are', async t => {
  const { agents, fabric, addPods } = await aPair(t)
  fabric.loses = packet => packet.kind === 'size' && (packet as SizedPacket).octets > 1300
  await addPods()
  const told = () => agents[0].conditions().filter(({ type, status }) => type === 'PathMtuFits' && status !== 'True')
  const [condition] = await eventually(t, 'told', told, all => all.length === 1, 30)
  t.like(condition, { reason: 'PacketsTooLarge', object: { kind: 'Node', name: 'n2' } })
  t.regex(condition!.message, /up to \d{4} octets, and to n2 1(29\d|300) octets pass whole/)
  t.true(agents[0].ready())
  fabric.loses = () => false
  await eventually(t, 'fits', told, all => all.length === 0, 30)
})

test('a source that somebody translates is told where it arrives, about the node that it comes from', async t => {
  const { fabric, addPods, broken, annotation } = await aPair(t)
  await addPods()
  const one = await annotation('n1')
  fabric.sourceOf = claimed => (claimed === one ? '192.0.2.11' : claimed)
  await eventually(
    t,
    'translated',
    () => broken(1),
    all => `${all}` === 'SourceTranslated n1',
  )
  t.deepEqual(broken(0), [])
  // nobody believes a source that is no address of the node
  fabric.sourceOf = claimed => (claimed === one ? '203.0.113.9' : claimed)
  await eventually(
    t,
    'another',
    () => broken(1),
    all => all.length === 0,
    30,
  )
})

test('an agent that starts anew has the same address, adopts no pod more, and alarms nobody', async t => {
  const { agents, addPods, broken, annotation, start } = await aPair(t)
  await addPods()
  const before = await annotation('n1')
  const seen: string[] = []
  const look = setInterval(() => seen.push(...broken(1)), 5)
  t.teardown(() => clearInterval(look))
  await agents[0].close()
  const again = await start(0)
  await eventually(
    t,
    'session',
    () => agents[1].status().peers.map(({ state }) => state),
    states => `${states}` === 'Established',
  )
  await eventually(
    t,
    'ready',
    () => again.ready(),
    ready => ready,
  )
  // half a minute of the agents' time
  await new Promise(resolve => setTimeout(resolve, 30_000 / FACTOR))
  t.deepEqual(seen, [])
  t.is(await annotation('n1'), before)
  t.is(again.status().endpoints!.length, 1)
})
