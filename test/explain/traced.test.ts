// What the walk makes of packets that were sent and followed on both nodes.
import test from 'ava'
import type { NodeFacts } from '../../api/explain.ts'
import type { TraceFacts } from '../../api/trace.ts'
import { aPair, aTrace, NODE, POD, type World, walked } from './worlds.ts'

/** Pods of n1 and n3, behind VXLAN. */
const tunnelled = () => aPair(POD['n1-p1']!, POD['n3-p1']!)
const outer = (cameIn: number, left: number) => ({ cameIn, left })
const nothing = (node: string): TraceFacts => aTrace(node, { sent: 0, cameIn: 0, left: 0, received: 0 })
const silentFrom = (change: Partial<TraceFacts>) => aTrace('n1', { outcome: 'silent', ...change })

function explained(traces: TraceFacts[], world: World = tunnelled()) {
  const { verdict, first, steps } = walked({ ...world, traces })
  const open = steps
    .filter(step => step.verdict === 'unknown')
    .map(({ name, node, says }) => `${name} ${node}: ${says}`)
  return { verdict, first, steps, open }
}

test('packets of a tunnel that left one node and did not come to the other were lost between them', t => {
  const { first, steps } = explained([silentFrom({ outer: outer(3, 3) }), nothing('n3')])
  t.like(first, { code: 'VxlanLost', setBy: { who: 'fabric' } })
  const fabric = steps.find(({ name, direction }) => name === 'fabric' && direction === 'there')!
  t.deepEqual(fabric.evidence, [{ of: 'trace', text: '3 left n1, 0 came in on n3' }])
})

test('packets that came as far as an interface of the other node were not lost between them', t => {
  const received = { ...nothing('n3'), outer: { cameIn: 0, left: 0, received: 3 } }
  const { first, steps } = explained([silentFrom({ outer: outer(3, 3) }), received])
  t.is(first, undefined)
  t.is(steps.find(({ name }) => name === 'fabric')?.verdict, 'passes')
})

test('packets that went into a tunnel of which no packet came out are nowhere: nothing is blamed', t => {
  const { verdict, first } = explained([silentFrom({}), nothing('n3')])
  t.like({ verdict, first }, { verdict: 'unknown', first: undefined })
  const inside = explained([silentFrom({ outer: outer(3, 0) }), nothing('n3')])
  t.is(inside.first, undefined)
  t.true(
    inside.open.some(each => each.startsWith('foreign n1: 3 traced packets came to n1 and did not leave it')),
    inside.open.join('\n'),
  )
})

test('a rule that drops the packet of the tunnel is named, and the network between is not blamed', t => {
  const dropped = {
    ...{ family: 'inet', table: 'fw', chain: 'out', hook: 'output', rule: 'udp dport 4789 drop' },
    ...{ ours: false, count: 3, outer: true },
  }
  const { first } = explained([silentFrom({ outer: outer(3, 0), dropped }), nothing('n3')])
  t.like(first, {
    code: 'ForeignDrops',
    node: 'n1',
    message:
      'n1 drops the packets of the tunnel in table inet fw, chain out (output), by the rule: udp dport 4789 drop',
  })
  const policy = explained([
    silentFrom({ left: 0, dropped: { ...dropped, outer: false, rule: 'policy drop' } }),
    nothing('n3'),
  ])
  t.regex(policy.first!.message, /chain out \(output\), by its policy drop$/)
})

test('what a reverse path filter counted is its fault where it counted just the packets that did not leave', t => {
  const far = (change: Partial<TraceFacts>) =>
    aTrace('n3', { sent: 0, cameIn: 3, left: 0, reversePathDrops: 3, ...change })
  const near = silentFrom({ outer: outer(3, 3) })
  t.like(explained([near, far({})]).first, { code: 'ReversePath', node: 'n3' })
  for (const change of [{ reversePathDrops: 4 }, { reversePathDrops: 0 }, { incomplete: true }])
    t.is(explained([near, far(change)]).first, undefined, JSON.stringify(change))
})

