// The packets of probes and what is made of what comes back, octet by octet.
import test from 'ava'
import {
  icmpError,
  isEchoReply,
  type Probe,
  probeMarks,
  probePacket,
  probePort,
  tcpAnswer,
} from '../../kernel/probe-packets.ts'
import { toHex } from '../../lib/bytes.ts'

const ADDRESSES = { source: '192.0.2.1', destination: '198.51.100.2' }
const ADDRESSES6 = { source: '2001:db8::1', destination: '2001:db8::2' }
const marker = '0102030405060708'
const tcp: Probe = { family: 'ipv4', ...ADDRESSES, protocol: 'tcp', destinationPort: 443, sourcePort: 50000, marker }
const udp: Probe = { ...tcp, protocol: 'udp' }
const echo: Probe = { family: 'ipv4', ...ADDRESSES, protocol: 'icmp', marker }
const echo6: Probe = { family: 'ipv6', ...ADDRESSES6, protocol: 'icmpv6', marker }
const ALL = [
  tcp,
  udp,
  echo,
  { ...tcp, ...ADDRESSES6, family: 'ipv6' as const },
  { ...udp, ...ADDRESSES6, family: 'ipv6' as const },
  echo6,
]

/** Sums to all ones over what the checksum covers (RFC 1071 §1, 3). */
function sumOf(bytes: Buffer): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return sum
}

test('a SYN has its ports, the marker as its sequence number and a right checksum over both addresses', t => {
  const syn = probePacket(tcp, 1)
  t.is(toHex(syn).replace(toHex(syn.subarray(16, 18)), 'cccc'), 'c35001bb010203040000000060020400cccc000002040218')
  const pseudo = Buffer.from('c0000201c633640200060018', 'hex')
  t.is(sumOf(Buffer.concat([pseudo, syn])), 0xffff)
  const syn6 = probePacket({ ...tcp, ...ADDRESSES6, family: 'ipv6' }, 1)
  const ends = '20010db800000000000000000000000120010db8000000000000000000000002'
  t.is(sumOf(Buffer.concat([Buffer.from(`${ends}0000001800000006`, 'hex'), syn6])), 0xffff)
})

test('an echo has the marker behind its header and is as long as was asked for, also in odd octets', t => {
  t.is(toHex(probePacket(echo, 2)), `0800${toHex(probePacket(echo, 2).subarray(2, 4))}01020002${marker}`)
  t.is(sumOf(probePacket(echo, 2)), 0xffff)
  for (const length of [68, 1451, 1500]) {
    const message = probePacket({ ...echo, length }, 1)
    t.is(20 + message.length, length)
    t.is(sumOf(Buffer.concat([message, Buffer.alloc(message.length % 2)])), 0xffff)
    t.is(40 + probePacket({ ...echo6, length }, 1).length, length)
  }
  t.is(toHex(probePacket(udp, 1)), marker)
})

test('what a packet is known by is in it, and not in its answer', t => {
  const answers: Partial<Record<Probe['protocol'], string>> = {
    icmp: `0000000001020001${marker}`,
    icmpv6: `8100000001020001${marker}`,
    tcp: '01bbc3500000000901020305601200000000000002040218',
    udp: '01bbc350000900004f',
  }
  const has = (bytes: Buffer, marks: ReturnType<typeof probeMarks>['there']) =>
    marks.every(({ offset, value }) => bytes.toString('hex', offset, offset + value.length / 2) === value)
  for (const probe of ALL) {
    const header = probe.protocol === 'udp' ? Buffer.alloc(8) : Buffer.alloc(0)
    const sent = Buffer.concat([header, probePacket(probe, 1)])
    const answer = Buffer.from(answers[probe.protocol]!, 'hex')
    const { there, back } = probeMarks(probe)
    t.true(has(sent, there), probe.protocol)
    t.true(has(answer, back), probe.protocol)
    t.false(has(sent, back), probe.protocol)
    t.false(has(answer, there), probe.protocol)
  }
  t.is(probePort({ marker }), 49152 + 0x0102)
})

test('an answer of TCP counts for its own probe alone, and a reset is a refusal', t => {
  const segment = (change: Partial<Record<number, number>>) => {
    const bytes = Buffer.from('01bbc350000000090102030560120000000000000204', 'hex')
    for (const [at, value] of Object.entries(change)) bytes[Number(at)] = value!
    return bytes
  }
  t.is(tcpAnswer(tcp, segment({})), 'answered')
  t.is(tcpAnswer(tcp, segment({ 13: 0x14 })), 'refused')
  t.is(tcpAnswer(tcp, segment({ 13: 0x10 })), undefined, 'an acknowledgement alone')
  for (const change of [{ 1: 0xbc }, { 3: 0x51 }, { 11: 0x04 }]) t.is(tcpAnswer(tcp, segment(change)), undefined)
  t.is(tcpAnswer(tcp, segment({}).subarray(0, 19)), undefined)
})

test('a message of ICMP counts where it is about a packet of the probe, and others are nothing, whatever octets they have', t => {
  const ip = `4500002c0001400040060000c0000201c6336402`
  const about = Buffer.from(`0301000000000000${ip}c35001bb01020304`, 'hex')
  t.deepEqual(icmpError(tcp, about), { error: 'unreachable', code: 1 })
  const tooBig = Buffer.from(about)
  tooBig[1] = 4
  t.deepEqual(icmpError(tcp, tooBig), { error: 'too big', code: 4 })
  for (const at of [0, 17, 28, 29, 32, 35]) {
    const other = Buffer.from(about)
    other[at]! ^= 0x40
    t.is(icmpError(tcp, other), undefined, `octet ${at}`)
  }
  const ip6 = `6000000000183a40${'20010db8000000000000000000000001'}${'20010db8000000000000000000000002'}`
  t.deepEqual(icmpError(echo6, Buffer.from(`0200000000000500${ip6}8000000001020001`, 'hex')), {
    error: 'too big',
    code: 0,
  })
  let seed = 1
  const random = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return seed >>> 24
  }
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.from(Array.from({ length: random() % 70 }, random))
    // as a message about something
    if (bytes.length > 0 && i % 2 === 0) bytes[0] = [3, 1, 11, 2][i % 4]!
    for (const probe of ALL) {
      t.is(icmpError(probe, bytes), undefined)
      t.false(isEchoReply(probe, bytes))
      t.is(tcpAnswer(probe, bytes), undefined)
    }
  }
})
