// What whole agents in memory tell of the way of a packet between their pods, and within which bounds.
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { FactsOfNode, type NodeFactsDeps } from '../../../agent/facts/node-facts.ts'
import { policyFacts } from '../../../agent/facts/policies.ts'
import type { NodeAgent } from '../../../agent/node-agent.ts'
import { type NodeFacts, nodeFacts, type Question } from '../../../api/explain.ts'
import type { Event } from '../../../api/status.ts'
import type { PolicyFailure } from '../../../felix/enforcer.ts'
import { FakeWorld } from '../../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import { type Clock, ManualClock, systemClock } from '../../../lib/clock.ts'
import { aCluster, cni, eventually, startAgent } from '../machines.ts'

function questionOf(source: string, destination: string, [from, to]: readonly [string?, string?]): Question {
  const packet = { family: 'ipv4', source, destination, protocol: 'tcp', destinationPort: 80 } as const
  return {
    packet,
    back: { family: 'ipv4', source: destination, destination: source, protocol: 'tcp', sourcePort: 80 },
    from: { address: source, role: 'pod', ...(from !== undefined && { node: from }) },
    to: { address: destination, role: 'pod', ...(to !== undefined && { node: to }) },
  }
}

async function ask(t: ExecutionContext, agent: NodeAgent, question: Question): Promise<NodeFacts> {
  const facts = (await agent.facts(question))!
  t.deepEqual(nodeFacts.parse(JSON.parse(JSON.stringify(facts))), JSON.parse(JSON.stringify(facts)))
  return facts
}

async function addPod(t: ExecutionContext, agent: NodeAgent, container: string): Promise<string> {
  const answer = await cni(agent, 'ADD', container)
  t.is(answer.exitCode, 0, JSON.stringify(answer))
  return (JSON.parse(answer.stdout) as { ips: { address: string }[] }).ips[0]!.address.split('/')[0]!
}

test('two agents tell the way between their pods, whose blocks, by which session and which rule it passes, and answer whatever is asked', async t => {
  const { store, network, machines } = await aCluster(t)
  const [n1, n2] = [await startAgent(t, machines[0], store, network), await startAgent(t, machines[1], store, network)]
  const [a, b] = [await addPod(t, n1, 'c0'), await addPod(t, n2, 'c1')]
  await eventually(
    t,
    'routes',
    () => n1.status().learned?.length,
    count => count === 1,
  )
  await eventually(
    t,
    'routes',
    () => n2.status().learned?.length,
    count => count === 1,
  )
  const question = questionOf(a, b, ['n1', 'n2'])
  const near = await eventually(
    t,
    'the way',
    () => ask(t, n1, question),
    ({ ways }) => ways.every(({ wanted }) => wanted?.divergence === undefined),
  )
  const [there, back] = near.ways
  t.like(there, { direction: 'there', from: 'pod', wanted: { origin: { of: 'learned', nextHop: '192.0.2.12' } } })
  t.like(back, { direction: 'back', from: 'uplink', wanted: { origin: { of: 'pod' } } })
  t.deepEqual(
    near.policies.map(({ at, enforced, decision: { action, by } }) => [at, enforced, action, by.of]),
    [['egress', 'kernel', 'allow', 'profile rule']],
  )
  const far = await ask(t, n2, question)
  t.like(far.ways, [
    { direction: 'there', from: 'uplink' },
    { direction: 'back', from: 'pod' },
  ] as never)
  t.deepEqual(
    far.policies.map(({ at }) => at),
    ['ingress'],
  )
  for (const [facts, own, other] of [
    [near, a, b],
    [far, b, a],
  ] as const) {
    t.deepEqual(
      facts.endpoints.map(({ addresses, state }) => [addresses, state]),
      [[[own], 'live']],
    )
    const blocks = 'value' in facts.blocks ? facts.blocks.value : []
    const ofNode = facts === near ? ['n1', 'n2'] : ['n2', 'n1']
    t.deepEqual(
      [own, other].map(address => blocks.find(each => each.address === address)?.owner),
      ofNode,
    )
    t.true(blocks.every(({ pool }) => pool === 'pool'))
    const sessions = 'value' in facts.sessions ? facts.sessions.value : []
    t.deepEqual(
      sessions.map(({ node, state }) => [node, state]),
      [[ofNode[1], 'Established']],
    )
    const [session] = sessions
    t.true(session!.lastReceivedMs! > 0 && session!.lastReceivedMs! <= facts.atMs && session!.lastSentMs! <= facts.atMs)
    t.like(facts.masqueraded, { value: false })
  }
  const own = { ...question, from: { address: '192.0.2.11', role: 'node', node: 'n1' } } as const
  const fromHost = await ask(t, n1, { ...own, packet: { ...own.packet, source: '192.0.2.11', destination: a } })
  t.like(fromHost.ways[0], { from: 'host', wanted: { origin: { of: 'pod' } } })
  t.deepEqual(fromHost.policies, [], 'what the host sends to its own pods is judged by nobody')
  const nobody = await ask(t, n1, questionOf(a, '10.244.99.1', ['n1']))
  t.like(nobody.ways[0]?.wanted, { origin: { of: 'none', reason: 'NothingAnnounced' } })
  const outside = await ask(t, n1, questionOf(a, '198.51.100.1', ['n1']))
  t.like(outside.ways[0]?.wanted, { origin: { of: 'outside' } })
  const elsewhere = await ask(t, n1, questionOf('198.51.100.1', '198.51.100.2', []))
  t.deepEqual([elsewhere.ways, elsewhere.endpoints, elsewhere.policies], [[], [], []])
  const ends = {
    ipv4: [a, b, '192.0.2.11', '10.244.77.7', '0.0.0.0', '255.255.255.255', '224.0.0.1', '127.0.0.1'] as const,
    ipv6: ['::', '::1', 'fe80::1', 'ff02::1', 'fd00::7', '2001:db8::1'] as const,
  }
  const anything = fc.constantFrom('ipv4' as const, 'ipv6' as const).chain(family =>
    fc.record({
      family: fc.constant(family),
      source: fc.constantFrom(...ends[family]),
      destination: fc.constantFrom(...ends[family]),
      protocol: fc.oneof(
        fc.constantFrom('tcp' as const, 'udp' as const, 'icmp' as const, 'icmpv6' as const),
        fc.nat(255),
      ),
      destinationPort: fc.option(fc.nat(65_535), { nil: undefined }),
    }),
  )
  const whose = fc.constantFrom('n1', 'n2', 'n9', undefined)
  await fc.assert(
    fc.asyncProperty(anything, whose, whose, async (packet, of, to) => {
      const question = {
        ...{ packet, back: { ...packet, source: packet.destination, destination: packet.source } },
        from: { address: packet.source, role: 'pod', node: of } as const,
        to: { address: packet.destination, role: 'outside', node: to } as const,
      }
      nodeFacts.parse(JSON.parse(JSON.stringify(await n1.facts(question))))
    }),
    { numRuns: 40 },
  )
})

