// The walk over answers of healthy nodes, and what it makes of silence.
import test from 'ava'
import type { NodeFacts } from '../../api/explain.ts'
import {
  absent,
  aPair,
  aPath,
  aSession,
  aTrace,
  kernel,
  model,
  NODE,
  OUTSIDE,
  POD,
  silent,
  walked,
  wayOf,
} from './worlds.ts'

const p = (name: string) => POD[name]!

const v6 = (name: string) => ({ ...p(name), address: `fd00:${p(name).address.replaceAll('.', ':')}` })
const service = {
  ...{ namespace: 'default', name: 'web', address: '10.96.0.10', port: 80, protocol: 'tcp' as const },
  backends: [{ address: '10.244.2.1', port: 8080, node: 'n2' }],
}
const withService = (world: ReturnType<typeof aPair>) => ({ ...world, question: { ...world.question, service } })
const masquerades = (facts: NodeFacts) => {
  facts.masqueraded = model(true)
}
/** As an agent answers where none judges. */
const withoutPolicies = (facts: NodeFacts) => {
  facts.policies = []
}
const ipip = (facts: NodeFacts) => {
  for (const way of facts.ways) {
    if (way.outer === undefined) continue
    way.outer = { ...way.outer, encapsulation: 'ipip' }
    delete way.outer.entry
    delete way.neighbour
  }
}

const healthy: Record<string, ReturnType<typeof aPair>> = {
  'two pods of one node': aPair(p('n1-p1'), p('n1-p2')),
  'pods of two nodes on one link': aPair(p('n1-p1'), p('n2-p1')),
  'pods of two nodes through VXLAN': aPair(p('n1-p1'), p('n3-p1')),
  'a connection to a port': aPair(p('n1-p1'), p('n2-p1'), { packet: { protocol: 'tcp', destinationPort: 80 } }),
  'a node to its own pod': aPair(NODE.n1, p('n1-p1'), { near: withoutPolicies }),
  'a pod to its own node': aPair(p('n1-p1'), NODE.n1),
  'pods of two nodes over IPv6': aPair(v6('n1-p1'), v6('n2-p1')),
  'pods of two nodes through IP-in-IP': aPair(p('n1-p1'), p('n3-p1'), { near: ipip, far: ipip }),
  'a pod to the backend of a Service': withService(
    aPair(p('n1-p1'), p('n2-p1'), { packet: { protocol: 'tcp', destinationPort: 8080 } }),
  ),
  'a node to a pod of another node': aPair(NODE.n1, p('n2-p1')),
  'a pod to another node, which sees the address of its own': aPair(p('n1-p1'), NODE.n2, { near: masquerades }),
  'large packets between pods through VXLAN': aPair(p('n1-p1'), p('n3-p1'), { packet: { length: 1450 } }),
}

for (const [what, world] of Object.entries(healthy))
  test(`${what}, all healthy: passes, and no step is open`, t => {
    const found = walked(world)
    t.deepEqual(
      found.steps
        .filter(({ verdict }) => verdict !== 'passes')
        .map(({ name, node, direction, says }) => `${direction} ${node} ${name}: ${says}`),
      [],
    )
    t.is(found.verdict, 'passes')
    t.is(found.first, undefined)
  })

test('what is outside of the cluster is not seen: unknown, without a cause', t => {
  const found = walked(aPair(p('n1-p1'), OUTSIDE))
  t.is(found.verdict, 'unknown')
  t.is(found.first, undefined)
  t.deepEqual(
    found.steps.filter(({ verdict }) => verdict === 'unknown').map(({ name }) => name),
    ['fabric', 'fabric'],
  )
})

test('a node that is silent leaves its steps open and is no cause, also when nobody is there', t => {
  for (const away of [false, true]) {
    const world = aPair(p('n1-p1'), p('n2-p1'))
    const found = walked({ ...world, far: silent('n2', away) })
    t.is(found.verdict, 'unknown')
    t.is(found.first, undefined)
    t.deepEqual(found.asked.at(-1), { node: 'n2', ms: 0, silent: 'it does not answer' })
  }
})

test('a cause of the living node is told while the other is silent', t => {
  const world = aPair(p('n1-p1'), p('n2-p1'), {
    near: facts => {
      facts.endpoints[0]!.mismatches = kernel([{ side: 'pod', kind: 'address', object: '10.244.1.1/32 dev eth0' }])
    },
  })
  t.is(walked({ ...world, far: silent('n2') }).first?.code, 'PodAddressMissing')
})

