// Policy in a real kernel: pods in namespaces, policies as the calculation takes them, and packets.
import test from 'ava'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import { LABEL, type Policy, type PolicyEndpoint, type PolicyRule } from '../../felix/policy/model.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { isRoot } from '../kernel/scratch-netns.ts'
import { SILENCE_MS } from '../slowness.ts'
import { type Pod, PodNode } from './pod-node.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('packets are sent by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

/** A Service at 10.96.0.1 with the second pod behind it. */
const SERVICE = `table ip service {
  chain prerouting { type nat hook prerouting priority -100; ip daddr 10.96.0.1 dnat to 10.244.0.2; }
}`

const endpoint = ({ name, address }: Pod): PolicyEndpoint => ({
  kind: 'pod',
  labels: { app: name, [LABEL.orchestrator]: 'k8s', [LABEL.namespace]: 'default' },
  addresses: [address],
  ports: [],
})
const ALLOW: PolicyRule = { action: 'allow', source: {}, destination: {} }
const policy = (name: string, selector: string, more: Partial<Policy>): Policy => ({
  ...{ ref: { kind: 'NetworkPolicy', namespace: 'default', name }, tier: 'default', order: 1000 },
  ...{ sortName: `${name}/default/NetworkPolicy`, selector, hostStage: 'normal' },
  ...more,
})

