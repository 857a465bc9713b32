// The interpreter of nftables by itself: one promise of the kernel each. That a kernel does the same is shown by
// interpreter.netns.test.ts.
import test from 'ava'
import type {
  NftChain,
  NftElement,
  NftElements,
  NftExpression,
  NftHook,
  NftRule,
  NftSet,
  NftVerdict,
} from '../../kernel/port/nftables.ts'
import { extension, ipv4, ipv6, onlyFragment } from '../felix/frames.ts'
import type { HookPacket } from './interpreter/packet.ts'
import { interpreter, type Outcome, type Table } from './interpreter.ts'
import { octetsOf } from './packets.ts'

type Content = { [chain: string]: readonly (readonly NftExpression[])[] }
type Base = { hook: NftHook; priority: number; policy?: 'accept' | 'drop'; type?: string }
type SetContent = Pick<NftSet, 'type' | 'data' | 'flags'> & { elements: readonly NftElement[] }
type Options = {
  bases?: Record<string, Base>
  sets?: Record<string, SetContent>
  family?: 'inet' | 'ip'
  name?: string
}

const FORWARD: Base = { hook: 'forward', priority: 0, policy: 'accept' }

/** A table whose chain `main` is at the hook forward unless `bases` says otherwise. */
function table(
  content: Content,
  { bases = { main: FORWARD }, sets = {}, family = 'inet', name = 't' }: Options = {},
): Table {
  const at = { family, table: name }
  return {
    chains: Object.keys(content).map((chain): NftChain => {
      const base = bases[chain]
      return { kind: 'chain', ...at, name: chain, ...(base && { base: { type: 'filter', ...base } }) }
    }),
    sets: Object.entries(sets).map(
      ([set, { elements: _, ...of }]): NftSet => ({ kind: 'set', ...at, name: set, ...of }),
    ),
    elements: Object.entries(sets).map(([set, of]): NftElements => ({ kind: 'elements', ...at, set, ...of })),
    rules: Object.entries(content).flatMap(([chain, rules]) =>
      rules.map((expressions): NftRule => ({ kind: 'rule', ...at, chain, expressions })),
    ),
  }
}

const says = (verdict: NftVerdict): NftExpression => ({ type: 'immediate', load: 0, data: verdict })
const accept = says({ verdict: 'accept' })
const drop = says({ verdict: 'drop' })
const back = says({ verdict: 'return' })
const jump = (chain: string) => says({ verdict: 'jump', chain })
const goto = (chain: string) => says({ verdict: 'goto', chain })
const eq = (value: string, from = 1): NftExpression => ({ type: 'cmp', op: 'eq', from, value })
const field = (base: 'network' | 'transport', offset: number, length: number, load = 1): NftExpression => {
  return { type: 'payload', base, offset, length, load }
}
const meta = (key: 'iifname' | 'oifname' | 'l4proto' | 'nfproto' | 'mark', load = 1): NftExpression => {
  return { type: 'meta', key, load }
}
const state: NftExpression = { type: 'ct', key: 'state', load: 1 }
const dport = field('transport', 2, 2)

const PACKET: HookPacket = {
  bytes: octetsOf({ from: '10.0.0.1', to: '10.0.0.2', protocol: 6, sourcePort: 40_000, destinationPort: 80 }),
  iif: 'cali1',
  oif: 'eth0',
}
const PACKET_6: HookPacket = {
  ...PACKET,
  bytes: octetsOf({ from: 'fd00::1', to: 'fd00::2', protocol: 17, sourcePort: 40_000, destinationPort: 53 }),
}

const run = (content: Content, options?: Options, packet = PACKET): Outcome =>
  interpreter([table(content, options)])(packet)
/** Which rules of `main` match, by their places. */
const matches = (rules: Content[string], packet = PACKET, sets?: Record<string, SetContent>) =>
  run({ main: rules }, { sets }, packet).rules.map(({ index }) => index)

test('the end of a base chain is its policy', t => {
  t.is(run({ main: [] }).verdict, 'accept')
  t.is(run({ main: [] }, { bases: { main: { ...FORWARD, policy: 'drop' } } }).verdict, 'drop')
})

test('a jump comes back behind its rule, a goto does not', t => {
  const inside = [[back], [drop]]
  t.is(run({ main: [[jump('a')], [accept]], a: inside }).verdict, 'accept')
  const bases = { main: { ...FORWARD, policy: 'drop' as const } }
  t.is(run({ main: [[goto('a')], [accept]], a: inside }, { bases }).verdict, 'drop')
  const deep = run({ main: [[jump('a')], [accept]], a: [[goto('b')], [drop]], b: [] }, { bases })
  t.is(deep.verdict, 'accept')
  t.deepEqual(deep.chains, ['forward t/main', 'forward t/a', 'forward t/b'])
})

