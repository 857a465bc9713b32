// A node with an uplink in each of two LANs, its Node address on the first one, on the real kernel: two-nodes.ts with a second
// cable of the first node into the LAN of the second.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import type { FelixDeps } from '../../felix/loop.ts'
import { GATEWAY, HOST_MAC } from '../../kernel/pod-interface.ts'
import type { Family } from '../../lib/ip.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, openNetns, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { give, type Net, type Node, route, startFelix, twoNodes, wire } from './two-nodes.ts'
import type { World } from './worlds.ts'

const run = promisify(execFile)

const FAR_POD = '10.244.2.5'

const UNTUNNELLED = { ipip: 'Never', vxlan: 'Never', isExchanged: true } as const

if (!isRoot)
  test('a node with two uplinks', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  test.serial(
    'a node in the LAN of a second uplink is reached by tunnel over that uplink, and answers by the first',
    async t => {
      await using net = await twoUplinks()
      const [{ host, pod }] = net.nodes
      t.is(await learnedRoute(host), `10.244.2.0/26 via 10.244.2.1 dev vxlan.calico onlink`)
      const before = await counts(host)
      await ping(pod, FAR_POD, 20)
      const after = await counts(host)
      t.true(after.eth1.sent - before.eth1.sent >= 20, JSON.stringify({ before, after }))
      t.true(after.eth0.received - before.eth0.received >= 20, JSON.stringify({ before, after }))
      t.true(after.eth0.sent - before.eth0.sent < 20, JSON.stringify({ before, after }))
    },
  )

  test.serial(
    'the second uplink goes and comes again: pods go on by the first one, and it carries them again',
    async t => {
      await using net = await twoUplinks()
      const [{ host, pod, felix }] = net.nodes
      await ping(pod, FAR_POD, 1)
      const { index } = (await host.otherProgram.link('eth1'))!
      await host.otherProgram.setLink('eth1', { up: false })
      const before = await counts(host)
      await ping(pod, FAR_POD, 20)
      t.true((await counts(host)).eth0.sent - before.eth0.sent >= 20)
      await felix.inSync()
      await host.otherProgram.deleteLink('eth1')
      await ping(pod, FAR_POD, 1)
      await secondUplink(net)
      t.not((await host.otherProgram.link('eth1'))!.index, index)
      const again = await counts(host)
      await ping(pod, FAR_POD, 20)
      t.true((await counts(host)).eth1.sent - again.eth1.sent >= 20)
      t.is(await learnedRoute(host), `10.244.2.0/26 via 10.244.2.1 dev vxlan.calico onlink`)
    },
  )

  test.serial(
    'the uplink of the Node address goes down: it is told, and what leads over the second one goes on',
    async t => {
      await using net = await twoUplinks()
      const [near, far] = net.nodes
      const { host, pod } = near
      // the far node knows a second way to this one, as where its routing protocol says so
      await route(far.host, '192.168.10.11/32', '192.168.20.11', 'eth0')
      await near.felix.close()
      const told = new Map<string, string | undefined>()
      const onConditions: FelixDeps['onConditions'] = changes => {
        for (const [key, condition] of changes) if (key.startsWith('PodTraffic')) told.set(key, condition?.reason)
      }
      near.felix = startFelix(near, { onConditions })
      await near.felix.inSync()
      await ping(pod, FAR_POD, 1)
      await host.otherProgram.setLink('eth0', { up: false })
      await ping(pod, FAR_POD, 20)
      await eventually('it is told', () => told.size > 0)
      t.deepEqual([...told], [['PodTrafficPasses Link eth0', 'LinkDown']])
      await ping(pod, FAR_POD, 20)
      await host.otherProgram.setLink('eth0', { up: true })
      await eventually('it is over', () => told.get('PodTrafficPasses Link eth0') === undefined)
      await ping(pod, FAR_POD, 1)
    },
  )

  test.serial(
    'without a tunnel a node in the LAN of a second uplink is reached over that uplink, and answered by the first although its filter was strict',
    async t => {
      await using net = await twoUplinks({ pools: [{ ...UNTUNNELLED, cidr: '10.244.0.0/16' }] })
      const [{ host, pod }] = net.nodes
      t.is(await learnedRoute(host), '10.244.2.0/26 via 192.168.20.12 dev eth1')
      await route(net.router, '10.244.1.0/26', '192.168.10.11', 'lan1')
      await strictThenLoose(host)
      const before = await counts(host)
      await ping(pod, FAR_POD, 20)
      const after = await counts(host)
      t.true(after.eth1.sent - before.eth1.sent >= 20, JSON.stringify({ before, after }))
      t.true(after.eth0.received - before.eth0.received >= 20, JSON.stringify({ before, after }))
    },
  )

  test.serial('over IPv6 too', async t => {
    await using net = await twoUplinks({}, true)
    const [{ host, pod }] = net.nodes
    t.is(await learnedRoute(host, 'fd00:10:2::/122'), 'fd00:10:2::/122 via fd00:b::12 dev eth1 metric 1024 pref medium')
    const before = await counts(host)
    await ping(pod, 'fd00:10:2::5', 20)
    const after = await counts(host)
    t.true(after.eth1.sent - before.eth1.sent >= 20, JSON.stringify({ before, after }))
    t.true(after.eth0.received - before.eth0.received >= 20, JSON.stringify({ before, after }))
  })

  test.serial(
    'the second uplink stays up and loses its carrier: tunnels go by the first one until it is back',
    async t => {
      await using net = await twoUplinks()
      const [{ host, pod }] = net.nodes
      const setting = ['conf', 'eth1', 'ignore_routes_with_linkdown']
      await eventually('it is passed over', () => host.kernel.readSysctl('ipv4', setting).trim() === '1')
      await ping(pod, FAR_POD, 1)
      await net.router.kernel.setLink('lan2c', { up: false })
      await eventually('the kernel goes another way', async () => (await wayTo(host, '192.168.20.12')) === 'eth0')
      t.like(await host.kernel.link('eth1'), { up: true, running: false })
      const before = await counts(host)
      await ping(pod, FAR_POD, 20)
      t.true((await counts(host)).eth0.sent - before.eth0.sent >= 20)
      await net.router.kernel.setLink('lan2c', { up: true })
      await eventually('the kernel is back', async () => (await wayTo(host, '192.168.20.12')) === 'eth1')
      await ping(pod, FAR_POD, 1)
    },
  )

  for (const family of ['IPv4', 'IPv6'])
    test.serial(
      `the same without a tunnel, ${family}: the route goes and comes with the carrier, and both are told`,
      async t => {
        const ipv6 = family === 'IPv6'
        const [block, hop] = ipv6 ? ['fd00:10:2::/122', 'fd00:b::12'] : ['10.244.2.0/26', '192.168.20.12']
        const told = new Map<string, string>()
        const onConditions: FelixDeps['onConditions'] = changes => {
          for (const [key, condition] of changes)
            if (condition === undefined) told.delete(key)
            else told.set(key, condition.reason)
        }
        const pools = [{ ...UNTUNNELLED, cidr: '10.244.0.0/16' }]
        await using net = await (ipv6
          ? twoUplinks({}, true, onConditions)
          : twoUplinks({ pools }, undefined, onConditions))
        const { router } = net
        const [{ host, pod }] = net.nodes
        if (!ipv6) await route(router, '10.244.1.0/26', '192.168.10.11', 'lan1')
        const direct = async () => (await learnedRoute(host, block)).startsWith(`${block} via ${hop} dev eth1`)
        await eventually('there is the route', direct)
        told.clear()
        await router.kernel.setLink('lan2c', { up: false })
        await eventually('the route is gone', async () => (await learnedRoute(host, block)) === '')
        const reasons = [`BlocksReachable Route ${block} NextHopLinkDown`, 'UplinksUp Link eth1 LinkDown']
        t.deepEqual([...told].map(each => each.join(' ')).sort(), reasons)
        await eventually('the kernel goes another way', async () => (await wayTo(host, hop)) === 'eth0')
        await router.kernel.setLink('lan2c', { up: true })
        await eventually('it is back', direct)
        t.deepEqual([...told], [])
        await eventually('the kernel is back', async () => (await wayTo(host, hop)) === 'eth1')
        await ping(pod, ipv6 ? 'fd00:10:2::5' : FAR_POD, 1)
      },
    )

  for (const family of ['ipv4', 'ipv6'] as const)
    for (const dead of ['has no carrier', 'is down'] as const) {
      test.serial(
        `while the first uplink ${dead} a pod that asks anew for its gateway reaches a pod of its node and one of another, ${family}`,
        async t => {
          await using net = await twoUplinks({}, family === 'ipv6' ? true : undefined)
          const [near, far] = net.nodes
          await using undo = new AsyncDisposableStack()
          const address = await secondPod(near, family, undo)
          // the other side knows the way over the second uplink, as where its routing protocol says so
          await (family === 'ipv6'
            ? route(net.router, 'fd00:10:1::5/128', 'fd00:b::11', 'lan2b')
            : route(far.host, '192.168.10.11/32', '192.168.20.11', 'eth0'))
          const setting = ['conf', 'eth0', 'ignore_routes_with_linkdown']
          await eventually('it is passed over', () => near.host.kernel.readSysctl(family, setting).trim() === '1')
          await takeAway(dead, net)
          await forgetGateway(near.pod, family)
          await ping(near.pod, address, 3)
          await ping(near.pod, family === 'ipv6' ? 'fd00:10:2::5' : FAR_POD, 3)
          t.pass()
        },
      )

      test.serial(`so it reaches a pod of its node while the only uplink ${dead}, ${family}`, async t => {
        await using net = await twoNodes(family === 'ipv6' ? { ipv6: true } : {})
        const [near] = net.nodes
        await using undo = new AsyncDisposableStack()
        const address = await secondPod(near, family, undo)
        await takeAway(dead, net)
        await forgetGateway(near.pod, family)
        await ping(near.pod, address, 3)
        t.pass()
      })
    }
}