test('two faults: the one that the packet meets first is the first, the other is told too', t => {
  const found = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        wayOf(facts).leavesBy = kernel({ name: 'eth0', up: true, running: false, mtu: 1500 })
      },
      far: facts => {
        facts.endpoints[0]!.mismatches = kernel([
          { side: 'host', kind: 'link', object: 'cali-n2-p1 state', is: 'down', should: 'up' },
        ])
      },
    }),
  )
  t.is(found.first?.code, 'UplinkDown')
  t.true(found.others.some(({ code }) => code === 'HostLinkDown'))
})

test('a fact that is absent opens its step and nothing else', t => {
  const found = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        facts.hooks = absent('no permission')
      },
    }),
  )
  t.is(found.verdict, 'unknown')
  t.deepEqual(
    [...new Set(found.steps.filter(({ verdict }) => verdict !== 'passes').map(({ name, says }) => `${name}: ${says}`))],
    [
      'foreign: chains of others on n1 are not known: no permission',
      'farForeign: chains of others on n1 are not known: no permission',
    ],
  )
})

const missing = (facts: NodeFacts) => {
  const no = kernel({ errno: 'ENETUNREACH', message: 'Network is unreachable' })
  Object.assign(wayOf(facts), { lookup: no, plain: no })
  wayOf(facts).wanted!.divergence = 'missing'
}

test('a route that the agent wants and the kernel lost is told with how to put it back', t => {
  const { first } = walked(aPair(p('n1-p1'), p('n2-p1'), { near: missing }))
  t.like(first, { code: 'RouteMissing', node: 'n1', object: { kind: 'Route', name: '10.244.2.0/26' } })
  t.regex(first!.remedy, /^ip route add 10\.244\.2\.0\/26 via 192\.0\.2\.12 dev eth0 on n1/)
  const throughTunnel = walked(aPair(p('n1-p1'), p('n3-p1'), { near: missing })).first!
  t.regex(throughTunnel.remedy, /^ip route add 10\.244\.3\.0\/26 via 10\.244\.3\.0 dev vxlan\.calico onlink on n1/)
})

test('what two faults could be is not guessed: an errno alone, rules of others, a chain that drops by its policy', t => {
  const alone: Record<string, (facts: NodeFacts) => void> = {
    EHOSTUNREACH: facts => {
      wayOf(facts).lookup = kernel({ errno: 'EHOSTUNREACH', message: 'No route to host' })
    },
    EINVAL: facts => {
      wayOf(facts).lookup = kernel({ errno: 'EINVAL', message: 'Invalid argument' })
    },
    'two rules': facts => {
      wayOf(facts).lookup = kernel({ errno: 'EACCES', message: 'Permission denied' })
      wayOf(facts).rules = kernel(
        [90, 91].map(priority => ({ text: `${priority}: from all lookup 201`, priority, matches: true })),
      )
    },
    'a policy of drop': facts => {
      const chain = { family: 'ip', table: 'filter', chain: 'FORWARD', hook: 'forward', priority: 0 }
      facts.hooks = kernel([{ ...chain, policy: 'drop' }])
    },
    'a connection with another source': facts => {
      const [sent, answered] = [
        { source: '10.244.1.1', destination: '10.244.2.1' },
        { source: '10.244.2.1', destination: '192.0.2.11' },
      ]
      facts.connections = kernel([{ protocol: 6, sent, answered, hasAnswers: true }])
    },
    'a permanent neighbour of others that is right': facts => {
      const neighbour = { address: '192.0.2.12', mac: '02:00:00:00:00:12', state: 'permanent' as const, ours: false }
      wayOf(facts).neighbour = kernel(neighbour)
    },
    'a neighbour that did not answer once': facts => {
      wayOf(facts).neighbour = kernel({ address: '192.0.2.12', state: 'failed', ours: false })
    },
  }
  for (const [what, near] of Object.entries(alone))
    t.is(walked(aPair(p('n1-p1'), p('n2-p1'), { near })).first, undefined, what)
})

test('a node that has no way back is told by that, and not by its reverse path filter', t => {
  const no = kernel({ errno: 'EINVAL', message: 'Invalid argument' })
  const { first, others } = walked(
    aPair(p('n2-p1'), p('n1-p1'), {
      far: facts => {
        Object.assign(wayOf(facts), {
          lookup: no,
          ofSource: no,
          settings: kernel([{ name: 'net.ipv4.conf.eth0.rp_filter', is: '2' }]),
        })
        Object.assign(wayOf(facts, 'back'), { lookup: no, plain: no })
        wayOf(facts, 'back').wanted!.divergence = 'shadowed'
      },
    }),
  )
  t.deepEqual([first?.code, others], ['RouteDrops', []])
})

