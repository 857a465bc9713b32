import test from 'ava'
import { packetFlow } from '../../../agent/flows/packet.ts'
import { ipv6, tcp4 } from './packets.ts'

const V4 = { source: '10.244.0.7', destination: '192.0.2.1' }
const V6 = { source: 'fd00::7', destination: '2001:db8::1' }

test('a packet tells its addresses, protocol and ports', t => {
  const ports = { sourcePort: 40000, destinationPort: 443 }
  t.deepEqual(packetFlow('ipv4', tcp4(V4, [40000, 443])), { ...V4, protocol: 6, ...ports })
  t.deepEqual(packetFlow('ipv6', ipv6(V6, 17, [0x9c, 0x40, 1, 0xbb])), { ...V6, protocol: 17, ...ports })
  t.deepEqual(packetFlow('ipv6', ipv6(V6, 58, [128, 0])), { ...V6, protocol: 58, icmp: { type: 128, code: 0 } })
  const ping = tcp4(V4, [0x0800, 0])
  ping[9] = 1
  t.deepEqual(packetFlow('ipv4', ping), { ...V4, protocol: 1, icmp: { type: 8, code: 0 } })
})

test('options and extension headers are passed over, and a later fragment has no ports', t => {
  const options = Buffer.concat([tcp4(V4, [0, 0]).subarray(0, 20), Buffer.alloc(4), Buffer.from([0, 22, 0, 23])])
  options[0] = 0x46
  t.like(packetFlow('ipv4', options), { sourcePort: 22, destinationPort: 23 })
  const fragment = tcp4(V4, [1, 2])
  fragment.writeUInt16BE(0x2001, 6)
  t.deepEqual(packetFlow('ipv4', fragment), { ...V4, protocol: 6 })
  const hop = [6, 0, 0, 0, 0, 0, 0, 0]
  t.like(packetFlow('ipv6', ipv6(V6, 0, [...hop, 0, 22, 0, 23])), { protocol: 6, sourcePort: 22, destinationPort: 23 })
  const later = [6, 0, 0, 8, 0, 0, 0, 1]
  t.deepEqual(packetFlow('ipv6', ipv6(V6, 44, [...later, 0, 22, 0, 23])), { ...V6, protocol: 6 })
})

test('whatever the octets are, the answer is a flow or none', t => {
  let seed = 7
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % below
  }
  for (let round = 0; round < 20_000; round++) {
    const octets = Buffer.from(Array.from({ length: random(128) }, () => random(256)))
    const family = round % 2 === 0 ? 'ipv4' : 'ipv6'
    if (octets.length > 0) octets[0] = (family === 'ipv4' ? 0x40 : 0x60) | random(16)
    const flow = packetFlow(family, octets)
    t.is(flow === undefined, octets.length < (family === 'ipv4' ? 20 : 40))
  }
  t.is(packetFlow('ipv6', tcp4(V4, [1, 2])), undefined)
})