/** Another pod of that node, which asks for its gateway too; gives its address. */
async function secondPod({ host, n, felix }: Node, family: Family, undo: AsyncDisposableStack): Promise<string> {
  const pod = await openNetns()
  undo.defer(() => pod.close())
  const ipv6 = family === 'ipv6'
  const address = ipv6 ? `fd00:10:${n}::6` : `10.244.${n}.6`
  pod.kernel.writeSysctl('ipv6', ['conf', 'default', 'accept_dad'], '0')
  await wire(host, 'calisecond', pod, 'eth0', HOST_MAC)
  await give(pod, 'eth0', address, ipv6 ? 128 : 32)
  if (!ipv6) await route(pod, `${GATEWAY.ipv4}/32`, undefined, 'eth0')
  await route(pod, ipv6 ? '::/0' : '0.0.0.0/0', GATEWAY[family], 'eth0')
  const { mac } = (await pod.kernel.link('eth0'))!
  const own = { id: 'second', interfaceName: 'calisecond', ifname: 'eth0', netns: '' }
  felix.set('endpoint', 'second', { ...own, addresses: [address], mac: mac!, mtu: 1450 })
  await felix.inSync()
  return address
}

/** From the first node its first uplink. */
async function takeAway(dead: 'has no carrier' | 'is down', { router, nodes: [{ host }] }: Net): Promise<void> {
  await (dead === 'is down'
    ? host.otherProgram.setLink('eth0', { up: false })
    : router.otherProgram.setLink('lan1', { up: false }))
  await eventually('it is dead', async () => (await host.kernel.link('eth0'))?.running === false)
}

