import test from 'ava'
import type { PeerConfig } from '../../bgp/config.ts'
import type { LocalAddress, SelectedRoute } from '../../bgp/port.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { ManualClock } from '../../lib/clock.ts'
import { settle } from './settle.ts'

/**
 * Three speakers in three ASes: 10.0.0.1 in the middle of 10.0.0.2, which announces 203.0.113.0/24, and 10.0.0.3. Answers the
 * next hop that the third one has.
 */
async function nextHopAtThird(cidr: string, middle: Partial<PeerConfig> = {}): Promise<string | undefined> {
  const network = new MemoryNetwork()
  const clock = new ManualClock()
  const learned = new Map<string, SelectedRoute>()
  const sink = { selected: (route: SelectedRoute) => void learned.set(route.prefix, route), withdrawn: () => undefined }
  const speakers = [1, 2, 3].map(n => {
    const address = `10.0.0.${n}`
    const transport = network.host(address, [{ interface: 'eth0', address, cidr }])
    return new Speaker(
      { asn: 65000 + n, routerId: address },
      { transport, clock, random: () => 1, sink: n === 3 ? sink : undefined },
    )
  })
  const [first, second, third] = speakers as [Speaker, Speaker, Speaker]
  for (const [i, speaker] of speakers.entries()) await speaker.listen({ address: `10.0.0.${i + 1}`, port: 179 })
  const open = { import: 'accept', export: 'accept' } as const
  for (const n of [2, 3]) first.setPeer({ address: `10.0.0.${n}`, asn: 65000 + n, ...open, ...middle })
  for (const speaker of [second, third]) speaker.setPeer({ address: '10.0.0.1', asn: 65001, passive: true, ...open })
  second.announce({ prefix: '203.0.113.0/24' })
  await settle(80)
  const { nextHop } = learned.get('203.0.113.0/24') ?? {}
  await Promise.all(speakers.map(speaker => speaker.close()))
  await settle()
  return nextHop
}

test('between external peers on one subnet the next hop does not change (RFC 4271 §5.1.3)', async t => {
  t.is(await nextHopAtThird('10.0.0.0/24'), '10.0.0.2')
})

test('the subnet decides, not the number of hops that a session may have', async t => {
  t.is(await nextHopAtThird('10.0.0.0/24', { multihop: 255 }), '10.0.0.2')
  t.is(await nextHopAtThird('10.0.0.1/32'), '10.0.0.1')
})

test('rules about an interface know that of the subnet shared with the peer, and none of a peer in no subnet', async t => {
  const by = (name: string) => ({ multihop: 255, import: [{ action: 'accept' as const, interface: name }] })
  t.is(await nextHopAtThird('10.0.0.0/24', by('eth*')), '10.0.0.2')
  t.is(await nextHopAtThird('10.0.0.0/24', by('eth1')), undefined)
  t.is(await nextHopAtThird('10.0.0.1/32', by('*')), undefined)
})

test('with nextHop self the next hop is our address on a shared subnet, too', async t => {
  t.is(await nextHopAtThird('10.0.0.0/24', { nextHop: 'self' }), '10.0.0.1')
})

/**
 * What 10.0.0.2 of the AS `asn` hears of an IPv6 network of 10.0.0.1 of AS 65000 over sessions of `local` to `remote`. The link of the
 * first has an IPv6 address too, and that of the second is `farLink`.
 */
async function nextHopsHeard(
  sessions: readonly { local: string; remote: string; config?: Partial<PeerConfig> }[],
  { asn = 65000, farLink = [] }: { asn?: number; farLink?: LocalAddress[] } = {},
): Promise<{ selected: string | undefined; of: number }> {
  const network = new MemoryNetwork()
  const clock = new ManualClock()
  const hops: string[] = []
  const link = [
    { interface: 'eth0', address: '10.0.0.1', cidr: '10.0.0.0/24' },
    { interface: 'eth0', address: '2001:db8::1', cidr: '2001:db8::/64' },
    { interface: 'eth0', address: 'fe80::1', cidr: 'fe80::/64' },
  ]
  const sink = { selected: (route: SelectedRoute) => void hops.push(route.nextHop), withdrawn: () => undefined }
  const transports = [network.host('10.0.0.1', link), network.host('10.0.0.2', farLink)]
  const [from, to] = transports.map(
    (transport, i) =>
      new Speaker(
        { asn: i === 0 ? 65000 : asn, routerId: `10.0.0.${i + 1}` },
        { transport, clock, random: () => 1, sink: i === 1 ? sink : undefined },
      ),
  ) as [Speaker, Speaker]
  const families = ['ipv4-unicast', 'ipv6-unicast'] as const
  for (const { local, remote, config } of sessions) {
    await to.listen({ address: remote, port: 179 })
    const open = { import: 'accept', export: 'accept' } as const
    from.setPeer({ address: remote, source: local, asn, families, ...open, ...config })
    to.setPeer({ address: local, asn: 65000, passive: true, families, ...open })
  }
  from.announce({ prefix: '2001:db8:1::/64' })
  await settle(80)
  const candidates = to.explain('2001:db8:1::/64')?.candidates ?? []
  await Promise.all([from.close(), to.close()])
  await settle()
  return { selected: hops.at(-1), of: candidates.length }
}

const OVER_IPV4 = { local: '10.0.0.1', remote: '10.0.0.2' }

test('IPv6 routes over IPv4 have the IPv6 address of the link as next hop, or with mappedNextHop the IPv4 one inside of IPv6', async t => {
  t.is((await nextHopsHeard([OVER_IPV4])).selected, '2001:db8::1')
  t.is((await nextHopsHeard([{ ...OVER_IPV4, config: { mappedNextHop: true } }])).selected, '::ffff:a00:1')
})

test('between external peers the IPv4 address inside of an IPv6 next hop must be on the link, whatever IPv6 networks it has', async t => {
  const session = { ...OVER_IPV4, config: { mappedNextHop: true } }
  const farLink = [
    { interface: 'eth0', address: '10.0.0.2', cidr: '10.0.0.0/24' },
    { interface: 'eth0', address: '2001:db8::2', cidr: '2001:db8::/64' },
  ]
  t.is((await nextHopsHeard([session], { asn: 65001, farLink })).selected, '::ffff:a00:1')
})

test('of two sessions with one router that over IPv6 has the IPv6 routes, whichever comes first', async t => {
  const overIpv4 = { ...OVER_IPV4, config: { mappedNextHop: true } }
  const overIpv6 = { local: '2001:db8::1', remote: '2001:db8::2', config: { mappedNextHop: true } }
  for (const sessions of [
    [overIpv4, overIpv6],
    [overIpv6, overIpv4],
  ])
    t.deepEqual(await nextHopsHeard(sessions), { selected: '2001:db8::1', of: 2 })
})
