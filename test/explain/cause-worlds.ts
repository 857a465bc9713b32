// One world for each cause: a healthy pair in which the one fault is, as the kernels and agents of both ends tell it.
import type { LookupFacts, NodeFacts, PodMismatch, RouteFacts, WayFacts } from '../../api/explain.ts'
import type { CauseCode } from '../../explain/causes.ts'
import {
  aPair,
  aPath,
  aPod,
  aSession,
  aTrace,
  cali,
  kernel,
  link,
  model,
  NODE,
  OUTSIDE,
  POD,
  settingsOf,
  silent,
  type World,
  wayOf,
} from './worlds.ts'

const p = (name: string) => POD[name]!
const v6 = (name: string) => ({ ...p(name), address: `fd00:${p(name).address.replaceAll('.', ':')}` })
const tcp = { protocol: 'tcp', destinationPort: 8080 } as const
const service = {
  ...{ namespace: 'default', name: 'web', address: '10.96.0.10', port: 80, protocol: 'tcp' as const, backends: [] },
}

const podMismatch = (mismatch: Partial<PodMismatch> & Pick<PodMismatch, 'kind' | 'object'>) => (facts: NodeFacts) => {
  facts.endpoints[0]!.mismatches = kernel([{ side: 'pod', ...mismatch }])
}

const no = (errno: string): LookupFacts => ({ errno, message: 'as strerror says' })
const routeTo = (change: Partial<RouteFacts>): LookupFacts => ({
  route: { type: 'unicast', prefix: '10.244.2.0/26', table: 254, device: 'eth0', protocol: 'static', ...change },
})
/** What the kernel answers, whoever asks. */
const answers = (way: WayFacts, said: LookupFacts) => {
  way.lookup = kernel(said)
  way.plain = kernel(said)
}

const learnedNothing = (reason = 'NothingAnnounced') => ({
  origin: { of: 'none' as const, reason, message: 'no node has announced it', remedy: 'look at the sessions' },
})
const withoutWay =
  (reason?: string, more: (facts: NodeFacts) => void = () => undefined) =>
  (facts: NodeFacts) => {
    answers(wayOf(facts), no('ENETUNREACH'))
    wayOf(facts).wanted = learnedNothing(reason)
    more(facts)
  }

const setting = (facts: NodeFacts, device: string, change: Record<string, string>) => {
  wayOf(facts).settings = kernel(
    settingsOf(device).map(each => {
      const is = Object.entries(change).find(([leaf]) => each.name.endsWith(`.${device}.${leaf}`))?.[1]
      return is === undefined ? each : { ...each, is }
    }),
  )
}

const lost =
  (change: object = {}) =>
  (facts: NodeFacts) => {
    const { value } = facts.path as { value: { node: 'n1' | 'n2' | 'n3' } }
    facts.path = {
      value: aPath(facts.node as 'n1', value.node, { state: 'lost', hostAnswers: true, ...change }),
      of: 'probe',
      ageMs: 900,
    }
  }

const deny: NodeFacts['policies'][number]['decision'] = {
  action: 'deny',
  by: {
    of: 'rule',
    tier: 'default',
    policy: 'NetworkPolicy default/web',
    rule: 2,
    text: 'NetworkPolicy default/web ingress rule 2',
  },
  passed: [],
}

const viaIpip = (facts: NodeFacts) => {
  wayOf(facts).leavesBy = kernel(link('tunl0'))
  wayOf(facts).outer!.encapsulation = 'ipip'
  delete wayOf(facts).outer!.entry
}

type Of = { [code in Exclude<CauseCode, 'PoolUnusable' | 'ConditionBroken'>]: World }