/** A pod that asks for its gateway, as one does that another plugin made. */
async function forgetGateway({ name }: TestNetns, family: Family): Promise<void> {
  const ip = systemProgram('ip')
  await run(ip, ['-n', name, 'neigh', 'replace', GATEWAY[family], 'dev', 'eth0', 'lladdr', HOST_MAC, 'nud', 'stale'])
  await run(ip, ['-n', name, 'neigh', 'del', GATEWAY[family], 'dev', 'eth0'])
}

/** The interface by which the kernel sends to an address. */
async function wayTo({ kernel }: TestNetns, address: string): Promise<string | undefined> {
  const { ifindex } = await kernel.lookupRoute(address)
  return ifindex === undefined ? undefined : (await kernel.link(ifindex))?.name
}

/** The agent makes a filter of the reverse path of both uplinks loose, since packets come back by another one. */
async function strictThenLoose({ kernel }: TestNetns): Promise<void> {
  const uplinks = ['eth0', 'eth1']
  for (const name of uplinks) kernel.writeSysctl('ipv4', ['conf', name, 'rp_filter'], '1')
  const isLoose = (name: string) => kernel.readSysctl('ipv4', ['conf', name, 'rp_filter']).trim() === '2'
  await eventually('both are loose', () => uplinks.every(isLoose))
}

type Counts = { sent: number; received: number }

/** Packets of the two uplinks of a host. */
async function counts({ name }: TestNetns): Promise<{ eth0: Counts; eth1: Counts }> {
  const of = async (device: string) => {
    const { stdout } = await run(systemProgram('ip'), ['-n', name, '-j', '-s', 'link', 'show', 'dev', device])
    const [{ stats64 }] = JSON.parse(stdout) as [{ stats64: Record<'rx' | 'tx', { packets: number }> }]
    return { sent: stats64.tx.packets, received: stats64.rx.packets }
  }
  return { eth0: await of('eth0'), eth1: await of('eth1') }
}

