// The table of policy as people see it: Debian's nft lists it, takes what it listed, and the kernel then has the same
// expressions as those that were written by netlink, one by one. So what stands in the kernel is what nft says.
import test from 'ava'
import fc from 'fast-check'
import { podProfiles } from '../../agent/cluster/policies/endpoints.ts'
import { PolicyObjects } from '../../agent/cluster/policies/objects.ts'
import { felixSettings } from '../../agent/cluster/settings.ts'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import type { Policy } from '../../felix/policy/model.ts'
import { QosTable } from '../../felix/qos-table.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NftExpression, NftRuleset, NftSet, NftTableName } from '../../kernel/port/nftables.ts'
import { comparable, nft } from '../kernel/nftables-programs.ts'
import { isRoot, scratchNetns } from '../kernel/scratch-netns.ts'
import { keyOf, kindOf, resourceOf } from './model.ts'
import { isJudged } from './reference/endpoints.ts'
import { ofKind, type World } from './reference/objects.ts'
import { cases } from './worlds.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('tables are listed by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const POLICY = { family: 'inet', name: 'margay-policy' } as const
const QOS = { family: 'inet', name: 'margay-qos' } as const

/** Writes what a world asks of a node that has all of its pods. Returns what was refused. */
async function enforce(node: Kernel, world: World, ownSets?: number): Promise<readonly unknown[]> {
  const enforcer = new PolicyEnforcer(node, { table: POLICY.name, interfacePrefix: 'cali' }, ownSets)
  const objects = new PolicyObjects(({ kind, key, value }) => enforcer.set(kind, key, value as never))
  for (const object of world.objects) {
    const kind = kindOf(object)
    objects.change(kind, keyOf(object), resourceOf(kind, object))
  }
  for (const [i, pod] of ofKind(world, 'Pod').filter(isJudged).entries())
    enforcer.setLocal(keyOf(pod), { interfaceName: `cali${i}`, profiles: podProfiles(resourceOf('Pod', pod)) })
  const tunnels = { ipip: true, vxlan: true, vxlanPort: 4789 }
  enforcer.setHostRules({ ...felixSettings(undefined).hosts!, podsToHost: 'drop' }, tunnels)
  for (const [key, { endpoint, interfaceName, profiles }] of objects.hosts)
    enforcer.setHost(key, { addresses: endpoint.addresses, profiles, ...(interfaceName && { interfaceName }) })
  return (await enforcer.put()).refused
}

/** The table as it is, as nft prints it, and as it is after nft took what it printed in its place. */
async function takenAgain(node: Kernel, path: string, of: NftTableName) {
  const written = (await node.nftables(of))!
  const text = nft(path, ['list', 'table', of.family, of.name])
  nft(path, ['delete', 'table', of.family, of.name])
  nft(path, ['-f', '-'], text)
  return { written, text, again: (await node.nftables(of))! }
}

/** What differs: each object of one that is another in the other. */
function differences(written: NftRuleset, again: NftRuleset): string[] {
  const [ours, theirs] = [written, again].map(ruleset => comparable(inOneOrder(ruleset))) as Record<string, unknown>[]
  return Object.keys({ ...ours, ...theirs }).flatMap(key => {
    const [a, b] = [[ours![key]].flat(), [theirs![key]].flat()]
    const texts = Array.from({ length: Math.max(a.length, b.length) }, (_, i) =>
      [a[i], b[i]].map(x => JSON.stringify(x)),
    )
    return texts.filter(([x, y]) => x !== y).map(([x, y]) => `${key}: ${x} is ${y} to nft`)
  })
}

/**
 * In what order the matches of a rule are asked does not matter: nft asks for TCP just before a port of TCP, and for fields
 * that lie side by side at once; ICMP says the family to it. Comments of sets with joined keys stand beside what nft notes of their types; sets of single
 * rules need no size, and nft gives one.
 */
function inOneOrder({ table, sets, rules, ...rest }: NftRuleset): NftRuleset {
  const { userdata: _, ...bare } = table
  const isInline = ({ flags = [] }: NftSet) => flags.includes('anonymous')
  return {
    ...rest,
    table: bare,
    sets: sets.map(({ comment: _, userdata: __, size, ...set }) => ({
      ...set,
      ...(!isInline(set) && size !== undefined && { size }),
    })),
    rules: rules.map(rule => {
      const end = rule.expressions.findIndex(step => !isMatch(step))
      const matches: NftExpression[][] = []
      for (const step of rule.expressions.slice(0, end)) {
        if ('load' in step && step.load === 1 && !('from' in step)) matches.push([])
        matches.at(-1)!.push(step)
      }
      const isOfIcmp = matches.some(([load, match]) => isKey(load, 'l4proto') && isOneOf(match, ['01', '3a']))
      const sorted = matches
        .filter(([load]) => !(isOfIcmp && isKey(load, 'nfproto')))
        .map(rangeInOne)
        .flatMap(octetByOctet)
        .map(match => ({ match, text: JSON.stringify(match) }))
        .sort((a, b) => (a.text < b.text ? -1 : 1))
      return { ...rule, expressions: [...sorted.flatMap(({ match }) => match), ...rule.expressions.slice(end)] }
    }),
  }
}