test('of several rules that match the one that the agent found to take packets of pods decides', t => {
  const { first } = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        const no = kernel({ errno: 'EACCES', message: 'Permission denied' })
        Object.assign(wayOf(facts), { lookup: no, plain: no })
        wayOf(facts).rules = kernel(
          [90, 91].map(priority => ({ text: `from all to 10.244.${priority}.0/24 prohibit`, priority, matches: true })),
        )
        const object = { kind: 'Rule', name: 'ipv4 91: from all to 10.244.91.0/24 prohibit' }
        const told = { reason: 'ForeignRule', message: 'it takes packets to pods', remedy: 'remove it' }
        facts.conditions = [{ type: 'ForeignRoutesPass', status: 'False', object, ...told }]
      },
    }),
  )
  t.like(first, { code: 'RuleDiverts', remedy: 'ip rule del pref 91 on n1' })
})

test('IPv6 that a node does not forward is told although its look-ups have a route', t => {
  const v6Pair = aPair(v6('n1-p1'), v6('n2-p1'), {
    far: facts => {
      wayOf(facts).settings = kernel([{ name: 'net.ipv6.conf.all.forwarding', is: '0', wanted: '1' }])
    },
  })
  t.like(walked(v6Pair).first, { code: 'ForwardingOff', node: 'n2' })
})

test('the network is not blamed for what a node does, nor by answers of different moments', t => {
  const lost = (facts: NodeFacts) => {
    facts.path = {
      value: aPath('n1', 'n3', { state: 'lost', hostAnswers: true, tunnelAnswers: false }),
      of: 'probe',
      ageMs: 900,
    }
  }
  const pair = (far: (facts: NodeFacts) => void) => walked(aPair(p('n1-p1'), p('n3-p1'), { near: lost, far }))
  t.like(pair(() => undefined).first, { code: 'VxlanLost', setBy: { who: 'fabric' } })
  const filtered = pair(facts => {
    const chain = { family: 'inet', table: 'fw', chain: 'i', hook: 'input', priority: 0, policy: 'accept' as const }
    facts.hooks = kernel([chain])
  })
  t.like(filtered.first, { code: 'VxlanLost', setBy: { who: 'unknown' } })
  t.regex(filtered.first!.setBy.text, /or chains of others on n3 \(inet fw i\)/)
  const off = pair(facts => {
    facts.endpoints[0]!.mismatches = kernel([
      { side: 'host', kind: 'link', object: 'cali-n3-p1 state', is: 'down', should: 'up' },
    ])
  })
  t.deepEqual([off.first?.code, off.others], ['HostLinkDown', []])
  const late = pair(facts => {
    facts.atMs += 6000
  })
  t.is(late.first, undefined)
})

test('a traced packet that was answered is not stopped, whatever routes say; it may be changed', t => {
  const shadowed = aPair(p('n1-p1'), p('n2-p1'), {
    near: facts => {
      const route = {
        type: 'unicast',
        prefix: '10.244.2.1/32',
        table: 254,
        device: 'eth0',
        gateway: '192.0.2.1',
        protocol: 'static',
      }
      Object.assign(wayOf(facts), { lookup: kernel({ route }), plain: kernel({ route }) })
    },
  })
  t.is(walked(shadowed).verdict, 'stopped')
  t.is(walked({ ...shadowed, traces: [aTrace('n1', { outcome: 'answered' })] }).verdict, 'passes')
  const translated = { table: 'foreign', chain: 'post', rule: 'masquerade', source: '192.0.2.11' }
  const changed = walked({
    ...aPair(p('n1-p1'), p('n2-p1')),
    traces: [aTrace('n1', { outcome: 'answered', translated })],
  })
  t.like(changed.first, { code: 'ForeignTranslates', effect: 'changed' })
})

