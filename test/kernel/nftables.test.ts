// The codec of nftables without a kernel: octets that Debian's nft sent, values there and back, and octets that make no
// sense.
import test from 'ava'
import fc from 'fast-check'
import { type Message, NlWriter, parseMessages } from '../../kernel/netlink/message.ts'
import { batchOf } from '../../kernel/netlink/nfnetlink.ts'
import { requestsOf } from '../../kernel/netlink/nftables/changes.ts'
import { commandText } from '../../kernel/netlink/nftables/command-text.ts'
import { parseRuleCounter } from '../../kernel/netlink/nftables/counters.ts'
import { elementsOf, parseElements } from '../../kernel/netlink/nftables/elements.ts'
import { Malformed } from '../../kernel/netlink/nftables/fields.ts'
import { flowtables } from '../../kernel/netlink/nftables/flowtables.ts'
import { chains, parseGeneration, rules, sets, tables } from '../../kernel/netlink/nftables/objects.ts'
import { objects } from '../../kernel/netlink/nftables/stateful-objects.ts'
import type {
  NftChain,
  NftChange,
  NftElement,
  NftElements,
  NftExpression,
  NftRule,
  NftSet,
  NftTable,
} from '../../kernel/port/nftables.ts'
import { toHex } from '../../lib/bytes.ts'
import { anyRule, chain, flowtable, hashElements, namedObject, octet, ranges, set, table } from './nftables-values.ts'

/** The messages that say a change, as the kernel gets them. */
function written(change: NftChange): Message[] {
  const w = new NlWriter()
  for (const { type, flags = 0, body } of requestsOf(change)) w.message(type, flags, 1, body)
  return parseMessages(w.done())
}

const NFGENMSG = 4
const rule = (...expressions: NftExpression[]): NftRule => {
  return { kind: 'rule', family: 'inet', table: 't', chain: 'c', expressions }
}
const FROM_IPV4: NftExpression[] = [
  { type: 'meta', key: 'nfproto', load: 1 },
  { type: 'cmp', op: 'eq', from: 1, value: '02' },
]

/** What `nft -f` 1.0.6 sent for a rule, without the names of table and chain (strace), and the same rule as a value. */
const GOLDENS: readonly { text: string; octets: string; rule: NftRule }[] = [
  {
    text: 'ip saddr @s4 ip daddr != @n4 masquerade',
    octets:
      '24000180090001006d6574610000000014000280080002000000000f0800010000000001' +
      '2c00018008000100636d700020000280080001000000000108000200000000000c0003800500010002000000' +
      '340001800c0001007061796c6f6164002400028008000100000000010800020000000001080003000000000c0800040000000004' +
      '2c0001800b0001006c6f6f6b757000001c00028008000200000000010700010073340000' +
      '0800040000000002' +
      '340001800c0001007061796c6f616400240002800800010000000001080002000000000108000300000000100800040000000004' +
      '340001800b0001006c6f6f6b75700000240002800800020000000001070001006e34000008000400000000030800050000000001' +
      '14000180090001006d6173710000000004000280',
    rule: rule(
      ...FROM_IPV4,
      { type: 'payload', base: 'network', offset: 12, length: 4, load: 1 },
      { type: 'lookup', set: 's4', from: 1, setId: 2 },
      { type: 'payload', base: 'network', offset: 16, length: 4, load: 1 },
      { type: 'lookup', set: 'n4', from: 1, inverted: true, setId: 3 },
      { type: 'masq' },
    ),
  },
  {
    text: 'iifname vmap @from_pod',
    octets:
      '24000180090001006d657461000000001400028008000200000000060800010000000001' +
      '3c0001800b0001006c6f6f6b757000002c000280080002000000000108000300000000000d00010066726f6d5f706f6400000000' +
      '0800040000000001',
    rule: rule(
      { type: 'meta', key: 'iifname', load: 1 },
      { type: 'lookup', set: 'from_pod', from: 1, load: 0, setId: 1 },
    ),
  },
  {
    text: 'fib saddr . iif oif missing drop',
    octets:
      '2800018008000100666962001c000280080003000000002908000200000000010800010000000001' +
      '2c00018008000100636d700020000280080001000000000108000200000000000c0003800800010000000000' +
      '300001800e000100696d6d6564696174650000001c0002800800010000000000100002800c0002800800010000000000',
    rule: rule(
      { type: 'fib', result: 'oif', flags: ['saddr', 'iif', 'present'], load: 1 },
      { type: 'cmp', op: 'eq', from: 1, value: '00000000' },
      { type: 'immediate', load: 0, data: { verdict: 'drop' } },
    ),
  },
]

