// What one node's routing part tells felix, over TCP in memory and with a clock set by hand.
import test from 'ava'
import { Routing } from '../../agent/routing.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import type { LearnedRoute } from '../../felix/input.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { MemoryNetwork } from '../bgp/memory-transport.ts'
import { aNode, aPool, aResource } from '../datastore/objects.ts'

const ADDRESS = { n1: '192.0.2.11', n2: '192.0.2.12' } as const

function aRouting(name: 'n1' | 'n2', network: MemoryNetwork, clock: ManualClock) {
  let learned: readonly LearnedRoute[] = []
  const routing = new Routing({
    ...{ transport: network.host(ADDRESS[name]), clock, log: silentLog, nodeName: name, address: ADDRESS[name] },
    ...{ capabilities: { ipip: false, vxlan: true }, restarting: false },
    learned: routes => {
      learned = routes
    },
    converged: () => undefined,
    event: () => undefined,
  })
  const cluster = (asNumber: number, pools: readonly Resource<'IPPool'>[] = []) =>
    routing.cluster({
      nodes: (['n1', 'n2'] as const).map(node =>
        aNode(node, { annotations: { [NODE_ANNOTATION.ipv4Address]: `${ADDRESS[node]}/24` } }),
      ),
      peers: [],
      config: aResource('BGPConfiguration', { metadata: { name: 'default' }, spec: { asNumber } }).spec,
      pools,
    })
  return { routing, cluster, prefixes: () => learned.map(({ prefix }) => prefix) }
}

/** Lets `seconds` pass in small steps, with turns for what runs between timers. */
async function pass(clock: ManualClock, seconds: number): Promise<void> {
  for (let step = 0; step < seconds * 10; step++) {
    clock.advance(100)
    for (let turn = 0; turn < 4; turn++) await new Promise(resolve => setImmediate(resolve))
  }
}

test('routes outlive a change of the AS number, and those that nobody sends again are dropped', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => one.routing.close())
  two.routing.blocks([{ cidr: '10.244.2.0/26', pool: 'pool', used: 0, size: 64 }])
  await Promise.all([one.cluster(64512), two.cluster(64512)])
  await pass(clock, 15)
  t.deepEqual(one.prefixes(), ['10.244.2.0/26'])

  await Promise.all([one.cluster(64600), two.cluster(64600)])
  t.deepEqual(one.prefixes(), ['10.244.2.0/26'], 'kept while the sessions come up')
  await pass(clock, 15)
  t.deepEqual(one.prefixes(), ['10.244.2.0/26'], 'sent again')

  await two.routing.close()
  await one.cluster(64700)
  t.deepEqual(one.prefixes(), ['10.244.2.0/26'])
  await pass(clock, 15)
  t.deepEqual(one.prefixes(), [])
})

test('a pool with disableBGPExport that is made again under another name still keeps its blocks back', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => Promise.all([one.routing.close(), two.routing.close()]))
  two.routing.blocks([{ cidr: '10.244.2.0/26', pool: 'old-name', used: 0, size: 64 }])
  await Promise.all([one.cluster(64512), two.cluster(64512, [aPool('old-name', { disableBGPExport: true })])])
  await pass(clock, 15)
  t.deepEqual(one.prefixes(), [])
  await two.cluster(64512, [aPool('new-name', { disableBGPExport: true })])
  await pass(clock, 15)
  t.deepEqual(one.prefixes(), [])
  await two.cluster(64512, [aPool('new-name')])
  await pass(clock, 15)
  t.deepEqual(one.prefixes(), ['10.244.2.0/26'])
})
