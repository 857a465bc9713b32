// Nodes whose only address is IPv6: what makes a machine one of them, and what never does.
import test, { type ExecutionContext } from 'ava'
import { OwnAddress } from '../../agent/node-address.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { type Family, familyOf } from '../../lib/ip.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool, aResource } from '../datastore/objects.ts'
import { aMachine, cni, eventually, type Machine, startAgent } from './machines.ts'

const ROUTE = { table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.static, scope: 0 } as const

/** A machine with these addresses on eth0, and default routes; `look` is what an agent that starts there chooses. */
async function aHost(addresses: readonly string[], defaults: readonly Family[] = ['ipv6']) {
  const kernel = new FakeWorld().kernel()
  const clock = new ManualClock()
  const link = async (name: string) => {
    const { index } = await kernel.createLink({ kind: 'dummy', name })
    await kernel.setLink(name, { up: true })
    return index
  }
  const give = (ifindex: number, text: string) => {
    const length = familyOf(text) === 'ipv4' ? 24 : 64
    return kernel.addAddress({ ifindex, address: text, length, scope: ROUTE_SCOPE.universe })
  }
  const eth0 = await link('eth0')
  for (const address of addresses) await give(eth0, address)
  const leadOut = (family: Family) => {
    const [dst, gateway] = family === 'ipv4' ? ['0.0.0.0/0', '192.0.2.1'] : ['::/0', '2001:db8::1']
    return kernel.changeRoutes([{ verb: 'add', route: { ...ROUTE, dst, gateway, ifindex: eth0 } }])
  }
  for (const family of defaults) await leadOut(family)
  const follow = (wanted = 'auto', wantedIpv6 = 'auto') =>
    new OwnAddress({ kernel, clock, log: silentLog, wanted, wantedIpv6, changed: () => undefined })
  const look = async (given: Given = {}) => {
    const own = follow(given.wanted, given.wantedIpv6)
    const { node, families = ['ipv6'] } = given
    const found = await own.look({ node, families })
    own.close()
    return found === undefined ? own.refused()[0]!.message : textOf(found)
  }
  return { kernel, clock, eth0, link, give, leadOut, follow, look }
}

type Given = { wanted?: string; wantedIpv6?: string; families?: readonly Family[]; node?: Resource<'Node'> }

function textOf(found: OwnAddress['found']): string {
  return [found?.ipv4?.address, found?.ipv6?.address].filter(each => each !== undefined).join(' ')
}

const annotated = (annotations: Record<string, string>) => aNode('n1', { annotations })
const internal = (...addresses: string[]) =>
  aResource('Node', {
    metadata: { name: 'n1' },
    spec: {},
    status: { addresses: addresses.map(address => ({ type: 'InternalIP', address })) },
  })

test('a machine without an IPv4 address is a node of IPv6 alone, where the cluster uses IPv6', async t => {
  const { kernel, look, link, give } = await aHost(['2001:db8::11'])
  t.is(await look(), '2001:db8::11')
  // docker’s bridge, loopback and an address that DHCP did not give (RFC 3927) are none of a node
  await give(await link('docker0'), '172.17.0.1')
  await give((await kernel.link('lo'))!.index, '127.0.0.1')
  await give(await link('eth1'), '169.254.7.7')
  t.is(await look(), '2001:db8::11')
  t.regex(await look({ families: ['ipv4'] }), /no IPv4 default route to tell the node address by; give --node-ip$/)
})

test('its address is the only one of the interface of the IPv6 default route, or the one that is named', async t => {
  const { look, link, give } = await aHost(['2001:db8::11', '2001:db8::12'])
  t.regex(await look(), /leaves the choice between 2001:db8::11 on eth0, 2001:db8::12 on eth0; give --node-ip6/)
  t.is(await look({ wantedIpv6: '2001:db8::12' }), '2001:db8::12')
  t.is(await look({ node: annotated({ [NODE_ANNOTATION.ipv6Address]: '2001:db8::12/64' }) }), '2001:db8::12')
  t.is(await look({ node: internal('2001:db8::11') }), '2001:db8::11')
  await give(await link('eth1'), '2001:db8:1::11')
  t.is(await look({ wantedIpv6: 'interface=eth1' }), '2001:db8:1::11')
  t.regex(await look({ wantedIpv6: 'interface=eth7' }), /no address of this machine fits interface=eth7 .*--node-ip6/)
  t.regex(await (await aHost(['2001:db8::11'], [])).look(), /no IPv6 default route to tell .*; give --node-ip6/)
})

