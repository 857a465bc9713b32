// From annotations of Pods and FelixConfiguration to the kernels of two whole agents, which tell each other over BGP.
import test from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { handleCni } from '../../cni/handle.ts'
import { ROUTE_PROTOCOL, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { aNode, aPool, aResource } from '../datastore/objects.ts'
import { aCluster, eventually, learnedRoutes, type Machine, startAgent } from './machines.ts'

const ADDRESS = '10.99.0.7'

function verb(agent: NodeAgent, command: 'ADD' | 'DEL', name: string) {
  const args = `K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name};K8S_POD_UID=${name}`
  const env = {
    ...{ CNI_COMMAND: command, CNI_CONTAINERID: 'c0', CNI_NETNS: '/run/netns/c0', CNI_IFNAME: 'eth0' },
    ...{ CNI_PATH: '/opt/cni/bin', CNI_ARGS: args },
  }
  return handleCni({ env, stdin: JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay' }) }, agent.cni())
}

/** Floating address to pod's address, as the kernel of a node translates. */
async function translated({ world }: Machine): Promise<Record<string, string>> {
  const { elements = [] } = (await world.kernel().nftables({ family: 'ip', name: 'margay-floating' })) ?? {}
  const of = elements.filter(({ set }) => set === 'targets').flatMap(each => each.elements)
  return Object.fromEntries(of.map(({ key, data }) => [key[0], (data as readonly string[])[0]]))
}

/** The interfaces that the pod routes to the floating address have on a node. */
async function ownRoute({ world }: Machine): Promise<number> {
  const routes = await world.kernel().routes({ table: ROUTE_TABLE.main, protocol: ROUTE_PROTOCOL.boot })
  return routes.filter(({ dst }) => dst === `${ADDRESS}/32`).length
}

test('a floating address leads to the older of two pods from each node, goes to the other one when that ends, and outlives a restart without the API server', async t => {
  const { store, network, machines } = await aCluster(t)
  const [m1, m2] = machines
  const pod = (name: string, nodeName: string, created: string, text?: string) => {
    const annotations = text === undefined ? {} : { 'cni.projectcalico.org/floatingIPs': text }
    const metadata = { namespace: 'shop', name, uid: name, creationTimestamp: created, annotations }
    store.inject('Pod', aResource('Pod', { metadata, spec: { nodeName } }))
  }
  const setting = (floatingIPs: string) =>
    store.inject(
      'FelixConfiguration',
      aResource('FelixConfiguration', { metadata: { name: 'default' }, spec: { floatingIPs } }),
    )
  const namespace = (labels: object) =>
    store.inject('Namespace', aResource('Namespace', { metadata: { name: 'shop', labels } }))
  namespace({ tenant: 'a' })
  await store.create(
    'IPPool',
    aPool('floating', { cidr: '10.99.0.0/24', disabled: true, namespaceSelector: "tenant == 'a'" }),
  )
  pod('web-0', 'n1', '2026-01-01T00:00:00Z', `["${ADDRESS}"]`)
  pod('web-1', 'n2', '2026-01-01T00:00:01Z', `["${ADDRESS}"]`)
  const first = await startAgent(t, m1, store, network)
  const second = await startAgent(t, m2, store, network)
  for (const agent of [first, second])
    await eventually(
      t,
      'ready',
      () => agent.ready(),
      ready => ready,
    )
  const own: string[] = []
  for (const [agent, name] of [
    [first, 'web-0'],
    [second, 'web-1'],
  ] as const) {
    const { exitCode, stdout } = await verb(agent, 'ADD', name)
    t.is(exitCode, 0, stdout)
    own.push((JSON.parse(stdout) as { ips: { address: string }[] }).ips[0]!.address.split('/')[0]!)
  }
  const reasons = (agent: NodeAgent) =>
    agent
      .conditions()
      .filter(({ type, status }) => type === 'FloatingAddressesHeld' && status === 'False')
      .map(({ reason, object }) => `${object?.namespace}/${object?.name} ${reason}`)
  const isSo = (what: string, expected: unknown, look: () => Promise<unknown>) =>
    eventually(t, what, look, seen => JSON.stringify(seen) === JSON.stringify(expected))
  const floatingRoutes = async (machine: Machine) =>
    (await learnedRoutes(machine)).filter(route => route.startsWith(ADDRESS))
  const state = async () => [
    [await translated(m1), await ownRoute(m1), await floatingRoutes(m1), reasons(first)],
    [await translated(m2), await ownRoute(m2), await floatingRoutes(m2), reasons(second)],
  ]
  const nothing = [{}, 0, []]
  await isSo(
    'off',
    [
      [...nothing, ['shop/web-0 Disabled']],
      [...nothing, ['shop/web-1 Disabled']],
    ],
    state,
  )
  setting('Enabled')
  const firstHas = [
    [{ [ADDRESS]: own[0] }, 1, [], []],
    [{}, 0, [`${ADDRESS}/32 via 192.0.2.11`], ['shop/web-1 Taken']],
  ]
  await isSo('the older one has it', firstHas, state)

  t.deepEqual((await first.checkAddresses()).findings, [], 'its route is no stray one')
  t.deepEqual(first.status().endpoints?.[0]?.ipNATs, [{ internalIP: own[0], externalIP: ADDRESS }])
  t.is(second.status().endpoints?.[0]?.ipNATs, undefined)

  // of the way there, the node of the pod tells what comes behind the translation
  const packet = {
    family: 'ipv4',
    source: own[1]!,
    destination: ADDRESS,
    protocol: 'tcp',
    destinationPort: 80,
  } as const
  const question = {
    ...{ packet, back: { ...packet, source: ADDRESS, destination: own[1]!, destinationPort: 40_000 } },
    from: { address: own[1]!, role: 'pod', node: 'n2' } as const,
    to: { address: ADDRESS, role: 'pod', node: 'n1' } as const,
  }
  const [near, far] = [(await second.facts(question))!, (await first.facts(question))!]
  t.like(near.ways[0]?.wanted, { route: { prefix: `${ADDRESS}/32` }, origin: { of: 'learned', nextHop: '192.0.2.11' } })
  t.deepEqual(
    far.endpoints.map(({ addresses }) => addresses),
    [[own[0]]],
  )
  t.like(far.ways[0]?.wanted, { route: { prefix: `${own[0]}/32` }, origin: { of: 'pod' } })
  t.like(far.ways[0]?.neighbour, { value: { address: own[0], ours: true } })
  t.deepEqual(
    far.policies.map(({ at, endpoint }) => [at, endpoint]),
    [['ingress', 'Pod shop/web-0']],
  )
  t.like(far.ways[1], { direction: 'back', from: 'pod', wanted: { origin: { of: 'learned' } } })

  // what is known goes on without the API server
  await first.close()
  store.disconnect()
  const restarted = await startAgent(t, m1, store, network)
  const seen: unknown[] = []
  await eventually(
    t,
    'ready again',
    async () => {
      seen.push([await translated(m1), await ownRoute(m1), await floatingRoutes(m2)])
      return restarted.ready() && restarted.status().peers.every(({ state: peer }) => peer === 'Established')
    },
    ready => ready,
  )
  t.deepEqual(new Set(seen.map(each => JSON.stringify(each))).size, 1, JSON.stringify(seen.slice(0, 3)))
  store.reconnect()

  const end = await verb(restarted, 'DEL', 'web-0')
  t.is(end.exitCode, 0, end.stdout)
  await isSo('nobody has it while its pod is known', [{}, 0, [], {}, 0, []], async () => [
    ...[await translated(m1), await ownRoute(m1), await floatingRoutes(m1)],
    ...[await translated(m2), await ownRoute(m2), await floatingRoutes(m2)],
  ])
  await store.delete('Pod', 'web-0', { namespace: 'shop' } as never)
  await isSo(
    'it goes to the other one',
    [
      [{}, 0, [`${ADDRESS}/32 via 192.0.2.12`]],
      [{ [ADDRESS]: own[1] }, 1, [], []],
    ],
    async () => [
      [await translated(m1), await ownRoute(m1), await floatingRoutes(m1)],
      [await translated(m2), await ownRoute(m2), await floatingRoutes(m2), reasons(second)],
    ],
  )
  // whose own address it is, by the word of its kubelet alone
  const rival = (status: object, annotations: object = {}) =>
    store.inject(
      'Pod',
      aResource('Pod', { metadata: { namespace: 'bank', name: 'own', annotations }, spec: { nodeName: 'n3' }, status }),
    )
  rival({}, { 'cni.projectcalico.org/podIPs': ADDRESS })
  rival({ podIPs: [{ ip: '10.99.0.8' }] })
  await isSo('an annotation takes nothing away', [{ [ADDRESS]: own[1] }, []], async () => [
    ...[await translated(m2), reasons(second)],
  ])
  rival({ podIPs: [{ ip: ADDRESS }] })
  await isSo('it is that of a pod', [{}, 0, ['shop/web-1 InUse']], async () => [
    ...[await translated(m2), await ownRoute(m2), reasons(second)],
  ])
  rival({ podIPs: [{ ip: '10.99.0.8' }] })
  await isSo('and is none any more', [{ [ADDRESS]: own[1] }, []], async () => [
    ...[await translated(m2), reasons(second)],
  ])
  namespace({ tenant: 'b' })
  await isSo('it is for other namespaces', [...nothing, ['shop/web-1 NotForNamespace']], async () => [
    ...[await translated(m2), await ownRoute(m2), await floatingRoutes(m2), reasons(second)],
  ])
  namespace({ tenant: 'a' })
  const tunnel = {
    'projectcalico.org/IPv4VXLANTunnelAddr': '10.99.0.20',
    'projectcalico.org/IPv6VXLANTunnelAddr': '2001:db8:99::20',
  }
  await store.create(
    'Node',
    aNode('n3', { annotations: { 'projectcalico.org/IPv4Address': '192.0.2.13/24', ...tunnel } }),
  )
  pod('web-1', 'n2', '2026-01-01T00:00:01Z', '["10.99.0.20"]')
  await isSo('it is that of a tunnel', ['shop/web-1 InUse'], async () => reasons(second))
  pod('web-1', 'n2', '2026-01-01T00:00:01Z', '["2001:db8:99::20"]')
  await isSo('or of a tunnel by IPv6', ['shop/web-1 InUse'], async () => reasons(second))
  pod('web-1', 'n2', '2026-01-01T00:00:01Z', '["10.244.200.1", "2001:db8::7"]')
  await isSo('it asks for what nobody may have', [...nothing, ['shop/web-1 GivenToPods']], async () => [
    ...[await translated(m2), await ownRoute(m2), await floatingRoutes(m2), reasons(second)],
  ])
  const reserved = '10.244.200.1'
  await store.create(
    'IPReservation',
    aResource('IPReservation', { metadata: { name: 'r' }, spec: { reservedCIDRs: [reserved] } }),
  )
  pod('web-1', 'n2', '2026-01-01T00:00:01Z', `["${reserved}"]`)
  await isSo('it asks for a reserved one', [{ [reserved]: own[1] }, true], async () => [
    ...[await translated(m2), (await learnedRoutes(m1)).some(route => route.startsWith(`${reserved}/32`))],
  ])
  const isAway = () => restarted.conditions().some(each => each.type === 'ApiServerConnected' && each.status !== 'True')
  await isSo('the first node follows the API server again', false, async () => isAway())
  // as an ADD of a pod with ipAddrs asks
  const attributes = { namespace: 'bank', pod: 'thief', node: 'n1', containerID: 'c1' }
  const byName = {
    handle: 'net.c1.eth0',
    attributes,
    families: ['ipv4'],
    use: 'Workload',
    addresses: [reserved],
  } as const
  await isSo('nobody is given it by name', `${reserved} is a floating address of Pod shop/web-1`, async () => {
    const answer = restarted.allocator.assignNow(byName)
    return 'refused' in answer && answer.message
  })
  pod('web-1', 'n2', '2026-01-01T00:00:01Z')
  await isSo('and then for nothing', [], async () => reasons(second))
})