async function learnedRoute({ name }: TestNetns, dst = '10.244.2.0/26'): Promise<string> {
  const family = dst.includes(':') ? '-6' : '-4'
  const { stdout } = await run(systemProgram('ip'), ['-n', name, family, 'route', 'show', dst])
  return stdout.trim().replace(' proto 80', '')
}

/**
 * LAN 2 is a bridge of the router, and the first node has 192.168.20.11 there. `world`: what differs there for both agents. With `ipv6`
 * pods have IPv6 alone, the pool has no tunnel, and LAN n is fd00:a::/64 or fd00:b::/64 too.
 */
async function twoUplinks(
  world: Partial<World> = {},
  ipv6?: true,
  onConditions: FelixDeps['onConditions'] = () => undefined,
): Promise<Net> {
  const net = await twoNodes({ world, ...(ipv6 && { ipv6 }) })
  const { router, nodes } = net
  await router.kernel.createLink({ kind: 'bridge', name: 'lan2b' })
  const { index: master } = (await router.kernel.link('lan2b'))!
  const { index: port } = (await router.kernel.link('lan2'))!
  await router.kernel.setLink('lan2', { master })
  await router.kernel.deleteAddress({ ifindex: port, address: '192.168.20.1', length: 24, scope: 0 })
  await give(router, 'lan2b', '192.168.20.1', 24)
  await router.kernel.setLink('lan2b', { up: true })
  await secondUplink(net)
  if (ipv6) await withIpv6(net)
  // once everything is there, so that nothing of its making is told
  const [near] = nodes
  for (const node of nodes) {
    await node.felix.close()
    const part = ipv6 ? ipv6World(node.n) : world
    node.felix = startFelix(node, { world: part, ...(node === near && { onConditions }) })
  }
  // as ADD leaves them
  for (const { n, pod, host } of nodes) {
    const { mac } = (await host.kernel.link(`calipod${n}`))!
    const { index: ifindex } = (await pod.kernel.link('eth0'))!
    const address = ipv6 ? GATEWAY.ipv6 : GATEWAY.ipv4
    await pod.kernel.setNeighbour({ ifindex, address, mac: mac!, permanent: true })
  }
  for (const { felix } of nodes) await felix.inSync()
  return net
}

async function withIpv6({ router, nodes }: Net): Promise<void> {
  const on = async (at: TestNetns, name: string, address: string) => {
    at.kernel.writeSysctl('ipv6', ['conf', name, 'disable_ipv6'], '0')
    const { index: ifindex } = (await at.kernel.link(name))!
    await at.kernel.addAddress({ ifindex, address, length: 64, scope: 0, noDad: true })
  }
  const [near, far] = nodes
  router.kernel.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '1')
  await on(router, 'lan1', 'fd00:a::1')
  await on(router, 'lan2b', 'fd00:b::1')
  await on(near.host, 'eth0', 'fd00:a::11')
  await on(near.host, 'eth1', 'fd00:b::11')
  await on(far.host, 'eth0', 'fd00:b::12')
  await route(near.host, '::/0', 'fd00:a::1', 'eth0')
  await route(far.host, '::/0', 'fd00:b::1', 'eth0')
  await route(router, 'fd00:10:1::/122', 'fd00:a::11', 'lan1')
}

function ipv6World(n: number): Partial<World> {
  const [own, other] = n === 1 ? ['fd00:a::11', 'fd00:b::12'] : ['fd00:b::12', 'fd00:a::11']
  return {
    node: { name: `n${n}`, ipv4: `192.168.${n}0.1${n}/24`, ipv6: `${own}/64`, uplink: 'eth0' },
    pools: [{ ...UNTUNNELLED, cidr: 'fd00:10::/32' }],
    learned: [{ prefix: `fd00:10:${3 - n}::/122`, nextHop: other, encapsulations: [] }],
  }
}

async function secondUplink({ nodes: [{ host }], router }: Net): Promise<void> {
  await wire(host, 'eth1', router, 'lan2c')
  const { index: master } = (await router.kernel.link('lan2b'))!
  await router.kernel.setLink('lan2c', { master })
  await give(host, 'eth1', '192.168.20.11', 24)
}

/** Fails where one of them is not answered. */
async function ping({ name }: TestNetns, to: string, count: number): Promise<void> {
  const args = ['netns', 'exec', name, systemProgram('ping'), '-n', '-i', '0.01', '-c', `${count}`, '-W', '10', to]
  const { stdout } = await run(systemProgram('ip'), args)
  if (!/ 0% packet loss/.test(stdout)) throw new Error(stdout)
}