test('a machine that has an IPv4 address, or of which one is named, never becomes a node of IPv6 alone by itself', async t => {
  const withoutWay = await aHost(['192.0.2.11', '2001:db8::11'])
  t.regex(await withoutWay.look(), /no IPv4 default route/)
  const gone = await aHost(['2001:db8::11'])
  for (const node of [annotated({ [NODE_ANNOTATION.ipv4Address]: '192.0.2.11/24' }), internal('192.0.2.11')]) {
    const own = gone.follow()
    t.is(await own.look({ node, families: ['ipv6'] }), undefined)
    gone.clock.advance(3000)
    t.is(await own.look({ node, families: ['ipv6'] }), undefined)
    t.regex(own.refused()[0]!.message, /no IPv4 default route/)
    own.close()
  }
})

test('an IPv4 address that goes while the agent runs leaves no node of IPv6 alone', async t => {
  const { kernel, clock, eth0, follow } = await aHost(['192.0.2.11', '2001:db8::11'], ['ipv4', 'ipv6'])
  const own = follow()
  t.is(textOf(await own.look({ node: undefined, families: ['ipv6'] })), '192.0.2.11 2001:db8::11')
  await kernel.deleteAddress({ ifindex: eth0, address: '192.0.2.11', length: 24, scope: ROUTE_SCOPE.universe })
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  t.is(textOf(await own.look({ node: undefined, families: ['ipv6'] })), '192.0.2.11 2001:db8::11')
  clock.advance(3000)
  t.is(await own.look({ node: undefined, families: ['ipv6'] }), undefined)
  own.close()
})

test('a node of IPv6 alone stays one when an IPv4 address comes that leads nowhere, after a restart too', async t => {
  const { follow, give, eth0, leadOut, look } = await aHost(['2001:db8::11'])
  const own = follow()
  const hints = { node: undefined, families: ['ipv6'] as const }
  t.is(textOf(await own.look(hints)), '2001:db8::11')
  await give(eth0, '192.0.2.11')
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  t.is(textOf(await own.look(hints)), '2001:db8::11')
  const node = annotated({ [NODE_ANNOTATION.ipv6Address]: '2001:db8::11/64' })
  t.is(await look({ node }), '2001:db8::11')
  // one with a default route is this node's, as it would be at the next start
  await leadOut('ipv4')
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  t.is(textOf(await own.look(hints)), '192.0.2.11 2001:db8::11')
  own.close()
})

test('with --node-ip none a machine with both has its IPv6 address alone, also while no pool is IPv6', async t => {
  const { look } = await aHost(['192.0.2.11', '2001:db8::11'], ['ipv4', 'ipv6'])
  t.is(await look({ wanted: 'none', families: [] }), '2001:db8::11')
  t.regex(await look({ wanted: 'none', wantedIpv6: 'cidr=fd00::/8' }), /no address of this machine fits cidr=fd00::\/8/)
})

test('with kubernetes-internal-ip the Node says that it is of IPv6 alone, and one that says nothing yet is waited for', async t => {
  const { look } = await aHost(['2001:db8::11'])
  t.is(await look({ wanted: 'kubernetes-internal-ip', node: internal('2001:db8::11') }), '2001:db8::11')
  t.regex(await look({ wanted: 'kubernetes-internal-ip' }), /the Node object has no InternalIP yet/)
})

test('it says of each family with pools that it has no address of it', async t => {
  const { follow } = await aHost(['2001:db8::11'])
  const own = follow()
  await own.look({ node: undefined, families: ['ipv4', 'ipv6'] })
  t.like(own.refused()[0], { type: 'FamiliesReachable', status: 'False', reason: 'NoIpv4Address' })
  t.regex(own.refused()[0]!.remedy, /--node-ip$/)
  await own.look({ node: undefined, families: ['ipv6'] })
  t.deepEqual(own.refused(), [])
  own.close()
})

