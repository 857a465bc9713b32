import test from 'ava'
import { formatRef } from '../../api/status.ts'
import { ipamFaults } from '../../ctl/ipam-faults.ts'
import { addressUse, borrowedAddresses, shownForecast, usage } from '../../ctl/ipam-usage.ts'
import { renderAddress, renderBorrowed, renderForecast, renderUsage } from '../../ctl/ipam-view.ts'
import { aBlock, aPool } from '../datastore/objects.ts'

const pool = aPool('p1')
const web = { handle_id: 'net.c1.eth0', secondary: { pod: 'web', namespace: 'shop', node: 'n1' } }
/** Two addresses, the first of which the pod `web` holds. */
const half = (cidr: string, spec: object = {}) =>
  aBlock(cidr, { allocations: [0, null], unallocated: [1], attributes: [web], ...spec })
/** 2^n addresses, all free. */
const free = (cidr: string, size: number) =>
  aBlock(cidr, { allocations: Array(size).fill(null), unallocated: Array.from({ length: size }, (_, i) => i) })

test("pools and blocks show in calicoctl's table, in the order of their addresses", t => {
  const found = usage(
    [pool, aPool('p0', { cidr: '10.9.0.0/24' })],
    [half('10.244.0.64/31'), half('10.244.0.8/31')],
    ['10.9.0.8/30'],
  )
  t.is(
    renderUsage(found, { blocks: true, wide: false }),
    `GROUPING  CIDR            IPS TOTAL  IPS IN USE  IPS RESERVED  IPS FREE
IP Pool   10.9.0.0/24     256        0 (0%)      4 (2%)        252 (98%)
IP Pool   10.244.0.0/16   65536      2 (0%)      0 (0%)        65534 (100%)
Block     10.244.0.8/31   2          1 (50%)     0 (0%)        1 (50%)
Block     10.244.0.64/31  2          1 (50%)     0 (0%)        1 (50%)
`,
  )
  t.regex(renderUsage(found, { blocks: true, wide: true }), /^Block +10\.244\.0\.8\/31 +n1 /m)
  t.notRegex(renderUsage(found, { blocks: false, wide: false }), /Block/)
})

test('the forecast of pools and nodes is a table of its own below, with what gives no address and no block more', t => {
  const found = {
    pools: [
      { pool: 'p0', gives: true, left: 2n ** 64n, blocks: 2n ** 58n, next: { node: 'n1', pods: 1 } },
      { pool: 'full', gives: true, left: 3n, blocks: 0n, next: undefined },
      { pool: 'off', gives: false, left: 0n, blocks: 0n, next: undefined },
    ],
    nodes: [
      { node: 'n1', family: 'ipv6' as const, untilBlock: 1, left: 2n ** 64n },
      { node: 'n2', family: 'ipv4' as const, untilBlock: undefined, left: 1n },
    ],
  }
  t.is(
    renderForecast(found, { blocks: true }),
    `FORECAST        NEW BLOCK AFTER  FULL AFTER                 BLOCKS LEFT
IP Pool p0      1 pod on n1      18446744073709551616 pods  288230376151711744
IP Pool full    never            3 pods                     0
IP Pool off     -                gives no address           -
Node n1 (ipv6)  1 pod            18446744073709551616 pods
Node n2 (ipv4)  never            1 pod
`,
  )
  t.notRegex(renderForecast(found, { blocks: false }), /Node/)
  t.deepEqual(
    shownForecast(found).pools.map(({ left }) => left),
    [2n ** 64n, 3, 0],
  )
})

test('an IPv6 pool is counted exactly, beyond what a double can hold', t => {
  const pools = [aPool('p6', { cidr: 'fd00::/64' })]
  const [found] = usage(pools, [half('fd00::10/127')], ['fd00::/65', 'fd00:0:0:1::/64']).pools
  t.like(found, { total: 2n ** 64n, used: 1, reserved: 2n ** 63n, free: 2n ** 63n })
})