for (const { text, octets, rule: value } of GOLDENS)
  test(`"${text}" is written with the octets that nft sends, and printed as that`, t => {
    const [message] = written({ verb: 'add', object: value })
    const names = `${'06000100740000000600020063000000'}`
    const length = Buffer.alloc(4)
    length.writeUInt16LE(4 + octets.length / 2)
    length.writeUInt16LE(0x8004, 2)
    t.is(toHex(message!.body), `01000000${names}${toHex(length)}${octets}`)
    t.deepEqual(rules.parse(message!), value)
    t.is(
      commandText({ verb: 'add', object: value }, () => undefined),
      `add rule inet t c ${text}`,
    )
  })

/** What nft 1.0.6 sent about flowtables, after the name of the table: kernels without them refuse these. */
const FLOWTABLE_GOLDENS: readonly { text: string; octets: string; change: NftChange }[] = [
  {
    text: 'add flowtable inet t f { hook ingress priority 5; devices = { eth1, eth0 }; counter; }',
    octets:
      '0600020066000000300003800800010000000000080002000000000' +
      '51c000380090001006574683100000000090001006574683000000000' +
      '0800070000000002',
    change: {
      verb: 'add',
      object: {
        kind: 'flowtable',
        family: 'inet',
        table: 't',
        name: 'f',
        priority: 5,
        devices: ['eth1', 'eth0'],
        flags: ['counter'],
      },
    },
  },
  {
    text: 'delete flowtable inet t f { devices = { eth1 }; }',
    octets: '0600020066000000240003800800010000000000080002000000000010000380090001006574683100000000',
    change: {
      verb: 'delete',
      object: { kind: 'devices', family: 'inet', table: 't', flowtable: 'f', priority: 0, devices: ['eth1'] },
    },
  },
]

for (const { text, octets, change } of FLOWTABLE_GOLDENS)
  test(`"${text}" is written with the octets that nft sends, and printed as that`, t => {
    const [message] = written(change)
    t.is(toHex(message!.body), `010000000600010074000000${octets}`)
    t.is(
      commandText(change, () => undefined),
      text,
    )
  })

test('a transaction is between a beginning with its generation and an end, both of nftables', t => {
  const w = new NlWriter()
  for (const { type, flags = 0, body } of batchOf(10, [], 7)) w.message(type, flags, 1, body)
  t.deepEqual(
    parseMessages(w.done()).map(({ type, body }) => [type, toHex(body)]),
    [
      [16, '0000000a' + '0800010000000007'],
      [17, '0000000a'],
    ],
  )
})

test('what is written of a table, chain, set, object, flowtable or rule reads back the same', t => {
  const plain = <T extends { handle?: number }>({ handle: _, ...rest }: T) => rest
  fc.assert(
    fc.property(table, chain, set, anyRule, namedObject, flowtable, (aTable, aChain, aSet, aRule, anObject, flows) => {
      t.deepEqual(objects.parse(written({ verb: 'add', object: anObject })[0]!), anObject)
      t.deepEqual(flowtables.parse(written({ verb: 'add', object: flows })[0]!), flows)
      t.deepEqual(tables.parse(written({ verb: 'add', object: aTable })[0]!), plain(aTable) as NftTable)
      t.deepEqual(chains.parse(written({ verb: 'add', object: aChain })[0]!), aChain)
      t.deepEqual(sets.parse(written({ verb: 'add', object: aSet })[0]!), aSet)
      t.deepEqual(rules.parse(written({ verb: 'add', object: aRule })[0]!), aRule)
    }),
  )
})

