// What the rules that Margay writes do to packets: a pod (10.244.0.1) behind an interface of a node, and a host outside
// that knows no route back to pods.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test from 'ava'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NflogPacket } from '../../kernel/port/nflog.ts'
import type {
  NftChain,
  NftChange,
  NftElements,
  NftExpression,
  NftObject,
  NftRule,
  NftSet,
} from '../../kernel/port/nftables.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { ANSWER_MS, SILENCE_MS } from '../slowness.ts'
import { namedCounters } from './nftables-programs.ts'
import { isRoot, scratchNetns } from './scratch-netns.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('packets are sent by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const POD = '10.244.0.1'
const SPOOFED = '10.244.0.9'
const OUTSIDE = '192.0.2.1'
const TABLE = { family: 'inet', table: 'margay' } as const
const NAME = { family: 'inet', name: 'margay' } as const

/**
 * Both send one packet from an address of the pod and say whether it was answered. `answered` is for an answer that is to
 * come: it waits long, since a busy machine may stop for a second and an address that is not resolved is asked again after
 * another. `unanswered` is for one that is not: it waits a second, and the counters say where the packet went.
 */
type Network = {
  node: Kernel
  answered(source: string): Promise<boolean>
  unanswered(source: string): Promise<boolean>
}

/** A pod, a node that forwards, and a host outside, in namespaces of their own. */
async function withNetwork(body: (network: Network) => Promise<void>): Promise<void> {
  using pod = scratchNetns()
  using nodeNetns = scratchNetns()
  using outside = scratchNetns()
  using host = openKernel()
  using node = host.inside(nodeNetns.path)
  using podKernel = host.inside(pod.path)
  using outsideKernel = host.inside(outside.path)
  await node.createLink({ kind: 'veth', name: 'cali1', peer: { name: 'eth0', netns: pod.path } })
  await node.createLink({ kind: 'veth', name: 'uplink', peer: { name: 'eth0', netns: outside.path } })
  node.writeSysctl('ipv4', ['conf', 'all', 'forwarding'], '1')
  // its multicasts would be counted too
  podKernel.writeSysctl('ipv6', ['conf', 'all', 'disable_ipv6'], '1')
  const cali1 = await up(node, 'cali1', '169.254.1.1')
  await up(node, 'uplink', '192.0.2.254', 24)
  const eth0 = await up(podKernel, 'eth0', POD)
  await podKernel.addAddress({ ifindex: eth0, address: SPOOFED, length: 32, scope: ROUTE_SCOPE.universe })
  await up(outsideKernel, 'eth0', OUTSIDE, 24)
  await route(node, `${POD}/32`, cali1)
  await route(podKernel, '169.254.1.1/32', eth0)
  await route(podKernel, '0.0.0.0/0', eth0, '169.254.1.1')
  const ping = async (source: string, waitMs: number) => {
    const wait = ['-W', `${waitMs / 1000}`]
    const args = [`--net=${pod.path}`, '--', systemProgram('ping'), '-n', '-c', '1', ...wait, '-I', source, OUTSIDE]
    const [code] = await once(spawn(systemProgram('nsenter'), args, { stdio: 'ignore' }), 'exit')
    return code === 0
  }
  await body({
    node,
    answered: source => ping(source, ANSWER_MS),
    unanswered: async source => !(await ping(source, SILENCE_MS)),
  })
}

async function up(kernel: Kernel, name: string, address: string, length = 32): Promise<number> {
  const { index } = (await kernel.link(name))!
  await kernel.setLink(index, { up: true })
  await kernel.addAddress({ ifindex: index, address, length, scope: ROUTE_SCOPE.universe })
  return index
}

async function route(kernel: Kernel, dst: string, ifindex: number, gateway?: string): Promise<void> {
  const scope = gateway === undefined ? ROUTE_SCOPE.link : ROUTE_SCOPE.universe
  const common = {
    dst,
    table: ROUTE_TABLE.main,
    type: 'unicast',
    protocol: ROUTE_PROTOCOL.boot,
    scope,
    ifindex,
  } as const
  const [refused] = await kernel.changeRoutes([
    { verb: 'add', route: gateway === undefined ? common : { ...common, gateway } },
  ])
  if (refused !== undefined) throw refused
}

