// ARP probes and solicitations as octets, and which answers count.
import test from 'ava'
import {
  emitArpProbe,
  emitSolicitation,
  groupMac,
  parseAdvertisement,
  parseArpReply,
} from '../../kernel/neighbour-messages.ts'

const OWN = '02:00:00:00:00:11'
const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')

/** As a machine with 192.0.2.12 and 02:00:00:00:00:12 answers the probe, padded to the shortest frame. */
const REPLY = hex('0001 0800 06 04 0002 020000000012 c000020c 020000000011 00000000').toString('hex') + '00'.repeat(18)
/** For 2001:db8::12, with the option of its MAC, as Linux sends it. */
const ADVERTISEMENT = hex(
  `60000000 0020 3a ff fe80000000000000000000fffe000012 fe80000000000000000000fffe000011
   88 00 0000 60000000 20010db8000000000000000000000012 02 01 020000000012`,
)

/** With the right checksum, which is that of all the rest. */
function summed(packet: Buffer): Buffer {
  const out = Buffer.from(packet)
  out.writeUInt16BE(0, 42)
  let sum = out.length - 40 + 58
  for (let at = 8; at < out.length; at += 2) sum += out.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  out.writeUInt16BE(~sum & 0xffff, 42)
  return out
}

test('an ARP probe names no sender’s address, so nobody learns from it', t => {
  t.deepEqual(emitArpProbe(OWN, '192.0.2.12'), hex('0001 0800 06 04 0001 020000000011 00000000 000000000000 c000020c'))
})

test('an ARP reply names the address and the MAC that has it', t => {
  t.deepEqual(parseArpReply(hex(REPLY)), { address: '192.0.2.12', mac: '02:00:00:00:00:12' })
})

test('no request, other hardware or part of an ARP reply is an answer', t => {
  const reply = hex(REPLY)
  t.is(parseArpReply(emitArpProbe(OWN, '192.0.2.12')), undefined)
  for (const at of [1, 3, 4, 5, 7]) {
    const other = Buffer.from(reply)
    other[at] = other[at]! ^ 1
    t.is(parseArpReply(other), undefined, `octet ${at}`)
  }
  for (let length = 0; length < 28; length++) t.is(parseArpReply(reply.subarray(0, length)), undefined)
})

test('a solicitation goes to the group of the address, and names its sender, so that no machine takes it for a claim', t => {
  const packet = emitSolicitation({ mac: OWN, source: 'fe80::11', address: '2001:db8::12:3456' })
  t.deepEqual(packet, summed(packet))
  t.is(packet.subarray(0, 8).toString('hex'), '6000000000203aff')
  t.is(packet.subarray(8, 24).toString('hex'), 'fe800000000000000000000000000011')
  t.is(packet.subarray(24, 40).toString('hex'), 'ff0200000000000000000001ff123456')
  t.is(packet.subarray(44).toString('hex'), '0000000020010db80000000000000000001234560101020000000011')
  t.is(groupMac('2001:db8::12:3456'), '33:33:ff:12:34:56')
})

test('an advertisement names the address and the MAC, or leaves it to the frame', t => {
  t.deepEqual(parseAdvertisement(summed(ADVERTISEMENT)), { address: '2001:db8::12', mac: '02:00:00:00:00:12' })
  const bare = Buffer.from(ADVERTISEMENT.subarray(0, 64))
  bare.writeUInt16BE(24, 4)
  t.deepEqual(parseAdvertisement(summed(bare)), { address: '2001:db8::12' })
})

test('no advertisement counts that came through a router, is damaged, cut off, or has an option without an end', t => {
  const good = summed(ADVERTISEMENT)
  for (const [at, value] of [
    [7, 254],
    [40, 135],
    [65, 0],
  ] as const) {
    const other = Buffer.from(good)
    other[at] = value
    t.is(parseAdvertisement(summed(other)), undefined, `octet ${at}`)
  }
  const damaged = Buffer.from(good)
  damaged[60] = damaged[60]! ^ 1
  t.is(parseAdvertisement(damaged), undefined)
  for (let length = 0; length < good.length; length++) t.is(parseAdvertisement(good.subarray(0, length)), undefined)
})