test('accept ends the base chain and not the hook; drop ends all', t => {
  const bases = { main: FORWARD, later: { ...FORWARD, priority: 1 } }
  const both = run({ later: [[drop]], main: [[accept], [drop]] }, { bases })
  t.is(both.verdict, 'drop')
  t.deepEqual(both.chains, ['forward t/main', 'forward t/later'])
  t.deepEqual(run({ later: [[accept]], main: [[drop]] }, { bases }).chains, ['forward t/main'])
})

test('base chains of all tables are in the order of their priorities', t => {
  const first = table({ main: [] }, { name: 'a', bases: { main: { ...FORWARD, priority: 10 } } })
  const second = table({ main: [] }, { name: 'b', bases: { main: { ...FORWARD, priority: -10 } } })
  t.deepEqual(interpreter([first, second])(PACKET).chains, ['forward b/main', 'forward a/main'])
})

test('a packet passes the hooks of its way', t => {
  const hooks: NftHook[] = ['prerouting', 'input', 'forward', 'output', 'postrouting']
  const content = Object.fromEntries(hooks.map(hook => [hook, []]))
  const bases = Object.fromEntries(hooks.map(hook => [hook, { hook, priority: 0 }]))
  const passed = (packet: HookPacket) => run(content, { bases }, packet).chains.map(chain => chain.split('/')[1])
  const { bytes } = PACKET
  t.deepEqual(passed({ bytes, iif: 'a', oif: 'b' }), ['prerouting', 'forward', 'postrouting'])
  t.deepEqual(passed({ bytes, iif: 'a' }), ['prerouting', 'input'])
  t.deepEqual(passed({ bytes, oif: 'b' }), ['output', 'postrouting'])
})

test('a table of IPv4 does not see IPv6', t => {
  t.is(run({ main: [[drop]] }, { family: 'ip' }).verdict, 'drop')
  t.is(run({ main: [[drop]] }, { family: 'ip' }, PACKET_6).verdict, 'accept')
})

test('names of interfaces are 16 octets, and their beginnings can be compared', t => {
  const name = (text: string, length = 16) => Buffer.from(text.padEnd(length, '\0')).toString('hex')
  t.deepEqual(
    matches([
      [meta('iifname'), eq(name('cali1'))],
      [meta('iifname'), eq(name('cali'))],
      [meta('iifname'), eq(name('cali', 4))],
      [meta('oifname'), eq(name('eth0'))],
    ]),
    [0, 2, 3],
  )
})

test('where the packet goes is not known before it is routed', t => {
  const rule = [meta('oifname'), eq('00000000')]
  t.is(run({ main: [[...rule, drop]] }, { bases: { main: { hook: 'prerouting', priority: 0 } } }).verdict, 'drop')
  t.is(run({ main: [[...rule, drop]] }).verdict, 'accept')
})

test('fields of headers lie where the transport begins', t => {
  const udp = octetsOf({ from: 'fd00::1', to: 'fd00::2', protocol: 17, destinationPort: 53 }).subarray(40)
  const ends = { from: 'fd00::1', to: 'fd00::2' }
  const rules = [
    [meta('l4proto'), eq('11')],
    [dport, eq('0035')],
  ]
  const of = (bytes: Uint8Array) => matches(rules, { ...PACKET, bytes })
  t.deepEqual(of(PACKET_6.bytes), [0, 1])
  t.deepEqual(of(ipv6(ends, 60, extension(17, udp))), [0, 1])
  t.deepEqual(of(ipv6(ends, 44, onlyFragment(17, udp))), [0, 1])
  const long = Buffer.concat([udp, Buffer.alloc(16)])
  t.deepEqual(of(ipv4({ from: '10.0.0.1', to: '10.0.0.2' }, 17, long, 'first fragment')), [0, 1])
  t.deepEqual(of(ipv4({ from: '10.0.0.1', to: '10.0.0.2' }, 17, long, 'last fragment')), [0])
  // behind the end of the packet there is nothing
  t.deepEqual(of(PACKET_6.bytes.subarray(0, 42)), [0])
})

test('numbers are compared from their first octet', t => {
  const than = (op: 'lt' | 'lte' | 'gt' | 'gte' | 'neq', value: string): NftExpression[] => {
    return [dport, { type: 'cmp', op, from: 1, value }]
  }
  t.deepEqual(
    matches([than('lt', '0050'), than('lte', '0050'), than('gt', '004f'), than('gte', '0100'), than('neq', '0051')]),
    [1, 2, 4],
  )
})