netns(
  'pods reach each other as the policies say, from the first packet on, and after a restart without a write',
  async t => {
    await using node = new PodNode()
    await node.start()
    const [web, friend, stranger] = [await node.add('web'), await node.add('friend'), await node.add('stranger')]
    const open = () => new PolicyEnforcer(node.kernel, { table: 'margay-policy', interfacePrefix: 'cali' })
    const tell = (enforcer: PolicyEnforcer) => {
      enforcer.set('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
      enforcer.set('profile', 'kns.default', { ingress: [ALLOW], egress: [ALLOW] })
      for (const pod of node.pods) {
        enforcer.set('endpoint', `default/${pod.name}`, endpoint(pod))
        enforcer.setLocal(`default/${pod.name}`, { interfaceName: pod.interfaceName, profiles: ['kns.default'] })
      }
    }
    const apply = async (enforcer: PolicyEnforcer) => {
      const outcomes = [await enforcer.put(), await enforcer.remove()]
      t.deepEqual(
        outcomes.flatMap(({ refused }) => refused),
        [],
      )
      return outcomes.flatMap(({ written }) => written).length
    }

    const enforcer = open()
    // nothing is known: closed
    await apply(enforcer)
    t.false(await node.reaches(friend, web, SILENCE_MS))
    tell(enforcer)
    await apply(enforcer)
    t.true(enforcer.judges(web.interfaceName))
    t.true(await node.reaches(friend, web), 'no policy selects it')

    const onlyFriends = policy('friends', "app == 'web'", {
      ingress: [
        {
          ...{ action: 'allow', protocol: 6, source: { selector: "app == 'friend'" } },
          destination: { ports: { ranges: [{ first: 80, last: 80 }], names: [] } },
        },
      ],
    })
    enforcer.set('policy', 'friends', onlyFriends)
    await apply(enforcer)
    t.deepEqual([await node.reaches(friend, web), await node.reaches(stranger, web, SILENCE_MS)], [true, false])
    t.true(await node.reaches(web, stranger), 'replies pass, and what the pod sends is not judged by it')

    const again = open()
    tell(again)
    again.set('policy', 'friends', onlyFriends)
    t.is(await apply(again), 0, 'what stands is adopted')

    // the stranger becomes a friend: one element, no rule
    again.set('endpoint', 'default/stranger', {
      ...endpoint(stranger),
      labels: { ...endpoint(stranger).labels, app: 'friend' },
    })
    t.is(await apply(again), 1)
    t.true(await node.reaches(stranger, web))
    const counted = async () => {
      const counts = (await again.ruleCounts()).byText()
      return [...counts].find(([text]) => text.endsWith('friends ingress 0 allow'))?.[1].packets
    }
    const before = await counted()
    t.true(before !== undefined && before > 0)

    again.set('policy', 'egress', policy('egress', "app == 'friend'", { egress: [] }))
    await apply(again)
    t.deepEqual([await node.reaches(friend, web, SILENCE_MS), await node.reaches(web, friend)], [false, true])

    // somebody empties all tables: put back in one pass
    await node.kernel.changeNftables([
      { verb: 'delete', object: { kind: 'table', family: 'inet', name: 'margay-policy' } },
    ])
    t.true(await node.reaches(friend, web), 'open while it is away')
    t.true(
      again.observe({
        generation: await node.kernel.nftGeneration(),
        tables: [{ family: 'inet', name: 'margay-policy' }],
      }),
    )
    t.true((await apply(again)) > 5)
    t.deepEqual([await node.reaches(friend, web, SILENCE_MS), await node.reaches(web, friend)], [false, true])

    // a Service, as others translate it; and the kubelet, which is of the node
    nft(node.space.path, ['-f', '-'], SERVICE)
    const service = { address: '10.96.0.1' }
    t.deepEqual([await node.reaches(friend, service, SILENCE_MS), await node.reaches(web, service)], [false, true])
    again.set('policy', 'egress', undefined)
    again.set('policy', 'closed', policy('closed', "app == 'web'", { ingress: [] }))
    again.set('policy', 'friends', undefined)
    await apply(again)
    t.deepEqual([await node.reaches(friend, web, SILENCE_MS), await node.reaches(web, service)], [false, true])
    t.is(await counted(), before, 'a rule that is gone keeps its count')
    t.true(await node.reaches(node, web), 'probes of the kubelet are answered')

    again.setLocal('default/web', undefined)
    again.set('endpoint', 'default/web', undefined)
    await apply(again)
    t.false(again.judges(web.interfaceName))
    t.false(await node.reaches(stranger, web, SILENCE_MS), 'a pod that is gone is closed')
  },
)

for (const [where, ownSets] of [
  ['of their own', undefined],
  ['that all share', 0],
] as const)
  netns(`packets pass long lists of ports and CIDRs in sets ${where} exactly where these hold them`, async t => {
    await using node = new PodNode()
    await node.start()
    const [web, friend] = [await node.add('web'), await node.add('friend')]
    const enforcer = new PolicyEnforcer(node.kernel, { table: 'margay-policy', interfacePrefix: 'cali' }, ownSets)
    enforcer.set('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
    enforcer.set('profile', 'kns.default', { ingress: [ALLOW], egress: [ALLOW] })
    for (const pod of node.pods) {
      enforcer.set('endpoint', `default/${pod.name}`, endpoint(pod))
      enforcer.setLocal(`default/${pod.name}`, { interfaceName: pod.interfaceName, profiles: ['kns.default'] })
    }
    const ports = (...more: readonly number[]) => {
      const ranges = [...Array.from({ length: 9 }, (_, i) => 1000 + 2 * i), ...more].map(port => ({
        first: port,
        last: port,
      }))
      return { ranges, names: [] }
    }
    const nets = (...more: readonly string[]) => [
      ...Array.from({ length: 9 }, (_, i) => [`10.${i}.0.0/24`, `172.16.${2 * i}.0/23`]).flat(),
      ...more,
    ]
    const passes = async (of: Partial<PolicyRule>, withinMs?: number) => {
      const rule = { ...ALLOW, protocol: 6, ...of }
      enforcer.set('policy', 'lists', policy('lists', "app == 'web'", { ingress: [rule] }))
      t.deepEqual((await enforcer.put()).refused, [])
      await enforcer.remove()
      return await node.reaches(friend, web, withinMs)
    }
    const around = `${friend.address}/31`
    t.true(await passes({ destination: { ports: ports(80) } }))
    t.false(await passes({ destination: { ports: ports(81) } }, SILENCE_MS))
    t.false(await passes({ destination: { notPorts: ports(80) } }, SILENCE_MS))
    t.true(await passes({ destination: { notPorts: ports(81) } }))
    t.true(await passes({ source: { nets: nets(around) } }))
    t.false(await passes({ source: { nets: nets('10.200.0.0/31') } }, SILENCE_MS))
    t.false(await passes({ source: { notNets: nets(around) } }, SILENCE_MS))
    t.true(await passes({ source: { notNets: nets('10.200.0.0/31') } }))
    t.true(await passes({ source: { nets: nets(around) }, destination: { ports: ports(80) } }))
  })