test('of the rules that are written, the counters are read as a reader of whole rules sums them', t => {
  fc.assert(
    fc.property(anyRule, fc.integer({ min: 1, max: 2 ** 40 }), (aRule, handle) => {
      const counters = aRule.expressions.filter(step => step.type === 'counter')
      const sum = (key: 'packets' | 'bytes') => counters.reduce((total, each) => total + (each[key] ?? 0n), 0n)
      const { chain: name, comment } = aRule
      const expected = { chain: name, handle, ...(comment !== undefined && { comment }) }
      t.deepEqual(
        parseRuleCounter(written({ verb: 'add', object: { ...aRule, handle } })[0]!),
        counters.length === 0 ? undefined : { ...expected, packets: sum('packets'), bytes: sum('bytes') },
      )
    }),
  )
})

/** Reads back what is written of elements, as a dump would tell it. */
function readBack(of: NftElements): readonly NftElement[] {
  const { type, data, flags } = of
  const asSet: NftSet = { kind: 'set', family: 'inet', table: 't', name: 's', type, data, flags }
  const wires = written({ verb: 'add', object: of }).flatMap(message => {
    const parsed = parseElements(message)
    if (parsed instanceof Malformed) throw parsed
    return parsed
  })
  const found = elementsOf(asSet, wires)
  if (found instanceof Malformed) throw found
  return found
}

test('what is written of elements reads back the same', t => {
  fc.assert(fc.property(hashElements, of => t.deepEqual(readBack(of), of.elements)))
})

test('ranges of a plain set read back as they were, whatever their ends', t => {
  const of = (elements: readonly NftElement[]): NftElements => {
    return { kind: 'elements', family: 'inet', table: 't', set: 's', type: 'ipv4_addr', flags: ['interval'], elements }
  }
  const fixed = ['0.0.0.0/8', '10.0.0.1', '10.0.0.2', '10.1.0.0/16', '10.2.0.0-10.2.0.9', '255.255.255.255']
  const wanted = fixed.map((word, i) => ({ key: [word], comment: `${i}` }))
  t.deepEqual(readBack(of(wanted)), wanted)
  t.deepEqual(readBack(of([{ key: ['0.0.0.0/0'] }])), [{ key: ['0.0.0.0/0'] }])
  fc.assert(
    fc.property(ranges, list => {
      const elements = list.map(key => ({ key }))
      // a range that is a prefix is worded as one
      const again = readBack(of(elements))
      t.deepEqual(readBack(of(again)), again)
      t.is(again.length, elements.length)
    }),
  )
})

test('an element that matches when nothing else does is written without a key', t => {
  const elements: NftElement[] = [
    { key: ['lo'], data: { verdict: 'accept' } },
    { key: ['*'], data: { verdict: 'drop' } },
  ]
  const of: NftElements = {
    kind: 'elements',
    family: 'inet',
    table: 't',
    set: 's',
    type: 'ifname',
    data: 'verdict',
    elements,
  }
  t.deepEqual(readBack(of), elements)
})

test('elements that do not fit one message are spread over several, in order', t => {
  const elements = Array.from({ length: 10_000 }, (_, i) => ({ key: [`10.0.${i >> 8}.${i & 255}`] }))
  const of: NftElements = { kind: 'elements', family: 'inet', table: 't', set: 's', type: 'ipv4_addr', elements }
  const messages = written({ verb: 'add', object: of })
  t.true(messages.length > 1)
  t.true(messages.every(({ body }) => body.length < 65_536))
  t.deepEqual(readBack(of), elements)
})

test('an attribute that would be too long is refused instead of cut', t => {
  const expressions = Array<NftExpression>(4000).fill({ type: 'counter' })
  t.throws(() => written({ verb: 'add', object: rule(...expressions) }), { instanceOf: RangeError })
})

/** Where the attributes of a body begin and end; a cut there leaves whole attributes. */
function attributeBounds(body: Buffer): Set<number> {
  const out = new Set([NFGENMSG])
  for (let at = NFGENMSG; at < body.length; ) {
    const length = body.readUInt16LE(at)
    out.add(Math.min(body.length, at + length))
    at += (length + 3) & ~3
    out.add(Math.min(body.length, at))
  }
  return out
}

