import test from 'ava'
import { OwnAddress } from '../../agent/node-address.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aResource } from '../datastore/objects.ts'
import { aFollower, aMachine } from './address-machine.ts'

test('the address is what was asked for, else what the Node says, else that of the default route', async t => {
  const { look } = await aMachine(['192.0.2.11', '192.0.2.12', '192.0.2.13'])
  const annotated = aNode('n1', { annotations: { [NODE_ANNOTATION.ipv4Address]: '192.0.2.12/24' } })
  const status = { addresses: [{ type: 'InternalIP', address: '192.0.2.13' }] }
  const internal = aResource('Node', { metadata: { name: 'n1' }, spec: {}, status })
  t.is(await look('192.0.2.11', annotated), '192.0.2.11')
  t.is(await look('auto', annotated), '192.0.2.12')
  t.is(await look('auto', internal), '192.0.2.13')
  t.is(await (await aMachine(['192.0.2.11'])).look('auto'), '192.0.2.11')
})

test('a choice between two addresses is refused with both, and one that no interface has by name', async t => {
  const { look } = await aMachine(['192.0.2.11', '192.0.2.12'])
  t.regex((await look('auto'))!, /leaves the choice between 192\.0\.2\.11 on eth0, 192\.0\.2\.12 on eth0/)
  t.regex((await look('198.51.100.1'))!, /--node-ip is 198\.51\.100\.1, which no interface of this machine has/)
})

test('without a default route nothing is guessed', async t => {
  t.regex((await (await aMachine(['192.0.2.11'], { gateway: false })).look('auto'))!, /no IPv4 default route/)
})

test('it is looked for again after a while, and kept once it is found', async t => {
  const { own, look, clock, asked, change } = await aFollower(t, { wanted: '192.0.2.77' })
  t.like(own.refused()[0], { type: 'NodeAddressKnown', status: 'Unknown' })
  t.is(await look(), undefined)
  clock.advance(4000)
  t.is(asked(), 1)
  await change({ add: '192.0.2.77' })
  t.is(await look(), '192.0.2.77')
  t.like(own.found, { ipv4: { address: '192.0.2.77', length: 24, uplink: 'eth0' } })
  t.deepEqual(own.refused(), [])
  t.is(clock.pending, 0)
})

test('a node whose address changed takes the new one within seconds, by itself', async t => {
  const { look, change, clock, asked } = await aFollower(t)
  t.is(await look(), '192.0.2.11')
  await change({ remove: '192.0.2.11', add: '192.0.2.22' })
  t.true(asked() > 0, 'the kernel told of it')
  t.is(await look(), '192.0.2.11', 'an address may come back at once')
  clock.advance(3000)
  t.is(asked(), 1)
  t.is(await look(), '192.0.2.22')
})

test('the subnets of all interfaces are known, and follow the machine', async t => {
  const { look, change, own } = await aFollower(t)
  t.deepEqual(own.subnets, [])
  await look()
  t.deepEqual(own.subnets, ['192.0.2.11/24'])
  await change({ add: '198.51.100.9' })
  await look()
  t.deepEqual(own.subnets, ['192.0.2.11/24', '198.51.100.9/24'])
  await change({ remove: '198.51.100.9' })
  await look()
  t.deepEqual(own.subnets, ['192.0.2.11/24'])
})

test('an address without a subnet is known too, but for those on interfaces of pods and of Services', async t => {
  const { look, own, kernel, turns } = await aFollower(t)
  await look()
  for (const [name, address] of [
    ['nodelocaldns', '169.254.20.10'],
    ['cali0123456789a', '169.254.0.179'],
    ['kube-ipvs0', '10.96.0.10'],
  ] as const) {
    const { index: ifindex } = await kernel.createLink({ kind: 'dummy', name })
    await kernel.addAddress({ ifindex, address, length: 32, scope: ROUTE_SCOPE.universe })
  }
  await turns()
  await look()
  t.deepEqual(own.subnets, ['192.0.2.11/24', '169.254.20.10/32'])
})