test('bits are masked and turned', t => {
  const masked = (mask: string, xor = '00000000'): NftExpression => {
    return { type: 'bitwise', from: 1, load: 2, length: 4, mask, xor }
  }
  t.deepEqual(
    matches([
      [field('network', 12, 4), masked('ffffff00'), eq('0a000000', 2)],
      [field('network', 12, 4), masked('ffffffff', '00000001'), eq('0a000000', 2)],
      [field('network', 12, 4), masked('ffffff00'), eq('0a000001', 2)],
    ]),
    [0, 1],
  )
})

test('sets have keys, ranges with both ends, boxes, and what is left', t => {
  const daddr = field('network', 16, 4)
  const look = (set: string, inverted?: true): NftExpression => ({ type: 'lookup', set, from: 1, inverted })
  const interval = ['interval'] as const
  const keys = (...of: string[][]) => of.map(key => ({ key }))
  const sets: Record<string, SetContent> = {
    there: { type: 'ipv4_addr', elements: keys(['10.0.0.2']) },
    not_there: { type: 'ipv4_addr', elements: keys(['10.0.0.3']) },
    in_range: { type: 'ipv4_addr', flags: interval, elements: keys(['10.0.0.0-10.0.0.2']) },
    behind: { type: 'ipv4_addr', flags: interval, elements: keys(['10.0.0.3/32'], ['10.0.0.0/31']) },
    prefix: { type: 'ipv4_addr', flags: interval, elements: keys(['10.0.0.0/30']) },
    boxes: { type: 'ipv4_addr . inet_service', flags: interval, elements: keys(['10.0.0.0/24', '79-80']) },
    beside: {
      type: 'ipv4_addr . inet_service',
      flags: interval,
      elements: keys(['10.0.0.0/24', '81-90'], ['10.0.1.0/24', '80']),
    },
    joined: { type: 'ipv4_addr . inet_proto . inet_service', elements: keys(['10.0.0.2', 'tcp', '80']) },
    rest: { type: 'ipv4_addr', elements: keys(['*']) },
  }
  t.deepEqual(
    matches(
      [
        [daddr, look('there')],
        [daddr, look('not_there')],
        [daddr, look('not_there', true)],
        [daddr, look('in_range')],
        [daddr, look('behind')],
        [daddr, look('prefix')],
        [daddr, field('transport', 2, 2, 9), look('boxes')],
        [daddr, field('transport', 2, 2, 9), look('beside')],
        [daddr, field('network', 9, 1, 9), field('transport', 2, 2, 10), look('joined')],
        [daddr, look('rest')],
      ],
      PACKET,
      sets,
    ),
    [0, 2, 3, 5, 6, 8, 9],
  )
})

test('a map gives a verdict, or octets; what it does not have breaks the rule off', t => {
  const sets: Record<string, SetContent> = {
    from_pod: {
      type: 'ifname',
      data: 'verdict',
      elements: [{ key: ['cali1'], data: { verdict: 'goto', chain: 'own' } }],
    },
    marks: { type: 'ipv4_addr', data: 'mark', elements: [{ key: ['10.0.0.2'], data: ['0x00000010'] }] },
  }
  const main: NftExpression[][] = [
    [
      field('network', 16, 4),
      { type: 'lookup', set: 'marks', from: 1, load: 1 },
      { type: 'meta', key: 'mark', from: 1 },
    ],
    [meta('iifname'), { type: 'lookup', set: 'from_pod', from: 1, load: 0 }],
    [drop],
  ]
  const own = run({ main, own: [[accept]] }, { sets })
  t.is(own.verdict, 'accept')
  t.is(own.mark, 0x10)
  t.is(run({ main, own: [[accept]] }, { sets }, { ...PACKET, iif: 'cali2' }).verdict, 'drop')
})

test('a packet has no connection before it is tracked, and none when it is not to be', t => {
  const isNew = { type: 'bitwise', from: 1, load: 1, length: 4, mask: '08000000', xor: '00000000' } as const
  const rule: NftExpression[] = [state, isNew, { type: 'cmp', op: 'neq', from: 1, value: '00000000' }, drop]
  const at = (base: Base, packet = PACKET) => run({ main: [rule] }, { bases: { main: base } }, packet).verdict
  t.is(at(FORWARD), 'drop')
  t.is(at(FORWARD, { ...PACKET, state: 'established' }), 'accept')
  t.is(at({ hook: 'prerouting', priority: -300 }), 'accept')
  t.is(at({ hook: 'prerouting', priority: -150 }), 'drop')
  const marked: NftExpression[] = [{ type: 'ct', key: 'mark', load: 1 }, drop]
  t.is(run({ main: [marked] }, {}, { ...PACKET, state: 'invalid' }).verdict, 'accept')
  t.is(run({ main: [marked] }, {}, PACKET).verdict, 'drop')
})