test('whoever gives a followed packet another address is named; what Margay or a Service does is as it should be', t => {
  const by = { family: 'ip', table: 'other', chain: 'post', rule: 'masquerade', ours: false }
  const passed = [aTrace('n3'), { ...aTrace('n3'), direction: 'back' as const }]
  const translated = (change: object) =>
    explained([aTrace('n1', { outcome: 'answered', translated: { by, source: '192.0.2.11', ...change } }), ...passed])
  t.like(translated({}).first, {
    ...{ code: 'ForeignTranslates', effect: 'changed' },
    message: 'n1 gives the packets the source 192.0.2.11, in table ip other, chain post, by the rule: masquerade',
  })
  t.regex(translated({ by: undefined }).first!.message, /by iptables-legacy or IPVS$/)
  t.is(translated({ by: { ...by, ours: true } }).first, undefined)
  const world = tunnelled()
  const service = { namespace: 'shop', name: 'web', address: '10.96.0.10', port: 80, protocol: 'tcp' as const }
  const backends = [{ address: world.question.to.address, port: 80 }]
  const toService = { ...world, question: { ...world.question, service: { ...service, backends } } }
  const dnat = { by, destination: world.question.to.address }
  t.is(explained([aTrace('n1', { outcome: 'answered', translated: dnat }), ...passed], toService).first, undefined)
  t.is(explained([aTrace('n1', { outcome: 'answered', translated: dnat }), ...passed]).first?.code, 'ForeignTranslates')
})

test('packets that never came out of the pod, and answers that never came, are told and nobody is blamed', t => {
  const { first, open } = explained([silentFrom({ cameIn: 0, left: 0 }), nothing('n3')])
  t.is(first, undefined)
  t.true(
    open.some(each => /^foreign n1: none of 3 packets that .* sent came to n1/.test(each)),
    open.join('\n'),
  )
  const delivered = explained([
    silentFrom({ outer: outer(3, 3) }),
    aTrace('n3', { sent: 0 }),
    { ...nothing('n3'), direction: 'back' },
    { ...nothing('n1'), direction: 'back' },
  ])
  t.is(delivered.first, undefined)
  t.true(
    delivered.open.some(each => /^foreign n3: no answer of .* came to n3/.test(each)),
    delivered.open.join('\n'),
  )
})

test('a packet to a Service that leaves as it was sent is translated by nobody, also where its pods answer', t => {
  const world = tunnelled()
  const service = { namespace: 'shop', name: 'web', address: '10.96.0.10', port: 80, protocol: 'tcp' as const }
  const backends = [{ address: world.question.to.address, port: 80 }]
  const passed = [aTrace('n1', { outcome: 'answered' }), aTrace('n3'), { ...aTrace('n3'), direction: 'back' as const }]
  const asked = { ...world, question: { ...world.question, service: { ...service, backends } } }
  const toService = (change: Partial<TraceFacts>) =>
    explained(passed, { ...asked, toService: aTrace('n1', { outcome: 'silent', ...change }) }).first
  t.like(toService({}), {
    code: 'ServiceNotProgrammed',
    message: 'a packet to Service shop/web left n1 with the address of the Service: nobody translates it',
  })
  t.is(toService({ translated: { destination: world.question.to.address } }), undefined)
  t.is(toService({ outcome: 'answered' }), undefined)
  t.is(toService({ left: 0 }), undefined)
  const masquerade = { family: 'ip', table: 'margay', chain: 'outgoing', rule: 'natOutgoing', ours: true }
  const source = '192.0.2.11'
  t.is(toService({ translated: { by: masquerade, source } })?.code, 'ServiceNotProgrammed', 'as to any address outside')
  t.is(toService({ translated: { by: { ...masquerade, ours: false }, source } }), undefined, 'who did may do more')
  t.is(toService({ translated: { by: masquerade, source, destinationPort: 8080 } }), undefined)
  const lost = explained(passed, { ...asked, toService: aTrace('n1', { outcome: 'silent', left: 0 }) })
  t.is(lost.verdict, 'unknown', 'its pods answer, and it does not')
  t.regex(lost.open.join('\n'), /^service n1: a packet to Service shop\/web was sent and not answered: silent/m)
  const dropped = {
    ...{ family: 'ip', table: 'filter', chain: 'KUBE-SERVICES', hook: 'forward', rule: 'reject', ours: false },
    ...{ count: 3, outer: false },
  }
  t.like(toService({ left: 0, dropped }), { code: 'ForeignDrops', node: 'n1' })
})

