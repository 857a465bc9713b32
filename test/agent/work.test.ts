// How much an agent does per event, in steps of its own code and not in time: a machine that is busy with something else
// does not change it. The same events in a small and in a larger cluster must cost the same.
import { Session } from 'node:inspector/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import test, { type ExecutionContext } from 'ava'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { aBlock, aNode, aPool, aResource } from '../datastore/objects.ts'
import { aMachine, cni, eventually, learnedRoutes, startAgent } from './machines.ts'

const [FEW, MANY] = [25, 250]
const ASN = 64512
const ROUTER = '192.0.2.200'
const PAIRS = 10
/** On a busy machine a timer of the agent, or one pass more, can fall into each of the pairs: then more of them are measured. */
const MOST_PAIRS = 300
/** Much less than a step for each node. */
const FLAT = { ratio: 1.03, steps: 20 }
type Figures = Record<'heartbeat' | 'VTEP' | 'block' | 'route' | 'ADD or DEL', number>
/** Rooms that the fakes do not use: what a fake does may grow with what it holds. */
const OURS = /\/(agent|bgp|cni|datastore|felix|ipam|kernel)\/(?!fake)[^:]*\.ts$/
/** What kernel/port says of a route is asked by the fake kernel too, of each that it holds; whoever of ours asks is counted itself. */
const NOT_OURS = /\/test\/|\/datastore\/fake\.ts$|\/kernel\/port\//

// a function that V8 compiles into its caller is counted no more, and which ones it has compiled so is chance
for (const flag of ['--no-opt', '--no-maglev']) setFlagsFromString(flag)

/** Counts how often each block of our code runs. */
class Steps {
  readonly #session = new Session()

  static async begin(): Promise<Steps> {
    const steps = new Steps()
    steps.#session.connect()
    await steps.#session.post('Profiler.enable')
    await steps.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
    return steps
  }

  /** The steps since the last call, or since the beginning. */
  async take(): Promise<number> {
    const { result } = await this.#session.post('Profiler.takePreciseCoverage')
    return result
      .filter(({ url }) => OURS.test(url) && !NOT_OURS.test(url))
      .flatMap(({ functions }) => functions.flatMap(({ ranges }) => ranges.map(({ count }) => count)))
      .reduce((sum, count) => sum + count, 0)
  }

  async end(): Promise<void> {
    await this.#session.post('Profiler.stopPreciseCoverage')
    this.#session.disconnect()
  }
}

/** Until sockets, immediates and promises have nothing more to do. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await nextTurn()
}

/**
 * Steps for two events of each kind, beside `nodes` other nodes and as many learned routes. `few`: those of a small cluster,
 * which decide how long is measured.
 */
async function stepsOfTwo(t: ExecutionContext, steps: Steps, nodes: number, few?: Figures): Promise<Figures> {
  const store = createFakeStore()
  const network = new MemoryNetwork()
  const others = Array.from({ length: nodes }, (_, i) => i + 1)
  await fill(store, others)
  const at = await aMachine(t, 'n0', '192.0.2.11')
  const agent = await startAgent(t, at, store, network)
  const router = new Speaker({ asn: ASN, routerId: ROUTER }, { transport: network.host(ROUTER) })
  t.teardown(() => router.close())
  router.setPeer({ address: at.address, asn: ASN })
  await router.listen({ address: ROUTER, port: 179 })
  for (const n of others) router.announce({ prefix: `10.64.${n}.0/26` })
  await eventually(
    t,
    'ready, and all routes are in the kernel',
    async () => agent.ready() && (await learnedRoutes(at)).length,
    routes => routes === nodes,
  )
  // of pairs, since some events come and go in turn; the least of them, since timers of the agent run in between too
  const measure = async (name: keyof Figures, event: (n: number) => Promise<unknown>): Promise<number> => {
    let least = Number.POSITIVE_INFINITY
    const most = few === undefined ? least : mostOf(few[name])
    for (let pair = 0; pair < PAIRS || (least > most && pair < MOST_PAIRS); pair++) {
      await settled()
      await steps.take()
      await event(2 * pair)
      await settled()
      await event(2 * pair + 1)
      await settled()
      least = Math.min(least, await steps.take())
    }
    return least
  }
  const node = (n: number) => `n${1 + (n % FEW)}`
  const figures = {
    heartbeat: await measure('heartbeat', n =>
      store.patch('Node', node(n), { status: { conditions: [{ type: 'Ready', reason: `${n}` }] } }),
    ),
    VTEP: await measure('VTEP', n =>
      store.patch('Node', node(n), { metadata: { annotations: { [NODE_ANNOTATION.vxlanTunnelMac]: mac(n, 1) } } }),
    ),
    block: await measure('block', n =>
      store.patch('IPAMBlock', `10-128-${1 + (n % FEW)}-0-26`, { metadata: { annotations: { at: `${n}` } } }),
    ),
    route: await measure('route', async n => {
      if (n % 2 === 0) router.withdraw('10.64.1.0/26')
      else router.announce({ prefix: '10.64.1.0/26' })
    }),
    'ADD or DEL': await measure('ADD or DEL', async n =>
      t.is((await cni(agent, n % 2 === 0 ? 'ADD' : 'DEL', 'c1')).exitCode, 0),
    ),
  }
  await agent.close()
  await router.close()
  return figures
}

function mostOf(few: number): number {
  return FLAT.ratio * few + FLAT.steps
}

async function fill(store: FakeStore, others: readonly number[]): Promise<void> {
  await store.create('Node', aNode('n0'))
  for (const n of others) {
    const annotations = {
      [NODE_ANNOTATION.ipv4Address]: `192.0.3.${n}/24`,
      [NODE_ANNOTATION.vxlanTunnelAddress]: `10.128.${n}.0`,
      [NODE_ANNOTATION.vxlanTunnelMac]: mac(n, 0),
    }
    await store.create('Node', aNode(`n${n}`, { annotations }))
    await store.create('IPAMBlock', aBlock(`10.128.${n}.0/26`, { affinity: `host:n${n}` }))
  }
  await store.create('IPPool', aPool('pods', { cidr: '10.128.0.0/9', vxlanMode: 'Always' }))
  await store.create('IPPool', aPool('router', { cidr: '10.64.0.0/16', disabled: true }))
  const spec = { nodeToNodeMeshEnabled: false, asNumber: ASN }
  await store.create('BGPConfiguration', aResource('BGPConfiguration', { metadata: { name: 'default' }, spec }))
  const peer = { metadata: { name: 'router' }, spec: { peerIP: ROUTER, asNumber: ASN } }
  await store.create('BGPPeer', aResource('BGPPeer', peer))
}

function mac(n: number, change: number): string {
  return `66:00:00:00:0${change}:${n.toString(16).padStart(2, '0')}`
}

test('an event costs as many steps in a cluster of ten times the nodes and routes', async t => {
  // before anything ran: of a function that is compiled already V8 counts the calls alone, and not the turns of its loops
  const steps = await Steps.begin()
  const few = await stepsOfTwo(t, steps, FEW)
  const events = Object.keys(few) as (keyof Figures)[]
  let many = await stepsOfTwo(t, steps, MANY, few)
  // what an agent came to while it started on a busy machine, such as repairs that wait, may stay with it
  for (let left = 2; left > 0 && events.some(event => many[event] > mostOf(few[event])); left--)
    many = await stepsOfTwo(t, steps, MANY, few)
  await steps.end()
  t.log({ few, many })
  for (const event of events)
    t.true(
      many[event] <= mostOf(few[event]),
      `${event}: ${few[event]} steps at ${FEW} nodes, ${many[event]} at ${MANY}`,
    )
})
