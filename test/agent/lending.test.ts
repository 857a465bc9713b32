// Whole agents: the way to a borrowed address, over BGP, of its owner and of a third node; and what a node announces that has not borrowed it.
import test, { type ExecutionContext } from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { systemClock } from '../../lib/clock.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { aMachine, cni, eventually, learnedRoutes, type Machine, slowRoutes, startAgent } from './machines.ts'

/** Agents of a busy machine, with several sessions. */
const SECONDS = 60

const IPAM = { ipam: { type: 'margay-ipam', assign_ipv4: 'auto', assign_ipv6: 'auto' } }

/** The addresses of a pod that is added. */
async function add(t: ExecutionContext, agent: NodeAgent, container: string): Promise<string[]> {
  // an agent's own timers keep no process alive
  const alive = setInterval(() => undefined, 1_000)
  const { exitCode, stdout } = await cni(agent, 'ADD', container, IPAM).finally(() => clearInterval(alive))
  t.is(exitCode, 0, stdout)
  return (JSON.parse(stdout) as { ips: { address: string }[] }).ips.map(({ address }) => address.split('/')[0]!)
}

/** Blocks of four addresses of both families for n1 and n2, and none for n3; n1 has four pods, n2 one. */
async function threeNodes(t: ExecutionContext) {
  const store = createFakeStore()
  for (const name of ['n1', 'n2', 'n3']) await store.create('Node', aNode(name))
  await store.create('IPPool', aPool('four', { cidr: '10.244.0.0/29', blockSize: 30 }))
  await store.create('IPPool', aPool('six', { cidr: 'fd00:10:244::/125', blockSize: 126 }))
  const network = new MemoryNetwork()
  const machines: Machine[] = []
  const agents: NodeAgent[] = []
  for (const i of [1, 2, 3]) {
    const at = await aMachine(t, `n${i}`, `192.0.2.1${i}`)
    const kernel = at.world.kernel()
    const { index: ifindex } = (await kernel.link('eth0'))!
    await kernel.addAddress({ ifindex, address: `2001:db8::1${i}`, length: 64, scope: ROUTE_SCOPE.universe })
    const agent = await startAgent(t, at, store, network, undefined, i === 3 ? { kernel: slowRoutes(kernel) } : {})
    if (i < 3)
      await eventually(
        t,
        `blocks of n${i}`,
        () => agent.allocator.blocks().length,
        count => count === 2,
        SECONDS,
      )
    machines.push(at)
    agents.push(agent)
  }
  const up = () => agents.map(agent => agent.status().peers.filter(({ state }) => state === 'Established').length)
  await eventually(t, 'sessions', up, counts => counts.every(count => count >= 2), SECONDS)
  for (const container of ['c0', 'c1', 'c2', 'c3']) await add(t, agents[0]!, container)
  await add(t, agents[1]!, 'c0')
  return { store, network, machines, agents }
}

const waysTo = async (machine: Machine, address: string) =>
  (await learnedRoutes(machine)).flatMap(route => {
    const [dst, , gateway] = route.split(' ')
    return dst!.split('/')[0] === address && /\/(32|128)$/.test(dst!) ? [gateway!] : []
  })

test('a borrowed address of either family has a route at its owner and at a third node before ADD ends, which goes with the pod', async t => {
  const { machines, agents } = await threeNodes(t)
  const addresses = await add(t, agents[0]!, 'c4')
  t.is(addresses.length, 2)
  const gateways = ['192.0.2.11', '2001:db8::11']
  for (const at of machines.slice(1))
    t.deepEqual(
      (await Promise.all(addresses.map(address => waysTo(at, address)))).flat(),
      gateways,
      `${at.name} when ADD ended`,
    )
  t.is((await cni(agents[0]!, 'DEL', 'c4', IPAM)).exitCode, 0)
  for (const at of machines.slice(1))
    for (const address of addresses)
      await eventually(
        t,
        `${at.name} without ${address}`,
        () => waysTo(at, address),
        ways => ways.length === 0,
        SECONDS,
      )
  await eventually(
    t,
    'it is back',
    () => agents[1]!.allocator.lent(),
    lent => lent.length === 0,
    SECONDS,
  )
})

test('the owner of a lent address takes no route to it from another node than the borrower, and says which announces it', async t => {
  const { store, network, machines, agents } = await threeNodes(t)
  const [address] = await add(t, agents[0]!, 'c4')
  // its route is preferred
  const wrong = '192.0.2.14'
  const speaker = new Speaker(
    { asn: 64512, routerId: '1.1.1.1' },
    {
      transport: network.host(wrong),
      clock: systemClock,
      random: () => 1,
      sink: { selected: () => undefined, withdrawn: () => undefined },
    },
  )
  t.teardown(() => speaker.close())
  await speaker.listen({ address: wrong, port: 179 })
  for (const { address } of machines) speaker.setPeer({ address, asn: 64512, import: 'accept', export: 'accept' })
  speaker.announce({ prefix: `${address}/32`, localPref: 2 ** 31 })
  const annotations = { [NODE_ANNOTATION.ipv4Address]: `${wrong}/24` }
  await store.create('Node', aNode('n4', { annotations }))
  const [, owner] = agents
  const isUp = () => owner!.status().peers.some(({ address, state }) => address === wrong && state === 'Established')
  await eventually(t, 'a session', isUp, Boolean, SECONDS)
  const told = () => owner!.status().conditions.filter(({ reason }) => reason === 'NotBorrower')
  const [condition] = await eventually(t, 'it is told', told, conditions => conditions.length > 0, SECONDS)
  t.regex(condition!.message, /192\.0\.2\.14 announces an address that this node lent to node n1/)
  const toWrong = async () => (await waysTo(machines[1]!, address!)).filter(gateway => gateway === wrong)
  t.deepEqual(await toWrong(), [])
  speaker.withdraw(`${address}/32`)
  await eventually(
    t,
    'the way to the borrower',
    () => waysTo(machines[1]!, address!),
    ways => ways.join() === '192.0.2.11',
    SECONDS,
  )
  t.is((await cni(agents[0]!, 'DEL', 'c4', IPAM)).exitCode, 0)
  await eventually(
    t,
    'it is back',
    () => owner!.allocator.lent(),
    lent => lent.length === 0,
    SECONDS,
  )
})