/** A node without pods, of whose kernel some questions are answered otherwise. */
function aNode(
  change: Partial<NodeFactsDeps['kernel']>,
  clock: Clock = new ManualClock(),
  more: Partial<NodeFactsDeps> = {},
): FactsOfNode {
  const kernel = Object.assign(new FakeWorld().kernel(), change)
  const nothing = { wanted: () => new Map() }
  const wanted = new Proxy({} as ReturnType<NodeFactsDeps['felix']['view']>['wanted'], { get: nothing.wanted })
  return new FactsOfNode({
    ...{ node: 'n1', version: '1', startedMs: 0, clock, kernel },
    felix: {
      view: () => ({
        ...{ node: undefined, wanted, isApplied: true, policy: undefined, hosts: undefined, protocols: new Set([80]) },
        ...{ ownsInterface: () => false, masquerades: () => undefined, shadows: () => [], ruleAuthor: () => undefined },
      }),
    },
    cni: () => ({
      kernel,
      endpoints: { all: () => [], live: () => [], isExpected: () => false },
      hostSide: { routeProtocol: () => 3, podsFiltered: () => true, filterDifferences: async () => [] },
    }),
    network: { peers: () => [], learnedFor: () => undefined, nodeWith: () => undefined },
    explain: prefix => ({ prefix, candidates: [], withheld: [] }),
    view: { all: () => [] },
    floating: { targetOf: () => undefined },
    allocator: { blocks: () => [], borrowed: () => [], lentTo: () => new Map() },
    isOwnTable: () => false,
    conditions: () => [],
    events: { last: () => [] },
    ...more,
  })
}

const QUESTION = questionOf('10.244.0.1', '10.244.1.1', ['n1', 'n2'])

test('what the kernel refuses is absent with its words, and everything else is told', async t => {
  const refused = async () => {
    throw new KernelError(ERRNO.EPERM, 'read', 'it')
  }
  const facts = (await aNode({ rules: refused, flowsOf: refused, baseChains: refused }).answer(QUESTION))!
  t.like(facts.connections, { absent: 'read it: EPERM' })
  t.like(facts.hooks, { absent: 'read it: EPERM' })
  t.like(facts.ways[0]?.rules, { absent: 'read it: EPERM' })
  t.like(facts.ways[0]?.lookup, { value: { errno: 'ENETUNREACH' } })
  t.like(facts.connectionTable, { value: { count: 0 } })
  t.like(facts.masqueraded, { absent: 'the pools are not known yet' })
})