test('that a node before the pod says that it cannot be reached is no word of the pod', t => {
  const { first, verdict } = explained([
    aTrace('n1', { outcome: 'unreachable', said: 'host unreachable, says 192.0.2.13', saidBy: '192.0.2.13' }),
    aTrace('n3', { sent: 0 }),
  ])
  t.is(first, undefined)
  t.is(verdict, 'unknown')
})

test('where a node cannot count at its interfaces, the network between is not blamed', t => {
  const { received: _, ...uncounted } = nothing('n3')
  t.is(explained([silentFrom({ outer: outer(3, 3) }), uncounted]).first, undefined)
})

test('who refuses what was delivered is named: the pod, or the node with its own network', t => {
  const refused = (world: World, node: string) =>
    explained([aTrace('n1', { outcome: 'refused', said: 'connection refused' }), aTrace(node, { sent: 0 })], world)
      .first
  t.like(refused(tunnelled(), 'n3'), { code: 'NoListener', object: { kind: 'Pod', name: 'n3-p1' } })
  t.like(refused(aPair(POD['n1-p1']!, NODE.n3), 'n3'), { code: 'NoListener', object: { kind: 'Node', name: 'n3' } })
})

test('a port of a node that stands for a Service is translated there, and what it refuses a pod behind it may have refused', t => {
  const pair = aPair(NODE.n1, NODE.n1)
  const service = { namespace: 'shop', name: 'web', address: NODE.n1.address, port: 30_080, protocol: 'tcp' as const }
  const world = (backends: object[]) => ({
    ...pair,
    question: { ...pair.question, service: { ...service, backends } },
  })
  const ready = world([{ address: '10.244.3.1', port: 80 }]) as World
  const by = { family: 'ip', table: 'kube-proxy', chain: 'service', rule: 'dnat', ours: false }
  const translated = { by, source: NODE.n1.address, destination: '10.244.3.1' }
  t.is(explained([aTrace('n1', { outcome: 'answered', translated })], ready).first, undefined)
  t.is(explained([aTrace('n1', { outcome: 'answered', translated })], pair).first?.code, 'ForeignTranslates')
  const { first, open } = explained([aTrace('n1', { outcome: 'refused', said: 'refused', translated })], ready)
  t.is(first, undefined)
  t.true(
    open.some(each => /^listener n1: .*explain the way from n1 to the Service/.test(each)),
    open.join('\n'),
  )
  t.like(explained([], world([]) as World).first, { code: 'ServiceNoEndpoints', object: { kind: 'Service' } })
})

test('what a pod sends to itself stays in it: no policy and no chain is open, and it says itself that nobody listens', t => {
  const pair = aPair(POD['n1-p1']!, POD['n1-p1']!)
  const { facts } = pair.near as { facts: NodeFacts }
  // one pod, of which nobody judges anything
  facts.endpoints.length = 1
  facts.policies.length = 0
  t.like(explained([], pair), { verdict: 'passes', open: [] })
  const own = aTrace('n1', { outcome: 'refused', said: 'connection refused', cameIn: 0, left: 0 })
  t.like(explained([own], pair).first, { code: 'NoListener', object: { kind: 'Pod', name: 'n1-p1' } })
})
