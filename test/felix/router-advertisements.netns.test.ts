// A host whose IPv6 default route and address are of a router's advertisements, on the real kernel: as a router itself it
// would lose the one at once and the other in time (`accept_ra` in ip-sysctl.rst).
import test from 'ava'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { systemClock } from '../../lib/clock.ts'
import { addressBytes } from '../../lib/ip.ts'
import { silentLog } from '../../lib/log.ts'
import { checksum, ETHERTYPE, ethernet, icmp, ipv6, sendFrame } from './frames.ts'
import { isRoot, openNetns, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { wire } from './two-nodes.ts'

const ALL_NODES = 'ff02::1'
const ROUTER = 'fe80::1'
const ROUTER_MAC = '02:00:00:00:00:01'
const PREFIX = 'fd00:a::'
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
    const felix = startFelix(host, { heedsRouters: true })
    t.teardown(() => felix.close())
    await felix.inSync()
    t.is(forwarding(host), '1')
    t.is(host.kernel.readSysctl('ipv6', ['conf', 'eth0', 'accept_ra']).trim(), '2')
    t.is((await defaults(host)).length, 1, 'as it was')
    advertise(router, 0)
    await eventually('a router that is none any more is heard', async () => (await defaults(host)).length === 0)
    advertise(router, 1800)
    await eventually('the next advertisement is taken', async () => (await defaults(host)).length === 1)
  })

  test('a node that takes none is left as it is', async t => {
    const { host } = await aHost(t)
    host.kernel.writeSysctl('ipv6', ['conf', 'eth0', 'accept_ra'], '0')
    const felix = startFelix(host, {})
    t.teardown(() => felix.close())
    await felix.inSync()
    t.is(forwarding(host), '1')
    t.is(host.kernel.readSysctl('ipv6', ['conf', 'eth0', 'accept_ra']).trim(), '0')
  })
}

/** A host that has heard of a router on its only link. */
async function aHost(t: { teardown(undo: () => unknown): void }) {
  const [host, router] = [await openNetns(), await openNetns()]
  t.teardown(async () => {
    await host.close()
    await router.close()
  })
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

async function defaults({ kernel }: TestNetns) {
  const routes = await kernel.routes({ table: 254, dst: '::/0' })
  return routes.filter(({ protocol }) => protocol === FROM_ROUTER)
}

function startFelix({ kernel }: TestNetns, more: { heedsRouters?: true }): Felix {
  const felix = new Felix(kernel, {
    ...{ clock: systemClock, log: silentLog, onConditions: () => {} },
    marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }),
  })
  felix.start()
  felix.configure({ node: { name: 'n1', ipv6: `${PREFIX}11/64`, uplink: 'eth0', ...more } })
  for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
  return felix
}

/** RFC 4861 §4.2, with the prefix of an address (§4.6.2), for so many seconds; 0: no default router. */
function advertise(router: TestNetns, seconds: number): void {
  const life = [...u32(3600), ...u32(3600)]
  const prefix = [3, 4, 64, 0xc0, ...life, ...u32(0), ...addressBytes(PREFIX)]
  // icmp() has four octets before its body: the hop limit, flags, and the lifetime of the router
  const message = icmp(134, Uint8Array.from([...u32(0), ...u32(0), ...prefix]))
  message.set([64, 0, seconds >> 8, seconds & 255], 4)
  const ends = [...addressBytes(ROUTER), ...addressBytes(ALL_NODES)]
  const pseudo = Buffer.from([...ends, ...u32(message.length), 0, 0, 0, 58, ...message])
  message.writeUInt16BE(checksum(pseudo), 2)
  const packet = ipv6({ from: ROUTER, to: ALL_NODES }, 58, message)
  sendFrame(router, 'lan', ethernet({ from: ROUTER_MAC, to: '33:33:00:00:00:01' }, ETHERTYPE.ipv6, packet))
}

function u32(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]
}