/** Causes of a packet that does not arrive; those of a node alone are in node.test.ts. */
export const WORLDS: Of = {
  AgentSilent: { ...aPair(p('n1-p1'), p('n2-p1'), { near: withoutWay() }), far: silent('n2', true) },
  NodeUnknown: aPair(p('n1-p1'), p('n2-p1'), {
    near: withoutWay(),
    far: facts => {
      const told = { reason: 'NodeMissing', message: 'it is deleted', remedy: 'make it again' }
      facts.conditions = [{ type: 'NodeObjectKnown', status: 'False', ...told }]
    },
  }),
  PodGone: aPair(p('n1-p1'), p('n2-p1'), {
    far: facts => {
      facts.endpoints = []
    },
  }),
  AddressTwice: aPair(p('n1-p1'), p('n1-p2'), {
    near: facts =>
      void facts.endpoints.push(aPod(p('n1-p1'), { endpoint: 'x', pod: { namespace: 'default', name: 'other' } })),
  }),
  PodLinkDown: aPair(p('n1-p1'), p('n2-p1'), {
    near: podMismatch({ kind: 'link', object: 'eth0 state', is: 'down', should: 'up' }),
  }),
  PodAddressMissing: aPair(p('n2-p1'), p('n1-p1'), {
    far: podMismatch({ kind: 'address', object: '10.244.1.1/32 dev eth0' }),
  }),
  PodRouteMissing: aPair(p('n1-p1'), p('n2-p1'), {
    near: podMismatch({ kind: 'route', object: '0.0.0.0/0 dev eth0' }),
  }),
  GatewayEntryMissing: aPair(p('n1-p1'), p('n1-p2'), {
    near: facts => {
      const should = 'ee:ee:ee:ee:ee:ee permanent'
      facts.endpoints[0]!.mismatches = kernel([
        { side: 'host', kind: 'sysctl', object: `net.ipv4.conf.${cali(p('n1-p1'))}.proxy_arp`, is: '0', should: '1' },
        { side: 'pod', kind: 'neighbour', object: '169.254.1.1 dev eth0', should },
      ])
    },
  }),
  MtuPodLarger: aPair(p('n1-p1'), p('n3-p1'), {
    near: facts => {
      facts.endpoints[0]!.mtu = kernel({ pod: 1500, host: 1450, wanted: 1450 })
      facts.endpoints[0]!.mismatches = kernel([
        { side: 'pod', kind: 'link', object: 'eth0 mtu', is: '1500', should: '1450' },
      ])
    },
  }),
  HostLinkDown: aPair(p('n2-p1'), p('n1-p1'), {
    far: facts => {
      const down = link(cali(p('n1-p1')), { up: false, running: false })
      facts.endpoints[0]!.mismatches = kernel([
        { side: 'host', kind: 'link', object: `${down.name} state`, is: 'down', should: 'up' },
        { side: 'host', kind: 'route', object: `10.244.1.1/32 dev ${down.name}` },
      ])
      answers(wayOf(facts), no('ENETUNREACH'))
      Object.assign(wayOf(facts), { leavesBy: kernel(down) })
      wayOf(facts).wanted!.divergence = 'missing'
    },
  }),
  FilterMissing: aPair(p('n1-p1'), p('n2-p1'), {
    near: podMismatch({
      side: 'host',
      kind: 'nft',
      object: 'element inet margay pod_ipv4 { cali-n1-p1 . 10.244.1.1 }',
    }),
  }),
  PolicyDenies: aPair(p('n1-p1'), p('n2-p1'), {
    packet: tcp,
    far: facts => {
      facts.policies[0]!.decision = deny
    },
  }),
  HostPolicyDenies: aPair(p('n1-p1'), p('n2-p1'), {
    far: facts =>
      void facts.policies.push({
        direction: 'there',
        at: 'host forward',
        endpoint: 'eth0',
        decision: deny,
        enforced: 'kernel',
      }),
  }),
  PolicyLags: {
    ...aPair(p('n1-p1'), p('n2-p1'), {
      far: facts => void Object.assign(facts.policies[0]!, { enforced: 'refused', message: 'No buffer space' }),
    }),
    traces: [
      aTrace('n1'),
      aTrace('n2', {
        left: 0,
        dropped: {
          family: 'inet',
          table: 'margay-policy',
          chain: 'p',
          ours: true,
          count: 3,
          rule: 'NetworkPolicy default/web ingress 2 deny',
          policy: 'NetworkPolicy default/web',
          outer: false,
        },
      }),
    ],
  },
  ServiceNoEndpoints: (() => {
    const world = aPair(p('n1-p1'), { address: service.address, role: 'outside' }, { packet: tcp })
    return { ...world, question: { ...world.question, service } }
  })(),
  ServiceNotProgrammed: (() => {
    const world = aPair(p('n1-p1'), p('n2-p1'), { packet: tcp })
    const backends = [{ address: '10.244.2.1', port: 8080, node: 'n2' }]
    return { ...world, question: { ...world.question, service: { ...service, backends } }, toService: aTrace('n1') }
  })(),
  RuleDiverts: aPair(p('n1-p2'), p('n2-p1'), {
    near: facts => {
      wayOf(facts).lookup = kernel(no('EHOSTUNREACH'))
      wayOf(facts).rules = kernel([{ text: '90: from 10.244.1.2 lookup 201', priority: 90, matches: true }])
    },
  }),
  RuleMissing: aPair(p('n1-p1'), p('n2-p1'), {
    near: facts => {
      answers(wayOf(facts), no('ENETUNREACH'))
      wayOf(facts).rules = kernel([{ text: 'from all lookup main', priority: 32_766, matches: true, gone: true }])
      wayOf(facts).wanted!.divergence = 'missing'
    },
  }),
  Ipv6Off: aPair(v6('n1-p1'), v6('n2-p1'), {
    far: facts => {
      wayOf(facts).settings = kernel([{ name: 'net.ipv6.conf.eth0.disable_ipv6', is: '1' }])
    },
  }),
  RouteMissing: aPair(p('n1-p1'), p('n3-p1'), {
    near: facts => {
      wayOf(facts).outer!.lookup = kernel(no('ENETUNREACH'))
      const told = {
        reason: 'DefaultRouteLost',
        message: 'somebody deleted the route 0.0.0.0/0',
        remedy: 'put it back',
      }
      facts.conditions = [
        { type: 'DefaultRouteKept', status: 'False', object: { kind: 'Route', name: '0.0.0.0/0' }, ...told },
      ]
    },
  }),
  RouteShadowed: aPair(p('n1-p1'), p('n2-p1'), {
    near: facts => answers(wayOf(facts), routeTo({ prefix: '10.244.2.1/32', gateway: '192.0.2.1' })),
  }),
  RouteElsewhere: aPair(p('n1-p1'), p('n2-p1'), {
    near: facts => answers(wayOf(facts), routeTo({ gateway: '192.0.2.1' })),
  }),
  RouteLocalHere: aPair(p('n2-p1'), p('n1-p1'), {
    near: facts => answers(wayOf(facts), routeTo({ type: 'local', prefix: '10.244.1.1/32', table: 255, device: 'lo' })),
  }),
  RouteDrops: aPair(p('n1-p1'), p('n2-p1'), {
    near: facts => {
      answers(wayOf(facts), no('EHOSTUNREACH'))
      wayOf(facts).wanted!.divergence = 'shadowed'
    },
  }),
  NoWayLearned: aPair(p('n1-p1'), p('n2-p1'), { near: withoutWay('NotImported') }),
  NotExported: aPair(p('n1-p1'), p('n2-p1'), { near: withoutWay('NotExported') }),
  SessionDown: aPair(p('n1-p1'), p('n2-p1'), {
    near: withoutWay(undefined, facts => {
      const why = { reason: 'timeout', message: 'it does not answer', remedy: 'let TCP port 179 through' }
      facts.sessions = model([aSession('n2', { state: 'Active', ...why })])
    }),
  }),
  ReversePath: aPair(p('n3-p1'), p('n1-p1'), {
    far: facts => {
      setting(facts, 'vxlan.calico', { rp_filter: '1' })
      wayOf(facts).lookup = kernel(no('EINVAL'))
      wayOf(facts).ofSource = kernel(routeTo({ prefix: '10.244.3.0/26', device: 'eth0', gateway: '192.0.2.1' }))
    },
  }),
  ForwardingOff: aPair(p('n1-p1'), p('n2-p1'), {
    near: facts => {
      setting(facts, cali(p('n1-p1')), { forwarding: '0' })
      wayOf(facts).lookup = kernel(no('EHOSTUNREACH'))
    },
  }),
  ForeignDrops: {
    ...aPair(p('n1-p1'), p('n2-p1'), { packet: tcp }),
    traces: [
      aTrace('n1', { outcome: 'silent' }),
      aTrace('n2', {
        left: 0,
        dropped: {
          family: 'inet',
          table: 'firewall',
          chain: 'forward',
          ours: false,
          count: 3,
          rule: 'tcp dport 8080 drop',
          outer: false,
        },
      }),
    ],
  },
  FilterDrops: {
    ...aPair(p('n1-p1'), p('n2-p1')),
    traces: [
      aTrace('n1', {
        left: 0,
        dropped: {
          ...{ family: 'inet', table: 'margay', chain: 'raw', ours: true, count: 3, rule: 'source of another pod' },
          outer: false,
        },
      }),
    ],
  },
  ForeignTranslates: aPair(p('n1-p1'), p('n2-p1'), {
    far: facts => {
      facts.path = { value: aPath('n2', 'n1', { sourceSeen: '192.0.2.11' }), of: 'probe', ageMs: 800 }
    },
  }),
  TunnelDown: aPair(p('n1-p1'), p('n3-p1'), {
    near: facts => {
      wayOf(facts).leavesBy = kernel(link('vxlan.calico', { up: false, running: false }))
      answers(wayOf(facts), routeTo({ prefix: '0.0.0.0/0', gateway: '192.0.2.1' }))
      wayOf(facts).wanted!.divergence = 'missing'
    },
  }),
  TunnelEntryMissing: aPair(p('n1-p1'), p('n3-p1'), {
    near: facts => {
      wayOf(facts).outer!.entry = kernel({ mac: '66:00:00:00:00:03' })
    },
  }),
  NeighbourWrong: aPair(p('n1-p1'), p('n2-p1'), {
    near: facts => {
      wayOf(facts).neighbour = kernel({
        ...{ address: '192.0.2.12', mac: '02:00:00:00:00:99', state: 'permanent' as const, ours: false },
      })
    },
  }),
  NeighbourFailed: aPair(p('n1-p1'), p('n2-p1'), {
    near: facts => {
      wayOf(facts).neighbour = kernel({ address: '192.0.2.12', state: 'failed' as const, ours: false })
      lost({ hostAnswers: false })(facts)
    },
  }),
  UplinkDown: aPair(p('n1-p1'), OUTSIDE, {
    near: facts => {
      wayOf(facts).leavesBy = kernel(link('eth0', { running: false }))
    },
  }),
  MtuPath: aPair(p('n1-p1'), p('n3-p1'), {
    near: facts => {
      facts.path = { value: aPath('n1', 'n3', { mtu: 1350 }), of: 'probe', ageMs: 60_000 }
    },
  }),
  VxlanLost: aPair(p('n1-p1'), p('n3-p1'), { near: lost({ tunnelAnswers: false }) }),
  IpipLost: aPair(p('n1-p1'), p('n3-p1'), {
    near: facts => {
      viaIpip(facts)
      lost({ tunnelAnswers: false, encapsulation: 'ipip' })(facts)
    },
  }),
  PathLost: aPair(p('n1-p1'), p('n2-p1'), { near: lost() }),
  ConntrackFull: aPair(NODE.n1, p('n2-p1'), {
    far: facts => {
      facts.connectionTable = kernel({ count: 65_536, most: 65_536 })
    },
  }),
  NoListener: {
    ...aPair(p('n1-p1'), p('n2-p1'), { packet: tcp }),
    traces: [aTrace('n1', { outcome: 'refused' }), aTrace('n2')],
  },
  PortRefused: {
    ...aPair(p('n1-p1'), p('n2-p1'), { packet: { protocol: 'udp', destinationPort: 53 } }),
    traces: [aTrace('n1', { outcome: 'unreachable', said: 'port unreachable', saidBy: '10.244.2.1' }), aTrace('n2')],
  },
}