test('a chain that all packets of a node pass is told before older repairs of this way', t => {
  const at = (second: number) => `2026-11-27T11:59:${second}Z`
  const reason = 'ChangedByOther'
  const { notes } = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        const object = { kind: 'Route', name: '10.244.2.0/26' }
        const healed = [10, 13, 16, 19, 22, 25, 28, 31, 34].map(second => {
          return { at: at(second), type: 'Healed', object, reason, message: 'was gone; put back' }
        })
        const chain = { kind: 'NftChain', name: 'ip filter FORWARD' }
        facts.recent = [
          { at: at(50), type: 'LetPass', object: chain, reason, message: 'has the policy drop' },
          ...healed,
        ]
      },
    }),
  )
  t.is(notes[0]?.text, 'LetPass NftChain ip filter FORWARD: has the policy drop')
})

test('a default route in place of a way that was never told leads nowhere, unless a router may know the pods', t => {
  const route = {
    type: 'unicast',
    prefix: '0.0.0.0/0',
    table: 254,
    device: 'eth0',
    gateway: '192.0.2.1',
    protocol: 'static',
  }
  const origin = { of: 'none' as const, reason: 'NothingAnnounced', message: 'nothing was told', remedy: 'look' }
  type Session = Omit<ReturnType<typeof aSession>, 'node'> & { node?: string | undefined }
  const pair = (sessions: Session[], more: (facts: NodeFacts) => void = () => undefined) =>
    walked(
      aPair(p('n1-p1'), p('n2-p1'), {
        near: facts => {
          Object.assign(wayOf(facts), { lookup: kernel({ route }), plain: kernel({ route }), wanted: { origin } })
          facts.sessions = model(sessions)
          more(facts)
        },
        far: facts => {
          const told = { reason: 'NotFound', message: 'it is deleted', remedy: 'make it again' }
          facts.conditions = [{ type: 'NodeObjectKnown', status: 'False', ...told }]
        },
      }),
    )
  const router: Session = { ...aSession('n3'), node: undefined }
  t.is(pair([aSession('n3')]).first?.code, 'NodeUnknown')
  t.like(pair([aSession('n3'), router]), { verdict: 'unknown', first: undefined })
  const lost = (facts: NodeFacts) => {
    facts.path = { value: aPath('n1', 'n2', { state: 'lost' }), of: 'probe', ageMs: 900 }
  }
  t.is(pair([router], lost).first?.code, 'NodeUnknown')
})

test('a session that is down is told by what both ends say of it, each with what helps there', t => {
  const down = (node: 'n1' | 'n2', message: string) =>
    model([aSession(node, { state: 'Active', reason: 'x', message, remedy: `${message}: do` })])
  const no = kernel({ errno: 'ENETUNREACH', message: 'Network is unreachable' })
  const origin = { of: 'none' as const, reason: 'NothingAnnounced', message: 'nothing was told', remedy: 'look' }
  const { first } = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        Object.assign(wayOf(facts), { lookup: no, plain: no, wanted: { origin } })
        facts.sessions = down('n2', 'the hold time is over')
      },
      far: facts => {
        facts.sessions = down('n1', 'it does not answer')
      },
    }),
  )
  t.regex(first!.message, /n2 is down: the hold time is over; n2 says: it does not answer$/)
  t.is(first!.remedy, 'the hold time is over: do; on n2: it does not answer: do')
})

test('where the end of a tier denies, the policies are named that select the pod and let nothing of it pass', t => {
  const said = (...names: string[]) => {
    const world = aPair(POD['n1-p1']!, POD['n2-p1']!)
    const { facts } = world.far as { facts: NodeFacts }
    const passed = names.map(policy => ({ tier: 'default', policy, why: 'no match' as const }))
    facts.policies[0]!.decision = {
      action: 'deny',
      by: { of: 'tier end', tier: 'default', text: 'tier default ingress deny' },
      passed: [{ tier: 'first', policy: 'GlobalNetworkPolicy other', rule: 1, why: 'pass' }, ...passed],
    }
    return walked(world).first!
  }
  const one = said('NetworkPolicy default/web')
  t.like(one, { code: 'PolicyDenies', object: { kind: 'NetworkPolicy', namespace: 'default', name: 'web' } })
  t.regex(one.message, /tier default ingress deny: no rule of NetworkPolicy default\/web lets it pass$/)
  t.is(one.setBy.text, 'NetworkPolicy default/web')
  const many = said('GlobalNetworkPolicy a', 'GlobalNetworkPolicy b', 'GlobalNetworkPolicy c', 'GlobalNetworkPolicy d')
  t.deepEqual(many.object, { kind: 'Tier', name: 'default' })
  t.regex(many.message, /GlobalNetworkPolicy a, GlobalNetworkPolicy b, GlobalNetworkPolicy c and 1 more lets it pass$/)
})
