// A node with an uplink in each of two LANs, its Node address on the first one, on the real kernel: two-nodes.ts with a second
// cable of the first node into the LAN of the second.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import type { FelixDeps } from '../../felix/loop.ts'
import { GATEWAY } from '../../kernel/pod-interface.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { give, type Net, route, startFelix, twoNodes, wire } from './two-nodes.ts'

const run = promisify(execFile)

const FAR_POD = '10.244.2.5'

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

async function learnedRoute({ name }: TestNetns): Promise<string> {
  const { stdout } = await run(systemProgram('ip'), ['-n', name, 'route', 'show', '10.244.2.0/26'])
  return stdout.trim().replace(' proto 80', '')
}

/** LAN 2 is a bridge of the router, and the first node has 192.168.20.11 there. */
async function twoUplinks(): Promise<Net> {
  const net = await twoNodes()
  const { router } = net
  await router.kernel.createLink({ kind: 'bridge', name: 'lan2b' })
  const { index: master } = (await router.kernel.link('lan2b'))!
  const { index: port } = (await router.kernel.link('lan2'))!
  await router.kernel.setLink('lan2', { master })
  await router.kernel.deleteAddress({ ifindex: port, address: '192.168.20.1', length: 24, scope: 0 })
  await give(router, 'lan2b', '192.168.20.1', 24)
  await router.kernel.setLink('lan2b', { up: true })
  await secondUplink(net)
  // as ADD leaves them
  for (const { n, pod, host } of net.nodes) {
    const { mac } = (await host.kernel.link(`calipod${n}`))!
    const { index: ifindex } = (await pod.kernel.link('eth0'))!
    await pod.kernel.setNeighbour({ ifindex, address: GATEWAY.ipv4, mac: mac!, permanent: true })
  }
  return net
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