function isKey(step: NftExpression | undefined, key: string): boolean {
  return step?.type === 'meta' && step.key === key
}

function isOneOf(step: NftExpression | undefined, values: readonly string[]): boolean {
  return step?.type === 'cmp' && step.op === 'eq' && values.includes(step.value)
}

function isMatch(step: NftExpression): boolean {
  if (step.type === 'lookup') return step.load === undefined
  if (step.type === 'immediate') return step.load !== 0
  return ['meta', 'payload', 'ct', 'bitwise', 'cmp', 'range'].includes(step.type)
}

/** `>= first` and `<= last`, as nft 1.0.6 writes a range and we do; newer ones, 1.1.3 among them, make one step of it. */
function rangeInOne(steps: NftExpression[]): NftExpression[] {
  const [load, from, to, ...more] = steps
  if (load === undefined || from?.type !== 'cmp' || to?.type !== 'cmp' || more.length > 0) return steps
  if (from.op !== 'gte' || to.op !== 'lte') return steps
  return [load, { type: 'range', from: from.from, op: 'eq', first: from.value, last: to.value }]
}

/** Fields that lie side by side, such as `icmp type 3 icmp code 0` or both ports, are one to nft. */
function octetByOctet(steps: NftExpression[]): NftExpression[][] {
  const [load, match] = steps
  if (load?.type !== 'payload' || match?.type !== 'cmp' || match.op !== 'eq') return [steps]
  return Array.from({ length: load.length }, (_, i) => [
    { ...load, offset: load.offset + i, length: 1 },
    { ...match, value: match.value.slice(2 * i, 2 * i + 2) },
  ])
}

netns('what policies of arbitrary clusters become is what nft makes of its own listing of it', async t => {
  using space = scratchNetns()
  using host = openKernel()
  using node = host.inside(space.path)
  let rules = 0
  for (const { world } of fc.sample(cases({ hosts: true, without: [] }), { seed: 1, numRuns: 12 })) {
    t.deepEqual(await enforce(node, world), [])
    const { written, text, again } = await takenAgain(node, space.path, POLICY)
    rules += written.rules.length
    t.deepEqual(differences(written, again), [])
    for (const { name, comment } of written.sets)
      if (comment !== undefined) t.regex(text, new RegExp(`set ${name} \\{[^}]*comment "`), 'what it is for')
    t.notRegex(text, /0x[0-9a-f]{9}|@nh|@th|unknown/, 'fields and values have words')
    nft(space.path, ['delete', 'table', POLICY.family, POLICY.name])
  }
  t.log(`${rules} rules`)
  t.true(rules > 200)
})

netns(
  'a set that many sources share is looked up by the digits of the source, as they stand in its elements',
  async t => {
    using space = scratchNetns()
    using host = openKernel()
    using node = host.inside(space.path)
    let found = 0
    for (const { world } of fc.sample(cases({ hosts: true, without: [] }), { seed: 2, numRuns: 6 })) {
      t.deepEqual(await enforce(node, world, 0), [])
      const text = nft(space.path, ['list', 'table', POLICY.family, POLICY.name])
      found += text.match(/^\t\t.*@shared[46]-/gm)?.length ?? 0
      // nft 1.0.6 knows no type of a constant in a key, and takes none: all that it cannot say are these digits
      const words = text.replaceAll(/0x[0-9a-f]+ \[invalid type\] \. .*@shared[46]-/g, '')
      t.notRegex(words, /0x[0-9a-f]{9}|@nh|@th|unknown|invalid/)
      if (words === text) {
        const { written, again } = await takenAgain(node, space.path, POLICY)
        t.deepEqual(differences(written, again), [])
      }
      nft(space.path, ['delete', 'table', POLICY.family, POLICY.name])
    }
    t.true(found > 10, `${found}`)
  },
)

