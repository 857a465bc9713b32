// Sessions and refusals are a function of what was told last: every order of changes of nodes, BGPPeers, filters, passwords, ports and
// settings ends where all of the last state told at once does.
import test from 'ava'
import fc from 'fast-check'
import { type AskedBfd, askedBfd } from '../../../agent/cluster/bfd.ts'
import { nodeFacts } from '../../../agent/cluster/nodes.ts'
import { keyOf, type Password } from '../../../agent/cluster/passwords.ts'
import { Peers } from '../../../agent/cluster/peers.ts'
import type { PeerChange } from '../../../agent/cluster/session-requests.ts'
import type { Resource } from '../../../api/kinds.ts'
import type { ReflectorState } from '../../../api/reflectors.ts'
import type { PeerConfig } from '../../../bgp/config.ts'
import { aFilter, all, aNode, aPeer, settings, world } from './peer-world.ts'

// Few names and addresses, so that changes meet: nodes that move, clash, become reflectors; selectors that change sides.
const nodeName = fc.constantFrom('n1', 'n2', 'n3')
const address = fc.constantFrom('192.168.10.9', '192.168.10.10', '192.168.20.11', '10.0.0.1')
const passwordIn = (name: string) => ({ secretKeyRef: { name, key: 'k' } })
const NO_PASSWORD: Password = { missing: { reason: 'NoSecret', message: 'there is none', remedy: 'create it' } }
const aChange = fc.oneof(
  fc.record({
    kind: fc.constant('Node' as const),
    name: nodeName,
    object: fc.option(
      fc.tuple(address, fc.boolean(), fc.constantFrom('a', 'b'), fc.option(fc.constantFrom('65010', 'none'))),
    ),
  }),
  fc.record({
    kind: fc.constant('BGPPeer' as const),
    name: fc.constantFrom('a', 'b', 'c'),
    object: fc.option(
      fc.record({
        scope: fc.constantFrom(
          ...[{}, { node: 'n1' }, { node: 'n2' }, { nodeSelector: "rack == 'a'" }, { nodeSelector: "rack == 'b'" }],
          ...[{ filters: ['f'] }, { node: 'n1', filters: ['f'] }],
          ...[{ password: passwordIn('one') }, { node: 'n1', password: passwordIn('two') }],
        ),
        target: fc.oneof(
          address.map(peerIP => ({ peerIP, asNumber: 65001 })),
          address.map(peerIP => ({ peerIP: `${peerIP}:1179` })),
          address.map(peerIP => ({ peerIP, reversePeering: 'Manual' })),
          fc.constantFrom({ peerSelector: "rack == 'b'" }, { peerSelector: 'all()' }, { peerIP: '10.0.0.1' }, {}),
        ),
      }),
    ),
  }),
  fc.record({
    kind: fc.constant('port' as const),
    name: fc.constantFrom('n1', 'n2', 'n3'),
    port: fc.option(fc.constantFrom(1179, 1180), { nil: undefined }),
  }),
  fc.record({
    kind: fc.constant('BGPFilter' as const),
    name: fc.constant('f'),
    spec: fc.option(fc.constantFrom({}, { importV4: [{ action: 'Reject' }] }, { importV4: [{ action: 'Rejekt' }] })),
  }),
  fc.record({
    kind: fc.constant('Secret' as const),
    name: fc.constantFrom('one', 'two'),
    password: fc.constantFrom<Password>({ text: 'a' }, { text: 'b' }, NO_PASSWORD),
  }),
  fc.record({
    kind: fc.constant('ClusterInformation' as const),
    reflectors: fc.option(
      fc.record({
        mesh: fc.constantFrom('whole' as const, 'thin' as const),
        nodes: fc.constantFrom(['n2'], ['n3'], ['n2', 'n3'], ['n2', 'n9']),
      }),
      { nil: undefined },
    ),
  }),
  fc.record({
    kind: fc.constant('BGPConfiguration' as const),
    mesh: fc.boolean(),
    asNumber: fc.constantFrom(1, 2),
    nodeMeshPassword: fc.option(fc.constant(passwordIn('one')), { nil: undefined }),
    bfd: fc.constantFrom({}, askedBfd({ annotations: { 'margay.io/BFD': '300ms x 3 secret=two/k' } })),
  }),
)