test('a rule that is cut short is refused wherever the cut is', t => {
  fc.assert(
    fc.property(anyRule, object => {
      const [message] = written({ verb: 'add', object })
      const { body } = message!
      const whole = attributeBounds(body)
      for (let length = 0; length < body.length; length++) {
        const parsed = rules.parse({ ...message!, body: body.subarray(0, length) })
        // between the end of an attribute and its padding nothing is missing
        const padding = [...whole].some(bound => length > bound && length < bound + 4 && whole.has((length + 3) & ~3))
        if (!whole.has(length) && !padding) t.true(parsed instanceof Malformed, `${length} of ${body.length}`)
      }
    }),
    { numRuns: 30 },
  )
})

const PARSERS = [
  tables.parse,
  chains.parse,
  sets.parse,
  rules.parse,
  objects.parse,
  flowtables.parse,
  parseElements,
  parseGeneration,
  parseRuleCounter,
]

test('any octets end in a value or in an error value', t => {
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    // a header that is right, and attributes of about the right length
    fc
      .array(fc.tuple(fc.integer({ min: 0, max: 20 }), fc.uint8Array({ maxLength: 40 })), { maxLength: 12 })
      .map(list => {
        const w = new NlWriter().u8(1).u8(0).u16(0)
        for (const [type, value] of list) w.attrBytes(type, value)
        return w.done()
      }),
  )
  fc.assert(
    fc.property(body, bytes => {
      for (const parse of PARSERS) parse({ type: 0, flags: 0, seq: 0, port: 0, body: Buffer.from(bytes) })
    }),
    { numRuns: 1000 },
  )
  t.pass()
})

test('a message with octets changed is refused, or read as something that can be written and printed', t => {
  const flips = fc.array(fc.tuple(fc.nat(), octet), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(
      anyRule,
      set,
      namedObject,
      flowtable,
      hashElements,
      flips,
      (aRule, aSet, named, flows, some, changes) => {
        const damaged = ({ body, ...rest }: Message): Message => {
          const out = Buffer.from(body)
          for (const [at, value] of changes) out[at % out.length] = value
          return { ...rest, body: out }
        }
        const parsed = [
          rules.parse(damaged(written({ verb: 'add', object: aRule })[0]!)),
          sets.parse(damaged(written({ verb: 'add', object: aSet })[0]!)),
          objects.parse(damaged(written({ verb: 'add', object: named })[0]!)),
          flowtables.parse(damaged(written({ verb: 'add', object: flows })[0]!)),
        ]
        const parsers = { rule: rules, set: sets, object: objects, flowtable: flowtables }
        for (const object of parsed) {
          if (object instanceof Malformed) continue
          commandText({ verb: 'add', object }, () => undefined)
          const again = written({ verb: 'add', object })[0]!
          t.false(parsers[object.kind].parse(again) instanceof Malformed)
        }
        for (const message of written({ verb: 'add', object: some })) {
          const wires = parseElements(damaged(message))
          if (wires instanceof Malformed) continue
          const { type } = some
          for (const flags of [undefined, ['interval'] as const])
            elementsOf({ kind: 'set', family: 'inet', table: 't', name: 's', type, flags }, wires)
        }
      },
    ),
    { numRuns: 300 },
  )
})

test('a chain of a family without its hook is not written', t => {
  const odd: NftChain = {
    kind: 'chain',
    family: 'arp',
    table: 't',
    name: 'c',
    base: { type: 'filter', hook: 'forward', priority: 0 },
  }
  t.notThrows(() => written({ verb: 'add', object: odd }))
  t.throws(() => written({ verb: 'add', object: { ...odd, base: { ...odd.base!, hook: 'prerouting' } } }), {
    message: 'the family arp has no hook prerouting',
  })
})

test('words that are none of their type are not written', t => {
  const of = (type: string, key: string[]): NftElements => {
    return { kind: 'elements', family: 'inet', table: 't', set: 's', type, elements: [{ key }] }
  }
  for (const [type, ...key] of [
    ['ipv4_addr', 'fd00::1'],
    ['ipv4_addr', '10.0.0.0/8'],
    ['inet_service', '65536'],
    ['inet_proto', 'tpc'],
    ['ifname', 'a-name-that-is-too-long'],
    ['ipv4_addr . inet_service', '10.0.0.1'],
    ['ipv4_address', '10.0.0.1'],
    ['mark', '-1'],
  ] as const)
    t.throws(() => written({ verb: 'add', object: of(type, key) }), { instanceOf: Error }, `${type} ${key.join(' ')}`)
})