test('reserved addresses count once, within the range alone, and none that is in use counts as free or twice', t => {
  const of = (...reserved: string[]) => usage([pool], [half('10.244.0.8/31')], reserved).pools[0]!
  const counts = ({ used, reserved, free }: ReturnType<typeof of>) => [used, reserved, free]
  t.deepEqual(counts(of()), [1, 0, 65535])
  t.deepEqual(counts(of('10.244.1.0/30', '10.244.1.2', '10.244.1.2/31', '10.245.0.0/24', 'fd00::/64')), [1, 4, 65531])
  t.deepEqual(counts(of('10.244.0.8')), [1, 1, 65535])
  t.deepEqual(counts(of('10.0.0.0/8')), [1, 65536, 0])
  t.deepEqual(counts(of('10.244.0.8/31').blocks[0] as ReturnType<typeof of>), [1, 2, 0])
})

test('a block counts once, in the oldest pool that holds it; one in no pool stands apart', t => {
  const { pools, outside } = usage(
    [pool, aPool('narrow', { cidr: '10.244.8.0/24' }, { creationTimestamp: '2026-01-01T00:00:00Z' })],
    [half('10.244.8.0/31'), half('10.1.0.0/31')],
    [],
  )
  t.deepEqual(
    pools.map(({ name, used }) => [name, used]),
    [
      ['p1', 0],
      ['narrow', 1],
    ],
  )
  t.deepEqual(
    outside.map(({ cidr }) => cidr),
    ['10.1.0.0/31'],
  )
  t.regex(renderUsage({ pools, outside }, { blocks: true, wide: false }), /^Block, no pool +10\.1\.0\.0\/31/m)
})

test('an address in use is told with its pool, block, node, handle and pod', t => {
  const use = addressUse('10.244.0.8', [pool], [half('10.244.0.64/31'), half('10.244.0.8/31')])
  t.like(use, { inUse: true, pool: 'p1', block: '10.244.0.8/31', node: 'n1', handle: 'net.c1.eth0' })
  t.is(
    renderAddress(use),
    `IP 10.244.0.8 is in use
Pool:      p1
Block:     10.244.0.8/31
Node:      n1
Handle:    net.c1.eth0
pod:       web
namespace: shop
`,
  )
})

test("addresses of nodes that their block does not belong to show in calicoctl's table, and those that name no node are counted", t => {
  const lent = { handle_id: 'net.c2.eth0', secondary: { pod: 'db', namespace: 'shop', node: 'n2' } }
  const tunnel = { handle_id: 'vxlan-tunnel-addr-n3', secondary: { node: 'n3', type: 'vxlanTunnelAddress' } }
  const blocks = [
    half('10.244.0.64/31', { allocations: [0, 1], unallocated: [], attributes: [web, tunnel] }),
    half('10.244.0.8/31', { allocations: [0, 1], unallocated: [], attributes: [lent, web] }),
    half('10.244.0.16/31', { affinity: undefined, attributes: [lent] }),
    half('10.244.0.32/31', { attributes: [{ handle_id: 'old', secondary: {} }] }),
  ]
  const found = borrowedAddresses(blocks)
  t.is(
    renderBorrowed(found),
    `IP           BORROWING-NODE  BLOCK           BLOCK OWNER  TYPE                ALLOCATED-TO
10.244.0.8   n2              10.244.0.8/31   n1           pod                 shop/db
10.244.0.16  n2              10.244.0.16/31               pod                 shop/db
10.244.0.65  n3              10.244.0.64/31  n1           vxlanTunnelAddress

of 1 address nobody can tell whether they are borrowed: their blocks name no node for them
`,
  )
  t.deepEqual(found.borrowed[0], {
    ...{ ip: '10.244.0.8', node: 'n2', block: '10.244.0.8/31', owner: 'n1', type: 'pod', to: 'shop/db' },
  })
  t.is(
    renderBorrowed(borrowedAddresses([half('10.244.0.8/31')])),
    'IP  BORROWING-NODE  BLOCK  BLOCK OWNER  TYPE  ALLOCATED-TO\n',
  )
})

