// A host whose IPv6 default route and address are of a router's advertisements, on the real kernel: as a router itself it
// would lose the one at once and the other in time (`accept_ra` in ip-sysctl.rst).
import test from 'ava'
import type { RemoteNode } from '../../felix/input.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { systemClock } from '../../lib/clock.ts'
import { addressBytes } from '../../lib/ip.ts'
import { silentLog } from '../../lib/log.ts'
import { checksum, ETHERTYPE, ethernet, icmp, ipv6, sendFrame } from './frames.ts'
import { isRoot, openNetns, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { give, wire } from './two-nodes.ts'

const ALL_NODES = 'ff02::1'
const ROUTER = 'fe80::1'
const ROUTER_MAC = '02:00:00:00:00:01'
const LAN1 = { name: 'lan', prefix: 'fd00:a::' }
const LAN2 = { name: 'lan2', prefix: 'fd00:b::' }
/** In the second LAN, by both families. */
const OTHER_NODE = { name: 'n2', address: '192.168.20.12', ipv6Address: 'fd00:b::12' }
/** rtm_protocol of what the kernel takes from advertisements (RTPROT_RA of linux/rtnetlink.h). */
const FROM_ROUTER = 9

if (!isRoot)
  test('router advertisements', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()

  test('a node that takes router advertisements keeps its default route when it forwards, and takes the next ones', async t => {
    const { host, router } = await aHost(t)
    const felix = startFelix(host)
    t.teardown(() => felix.close())
    await felix.inSync()
    t.is(forwarding(host), '1')
    t.is(acceptRa(host, 'eth0'), '2')
    t.is((await defaults(host)).length, 1, 'as it was')
    advertise(router, 0)
    await eventually('a router that is none any more is heard', async () => (await defaults(host)).length === 0)
    advertise(router, 1800)
    await eventually('the next advertisement is taken', async () => (await defaults(host)).length === 1)
  })

  test('a node that takes none is left as it is', async t => {
    const { host } = await aHost(t)
    host.kernel.writeSysctl('ipv6', ['conf', 'eth0', 'accept_ra'], '0')
    const felix = startFelix(host)
    t.teardown(() => felix.close())
    await felix.inSync()
    t.is(forwarding(host), '1')
    t.is(acceptRa(host, 'eth0'), '0')
  })

  test('a further uplink that takes them keeps its default route and address too, and takes the next ones', async t => {
    const { host, router } = await aHost(t)
    await heard(host, router, LAN2)
    const felix = startFelix(host, OTHER_NODE)
    t.teardown(() => felix.close())
    await felix.inSync()
    t.is(forwarding(host), '1')
    t.is(acceptRa(host, 'eth1'), '2')
    t.is((await defaults(host, 'eth1')).length, 1, 'as it was')
    advertise(router, 0, LAN2)
    await eventually('one that is no router is heard', async () => (await defaults(host, 'eth1')).length === 0)
    advertise(router, 1800, LAN2)
    await eventually('the next advertisement is taken', async () => (await defaults(host, 'eth1')).length === 1)
  })

  test('a further uplink that forwarded before, and took none, is left as it is', async t => {
    const { host, router } = await aHost(t)
    await heard(host, router, LAN2)
    host.kernel.writeSysctl('ipv6', ['conf', 'eth1', 'forwarding'], '1')
    const felix = startFelix(host, OTHER_NODE)
    t.teardown(() => felix.close())
    await felix.inSync()
    t.is(acceptRa(host, 'eth1'), '1')
  })

  test('a further uplink that appears later takes an address from them, although it forwards from its beginning', async t => {
    const { host, router } = await aHost(t)
    const felix = startFelix(host, OTHER_NODE)
    t.teardown(() => felix.close())
    await felix.inSync()
    await wire(host, 'eth1', router, LAN2.name)
    t.is(host.kernel.readSysctl('ipv6', ['conf', 'eth1', 'forwarding']).trim(), '1')
    await give(host, 'eth1', '192.168.20.11', 24)
    await eventually('it takes them', () => acceptRa(host, 'eth1') === '2')
    await eventually('it has an address', async () => {
      advertise(router, 1800, LAN2)
      const addresses = await host.kernel.addresses()
      return addresses.some(({ address }) => address.startsWith(LAN2.prefix))
    })
  })
}

/** Hears of the router on a second link. */
async function heard(host: TestNetns, router: TestNetns, lan: typeof LAN2): Promise<void> {
  await wire(host, 'eth1', router, lan.name)
  await eventually('the host hears of the router there', async () => {
    advertise(router, 1800, lan)
    return (await defaults(host, 'eth1')).length === 1
  })
}

function acceptRa({ kernel }: TestNetns, name: string): string {
  return kernel.readSysctl('ipv6', ['conf', name, 'accept_ra']).trim()
}

/** A host that has heard of a router on its only link. */
async function aHost(t: { teardown(undo: () => unknown): void }) {
  const [host, router] = [await openNetns(), await openNetns()]
  t.teardown(async () => {
    await host.close()
    await router.close()
  })
  // the route to the pods' gateway leads over it
  await host.kernel.setLink('lo', { up: true })
  for (const { kernel } of [host, router]) kernel.writeSysctl('ipv6', ['conf', 'default', 'accept_dad'], '0')
  for (const name of ['accept_ra', 'autoconf']) host.kernel.writeSysctl('ipv6', ['conf', 'default', name], '1')
  host.kernel.writeSysctl('ipv6', ['conf', 'default', 'router_solicitations'], '0')
  await wire(host, 'eth0', router, 'lan')
  await eventually('the host hears of the router', async () => {
    advertise(router, 1800)
    return (await defaults(host)).length === 1
  })
  return { host, router }
}

function forwarding({ kernel }: TestNetns): string {
  return kernel.readSysctl('ipv6', ['conf', 'all', 'forwarding']).trim()
}

async function defaults({ kernel }: TestNetns, name = 'eth0') {
  const routes = await kernel.routes({ table: 254, dst: '::/0' })
  const link = await kernel.link(name)
  return routes.filter(({ protocol, ifindex }) => protocol === FROM_ROUTER && ifindex === link?.index)
}

function startFelix({ kernel }: TestNetns, other?: RemoteNode): Felix {
  const felix = new Felix(kernel, {
    ...{ clock: systemClock, log: silentLog, onConditions: () => {} },
    marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }),
  })
  felix.start()
  felix.configure({ node: { name: 'n1', ipv6: `${LAN1.prefix}11/64`, uplink: 'eth0' } })
  if (other !== undefined) felix.set('remote', other.name, other)
  for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
  return felix
}

/** RFC 4861 §4.2, with the prefix of an address (§4.6.2), for so many seconds; 0: no default router. */
function advertise(router: TestNetns, seconds: number, lan = LAN1): void {
  const life = [...u32(3600), ...u32(3600)]
  const prefix = [3, 4, 64, 0xc0, ...life, ...u32(0), ...addressBytes(lan.prefix)]
  // icmp() has four octets before its body: the hop limit, flags, and the lifetime of the router
  const message = icmp(134, Uint8Array.from([...u32(0), ...u32(0), ...prefix]))
  message.set([64, 0, seconds >> 8, seconds & 255], 4)
  const ends = [...addressBytes(ROUTER), ...addressBytes(ALL_NODES)]
  const pseudo = Buffer.from([...ends, ...u32(message.length), 0, 0, 0, 58, ...message])
  message.writeUInt16BE(checksum(pseudo), 2)
  const packet = ipv6({ from: ROUTER, to: ALL_NODES }, 58, message)
  sendFrame(router, lan.name, ethernet({ from: ROUTER_MAC, to: '33:33:00:00:00:01' }, ETHERTYPE.ipv6, packet))
}

function u32(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]
}
