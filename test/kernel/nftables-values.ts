// Values of nftables for property tests: every expression, object and kind of key.
import fc from 'fast-check'
import type {
  NftChain,
  NftData,
  NftElements,
  NftExpression,
  NftFamily,
  NftFlowtable,
  NftObject,
  NftRule,
  NftSet,
  NftStateful,
  NftTable,
} from '../../kernel/port/nftables.ts'
import { toHex } from '../../lib/bytes.ts'

const hex = (octets: number) => fc.uint8Array({ minLength: octets, maxLength: octets }).map(toHex)
export const octet = fc.integer({ min: 0, max: 255 })
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 })
const register = fc.constantFrom(1, 2, 3, 4, 8, 9, 23)
const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,14}$/)
const family = fc.constantFrom<NftFamily>('inet', 'ip', 'ip6', 'arp', 'bridge', 'netdev')
const inetFamily = fc.constantFrom<NftFamily>('inet', 'ip', 'ip6')
const comment = fc.stringMatching(/^[a-zA-Z0-9 ,.é-]{1,60}$/)
const handle = fc.integer({ min: 1, max: 2 ** 40 })

const verdict = fc.oneof(
  fc.constantFrom('accept', 'drop', 'return', 'continue', 'break').map(word => ({ verdict: word }) as NftData),
  fc.record({ verdict: fc.constantFrom('jump', 'goto'), chain: name }) as fc.Arbitrary<NftData>,
)

const yes = fc.constant(true)
const counter = fc.record(
  { type: fc.constant('counter'), packets: fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }), bytes: fc.constant(5n) },
  { requiredKeys: ['type'] },
)
/** What keeps a number. */
const stateful = fc.oneof(
  counter,
  fc.record(
    {
      type: fc.constant('limit'),
      unit: fc.constantFrom('packets', 'bytes'),
      rate: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
      per: fc.constantFrom('second', 'minute', 'hour', 'day', 'week'),
      burst: u32,
      over: yes,
    },
    { requiredKeys: ['type', 'unit', 'rate', 'per', 'burst'] },
  ),
  fc.record({ type: fc.constant('connlimit'), count: u32, over: yes }, { requiredKeys: ['type', 'count'] }),
) as fc.Arbitrary<NftStateful>