test('an answer has 256 KiB at most, of the newest events and of conditions what there is room for', async t => {
  const long = 'x'.repeat(5000)
  const at = new Date().toISOString()
  const object = { kind: 'Route', name: '10.0.0.0/26' } as const
  const recent = Array.from(
    { length: 80 },
    (_, i): Event => ({ at, type: 'Healed', object, reason: `${i}`, message: long }),
  )
  const old: Event = { ...recent[0]!, at: new Date(Date.now() - 16 * 60_000).toISOString(), reason: 'old' }
  const broken = (i: number) =>
    ({ type: 'KernelInSync', status: 'False', reason: `${i}`, message: long, remedy: '' }) as const
  const conditions = Array.from({ length: 200 }, (_, i) => broken(i))
  const clock = systemClock
  const few = await aNode({}, clock, { events: { last: () => [...recent.slice(0, 3), old] } }).answer(QUESTION)
  t.deepEqual(
    few?.recent.map(({ reason }) => reason),
    ['0', '1', '2'],
  )
  const many = await aNode({}, clock, { events: { last: () => recent }, conditions: () => conditions }).answer(QUESTION)
  const octets = JSON.stringify(many).length
  t.true(octets <= 256 << 10 && octets > 200 << 10, `${octets}`)
  t.like(many?.ways[0]?.lookup, { value: { errno: 'ENETUNREACH' } })
})

test('a decision counts as the kernel’s own only where the kernel has these policies as they were told', t => {
  const decision = { action: 'deny', by: { of: 'rule', text: 'NetworkPolicy a/b ingress 0 deny' }, passed: [] } as const
  const decided = { decision, policies: ['NetworkPolicy a/b'] }
  const hostDecisions: object[] = []
  const link = { index: 3, name: 'cali1', mtu: 1500, up: true, running: true }
  const { packet } = QUESTION
  const crossing = {
    direction: 'there',
    from: 'pod',
    packet,
    entersBy: link,
    leavesBy: undefined,
    endsHere: true,
  } as const
  const told = (
    failing: ReadonlyMap<string, PolicyFailure> | undefined,
    isApplied = true,
    podsToHost: 'accept' | 'drop' = 'accept',
  ) => {
    const verdicts = { decision: () => decided, hostDecisions: () => hostDecisions }
    const view = { policy: { verdicts, failing }, isApplied, hosts: { podsToHost }, ownsInterface: () => true }
    const of = { translated: packet, interfaceOf: () => undefined, nameOf: (name: string) => `the endpoint of ${name}` }
    return policyFacts(view as never, QUESTION, [crossing], of)
  }
  const enforced = (...of: Parameters<typeof told>) => told(...of).map(each => [each.at, each.enforced, each.message])
  t.deepEqual(enforced(new Map()), [['egress', 'kernel', undefined]])
  t.deepEqual(enforced(undefined), [['egress', 'lagging', undefined]], 'a pass is under way')
  t.deepEqual(enforced(new Map(), false), [['egress', 'lagging', undefined]], 'something told is not there yet')
  hostDecisions.push({ ...decided, slot: 'preDnatIngress', interfaceName: 'eth0' })
  t.deepEqual(
    told(new Map()).map(({ at, endpoint }) => [at, endpoint]),
    [
      ['egress', 'the endpoint of cali1'],
      ['pre-DNAT', 'the endpoint of eth0'],
    ],
  )
  hostDecisions.pop()
  const refused = new Map([['NetworkPolicy a/b', { reason: 'Refused', message: 'ENOMEM' }]])
  t.deepEqual(enforced(refused), [['egress', 'refused', 'ENOMEM']])
  t.deepEqual(enforced(new Map([['NetworkPolicy a/z', { reason: 'Refused', message: 'ENOMEM' }]])), [
    ['egress', 'kernel', undefined],
  ])
  t.deepEqual(
    told(new Map(), true, 'drop').map(({ at, decision: { action } }) => [at, action]),
    [
      ['egress', 'deny'],
      ['host in', 'deny'],
    ],
  )
})

test('what takes longer than two seconds is absent, four questions are answered at a time, and a fifth is refused', async t => {
  const clock = new ManualClock()
  const never = new Promise<never>(() => undefined)
  let hangs = true
  const node = aNode({ flowsOf: async () => (hangs ? await never : undefined) }, clock)
  const four = [1, 2, 3, 4].map(() => node.answer(QUESTION))
  t.is(await node.answer(QUESTION), undefined)
  for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  clock.advance(2000)
  for (const facts of await Promise.all(four)) {
    t.like(facts?.connections, { absent: 'it took longer than 2 s', ageMs: 2000 })
    t.like(facts?.ways[0]?.lookup, { value: { errno: 'ENETUNREACH' } })
  }
  hangs = false
  t.is((await node.answer(QUESTION))?.node, 'n1')
})

test('a host without the rule for the table main is told to have none', async t => {
  const rulesOf = async (rules: Awaited<ReturnType<NodeFactsDeps['kernel']['rules']>>) => {
    const facts = await aNode({ rules: async () => rules }).answer(questionOf('10.244.0.5', '198.51.100.1', ['n1']))
    return facts?.ways.map(way => way.rules)
  }
  const main = { family: 'ipv4', priority: 32_766, action: 'lookup', table: 254 } as const
  t.like(await rulesOf([main]), [{ value: [] }])
  t.like(await rulesOf([]), [{ value: [{ text: 'from all lookup main', gone: true }] }])
})
