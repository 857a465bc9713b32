// The octets of NFT_MSG_TRACE, as Linux 6.18 sent them for an echo request that a chain at the hook output let another one drop.
import test from 'ava'
import type { Message } from '../../kernel/netlink/message.ts'
import { Malformed } from '../../kernel/netlink/nftables/fields.ts'
import { parseTrace } from '../../kernel/netlink/nftables/trace.ts'
import type { TraceStep } from '../../kernel/port/trace.ts'

const TRACE = (10 << 8) | 17
const messageOf = (hex: string): Message => ({ type: TRACE, flags: 0, seq: 0, port: 0, body: Buffer.from(hex, 'hex') })
/** inet, mark 0, NFPROTO_IPV4 */
const HEAD = '01000000' + '08000f0000000002'
const ID = '080006009675f673'
const [A, B] = ['0600020061000000', '0600020062000000']
const TABLE = '0600010074000000'
const IPV4 = '4500004c4ceb40004001d9b10a0900010a090002'
const ICMP = '080086a30001000100004f224c20d61700000000'
const SET = `${HEAD}0800040000000003${ID}${A}${TABLE}0c00030000000000000000040c00050008000100ffffffff08000c000000000306000d000001000018000800${IPV4}18000900${ICMP}`
const JUMP = `${HEAD}0800040000000003${ID}${A}${TABLE}0c00030000000000000000051400050008000100fffffffd0600020062000000`
const DROP = `${HEAD}0800040000000003${ID}${B}${TABLE}0c00030000000000000000070c0005000800010000000000`
const POLICY = `${HEAD}0800040000000001${ID}${A}${TABLE}0800100000000001`

const packet = 0x9675f673
const STEPS: readonly [string, TraceStep][] = [
  [
    SET,
    {
      ...{ packet, family: 'inet', table: 't', chain: 'a', of: 'rule', handle: 4, verdict: 'continue' },
      outputIndex: 3,
      network: Buffer.from(IPV4, 'hex'),
      transport: Buffer.from(ICMP, 'hex'),
    },
  ],
  [JUMP, { packet, family: 'inet', table: 't', chain: 'a', of: 'rule', handle: 5, verdict: 'jump', to: 'b' }],
  [DROP, { packet, family: 'inet', table: 't', chain: 'b', of: 'rule', handle: 7, verdict: 'drop' }],
  [POLICY, { packet, family: 'inet', table: 't', chain: 'a', of: 'policy', verdict: 'accept' }],
]

test('a step of a traced packet is read with its rule, its verdict and the headers of the packet', t => {
  for (const [hex, step] of STEPS) t.deepEqual(parseTrace(messageOf(hex)), step)
})

test('a verdict is read by its lower bits: a queue and an errno are in the upper ones', t => {
  const verdict = (code: string) => parseTrace(messageOf(DROP.replace(/00000000$/, code)))
  for (const [code, expected] of [
    ['ffff0000', 'drop'],
    ['00050003', 'queue'],
    ['00000002', 'stolen'],
    ['fffffffb', 'return'],
  ] as const)
    t.like(verdict(code), { verdict: expected })
  t.true(verdict('00000009') instanceof Malformed)
})

test('steps that make no sense are told, and never thrown', t => {
  for (const [hex] of STEPS) {
    const whole = messageOf(hex).body
    for (let length = 0; length < whole.length; length++)
      t.notThrows(() => parseTrace({ ...messageOf(''), body: whole.subarray(0, length) }))
    for (let at = 0; at < whole.length; at++) {
      const flipped = Buffer.from(whole)
      flipped[at]! ^= 0xff
      t.notThrows(() => parseTrace({ ...messageOf(''), body: flipped }), `octet ${at}`)
    }
  }
  t.true(parseTrace(messageOf(`${HEAD}${ID}${A}`)) instanceof Malformed)
})