/** Values of every expression. */
const expression: fc.Arbitrary<NftExpression> = fc.oneof(
  stateful,
  fc.record(
    {
      type: fc.constant('payload'),
      base: fc.constantFrom('network', 'transport'),
      offset: fc.integer({ min: 0, max: 64 }),
      length: fc.constantFrom(1, 2, 4, 16),
      from: register,
      checksum: fc.constantFrom('inet', 'sctp'),
      checksumOffset: fc.integer({ min: 1, max: 64 }),
      checksumFlags: fc.constant(['pseudo-header']),
    },
    { requiredKeys: ['type', 'base', 'offset', 'length', 'from'] },
  ),
  fc.record({
    type: fc.constant('range'),
    op: fc.constantFrom('eq', 'neq'),
    from: register,
    first: fc.oneof(hex(1), hex(4), hex(16)),
    last: hex(2),
  }),
  fc.record({
    type: fc.constant('byteorder'),
    op: fc.constantFrom('hton', 'ntoh'),
    from: register,
    load: register,
    length: fc.constantFrom(2, 4, 8),
    size: fc.constantFrom(2, 4, 8),
  }),
  fc.record(
    {
      type: fc.constant('dynset'),
      op: fc.constantFrom('add', 'update', 'delete'),
      set: name,
      from: register,
      data: register,
      timeoutMs: fc.integer({ min: 1, max: 2 ** 50 }),
      inverted: yes,
      expressions: fc.array(stateful, { minLength: 1, maxLength: 3 }),
      setId: u32,
    },
    { requiredKeys: ['type', 'op', 'set', 'from'] },
  ),
  fc.record({ type: fc.constant('objref'), of: fc.constantFrom('counter', 'limit', 'connlimit'), name }),
  fc.record(
    {
      type: fc.constant('log'),
      group: fc.integer({ min: 0, max: 65_535 }),
      prefix: comment,
      snapLength: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      queueThreshold: fc.integer({ min: 1, max: 65_535 }),
      level: fc.constantFrom('emerg', 'info', 'debug', 'audit'),
      flags: fc.subarray(['tcp-sequence', 'tcp-options', 'ip-options', 'skuid', 'ether'], { minLength: 1 }),
    },
    { requiredKeys: ['type'] },
  ),
  fc.record(
    { type: fc.constant('reject'), with: fc.constantFrom('icmp', 'icmpx', 'tcp reset'), code: octet },
    { requiredKeys: ['type', 'with'] },
  ),
  fc.record({ type: fc.constant('notrack') }),
  fc.record({ type: fc.constant('flow_offload'), flowtable: name }),
  fc.record({
    type: fc.constant('meta'),
    key: fc.constantFrom('mark', 'iifname', 'oif', 'nfproto', 'pkttype'),
    load: register,
  }),
  fc.record({ type: fc.constant('meta'), key: fc.constantFrom('mark', 'nftrace'), from: register }),
  fc.record({
    type: fc.constant('payload'),
    base: fc.constantFrom('link', 'network', 'transport'),
    offset: fc.integer({ min: 0, max: 64 }),
    length: fc.constantFrom(1, 2, 4, 16),
    load: register,
  }),
  fc.record({
    type: fc.constant('cmp'),
    op: fc.constantFrom('eq', 'neq', 'lt', 'lte', 'gt', 'gte'),
    from: register,
    value: fc.oneof(hex(1), hex(4), hex(16)),
  }),
  fc.record(
    {
      type: fc.constant('lookup'),
      set: name,
      from: register,
      load: fc.constantFrom(0, 1, 2),
      inverted: fc.constant(true),
      setId: u32,
    },
    { requiredKeys: ['type', 'set', 'from'] },
  ),
  fc.record({
    type: fc.constant('bitwise'),
    from: register,
    load: register,
    length: fc.constant(4),
    mask: hex(4),
    xor: hex(4),
  }),
  fc.record({
    type: fc.constant('ct'),
    key: fc.constantFrom('state', 'status', 'mark', 'zone', 'bytes'),
    load: register,
  }),
  fc.record({
    type: fc.constant('ct'),
    key: fc.constant('packets'),
    load: register,
    direction: fc.constantFrom('original', 'reply'),
  }),
  fc.record({ type: fc.constant('ct'), key: fc.constant('mark'), from: register }),
  fc.record({
    type: fc.constant('fib'),
    result: fc.constantFrom('oif', 'oifname', 'type'),
    flags: fc.subarray(['saddr', 'daddr', 'mark', 'iif', 'oif', 'present'], { minLength: 1 }),
    load: register,
  }),
  fc.record({
    type: fc.constant('immediate'),
    load: fc.constantFrom(0, 1),
    data: fc.oneof(verdict, fc.record({ value: hex(4) })),
  }),
  fc.record(
    {
      type: fc.constant('masq'),
      flags: fc.subarray(['ports', 'random', 'persistent', 'fully-random'], { minLength: 1 }),
      minPort: register,
      maxPort: register,
    },
    { requiredKeys: ['type'] },
  ),
  fc.record(
    {
      type: fc.constant('nat'),
      of: fc.constantFrom('source', 'destination'),
      family: fc.constantFrom('ip', 'ip6'),
      minAddress: register,
      maxAddress: register,
      minPort: register,
      maxPort: register,
      flags: fc.subarray(['addresses', 'ports', 'random', 'persistent', 'fully-random'], { minLength: 1 }),
    },
    { requiredKeys: ['type', 'of', 'family'] },
  ),
  fc.record({
    type: fc.constant('opaque'),
    name: fc.constantFrom('quota', 'constructor', '__proto__'),
    octets: hex(12),
  }),
  fc.record({ type: fc.constant('opaque'), name: fc.constant('queue') }),
  // a word, a shift, attributes and contents that the rows of these do not have
  fc.record({
    type: fc.constant('opaque'),
    name: fc.constant('dynset'),
    octets: fc.constant(
      '0600010073000000' +
        '0800030000000000' +
        '0800040000000001' +
        '1400078009000100' +
        '71756f7461000000' +
        '04000280',
    ),
  }),
  fc.record({
    type: fc.constant('opaque'),
    name: fc.constant('limit'),
    octets: fc.constant(
      '0c0001000000000000000001' + '0c0002000000000000000007' + '0800030000000005' + '0800040000000000',
    ),
  }),
  fc.record({
    type: fc.constant('opaque'),
    name: fc.constant('meta'),
    octets: fc.constant('08000100000000010800020000000063'),
  }),
  fc.record({
    type: fc.constant('opaque'),
    name: fc.constant('bitwise'),
    octets: fc.constant('08000600000000010800010000000001'),
  }),
  fc.record({
    type: fc.constant('opaque'),
    name: fc.constant('cmp'),
    octets: fc.constant('08006300000000010800010000000001'),
  }),
) as fc.Arbitrary<NftExpression>

export const table: fc.Arbitrary<NftTable> = fc
  .record({ family, name, flags: fc.constantFrom(1, 2), comment, handle }, { requiredKeys: ['family', 'name'] })
  .map(rest => ({ kind: 'table', ...rest }))

const base = fc.record(
  {
    type: fc.constantFrom('filter', 'nat', 'route'),
    hook: fc.constantFrom('prerouting', 'input', 'forward', 'output', 'postrouting', 'ingress'),
    priority: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    policy: fc.constantFrom('accept', 'drop'),
    devices: fc.array(name, { minLength: 1, maxLength: 3 }),
  },
  { requiredKeys: ['type', 'hook', 'priority'] },
) as fc.Arbitrary<NonNullable<NftChain['base']>>