for (const [where, ownSets] of [
  ['of their own', undefined],
  ['that they share', 0],
] as const)
  netns(`lists of ports and of CIDRs are looked up in sets ${where}, which nft lists`, async t => {
    using space = scratchNetns()
    using host = openKernel()
    using node = host.inside(space.path)
    const enforcer = new PolicyEnforcer(node, { table: POLICY.name, interfacePrefix: 'cali' }, ownSets)
    enforcer.set('endpoint', 'shop/web', { kind: 'pod', labels: {}, addresses: ['10.0.0.1'], ports: [] })
    enforcer.setLocal('shop/web', { interfaceName: 'cali1', profiles: [] })
    const ranges = Array.from({ length: 9 }, (_, i) => ({ first: 10 * i + 1, last: 10 * i + 1 + (i % 2) }))
    const nets = Array.from({ length: 9 }, (_, i) => [`10.${i}.0.0/16`, `192.0.${i}.0/23`, `fd00:${i}::/32`]).flat()
    const notNets = Array.from({ length: 9 }, (_, i) => [`10.1.0.${2 * i}`, `fd00:0:0:${2 * i}::/63`]).flat()
    const rule = {
      action: 'allow',
      protocol: 6,
      source: { nets, notNets },
      destination: { ports: { ranges, names: [] } },
    }
    const ref = { kind: 'GlobalNetworkPolicy', name: 'lists' } as const
    const ingress = [rule] as NonNullable<Policy['ingress']>
    const policy = { ref, tier: 'default', order: 1, sortName: 'lists', selector: 'all()', ingress } as const
    enforcer.set('policy', 'lists', { ...policy, hostStage: 'normal' })
    t.deepEqual((await enforcer.put()).refused, [])
    const read = (await node.nftables(POLICY))!
    t.false(read.sets.some(({ flags }) => flags?.includes('anonymous')))
    const text = nft(space.path, ['list', 'table', POLICY.family, POLICY.name])
    t.regex(text, /ip saddr & 255\.255\.0\.0 (== )?@/)
    t.regex(text, /ip6 saddr & ffff:ffff:: (== )?@/)
    t.regex(text, /tcp dport @/)
    if (ownSets !== undefined) return
    const { written, again } = await takenAgain(node, space.path, POLICY)
    t.deepEqual(differences(written, again), [])
  })

netns('so are host endpoints', async t => {
  using space = scratchNetns()
  using host = openKernel()
  using node = host.inside(space.path)
  const enforcer = new PolicyEnforcer(node, { table: POLICY.name, interfacePrefix: 'cali' })
  enforcer.set('endpoint', 'shop/web', { kind: 'pod', labels: {}, addresses: ['10.0.0.1'], ports: [] })
  enforcer.set('node', 'n1', { labels: {}, addresses: ['192.0.2.1'] })
  for (const [name, interfaceName] of [
    ['a', 'eth0'],
    ['b', '*'],
  ] as const) {
    enforcer.set('endpoint', name, { kind: 'host', labels: { name }, addresses: [], ports: [] })
    enforcer.setHost(name, { interfaceName, addresses: [], profiles: [] })
  }
  const tunnels = { ipip: true, vxlan: true, vxlanPort: 4789 }
  enforcer.setHostRules({ ...felixSettings(undefined).hosts!, podsToHost: 'drop' }, tunnels)
  const allow = [{ action: 'allow', source: {}, destination: {} }] as const
  for (const hostStage of ['forward', 'preDNAT', 'untracked'] as const) {
    const ref = { kind: 'GlobalNetworkPolicy', name: hostStage.toLowerCase() } as const
    const egress = hostStage === 'preDNAT' ? {} : { egress: allow }
    const policy = {
      ref,
      tier: 'default',
      order: 1,
      sortName: ref.name,
      selector: 'has(name)',
      ingress: allow,
      ...egress,
    }
    enforcer.set('policy', ref.name, { ...policy, hostStage })
  }
  t.deepEqual((await enforcer.put()).refused, [])
  const { written, again, text } = await takenAgain(node, space.path, POLICY)
  t.deepEqual(differences(written, again), [])
  t.regex(text, /VXLAN between nodes/)
  t.notRegex(text, /0x[0-9a-f]{9}|@nh|@th|unknown/)
})

netns('so are limits and marks of pods', async t => {
  using space = scratchNetns()
  using host = openKernel()
  using node = host.inside(space.path)
  const qos = new QosTable(node, QOS.name)
  qos.setPool('10.244.0.0/16', 'in')
  qos.setPool('fd00::/64', 'in')
  const limits = { rate: { perSecond: 100, burst: 20 }, connections: 3 }
  for (const [i, dscp] of [0, 10, 46, 63].entries()) {
    const local = { interfaceName: `cali${i}`, profiles: [], qos: { egress: limits, ingress: limits, dscp } }
    qos.setLocal(`shop/web-${i}`, local)
  }
  t.deepEqual((await qos.put()).refused, [])
  const { written, again, text } = await takenAgain(node, space.path, QOS)
  t.deepEqual(differences(written, again), [])
  t.regex(
    text,
    /limit rate over 100\/second burst 20 packets counter .* drop comment "egress packet rate of shop\/web-0"/,
  )
})