const chain = (name: string, type: string, hook: 'prerouting' | 'postrouting', priority: number): NftChain => {
  return { kind: 'chain', family: 'inet', table: 'margay', name, base: { type, hook, priority, policy: 'accept' } }
}
const rule = (name: string, ...expressions: NftExpression[]): NftRule => {
  return { kind: 'rule', family: 'inet', table: 'margay', chain: name, expressions }
}
const set = (name: string, type: string, interval = false): NftSet => {
  return { kind: 'set', family: 'inet', table: 'margay', name, type, ...(interval && { flags: ['interval'] }) }
}
const elements = ({ name, type, flags }: NftSet, ...key: string[]): NftElements => {
  const of = { kind: 'elements', family: 'inet', table: 'margay', set: name, type, elements: [{ key }] } as const
  return flags === undefined ? of : { ...of, flags }
}
const counter: NftExpression = { type: 'counter' }
const drop: NftExpression = { type: 'immediate', load: 0, data: { verdict: 'drop' } }
const ipv4: NftExpression[] = [
  { type: 'meta', key: 'nfproto', load: 1 },
  { type: 'cmp', op: 'eq', from: 1, value: '02' },
]
/** `iifname "cali*"`. */
const fromPods: NftExpression[] = [
  { type: 'meta', key: 'iifname', load: 1 },
  { type: 'cmp', op: 'eq', from: 1, value: Buffer.from('cali').toString('hex') },
]
const add = (...objects: (NftChain | NftRule | NftSet | NftElements | NftObject)[]): NftChange[] => [
  { verb: 'add', object: { kind: 'table', ...NAME } },
  ...objects.map((object): NftChange => ({ verb: 'add', object })),
]

/** `ip saddr @pods ip daddr != @pools masquerade`. */
const pods = set('pods', 'ipv4_addr')
const pools = set('pools', 'ipv4_addr', true)
const masquerade = [
  chain('post', 'nat', 'postrouting', 100),
  pods,
  pools,
  elements(pods, POD),
  elements(pools, '10.244.0.0/16'),
  rule(
    'post',
    ...ipv4,
    { type: 'payload', base: 'network', offset: 12, length: 4, load: 1 },
    { type: 'lookup', set: 'pods', from: 1 },
    { type: 'payload', base: 'network', offset: 16, length: 4, load: 1 },
    { type: 'lookup', set: 'pools', from: 1, inverted: true },
    { type: 'masq' },
  ),
]

/** How many packets the counters of a chain have seen. */
async function counted(node: Kernel, name: string): Promise<number> {
  const counters = await node.ruleCounters({ ...NAME, chain: name })
  return counters.reduce((sum, { packets }) => sum + Number(packets), 0)
}

netns('a pod reaches a host outside when its address is masqueraded, and not before', async t => {
  await withNetwork(async ({ node, answered, unanswered }) => {
    t.true(await unanswered(POD))
    t.deepEqual(await node.changeNftables(add(...masquerade)), [])
    t.true(await answered(POD))
  })
})

netns('a packet with an address that is not of its interface is dropped and counted', async t => {
  await withNetwork(async ({ node, answered, unanswered }) => {
    const addresses = set('pod_addresses', 'ifname . ipv4_addr')
    const spoof = [
      chain('spoof', 'filter', 'prerouting', -300),
      addresses,
      elements(addresses, 'cali1', POD),
      rule(
        'spoof',
        ...fromPods,
        ...ipv4,
        { type: 'meta', key: 'iifname', load: 1 },
        { type: 'payload', base: 'network', offset: 12, length: 4, load: 2 },
        { type: 'lookup', set: 'pod_addresses', from: 1, inverted: true },
        counter,
        drop,
      ),
    ]
    t.deepEqual(await node.changeNftables(add(...masquerade, ...spoof)), [])
    t.true(await answered(POD))
    t.is(await counted(node, 'spoof'), 0)
    t.true(await unanswered(SPOOFED))
    t.is(await counted(node, 'spoof'), 1)
  })
})