test('the annotation of an earlier run does not keep an address that the machine lost', async t => {
  const node = aNode('n1', { annotations: { [NODE_ANNOTATION.ipv4Address]: '192.0.2.99/24' } })
  const { look, clock, own } = await aFollower(t, { node })
  t.is(await look(), undefined)
  t.regex(own.refused()[0]!.message, /IPv4Address is 192\.0\.2\.99, which no interface of this machine has/)
  clock.advance(3000)
  t.is(await look(), '192.0.2.11')
})

test('an uplink that goes and comes changes nothing; while it is away for long the node has no address', async t => {
  const { look, change, clock, own } = await aFollower(t)
  await look()
  await change({ remove: '192.0.2.11' })
  t.is(await look(), '192.0.2.11')
  await change({ add: '192.0.2.11' })
  t.is(await look(), '192.0.2.11')
  clock.advance(10_000)
  t.is(await look(), '192.0.2.11')
  await change({ remove: '192.0.2.11' })
  await look()
  clock.advance(3000)
  t.is(await look(), undefined)
  t.like(own.refused()[0], { type: 'NodeAddressKnown', status: 'Unknown' })
  await change({ add: '192.0.2.11' })
  t.is(await look(), '192.0.2.11')
})

test('an address in use is kept while the machine has it, whatever else could be chosen', async t => {
  const { look, change } = await aFollower(t)
  await look()
  await change({ add: '192.0.2.5' })
  t.is(await look(), '192.0.2.11')
})

test('without a change the kernel is not asked again', async t => {
  const { look, kernel, change } = await aFollower(t)
  await look()
  kernel.addresses = () => Promise.reject(new Error('asked'))
  await look()
  await change({})
  t.is(await look(), '192.0.2.11')
})

test('a heartbeat of the kubelet is no reason to ask the kernel; another InternalIP is', async t => {
  const { kernel, clock } = await aMachine(['192.0.2.11'])
  const own = new OwnAddress({ kernel, clock, log: silentLog, wanted: 'auto', changed: () => t.fail() })
  t.teardown(() => own.close())
  let asked = 0
  const { addresses } = kernel
  kernel.addresses = () => {
    asked++
    return addresses.call(kernel)
  }
  const node = (lastHeartbeatTime: string, address: string) => ({
    ...aNode('n1', { resourceVersion: lastHeartbeatTime, annotations: { 'example.com/beat': lastHeartbeatTime } }),
    status: {
      addresses: [{ type: 'InternalIP', address }],
      conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime }],
    },
  })
  for (const beat of ['1', '2', '3']) await own.look({ node: node(beat, '192.0.2.11'), families: [] })
  t.is(asked, 1)
  await own.look({ node: node('4', '192.0.2.12'), families: [] })
  t.is(asked, 2)
})

test('an IPv6 address is taken where the cluster uses IPv6 and there is one choice, or where the Node names it', async t => {
  const six = (text: string, ifindex: number) => ({ ifindex, address: text, length: 64, scope: ROUTE_SCOPE.universe })
  const unused = await aFollower(t)
  await unused.kernel.addAddress(six('2001:db8::11', unused.ifindex))
  await unused.look()
  t.is(unused.own.found?.ipv6, undefined)
  const used = await aFollower(t, { families: ['ipv6'] })
  await used.kernel.addAddress(six('2001:db8::11', used.ifindex))
  await used.kernel.addAddress({ ...six('fe80::11', used.ifindex), scope: ROUTE_SCOPE.link })
  await used.look()
  t.deepEqual(used.own.found?.ipv6, { address: '2001:db8::11', length: 64, uplink: 'eth0' })
  const node = aNode('n1', { annotations: { [NODE_ANNOTATION.ipv6Address]: '2001:db8::12/64' } })
  const named = await aFollower(t, { node })
  for (const text of ['2001:db8::11', '2001:db8::12']) await named.kernel.addAddress(six(text, named.ifindex))
  await named.look()
  t.is(named.own.found?.ipv6?.address, '2001:db8::12')
})

