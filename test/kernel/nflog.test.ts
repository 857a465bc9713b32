import test from 'ava'
import { type Message, NlWriter } from '../../kernel/netlink/message.ts'
import { emitConfig } from '../../kernel/netlink/nflog/config.ts'
import { Numbered } from '../../kernel/netlink/nflog/numbered.ts'
import { parsePacket } from '../../kernel/netlink/nflog/packet.ts'
import { Malformed } from '../../kernel/netlink/nftables/fields.ts'
import { toHex } from '../../lib/bytes.ts'

const PACKET = 4 << 8
const messageOf = (hex: string): Message => ({ type: PACKET, flags: 0, seq: 0, port: 0, body: Buffer.from(hex, 'hex') })
/** By hand, after __build_packet_message of nfnetlink_log.c: an echo request that was forwarded, copied up to its addresses. */
const FORWARDED =
  '02000050' + // IPv4, group 80
  '0800010008000200' + // protocol of the frame, hook forward
  '0c000a00702f3120612f3200' + // prefix
  '0800040000000003' + // in by 3
  '0800050000000002' + // out by 2
  '0800020000000001' + // mark
  '1800090045000054a1b24000400100000af40001c0000201' + // the packet
  '140003000000000065f0000000000000000003e8' + // seconds, microseconds
  '08000c0000000007' // the eighth copy

test('a copy is read with its rule, interfaces, time and octets', t => {
  t.deepEqual(parsePacket(messageOf(FORWARDED)), {
    family: 'ipv4',
    prefix: 'p/1 a/2',
    hook: 'forward',
    inputIndex: 3,
    outputIndex: 2,
    mark: 1,
    timestampMs: 0x65f00000 * 1000 + 1,
    payload: Buffer.from('45000054a1b24000400100000af40001c0000201', 'hex'),
    sequence: 7,
  })
})

test('a reader asks for everything in one message', t => {
  const w = new NlWriter()
  emitConfig(w, { group: 80, copyOctets: 128, batch: 64, batchMs: 100 })
  const parts = [
    '00000050',
    '0500010001000000',
    '0a00020000000080' + '02000000',
    '0800030000004000',
    '080004000000000a',
  ]
  t.is(toHex(w.done()), [...parts, '0800050000000040', '0600060000010000'].join(''))
  for (const wrong of [{ group: 0 }, { copyOctets: 9217 }, { batch: 0 }, { batchMs: 9 }, { batch: 1.5 }])
    t.throws(() => emitConfig(w, { group: 80, copyOctets: 128, batch: 64, batchMs: 100, ...wrong }), {
      message: /NFLOG/,
    })
})

test('octets that make no sense are told, and never thrown', t => {
  const whole = messageOf(FORWARDED).body
  for (let length = 0; length < whole.length; length++)
    t.true(parsePacket({ ...messageOf(''), body: whole.subarray(0, length) }) instanceof Malformed, `${length} octets`)
  let seed = 1
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % below
  }
  for (let round = 0; round < 20_000; round++) {
    const body = Buffer.from(whole.subarray(0, 4 + random(whole.length - 3)))
    for (let change = 0; change <= round % 8; change++) body[random(body.length)] = random(256)
    const parsed = parsePacket({ ...messageOf(''), body })
    if (parsed instanceof Malformed) continue
    t.true(parsed.prefix.length <= 127 && parsed.payload.length <= body.length)
  }
})

test('what is missing between two copies is counted, and what makes no sense is missing', t => {
  const copy = (sequence: number) =>
    messageOf(FORWARDED.replace(/07$/, '').replace(/000000$/, sequence.toString(16).padStart(8, '0')))
  const numbered = new Numbered()
  const taken = (...messages: Message[]) => {
    const { packets, missing } = numbered.take(messages)
    return [packets.length, missing]
  }
  t.deepEqual(taken(copy(0), copy(1)), [2, 0])
  t.deepEqual(taken(copy(5)), [1, 3])
  t.deepEqual(taken(messageOf('02'), copy(7)), [1, 1])
  t.deepEqual(taken(copy(9)), [1, 1])
  t.deepEqual(taken(copy(8)), [1, 0], 'a number from before is no gap')
})
