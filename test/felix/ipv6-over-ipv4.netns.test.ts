// Pods that have IPv6 alone, on two nodes on two subnets that have IPv4 alone (two-nodes.ts), talk through vxlan.calico. IPv6 is off
// on both hosts, as administrators leave it where they have none.
import test from 'ava'
import { ip, megabyteOfTcp, ping, sourceOf } from './ipv6-programs.ts'
import { isRoot, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { type Net, startFelix, twoNodes } from './two-nodes.ts'

/** Of the pod of the second node. */
const FAR = 'fd00:10:2::5'

if (!isRoot)
  test('IPv6 pods on two nodes', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  let net: Net
  test.before(async () => {
    net = await twoNodes({ ipv6: true })
  })
  test.after.always(() => net?.[Symbol.asyncDispose]())

  test.serial('IPv6 pods of two subnets reach each other where no host and no router has an IPv6 address', async t => {
    const [a, b] = net.nodes
    await ping(a.pod, FAR, 3)
    await ping(b.pod, 'fd00:10:1::5', 3)
    const { stdout } = await ip(a.host, '-6', 'route', 'show', 'proto', '80', 'type', 'unicast')
    t.regex(stdout, /^fd00:10:2::\/122 via fe80::\S+ dev vxlan\.calico metric 1024/)
    // the router has no IPv6 route to pods: nothing but the outer packets can have passed
    const routes = await net.router.kernel.routes({ family: 'ipv6' })
    t.false(routes.some(({ dst }) => dst.startsWith('fd00')))
    t.is(a.host.kernel.readSysctl('ipv6', ['conf', 'eth0', 'disable_ipv6']), '1')
  })

  test.serial('an IPv6 packet of 1,450 octets passes the tunnel, a larger one is refused at the source', async t => {
    const [a, b] = net.nodes
    for (const { pod, host } of [a, b]) {
      t.like(await host.kernel.link('vxlan.calico'), { mtu: 1450, up: true })
      await pod.kernel.setLink('eth0', { mtu: 1450 })
    }
    await t.notThrowsAsync(ping(a.pod, FAR, 1, ['-M', 'do', '-s', '1402']))
    await t.throwsAsync(ping(a.pod, FAR, 1, ['-M', 'do', '-W', '1', '-s', '1403']))
  })

  test.serial('a megabyte of TCP passes the tunnel whole', async t => {
    const [a, b] = net.nodes
    t.is(await megabyteOfTcp(a.pod, b.pod, FAR), `${1 << 20}`)
  })

  test.serial('a restart of felix loses no IPv6 packet', async t => {
    const [a] = net.nodes
    const pings = Promise.all([a.pod, a.host].map(from => ping(from, FAR, 100, ['-i', '0.01'])))
    for (let i = 0; i < 3; i++) {
      await a.felix.close()
      a.felix = startFelix(a)
      await a.felix.inSync()
    }
    for (const said of await pings) t.regex(said, / 0% packet loss/)
  })

  test.serial(
    'a node without an IPv6 address of its own reaches pods of the other node and its own with the address of the tunnel',
    async t => {
      const [a, b] = net.nodes
      t.is(await sourceOf(a.host, { to: b.pod, at: FAR }), 'fd00:10:1::1')
      t.is(await sourceOf(b.host, { to: a.pod, at: 'fd00:10:1::5' }), 'fd00:10:2::1')
      t.is(await sourceOf(a.host, { to: a.pod, at: 'fd00:10:1::5' }), 'fd00:10:1::1')
      t.is(await megabyteOfTcp(a.host, b.pod, FAR), `${1 << 20}`)
      await ping(b.pod, 'fd00:10:1::1', 1)
    },
  )

  for (const [what, break_] of [
    ['the tunnel is deleted', (host: TestNetns) => host.otherProgram.deleteLink('vxlan.calico')],
    ['the tunnel goes down', (host: TestNetns) => host.otherProgram.setLink('vxlan.calico', { up: false })],
    [
      'IPv6 is switched off on the tunnel',
      async ({ otherProgram }: TestNetns) =>
        otherProgram.writeSysctl('ipv6', ['conf', 'vxlan.calico', 'disable_ipv6'], '1'),
    ],
    [
      'the address of the tunnel is deleted',
      (host: TestNetns) => ip(host, 'addr', 'del', 'fd00:10:1::1/128', 'dev', 'vxlan.calico'),
    ],
  ] as const)
    test.serial(`IPv6 pods and nodes reach pods of the other node again after ${what} by hand`, async t => {
      const [{ host, pod }] = net.nodes
      await break_(host)
      for (const from of [pod, host])
        await eventually('the pod answers again', () =>
          ping(from, FAR, 1, ['-W', '0.2']).then(
            () => true,
            () => false,
          ),
        )
      t.pass()
    })

  test.serial('with the far node go the route, the neighbour and the forwarding entry of its IPv6 pods', async t => {
    const [{ felix, host }] = net.nodes
    const left = async () => {
      const neighbours = await ip(host, '-6', 'neigh', 'show', 'dev', 'vxlan.calico', 'nud', 'permanent')
      const routes = await ip(host, '-6', 'route', 'show', 'proto', '80', 'type', 'unicast')
      const { index } = (await host.kernel.link('vxlan.calico'))!
      return { neighbours: neighbours.stdout, routes: routes.stdout, fdb: (await host.kernel.fdb(index)).length }
    }
    const before = await left()
    t.regex(before.neighbours, /^fe80::\S+ lladdr 66:/)
    t.is(before.fdb, 1)
    felix.set('remote', 'n2', undefined)
    felix.set('learned', 'fd00:10:2::/122', undefined)
    await eventually('nothing is left', async () => {
      const { neighbours, routes, fdb } = await left()
      return neighbours === '' && routes === '' && fdb === 0
    })
    t.pass()
  })
}