test('whatever the order of changes, sessions and refusals are those of the last state', t => {
  fc.assert(
    fc.property(fc.array(aChange, { maxLength: 12 }), fc.boolean(), (changes, reflects) => {
      const { nodeName, address, config } = world()
      const peers = new Peers({ nodeName, address, config })
      const nodes = new Map<string, Resource<'Node'>>()
      const objects = new Map<string, Resource<'BGPPeer'>>()
      const filters = new Map<string, Resource<'BGPFilter'>>()
      const sessions = new Map<string, PeerConfig>()
      const ports = new Map<string, number>()
      // while one is being read, what is up stays as it is: that is no matter of the last state alone
      const passwords = new Map<string, Password>(['one', 'two'].map(name => [name, NO_PASSWORD]))
      for (const [name, password] of passwords) peers.password({ name, key: 'k' }, password)
      let last = config
      let bfd: AskedBfd = {}
      // each step a later one, and this node in all of them or in none: what it does not follow depends on what was before
      let reflectors: ReflectorState | undefined
      let step = 0
      const follow = (change: PeerChange) => {
        if (change.peer === undefined) t.true(sessions.delete(change.key), 'only what is there ends')
        else sessions.set(change.key, change.peer)
      }
      for (const change of changes) {
        if (change.kind === 'BGPConfiguration') {
          const { mesh: nodeToNodeMeshEnabled, asNumber, nodeMeshPassword } = change
          last = settings({ nodeToNodeMeshEnabled, asNumber, ...(nodeMeshPassword && { nodeMeshPassword }) })
          bfd = change.bfd
          peers.configure({ config: last, bfd })
        } else if (change.kind === 'ClusterInformation') {
          if (reflects && change.reflectors === undefined) continue
          const named = change.reflectors
          reflectors = named && { ...named, step: ++step, nodes: reflects ? [...named.nodes, nodeName] : named.nodes }
          peers.configure({ reflectors })
        } else if (change.kind === 'Secret') {
          passwords.set(change.name, change.password)
          peers.password({ name: change.name, key: 'k' }, change.password)
        } else if (change.kind === 'BGPFilter') {
          filters.delete(change.name)
          if (change.spec !== null) filters.set(change.name, aFilter(change.name, change.spec))
          peers.filter(change.name, filters.get(change.name))
        } else if (change.kind === 'port') {
          if (change.port === undefined) ports.delete(change.name)
          else ports.set(change.name, change.port)
          peers.listenPort(change.name, change.port)
        } else if (change.kind === 'Node') {
          nodes.delete(change.name)
          if (change.object !== null) {
            const [at, reflector, rack, asn] = change.object
            const extra = {
              ...(reflector && { 'projectcalico.org/RouteReflectorClusterID': '1.0.0.1' }),
              ...(asn !== null && { 'projectcalico.org/ASNumber': asn }),
            }
            nodes.set(change.name, aNode(change.name, at, extra, { rack }))
          }
          const node = nodes.get(change.name)
          peers.node(change.name, node && nodeFacts(node).facts)
        } else {
          objects.delete(change.name)
          if (change.object !== null)
            objects.set(change.name, aPeer(change.name, { ...change.object.scope, ...change.object.target }))
          peers.bgpPeer(change.name, objects.get(change.name))
        }
        for (const each of peers.take()) follow(each)
      }
      const whole = all({
        ...{ config: last, bfd, reflectors, passwords, ports, nodes: [...nodes.values()] },
        ...{ peers: [...objects.values()], filters: [...filters.values()] },
      })
      t.deepEqual(
        [...sessions.values()].sort((a, b) => (a.name! < b.name! ? -1 : 1)),
        whole.wanted.sort((a, b) => (a.name! < b.name! ? -1 : 1)),
      )
      const words = (refused: typeof whole.refused) => refused.map(({ message }) => message).sort()
      t.deepEqual(words(peers.refused()), words(whole.refused))
      const keys = (of: Peers) => [...new Set(of.secrets().map(keyOf))].sort()
      t.deepEqual(keys(peers), keys(whole.peers))
    }),
    { numRuns: 500 },
  )
})
