import test from 'ava'
import type { PeerConfig } from '../../bgp/config.ts'
import type { SelectedRoute } from '../../bgp/port.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { ManualClock } from '../../lib/clock.ts'
import { MemoryNetwork, settle } from './memory-transport.ts'

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

test('with nextHop self the next hop is our address on a shared subnet, too', async t => {
  t.is(await nextHopAtThird('10.0.0.0/24', { nextHop: 'self' }), '10.0.0.1')
})