test('destinations are translated from the priority dstnat on', t => {
  const translated = octetsOf({ from: '10.0.0.1', to: '10.0.0.9', protocol: 6, destinationPort: 8080 })
  const bases = {
    raw: { hook: 'prerouting', priority: -300 },
    mangle: { hook: 'prerouting', priority: -99 },
    main: FORWARD,
  } as const
  const rule = [dport, eq('1f90')]
  const found = run({ raw: [rule], mangle: [rule], main: [rule] }, { bases }, { ...PACKET, translated })
  t.deepEqual(
    found.rules.map(({ chain }) => chain),
    ['mangle', 'main'],
  )
})

test('ranges hold their ends, and numbers can be turned', t => {
  const turn = (size: number): NftExpression => ({ type: 'byteorder', op: 'hton', from: 1, load: 1, length: 4, size })
  const range = (op: 'eq' | 'neq', first: string, last: string): NftExpression => ({
    type: 'range',
    op,
    from: 1,
    first,
    last,
  })
  t.deepEqual(
    matches([
      [dport, range('eq', '004f', '0050')],
      [dport, range('eq', '0051', '0060')],
      [dport, range('neq', '0051', '0060')],
      [field('network', 12, 4), turn(4), eq('0100000a')],
      [field('network', 12, 4), turn(2), eq('000a0100')],
    ]),
    [0, 2, 3, 4],
  )
})

test('limits let pass until there is too much, by the packet', t => {
  const rules: NftExpression[][] = [
    [{ type: 'limit', unit: 'packets', rate: 1, per: 'second', burst: 5 }],
    [{ type: 'limit', unit: 'packets', rate: 1, per: 'second', burst: 5, over: true }],
    [{ type: 'connlimit', count: 1, over: true }],
    [
      { type: 'log', group: 1 },
      { type: 'flow_offload', flowtable: 'f' },
    ],
  ]
  t.deepEqual(matches(rules), [0, 3])
  t.deepEqual(matches(rules, { ...PACKET, isOverLimits: true }), [1, 2, 3])
  const perSource: NftExpression[] = [
    field('network', 12, 4),
    {
      type: 'dynset',
      op: 'add',
      set: 'seen',
      from: 1,
      expressions: [{ type: 'connlimit', count: 1, over: true }],
    },
  ]
  const seen: Record<string, SetContent> = { seen: { type: 'ipv4_addr', flags: ['dynamic'], elements: [] } }
  t.deepEqual(matches([perSource], PACKET, seen), [])
  t.deepEqual(matches([perSource], { ...PACKET, isOverLimits: true }, seen), [0])
})

test('a packet that is not to be tracked stays so, and what is refused is dropped', t => {
  const bases = { raw: { hook: 'prerouting', priority: -300 }, main: FORWARD } as const
  const isUntracked: NftExpression[] = [state, eq('40000000'), { type: 'reject', with: 'icmpx', code: 3 }]
  t.is(run({ raw: [[{ type: 'notrack' }]], main: [isUntracked] }, { bases }).verdict, 'drop')
  t.is(run({ raw: [], main: [isUntracked] }, { bases }).verdict, 'accept')
})

test('what a rule writes into the packet is there for the rules after it', t => {
  const write: NftExpression = { type: 'payload', base: 'network', offset: 1, length: 1, from: 1 }
  const bases = { main: FORWARD, end: { hook: 'postrouting', priority: 0 } } as const
  const dscp: NftExpression[] = [{ type: 'immediate', load: 1, data: { value: 'b8' } }, write]
  const found = run({ main: [dscp], end: [[field('network', 1, 1), eq('b8'), drop]] }, { bases })
  t.is(found.verdict, 'drop')
  t.is(found.bytes[1], 0xb8)
  t.is(PACKET.bytes[1], 0)
})

test('rules that the kernel would not take, or that mean nothing here, are errors', t => {
  const throws = (content: Content, message: RegExp) => t.throws(() => run(content), { message })
  throws({ main: [[eq('00')]] }, /has not loaded/)
  throws({ main: [[dport, eq('0050')], [eq('0050')]] }, /has not loaded/)
  throws({ main: [[{ type: 'opaque', name: 'quota' }]] }, /no row for the expression quota/)
  throws({ main: [[jump('nowhere')]] }, /no chain nowhere/)
  throws({ main: [[jump('main')]] }, /jumps deeper/)
  throws({ main: [[goto('main')]] }, /go round/)
  throws({ main: [[dport, { type: 'lookup', set: 'none', from: 1 }]] }, /no set none/)
  throws({ main: [[{ type: 'ct', key: 'packets', load: 1 }]] }, /ct .*packets is not known/)
})