test('closed, it asks no more', async t => {
  const { kernel, clock } = await aMachine([])
  const own = new OwnAddress({ kernel, clock, log: silentLog, wanted: '192.0.2.11', changed: () => t.fail() })
  await own.look({ node: undefined, families: [] })
  own.close()
  t.is(clock.pending, 0)
})

test('the second default route that left the choice open goes, and the address is chosen at once', async t => {
  const { kernel, clock, ifindex } = await aMachine(['192.0.2.11'])
  const eth1 = await kernel.createLink({ kind: 'dummy', name: 'eth1' })
  await kernel.setLink('eth1', { up: true })
  await kernel.addAddress({ ifindex: eth1.index, address: '198.51.100.7', length: 24, scope: ROUTE_SCOPE.universe })
  const second = {
    dst: '0.0.0.0/0',
    table: ROUTE_TABLE.main,
    type: 'unicast',
    protocol: ROUTE_PROTOCOL.static,
  } as const
  const route = { ...second, scope: 0, gateway: '198.51.100.1', ifindex: eth1.index, metric: 5 }
  await kernel.changeRoutes([
    { verb: 'delete', route: { ...second, scope: 0, gateway: '192.0.2.1', ifindex } },
    { verb: 'add', route: { ...second, scope: 0, gateway: '192.0.2.1', ifindex, metric: 10 } },
    { verb: 'add', route },
  ])
  await kernel.addAddress({ ifindex: eth1.index, address: '198.51.100.8', length: 24, scope: ROUTE_SCOPE.universe })
  let asked = 0
  const own = new OwnAddress({ kernel, clock, log: silentLog, wanted: 'auto', changed: () => asked++ })
  t.teardown(() => own.close())
  t.is(await own.look({ node: undefined, families: [] }), undefined)
  asked = 0
  await kernel.changeRoutes([{ verb: 'delete', route }])
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  t.true(asked > 0)
  t.is((await own.look({ node: undefined, families: [] }))?.ipv4?.address, '192.0.2.11')
})

/** Ten devices of other programs, each with an address. */
async function withOthers(kernel: Awaited<ReturnType<typeof aMachine>>['kernel']) {
  const names = [
    'docker0',
    'virbr0',
    'cni0',
    'veth12',
    'nodelocaldns',
    'kube-ipvs0',
    'podman0',
    'lxcbr0',
    'tunl0',
    'cbr0',
  ]
  for (const [i, name] of names.entries()) {
    const { index } = await kernel.createLink({ kind: 'dummy', name })
    await kernel.setLink(name, { up: true })
    await kernel.addAddress({ ifindex: index, address: `172.17.${i}.1`, length: 24, scope: ROUTE_SCOPE.universe })
  }
}

test('devices of other programs that come while an agent runs, and a Node that names one, change nothing', async t => {
  const named = aResource('Node', {
    metadata: { name: 'n1', annotations: { [NODE_ANNOTATION.ipv4Address]: '172.17.0.1/16' } },
    spec: {},
    status: { addresses: [{ type: 'InternalIP', address: '172.17.3.1' }] },
  })
  const { look, change, kernel } = await aFollower(t, { node: named })
  await withOthers(kernel)
  t.is(await look(), '192.0.2.11')
  await change({ add: '192.0.2.12' })
  t.is(await look(), '192.0.2.11')
})