for (const [what, acceptRa, forwards, then] of [
  ['takes router advertisements goes on with them while it forwards', '1', '0', '2'],
  ['forwarded before, and took none, takes none', '1', '1', '1'],
  ['leaves them to its network manager leaves them to it', '0', '0', '0'],
] as const)
  test(`a node that ${what}`, async t => {
    const store = createFakeStore()
    await store.create('Node', aNode('n1'))
    await store.create('IPPool', aPool('six', { cidr: '2001:db8:10::/64', blockSize: 122 }))
    const machine = await aMachine6(t, 'n1', '2001:db8::11')
    const kernel = machine.world.kernel()
    kernel.writeSysctl('ipv6', ['conf', 'eth0', 'accept_ra'], acceptRa)
    kernel.writeSysctl('ipv6', ['conf', 'eth0', 'forwarding'], forwards)
    const agent = await startAgent(t, machine, store, new MemoryNetwork())
    await eventually(
      t,
      'ready',
      () => agent.status().ready,
      ready => ready,
    )
    t.is(kernel.readSysctl('ipv6', ['conf', 'all', 'forwarding']).trim(), '1')
    t.is(kernel.readSysctl('ipv6', ['conf', 'eth0', 'accept_ra']).trim(), then)
  })

test('two nodes of IPv6 alone have a session over IPv6, routes to each other’s blocks, and pods', async t => {
  const store = createFakeStore()
  const annotations = { [NODE_ANNOTATION.ipv4Address]: '192.0.2.99/24' }
  // an address that an earlier configuration left is taken back where the node is to have none
  await store.create('Node', aNode('n1', { annotations }))
  await store.create('Node', aNode('n2'))
  await store.create('IPPool', aPool('six', { cidr: '2001:db8:10::/64', blockSize: 122 }))
  const network = new MemoryNetwork()
  const machines = [await aMachine6(t, 'n1', '2001:db8::11'), await aMachine6(t, 'n2', '2001:db8::12')] as const
  const one = await startAgent(t, machines[0], store, network, undefined, {}, { nodeIp: 'none' })
  const two = await startAgent(t, machines[1], store, network)
  await eventually(
    t,
    'a session',
    () => one.status().peers.map(({ address, state }) => `${address} ${state}`),
    all => `${all}` === '2001:db8::12 Established',
  )
  const added = await cni(two, 'ADD', 'c1', { ipam: { type: 'margay', assign_ipv4: 'auto', assign_ipv6: 'auto' } })
  t.is(added.exitCode, 0, added.stdout)
  await eventually(
    t,
    'a route',
    async () => {
      const routes = await machines[0].world.kernel().routes({ table: ROUTE_TABLE.main, family: 'ipv6' })
      return routes.filter(({ protocol }) => protocol === ROUTE_PROTOCOL.blocks)
    },
    routes => routes.some(({ dst, gateway }) => dst.startsWith('2001:db8:10:') && gateway === '2001:db8::12'),
  )
  const node = await eventually(
    t,
    'the Node object',
    () => store.get('Node', 'n1'),
    ({ metadata }) => metadata.annotations?.[NODE_ANNOTATION.ipv6Address] === '2001:db8::11/64',
  )
  t.is(node.metadata.annotations?.[NODE_ANNOTATION.ipv4Address], undefined)
  t.like(one.status(), { address: '2001:db8::11', uplink: 'eth0', ready: true })
  t.deepEqual(
    one.conditions().filter(({ status }) => status !== 'True'),
    [],
  )
})

/** A machine with an IPv6 address alone. */
async function aMachine6(t: ExecutionContext, name: string, address: string): Promise<Machine> {
  const machine = await aMachine(t, name, '192.0.2.99')
  const kernel = machine.world.kernel()
  const { index: ifindex } = (await kernel.link('eth0'))!
  await kernel.deleteAddress({ ifindex, address: '192.0.2.99', length: 24, scope: ROUTE_SCOPE.universe })
  await kernel.addAddress({ ifindex, address, length: 64, scope: ROUTE_SCOPE.universe })
  await kernel.changeRoutes([{ verb: 'add', route: { ...ROUTE, dst: '::/0', gateway: '2001:db8::1', ifindex } }])
  return { ...machine, address }
}
