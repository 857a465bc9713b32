import test from 'ava'
import fc from 'fast-check'
import { deleteFlow, dumpFlowsFrom, flowReader } from '../../kernel/netlink/conntrack/flows.ts'
import { type Message, NlWriter, parseMessages } from '../../kernel/netlink/message.ts'
import type { Request } from '../../kernel/netlink/requests.ts'
import type { Flow, FlowTuple } from '../../kernel/port/conntrack.ts'
import { fromHex, toHex } from '../../lib/bytes.ts'
import { formatAddress } from '../../lib/ip.ts'

/** A connection to 10.96.0.1:443 that goes to 10.244.1.7:6443, as a kernel tells it. */
const TOLD = `02000000
  34000180 14000180 08000100 0af40105 08000200 0a600001
           1c000280 05000100 06000000 06000200 d4310000 06000300 01bb0000
  34000280 14000180 08000100 0af40107 08000200 0af40105
           1c000280 05000100 06000000 06000200 192b0000 06000300 d4310000
  08000300 0000018e 08000c00 0a0b0c0d 08000b00 00000001`

const SERVICE: Flow = {
  id: 0x0a0b0c0d,
  family: 'ipv4',
  original: tcp('10.244.1.5', 54321, '10.96.0.1', 443),
  reply: tcp('10.244.1.7', 6443, '10.244.1.5', 54321),
  isExpected: false,
  isAnswered: true,
}

function tcp(source: string, from: number, destination: string, to: number): FlowTuple {
  return { source, destination, protocol: 6, ports: { source: from, destination: to } }
}

function aMessage(body: Buffer): Message {
  return { type: 0x100, flags: 2, seq: 1, port: 0, body }
}

/** What is read of a body by who asks for these addresses. */
function parse(body: Buffer, ...addresses: string[]): Flow | undefined {
  return flowReader(new Set(addresses.length === 0 ? ['10.244.1.5'] : addresses))(aMessage(body))
}

function bytes(hex: string): Buffer {
  return Buffer.from(fromHex(hex.replaceAll(/\s/g, '')))
}

function sent(request: Request): Buffer {
  return parseMessages(new NlWriter().message(request.type, 5, 7, request.body).done())[0]!.body
}

test('a connection to a Service is read with the address before and after its translation', t => {
  t.deepEqual(parse(bytes(TOLD)), SERVICE)
})

test('a deletion names the packets and the kernel’s own number of the entry', t => {
  t.is(
    toHex(sent(deleteFlow(SERVICE))),
    toHex(
      bytes(`02000000
        34000180 14000180 08000100 0af40105 08000200 0a600001
                 1c000280 05000100 06000000 06000200 d4310000 06000300 01bb0000
        08000c00 0a0b0c0d`),
    ),
  )
})

test('one sender of a connection is asked for by the filter that the kernel has for it', t => {
  const request = dumpFlowsFrom('ipv4', 'reply', '10.244.1.7')
  t.is(
    toHex(sent(request)),
    '02000000' + '10000280' + '0c000180' + '080001000af40107' + '0c001980' + '0800020001000000',
  )
  const ipv6 = dumpFlowsFrom('ipv6', 'original', 'fd00::1')
  t.true(toHex(sent(ipv6)).endsWith('14000300fd000000000000000000000000000001' + '0c001980' + '0800010001000000'))
})

test('entries of other zones, other families, and those that are not whole are left out', t => {
  const whole = bytes(TOLD)
  const zoned = Buffer.concat([whole, bytes('06001200 00070000')])
  t.is(parse(zoned), undefined)
  const unzoned = Buffer.concat([whole, bytes('06001200 00000000')])
  t.deepEqual(parse(unzoned), SERVICE)
  t.is(parse(Buffer.concat([bytes('07000000'), whole.subarray(4)])), undefined)
  for (let length = 0; length < whole.length - 8; length++)
    t.is(parse(whole.subarray(0, length)), undefined, `${length} octets`)
})

test('only connections with a sender among the asked addresses are told', t => {
  for (const end of ['10.244.1.5', '10.244.1.7']) t.deepEqual(parse(bytes(TOLD), end), SERVICE)
  t.is(parse(bytes(TOLD), '10.96.0.1', 'fd00::1'), undefined)
})

const port = fc.integer({ min: 0, max: 65_535 })
const octet = fc.integer({ min: 0, max: 255 })
const addressOf = (octets: number) =>
  fc.uint8Array({ minLength: octets, maxLength: octets }).map(each => formatAddress(each))
const flows = fc.constantFrom('ipv4' as const, 'ipv6' as const).chain(family => {
  const address = addressOf(family === 'ipv4' ? 4 : 16)
  const icmp = fc.record({ type: octet, code: octet, id: port })
  const tuple = fc
    .record({
      source: address,
      destination: address,
      kind: fc.constantFrom('ports', 'icmp', 'bare'),
      icmp,
      from: port,
      to: port,
    })
    .map(({ source, destination, kind, icmp, from, to }): FlowTuple => {
      const ends = { source, destination }
      if (kind === 'icmp') return { ...ends, protocol: family === 'ipv4' ? 1 : 58, icmp }
      if (kind === 'bare') return { ...ends, protocol: 50 }
      return { ...ends, protocol: 17, ports: { source: from, destination: to } }
    })
  return fc.record({
    ...{ id: fc.integer({ min: 0, max: 2 ** 32 - 1 }), family: fc.constant(family) },
    ...{ original: tuple, reply: tuple, isExpected: fc.constant(false), isAnswered: fc.constant(false) },
  })
})

test('what is written of a connection reads back the same', t => {
  fc.assert(
    fc.property(flows, flow => {
      const body = sent(deleteFlow(flow))
      // the kernel tells the answers' tuple too, which a deletion has no use for
      const reply = sent(deleteFlow({ ...flow, original: flow.reply })).subarray(4)
      reply.writeUInt16LE(reply.readUInt16LE(2) + 1, 2)
      const both = Buffer.concat([body, reply.subarray(0, reply.readUInt16LE(0))])
      t.deepEqual(parse(both, flow.reply.source), flow)
    }),
  )
})

test('no message makes the reader throw', t => {
  const whole = bytes(TOLD)
  const read = flowReader(new Set(['10.244.1.5', 'fd00::1']))
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(whole.length - 1), octet, (noise, at, value) => {
      const hurt = Buffer.from(whole)
      hurt[at] = value
      for (const body of [Buffer.from(noise), hurt, Buffer.concat([hurt, noise])]) {
        read(aMessage(body))
      }
      t.pass()
    }),
  )
})