test('the words of an operator are followed, and an address that they chose is kept while the machine has it', async t => {
  const annotated = aNode('n1', { annotations: { [NODE_ANNOTATION.ipv4Address]: '192.0.2.11/24' } })
  const { look, change, own, kernel, clock } = await aFollower(t, { wanted: 'cidr=198.51.100.0/24', node: annotated })
  await withOthers(kernel)
  t.is(await look(), undefined)
  t.regex(
    own.refused()[0]!.message,
    /no address of this machine fits cidr=198\.51\.100\.0\/24 \(it has 192\.0\.2\.11 on eth0/,
  )
  await change({ add: '198.51.100.9' })
  t.is(await look(), '198.51.100.9')
  await change({ add: '198.51.100.7' })
  t.is(await look(), '198.51.100.9')
  await change({ remove: '198.51.100.9' })
  t.is(await look(), '198.51.100.9', 'it may come back at once')
  clock.advance(3000)
  t.is(await look(), '198.51.100.7')
  const reach = await aFollower(t, { wanted: 'can-reach=8.8.8.8', node: annotated })
  t.is(await reach.look(), '192.0.2.11')
})

test('kubernetes-internal-ip is the InternalIP of the Node and nothing else', async t => {
  const without = await aFollower(t, { wanted: 'kubernetes-internal-ip', node: aNode('n1') })
  t.is(await without.look(), undefined)
  t.regex(without.own.refused()[0]!.message, /no InternalIP yet/)
  const status = {
    addresses: [
      { type: 'Hostname', address: 'n1' },
      { type: 'InternalIP', address: 'fd00::1' },
      { type: 'InternalIP', address: '192.0.2.12' },
    ],
  }
  const node = aResource('Node', { metadata: { name: 'n1' }, spec: {}, status })
  const named = await aFollower(t, { wanted: 'kubernetes-internal-ip', node })
  await named.change({ add: '192.0.2.12' })
  t.is(await named.look(), '192.0.2.12')
})

test('an IPv6 address that is named may be on another interface, which is followed', async t => {
  const node = aNode('n1', { annotations: { [NODE_ANNOTATION.ipv6Address]: '2001:db8::12/64' } })
  const { kernel, own, look, turns, asked } = await aFollower(t, { node })
  const { index: ifindex } = await kernel.createLink({ kind: 'dummy', name: 'eth1' })
  await kernel.setLink('eth1', { up: true })
  await kernel.addAddress({ ifindex, address: '2001:db8::12', length: 64, scope: ROUTE_SCOPE.universe })
  await look()
  t.like(own.found, { ipv4: { uplink: 'eth0' }, ipv6: { address: '2001:db8::12', length: 64, uplink: 'eth1' } })
  await kernel.setLink('eth1', { mtu: 1400 })
  await turns()
  t.true(asked() > 0)
})

test('a node without an IPv6 address says so where the pools are IPv6, and is told which one by an operator', async t => {
  const bare = await aFollower(t, { families: ['ipv6'] })
  t.is(await bare.look(), '192.0.2.11')
  t.like(bare.own.refused()[0], { type: 'FamiliesReachable', status: 'False', reason: 'NoIpv6Address' })
  await bare.own.look({ node: undefined, families: ['ipv6'], ipv6Tunnelled: true })
  t.deepEqual(bare.own.refused(), [], 'VXLAN carries all IPv6 over IPv4')
  const six = (text: string) => ({ ifindex: bare.ifindex, address: text, length: 64, scope: ROUTE_SCOPE.universe })
  await bare.kernel.addAddress(six('2001:db8::11'))
  await bare.change({})
  await bare.look()
  t.deepEqual(bare.own.refused(), [])
  // a second one leaves no choice open: the first is in use
  await bare.kernel.addAddress(six('2001:db8::12'))
  await bare.change({})
  await bare.look()
  t.is(bare.own.found?.ipv6?.address, '2001:db8::11')
  for (const [wantedIpv6, address] of [
    ['none', undefined],
    ['2001:db8::12', '2001:db8::12'],
    ['cidr=2001:db8::/64', '2001:db8::11'],
    ['interface=eth0', '2001:db8::11'],
  ] as const) {
    const machine = await aFollower(t)
    for (const text of ['2001:db8::11', '2001:db8::12'])
      await machine.kernel.addAddress({ ...six(text), ifindex: machine.ifindex })
    const { kernel, clock } = machine
    const own = new OwnAddress({ kernel, clock, log: silentLog, wanted: 'auto', wantedIpv6, changed: () => undefined })
    t.is(
      (await own.look({ node: undefined, families: wantedIpv6 === 'none' ? ['ipv6'] : [] }))?.ipv6?.address,
      address,
      wantedIpv6,
    )
    own.close()
  }
})