netns('a packet whose source has no route back over its interface is dropped and counted', async t => {
  await withNetwork(async ({ node, answered, unanswered }) => {
    const reverse = [
      chain('reverse', 'filter', 'prerouting', -300),
      rule(
        'reverse',
        ...fromPods,
        { type: 'fib', result: 'oif', flags: ['saddr', 'iif', 'present'], load: 1 },
        { type: 'cmp', op: 'eq', from: 1, value: '00000000' },
        counter,
        drop,
      ),
    ]
    t.deepEqual(await node.changeNftables(add(...masquerade, ...reverse)), [])
    t.true(await answered(POD))
    t.is(await counted(node, 'reverse'), 0)
    t.true(await unanswered(SPOOFED))
    t.is(await counted(node, 'reverse'), 1)
  })
})

netns('packets go to the chain of their interface, and those of none are dropped', async t => {
  await withNetwork(async ({ node, answered, unanswered }) => {
    const map: NftSet = { ...set('from_pod', 'ifname'), data: 'verdict' }
    const goto = { verdict: 'goto', chain: 'fp_a' } as const
    const own: NftElements = { ...elements(map), data: 'verdict', elements: [{ key: ['cali1'], data: goto }] }
    const accept: NftExpression = { type: 'immediate', load: 0, data: { verdict: 'accept' } }
    const dispatch = [
      chain('dispatch', 'filter', 'prerouting', -300),
      { kind: 'chain', family: 'inet', table: 'margay', name: 'fp_a' } as const,
      map,
      own,
      rule('fp_a', counter, accept),
      rule(
        'dispatch',
        ...fromPods,
        { type: 'meta', key: 'iifname', load: 1 },
        { type: 'lookup', set: 'from_pod', from: 1, load: 0 },
      ),
      rule('dispatch', ...fromPods, counter, drop),
    ]
    t.deepEqual(await node.changeNftables(add(...masquerade, ...dispatch)), [])
    t.true(await answered(POD))
    t.is(await counted(node, 'fp_a'), 1)
    t.is(await counted(node, 'dispatch'), 0)
    t.deepEqual(await node.changeNftables([{ verb: 'delete', object: own }]), [])
    t.true(await unanswered(POD))
    t.is(await counted(node, 'dispatch'), 1)
  })
})

netns(
  'copies of packets name their rule and interfaces, and those that the queue had no room for are counted',
  async t => {
    await withNetwork(async ({ node, answered }) => {
      const seen: NflogPacket[] = []
      let lost = 0
      let heard = Promise.withResolvers<void>()
      using _ = opened(
        node.nflog({
          group: 80,
          copyOctets: 20,
          batch: 10,
          batchMs: 10,
          queueOctets: 1,
          received(packets) {
            seen.push(...packets)
            heard.resolve()
          },
          lost: count => {
            lost += count
          },
        }),
      )
      const log: NftExpression = { type: 'log', group: 80, prefix: 'pod egress' }
      const base = chain('copies', 'filter', 'prerouting', -300)
      t.deepEqual(await node.changeNftables(add(...masquerade, base, rule('copies', ...fromPods, log))), [])
      t.true(await answered(POD))
      await heard.promise
      const [first] = seen
      const { index } = (await node.link('cali1'))!
      t.like(first, {
        family: 'ipv4',
        prefix: 'pod egress',
        hook: 'prerouting',
        inputIndex: index,
        outputIndex: undefined,
      })
      t.is(first!.payload.length, 20)
      t.is(first!.payload.toString('hex', 12), '0af40001c0000201')
      // as many rules as copies: one packet floods the queue before anybody reads
      const many = Array.from({ length: 500 }, () => rule('copies', ...fromPods, log))
      t.deepEqual(await node.changeNftables(add(...many)), [])
      heard = Promise.withResolvers()
      t.true(await answered(POD))
      await heard.promise
      while (lost === 0) {
        heard = Promise.withResolvers()
        await answered(POD)
        await heard.promise
      }
      t.true(lost > 0 && seen.length > 1)
    })
  },
)

function opened(reader: { close(): void }): Disposable {
  return { [Symbol.dispose]: () => reader.close() }
}