test('a free address is told with the block it lies in, one of no pool as such', t => {
  t.like(addressUse('10.244.0.9', [pool], [half('10.244.0.8/31')]), {
    inUse: false,
    block: '10.244.0.8/31',
    node: 'n1',
    handle: undefined,
  })
  t.is(renderAddress(addressUse('192.0.2.1', [pool], [])), 'IP 192.0.2.1 is not in use and lies in no IPPool\n')
})

test('sound pools and blocks have no fault', t => {
  const faults = ipamFaults({
    pools: [pool],
    blocks: [half('10.244.0.8/31'), free('10.244.1.0/26', 64)],
    nodes: ['n1'],
    nowMs: NOW_MS,
  })
  t.deepEqual(faults, [])
})

/** What no server of ours takes, and another one may hold. */
const tooLarge = {
  ...aBlock('10.0.0.0/20'),
  metadata: { name: '10-0-0-0-8' },
  spec: { ...aBlock('10.0.0.0/20').spec, cidr: '10.0.0.0/8' },
}

const NOW_MS = Date.parse('2026-06-01T00:00:00Z')

const faulty: [title: string, input: Partial<Parameters<typeof ipamFaults>[0]>, expected: [RegExp, RegExp]][] = [
  [
    'an attribute that nothing points to',
    { blocks: [half('10.244.0.8/31', { allocations: [null, null], unallocated: [0, 1] })] },
    [/^IPAMBlock 10-244-0-8-31$/, /no allocation points to attribute 0/],
  ],
  [
    'an address that was released in the future',
    { blocks: [half('10.244.0.8/31', { attributes: [{ ...web, releasedAt: '2026-06-01T00:00:01Z' }] })] },
    [/^IPAMBlock 10-244-0-8-31$/, /released in the future, at 2026-06-01T00:00:01Z/],
  ],
  [
    'a block too large to be one',
    { pools: [aPool('all', { cidr: '10.0.0.0/8' })], blocks: [tooLarge] },
    [/IPAMBlock 10-0-0-0-8/, /too large/],
  ],
  [
    'a block under another name',
    { blocks: [{ ...half('10.244.0.8/31'), metadata: { name: 'mine' } }] },
    [/IPAMBlock mine/, /must be 10-244-0-8-31/],
  ],
  [
    'two blocks that share addresses',
    { blocks: [half('10.244.0.8/31'), free('10.244.0.0/26', 64)] },
    [/IPAMBlock 10-244-0-0-26/, /overlaps IPAMBlock 10-244-0-8-31/],
  ],
  ['a block in no pool', { pools: [], blocks: [half('10.244.0.8/31')] }, [/IPAMBlock/, /lies in no IPPool/]],
  ['a block of a node that is gone', { blocks: [half('10.244.0.8/31')], nodes: [] }, [/IPAMBlock/, /node n1/]],
  [
    'two pools that share addresses',
    { pools: [pool, aPool('p2', { cidr: '10.244.8.0/24' })] },
    [/IPPool p2/, /overlaps the older IPPool p1/],
  ],
]

for (const [title, input, [object, fault]] of faulty)
  test(`ipam check finds ${title}, and only that`, t => {
    const found = ipamFaults({ pools: [pool], blocks: [], nodes: ['n1'], nowMs: NOW_MS, ...input })
    t.regex(formatRef(found[0]!.object), object)
    t.regex(found[0]!.fault, fault)
    t.true(found.every(({ remedy }) => remedy !== ''))
    t.deepEqual([...new Set(found.map(each => formatRef(each.object)))], [formatRef(found[0]!.object)])
  })