export const chain: fc.Arbitrary<NftChain> = fc
  .record({ family: inetFamily, table: name, name, base, comment }, { requiredKeys: ['family', 'table', 'name'] })
  .map(rest => ({ kind: 'chain', ...rest }))

const TYPES = ['ipv4_addr', 'ifname', 'mark', 'ipv4_addr . inet_proto . inet_service', 'ifname . ipv6_addr', 'type35']
export const set: fc.Arbitrary<NftSet> = fc
  .record(
    {
      family,
      table: name,
      name,
      type: fc.constantFrom(...TYPES),
      data: fc.constantFrom('verdict', 'mark', 'ipv4_addr . inet_service'),
      flags: fc.subarray(['anonymous', 'constant', 'interval', 'timeout', 'dynamic'], { minLength: 1 }),
      size: u32,
      timeoutMs: fc.integer({ min: 0, max: 2 ** 50 }),
      gcIntervalMs: u32,
      preferMemory: fc.constant(true),
      comment,
      expressions: fc.array(expression, { minLength: 1, maxLength: 3 }),
    },
    { requiredKeys: ['family', 'table', 'name', 'type'] },
  )
  .map(rest => ({ kind: 'set', ...rest }) as NftSet)

export const namedObject: fc.Arbitrary<NftObject> = fc
  .record(
    {
      family: inetFamily,
      table: name,
      name,
      state: fc.oneof(
        stateful,
        fc.record({ type: fc.constant('opaque' as const), name: fc.constantFrom('2', '99'), octets: hex(12) }),
      ),
      comment,
    },
    { requiredKeys: ['family', 'table', 'name', 'state'] },
  )
  .map(rest => ({ kind: 'object', ...rest }))

export const flowtable: fc.Arbitrary<NftFlowtable> = fc
  .record(
    {
      family: inetFamily,
      table: name,
      name,
      priority: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      devices: fc.array(name, { maxLength: 4 }),
      flags: fc.subarray<'offload' | 'counter'>(['offload', 'counter'], { minLength: 1 }),
    },
    { requiredKeys: ['family', 'table', 'name', 'priority', 'devices'] },
  )
  .map(rest => ({ kind: 'flowtable', ...rest }))

const steps = fc.array(expression, { maxLength: 8 })
export const anyRule: fc.Arbitrary<NftRule> = fc
  .record(
    { family, table: name, chain: name, expressions: steps, comment, handle },
    { requiredKeys: ['family', 'table', 'chain', 'expressions'] },
  )
  .map(rest => ({ kind: 'rule', ...rest }))

const ipv4 = fc.tuple(octet, octet, octet, octet).map(parts => parts.join('.'))
const service = fc.integer({ min: 0, max: 65535 }).map(String)
const mark = u32.map(value => `0x${value.toString(16).padStart(8, '0')}`)
const extras = fc.record(
  {
    timeoutMs: fc.integer({ min: 1, max: 2 ** 50 }),
    comment,
    expressions: fc.array(expression, { minLength: 1, maxLength: 2 }),
  },
  { requiredKeys: [] },
)
const keys: Readonly<Record<string, fc.Arbitrary<readonly string[]>>> = {
  ipv4_addr: fc.tuple(ipv4),
  ifname: fc.tuple(name),
  mark: fc.tuple(mark),
  'ipv4_addr . inet_proto . inet_service': fc.tuple(ipv4, fc.constantFrom('tcp', 'udp', '0', '255'), service),
  'ifname . ipv6_addr': fc.tuple(name, fc.constantFrom('fd00::1', '::', 'ff02::1:2')),
}

export const hashElements: fc.Arbitrary<NftElements> = fc.constantFrom(...Object.keys(keys)).chain(type =>
  fc
    .uniqueArray(fc.record({ key: keys[type]!, extra: extras }), { selector: ({ key }) => key.join(' ') })
    .map(list => ({
      kind: 'elements',
      family: 'inet',
      table: 't',
      set: 's',
      type,
      elements: list.map(({ key, extra }) => ({ key, ...extra })),
    })),
)

/** Ranges that do not touch each other, as nft words them. */
export const ranges = fc.uniqueArray(u32, { minLength: 2, maxLength: 40 }).map(list => {
  const sorted = list.toSorted((a, b) => a - b)
  const text = (value: number) => [24, 16, 8, 0].map(shift => (value >>> shift) & 255).join('.')
  const pairs = sorted.flatMap((from, i) =>
    i % 2 === 0 && sorted[i + 1] !== undefined ? [[from, sorted[i + 1]!]] : [],
  )
  return pairs.map(([from, to]) => [`${text(from!)}-${text(to!)}`])
})