const denied: NftObject = { kind: 'object', ...TABLE, name: 'denied', state: { type: 'counter' } }
const deniedBy = async (node: Kernel) => (await namedCounters(node, NAME)).get('denied')!

netns('each interface has a limit of its own, in one rule for all, and a counter outlives its rules', async t => {
  await withNetwork(async ({ node, answered, unanswered }) => {
    const limit = { type: 'limit', unit: 'packets', rate: 1000, per: 'second', burst: 5, over: true } as const
    const rates: NftSet = { ...set('rates', 'ifname'), size: 100, flags: ['dynamic'], expressions: [limit] }
    const own: NftElements = {
      ...elements(rates),
      elements: [{ key: ['cali1'], expressions: [{ ...limit, rate: 2, per: 'day', burst: 2 }] }],
    }
    const dropping = rule(
      'limits',
      { type: 'meta', key: 'iifname', load: 1 },
      { type: 'lookup', set: 'rates', from: 1 },
      { type: 'objref', of: 'counter', name: 'denied' },
      drop,
    )
    const base = chain('limits', 'filter', 'prerouting', -300)
    t.deepEqual(await node.changeNftables(add(...masquerade, base, denied, rates, own, dropping)), [])
    t.deepEqual([await answered(POD), await answered(POD), await unanswered(POD)], [true, true, true])
    t.is(await deniedBy(node), 1)
    const { base: _, ...flushed } = base
    t.deepEqual(await node.changeNftables([{ verb: 'flush', object: flushed }, ...add(dropping)]), [])
    t.true(await unanswered(POD))
    t.is(await deniedBy(node), 2)
    t.deepEqual(await node.changeNftables([{ verb: 'delete', object: own }]), [])
    t.true(await answered(POD))
  })
})

netns('interfaces with the same limit of connections share a rule, whose elements the kernel may remove', async t => {
  await withNetwork(async ({ node, answered, unanswered }) => {
    const limited = set('with_2', 'ifname')
    const connections: NftSet = { ...set('connections', 'ifname'), size: 100, flags: ['dynamic'] }
    const limit = [
      limited,
      elements(limited, 'cali1'),
      connections,
      rule(
        'limits',
        { type: 'meta', key: 'iifname', load: 1 },
        { type: 'lookup', set: 'with_2', from: 1 },
        {
          type: 'dynset',
          op: 'add',
          set: 'connections',
          from: 1,
          expressions: [{ type: 'connlimit', count: 2, over: true }],
        },
        { type: 'objref', of: 'counter', name: 'denied' },
        drop,
      ),
    ]
    const base = chain('limits', 'filter', 'prerouting', -150)
    t.deepEqual(await node.changeNftables(add(...masquerade, base, denied, ...limit)), [])
    t.deepEqual([await answered(POD), await answered(POD), await unanswered(POD)], [true, true, true])
    t.is(await deniedBy(node), 1)
  })
})

netns('packets leave with the DSCP that was written, and are still whole', async t => {
  await withNetwork(async ({ node, answered }) => {
    const header = { type: 'payload', base: 'network' } as const
    const write = rule(
      'limits',
      ...ipv4,
      { ...header, offset: 0, length: 2, load: 1 },
      // the version, the length of the header and the two bits of ECN stay
      { type: 'bitwise', from: 1, load: 1, length: 2, mask: 'ff03', xor: '00b8' },
      { ...header, offset: 0, length: 2, from: 1, checksum: 'inet', checksumOffset: 10 },
    )
    const seen = rule(
      'post',
      ...ipv4,
      { ...header, offset: 1, length: 1, load: 1 },
      { type: 'bitwise', from: 1, load: 1, length: 1, mask: 'fc', xor: '00' },
      { type: 'cmp', op: 'eq', from: 1, value: 'b8' },
      counter,
    )
    const base = chain('limits', 'filter', 'prerouting', -300)
    const before = masquerade.toSpliced(-1, 0, seen)
    t.deepEqual(await node.changeNftables(add(...before, base, write)), [])
    t.true(await answered(POD))
    t.is(await counted(node, 'post'), 1)
  })
})
