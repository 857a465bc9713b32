// Which events of the kernel make the subnets of this node be read again, and what counts as one.
import test from 'ava'
import { ConnectedSubnets } from '../../felix/connected-subnets.ts'
import type { Address } from '../../kernel/port/addresses.ts'
import type { KernelEvent } from '../../kernel/port/kernel.ts'
import type { Link } from '../../kernel/port/links.ts'

const link = (index: number, name: string, part: Partial<Link> = {}): Link => {
  return { index, name, mtu: 1500, up: true, running: true, ...part }
}
const address = (ifindex: number, text: string, length: number, scope = 0): Address => {
  return { ifindex, address: text, length, scope }
}

function machine() {
  const links = [link(1, 'lo'), link(2, 'eth0'), link(3, 'eth1'), link(4, 'calia'), link(5, 'vxlan.calico')]
  const addresses = [
    ...[address(1, '127.0.0.1', 8, 254), address(1, '10.0.0.1', 24), address(2, '192.168.10.11', 24)],
    ...[address(3, '192.168.20.11', 24), address(3, 'fd00::11', 64), address(3, '192.168.30.1', 32)],
    ...[address(3, 'fe80::1', 64, 253), address(4, '10.9.0.1', 24), address(5, '10.8.0.1', 24)],
  ]
  const kernel = { links: async () => [...links], addresses: async () => [...addresses] }
  return { links, addresses, subnets: new ConnectedSubnets(kernel, name => name.startsWith('cali')) }
}

const ETH0 = { cidr: '192.168.10.11/24', interfaceName: 'eth0', isUp: true }
const ETH1 = [
  { cidr: '192.168.20.11/24', interfaceName: 'eth1', isUp: true },
  { cidr: 'fd00::11/64', interfaceName: 'eth1', isUp: true },
]

test('subnets are those of addresses of both families with a mask; none of lo, of pods or of tunnels', async t => {
  const { subnets } = machine()
  t.deepEqual(await subnets.look(), [ETH0, ...ETH1])
  t.is(await subnets.look(), undefined, 'the kernel told of nothing')
})

test('a link that loses its carrier or goes down is still in its subnets, which are not up', async t => {
  for (const part of [{ running: false }, { up: false, running: false }]) {
    const { links, subnets } = machine()
    await subnets.look()
    links[2] = link(3, 'eth1', part)
    t.true(subnets.observe({ type: 'link', link: links[2]! }))
    t.deepEqual(await subnets.look(), [ETH0, ...ETH1.map(subnet => ({ ...subnet, isUp: false }))])
  }
})

test('only what could change the subnets is looked at: no pod that comes, no address that is told again', async t => {
  const { links, addresses, subnets } = machine()
  await subnets.look()
  const rows: [KernelEvent, boolean][] = [
    [{ type: 'link', link: link(6, 'calib') }, false],
    [{ type: 'address', address: address(6, 'fe80::ecee:eeff:feee:eeee', 64, 253) }, false],
    [{ type: 'link', link: link(3, 'eth1', { mtu: 9000 }) }, false],
    [{ type: 'address', address: { ...address(3, 'fd00::11', 64), tentative: true } }, false],
    [{ type: 'address-gone', address: address(3, '192.168.40.1', 24) }, false],
    [{ type: 'address-gone', address: address(3, 'fd00::11', 64) }, true],
    [{ type: 'address', address: address(7, '192.168.40.1', 24) }, true],
    [{ type: 'link', link: link(3, 'lan0') }, true],
    [{ type: 'link-gone', link: link(3, 'eth1') }, true],
    [{ type: 'overrun' }, true],
  ]
  for (const [event, isNews] of rows) {
    t.is(subnets.observe(event), isNews, JSON.stringify(event))
    t.is((await subnets.look()) !== undefined, isNews)
  }
  addresses.splice(0, addresses.length, address(3, '192.168.40.1', 24))
  subnets.invalidate()
  t.deepEqual(await subnets.look(), [{ cidr: '192.168.40.1/24', interfaceName: 'eth1', isUp: true }])
  links.length = 0
  subnets.invalidate()
  t.deepEqual(await subnets.look(), [], 'the link of an address is gone')
})

test('what is told while the kernel is asked, and a kernel that cannot be read, is looked at again', async t => {
  const { subnets } = machine()
  const look = subnets.look()
  subnets.observe({ type: 'overrun' })
  await look
  t.not(await subnets.look(), undefined)
  t.is(await subnets.look(), undefined)
  let fails = true
  const kernel = {
    links: async () => (fails ? Promise.reject(new Error('ENOBUFS')) : [link(2, 'eth0')]),
    addresses: async () => [address(2, '192.168.10.11', 24)],
  }
  const failing = new ConnectedSubnets(kernel, () => false)
  await t.throwsAsync(() => failing.look(), { message: 'ENOBUFS' })
  fails = false
  t.deepEqual(await failing.look(), [ETH0])
})

test('a new link that comes up while the kernel is asked is up', async t => {
  let eth1 = link(3, 'eth1', { running: false })
  const kernel = {
    links: async () => [eth1],
    async addresses() {
      if (!eth1.running) {
        eth1 = link(3, 'eth1')
        t.true(subnets.observe({ type: 'link', link: eth1 }))
      }
      return [address(3, '192.168.20.11', 24)]
    },
  }
  const subnets = new ConnectedSubnets(kernel, () => false)
  t.is((await subnets.look())![0]!.isUp, false)
  t.is((await subnets.look())![0]!.isUp, true)
})

test('an address whose link came after the links were read counts once it is told', async t => {
  const { links, subnets } = machine()
  const [eth1] = links.splice(2, 1)
  t.deepEqual(await subnets.look(), [ETH0])
  links.push(eth1!)
  t.true(subnets.observe({ type: 'address', address: address(3, '192.168.20.11', 24) }))
  t.deepEqual(await subnets.look(), [ETH0, ...ETH1])
})
