// What pods are told of names, from copies of packets to felix, over restarts, and what is told where it does not work.
import { isDeepStrictEqual } from 'node:util'
import test from 'ava'
import { DomainNames } from '../../agent/domain-names.ts'
import { FELIX_ANNOTATION } from '../../api/core.ts'
import type { PodEndpoint } from '../../cni/endpoints.ts'
import { handleCni } from '../../cni/handle.ts'
import { ANSWER_GROUP } from '../../felix/policy/answer-copies.ts'
import type { DomainAnswer, Resolvers } from '../../felix/policy/model.ts'
import { NamePatterns } from '../../felix/policy/name-patterns.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { NflogOptions } from '../../kernel/port/nflog.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { aResource } from '../datastore/objects.ts'
import { addressesOf, tcpPacket, udpPacket } from '../felix/dns/messages.ts'
import { aCluster, eventually, startAgent } from './machines.ts'

const NAME = 'www.example.com'
const RESOLVER = '10.96.0.10'
const pod = (id: string, ...addresses: string[]) =>
  ({ id, addresses, interfaceName: `cali${id}`, pod: { namespace: 'ns', name: id } }) as unknown as PodEndpoint
const [ONE, TWO] = [pod('one', '10.0.0.1', 'fd00::1'), pod('two', '10.0.0.2')]

/** One agent on a database, whose pods are asked for these patterns. */
function start({
  clock = new ManualClock(),
  database = openDatabase(':memory:'),
  pods = [ONE, TWO],
  patterns = ['*.example.com'],
  isWanted = true,
  refuses = false,
  trusted,
}: {
  clock?: ManualClock
  database?: ReturnType<typeof openDatabase>
  pods?: readonly PodEndpoint[]
  patterns?: readonly string[]
  isWanted?: boolean
  refuses?: boolean
  trusted?: Record<string, string>
} = {}) {
  const told = new Map<string, DomainAnswer>()
  let resolvers: Resolvers | undefined
  let reader: NflogOptions | undefined
  const state = { refuses }
  const asked = new NamePatterns(patterns)
  const names = new DomainNames({
    ...{ nodeName: 'n1', clock, database, changed: () => {} },
    kernel: {
      nflog(options) {
        if (state.refuses) throw new KernelError(ERRNO.EPERM, 'read', `NFLOG group ${options.group}`)
        reader = options
        return { close: () => {} }
      },
    },
    felix: {
      setAnswer: (key, answer) => void (answer === undefined ? told.delete(key) : told.set(key, answer)),
      setResolvers: each => {
        resolvers = each
      },
      namesAsked: name => (name === 'calitwo' ? undefined : asked),
    },
    view: {
      onChange: () => {},
      get: ((_: unknown, name: string) => {
        const text = trusted?.[name]
        const annotations = { [FELIX_ANNOTATION.dnsTrustedServers]: text ?? '' }
        return text && aResource('FelixConfiguration', { metadata: { name, annotations }, spec: {} })
      }) as never,
    },
  })
  for (const each of pods) names.setLocal(each)
  if (isWanted) names.want()
  names.start()
  const copy = (...payloads: Buffer[]) =>
    reader?.received(payloads.map(payload => ({ family: 'ipv4', prefix: '', hook: 'postrouting', payload })))
  const answer = (name: string, addresses: readonly string[], ttl = 60, to = '10.0.0.1') =>
    copy(udpPacket({ from: RESOLVER, to }, addressesOf(name, addresses, ttl)))
  const shown = () =>
    [...told.values()]
      .filter(({ addresses }) => addresses.length > 0)
      .map(({ from, name, addresses }) => `${from} ${name} ${addresses}`)
      .sort()
  const expired = () => [...told.values()].flatMap(({ name, expired }) => expired.map(each => `${name} ${each}`)).sort()
  return {
    names,
    clock,
    database,
    copy,
    answer,
    shown,
    expired,
    state,
    reader: () => reader,
    resolvers: () => resolvers,
  }
}

test('an answer is told to felix for the pod that it is for, if policies ask that pod for the name, until it expires', t => {
  const { answer, shown, clock, names } = start()
  answer('WWW.example.com', ['192.0.2.1', '192.0.2.2'])
  answer('example.com', ['192.0.2.3'])
  answer(NAME, ['192.0.2.4'], 60, '10.0.0.2')
  answer(NAME, ['192.0.2.5'], 60, '10.0.0.9')
  answer('six.example.com', ['2001:db8::1'], 20)
  t.deepEqual(shown(), [
    '10.0.0.1,fd00::1 six.example.com 2001:db8::1',
    '10.0.0.1,fd00::1 www.example.com 192.0.2.1,192.0.2.2',
  ])
  clock.advance(20_000)
  t.deepEqual(shown(), ['10.0.0.1,fd00::1 www.example.com 192.0.2.1,192.0.2.2'])
  names.setLocal({ ...ONE, addresses: ['10.0.0.7'] })
  t.deepEqual(shown(), ['10.0.0.7 www.example.com 192.0.2.1,192.0.2.2'])
  names.removeLocal(ONE)
  t.deepEqual(shown(), [])
})

test('an answer over TCP counts, and octets of anybody do not', t => {
  const { copy, shown } = start()
  const message = addressesOf(NAME, ['192.0.2.1'])
  const framed = Buffer.from([message.length >> 8, message.length & 255, ...message])
  const ends = { from: RESOLVER, to: '10.0.0.1' }
  copy(tcpPacket(ends, { sequence: 101 }, framed), Buffer.from([1, 2, 3]), Buffer.alloc(0), udpPacket(ends, framed))
  t.deepEqual(shown(), [])
  copy(
    tcpPacket(ends, { sequence: 100, flags: 0x12 }),
    tcpPacket(ends, { sequence: 101 }, framed.subarray(0, 20)),
    tcpPacket(ends, { sequence: 121 }, framed.subarray(20)),
  )
  t.is(shown().length, 1)
})

test('what pods were told when an agent ended counts for its TTL once more in the next one, but of pods that are gone', t => {
  const clock = new ManualClock()
  const first = start({ clock, pods: [ONE, TWO, pod('three', '10.0.0.3')] })
  first.answer(NAME, ['192.0.2.1'], 60)
  first.answer(NAME, ['192.0.2.2'], 20)
  first.answer('a.example.com', ['192.0.2.3'], 40)
  first.answer(NAME, ['192.0.2.9'], 40, '10.0.0.3')
  clock.advance(30_000)
  const { database } = first
  // killed: nothing is written that was not
  const second = start({ clock: new ManualClock(), database })
  t.deepEqual(second.shown(), [
    '10.0.0.1,fd00::1 a.example.com 192.0.2.3',
    '10.0.0.1,fd00::1 www.example.com 192.0.2.1',
  ])
  second.clock.advance(40_000)
  t.deepEqual(second.shown(), ['10.0.0.1,fd00::1 www.example.com 192.0.2.1'])
  t.deepEqual(second.expired(), ['a.example.com 192.0.2.3', 'www.example.com 192.0.2.2'])
  second.names.close()
  const again = start({ database })
  t.deepEqual(again.expired(), second.expired())
  again.names.close()
  const third = start({ database, pods: [pod('three', '10.0.0.3')] })
  t.deepEqual(third.shown(), [])
  third.names.close()
  t.is(database.prepare('SELECT count(*) AS n FROM domain_answer').get()?.['n'], 0)
})

test('rows that make no sense, and a disk without room, cost nothing but what they say', t => {
  const { database, names } = start()
  names.close()
  const rows = ['[["192.0.2.1",60],["x",1],["192.0.2.2","1"],7]', 'no JSON', '{}', '[["192.0.2.300",1]]']
  for (const [i, text] of rows.entries())
    database.exec(`INSERT INTO domain_answer VALUES ('one', 'n${i}.example.com', '${text}')`)
  const again = start({ database })
  t.deepEqual(again.shown(), ['10.0.0.1,fd00::1 n0.example.com 192.0.2.1'])
  database.exec('DROP TABLE domain_answer')
  again.answer(NAME, ['192.0.2.1'])
  again.clock.advance(1000)
  t.is(again.shown().length, 2)
  again.names.close()
})

test('nothing is read before some policy names domains, and a group that is refused is tried again and told', t => {
  const { names, reader, state, clock } = start({ isWanted: false, refuses: true })
  t.is(reader(), undefined)
  t.deepEqual(names.gaps, [])
  names.want()
  t.regex(names.gaps[0]!.message, /cannot be read \(.*EPERM/)
  state.refuses = false
  clock.advance(10_000)
  t.is(reader()?.group, ANSWER_GROUP)
  t.deepEqual(names.gaps, [])
})

test('copies that were lost, and a pod that was told too much, are told for ten minutes', t => {
  const { names, reader, answer, clock } = start()
  reader()!.lost(3)
  clock.advance(60_000)
  reader()!.lost(2)
  for (let i = 0; i < 90; i++)
    answer(
      `n${i}.example.com`,
      Array.from({ length: 100 }, (_, j) => `10.${i}.0.${j + 1}`),
      3600,
    )
  t.deepEqual(
    names.gaps.map(({ message }) => message.split(' ').slice(0, 2).join(' ')),
    ['5 copies', 'Pod ns/one'],
  )
  clock.advance(600_000)
  t.deepEqual(names.gaps, [])
  reader()!.lost(1)
  t.regex(names.gaps[0]!.message, /^1 copies/)
})

test('the resolver of the cluster is believed, or whom FelixConfiguration names, that of the node before all', t => {
  const dns = { namespace: 'kube-system', name: 'kube-dns', port: 53 }
  t.deepEqual(start().resolvers(), { services: [dns], addresses: [] })
  const trusted = { default: 'k8s-service:kube-dns, k8s-service:dns/own:5353,169.254.20.10,[fd00::10]:54, fd00::a' }
  t.deepEqual(start({ trusted }).resolvers(), {
    services: [dns, { namespace: 'dns', name: 'own', port: 5353 }],
    addresses: [
      { address: '169.254.20.10', port: 53 },
      { address: 'fd00::10', port: 54 },
      { address: 'fd00::a', port: 53 },
    ],
  })
  const own = start({ trusted: { ...trusted, 'node.n1': '192.0.2.53' } })
  t.deepEqual(own.resolvers(), { services: [], addresses: [{ address: '192.0.2.53', port: 53 }] })
  const wrong = start({
    trusted: { default: 'kube-dns,192.0.2.300,0.0.0.0,k8s-service:a:0,192.0.2.53:70000,192.0.2.53' },
  })
  t.deepEqual(wrong.resolvers()?.addresses, [{ address: '192.0.2.53', port: 53 }])
  t.regex(wrong.names.gaps[0]!.message, /FelixConfiguration.* left out: "kube-dns", "192.0.2.300", "0.0.0.0"/)
})

test('a whole agent lets a pod reach what it was told, and an agent after it goes on with that', async t => {
  const { store, network, machines } = await aCluster(t)
  const [machine] = machines
  const metadata = { namespace: 'ns', name: 'web', labels: { app: 'web' } }
  await store.create('Namespace', aResource('Namespace', { metadata: { name: 'ns' } }))
  const pod = await store.create('Pod', aResource('Pod', { metadata, spec: { nodeName: 'n1' } }))
  const slice = {
    metadata: { namespace: 'kube-system', name: 'kube-dns-1', labels: { 'kubernetes.io/service-name': 'kube-dns' } },
    ...{ addressType: 'IPv4', endpoints: [{ addresses: ['10.244.9.9'] }], ports: [{ port: 53, protocol: 'UDP' }] },
  }
  await store.create('EndpointSlice', aResource('EndpointSlice', slice))
  const spec = {
    ...{ tier: 'Admin', priority: 5, subject: { namespaces: {} } },
    egress: [{ action: 'Accept', to: [{ domainNames: ['*.example.com'] }] }],
  }
  await store.create('ClusterNetworkPolicy', aResource('ClusterNetworkPolicy', { metadata: { name: 'names' }, spec }))
  const agent = await startAgent(t, machine, store, network)
  const env = {
    ...{ CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c0', CNI_NETNS: '/run/netns/c0', CNI_IFNAME: 'eth0' },
    ...{ CNI_PATH: '/opt/cni/bin', CNI_ARGS: `K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;K8S_POD_UID=${pod.metadata.uid}` },
  }
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay' })
  await eventually(t, 'the agent is ready', () => agent.ready(), Boolean)
  const added = await handleCni({ env, stdin }, agent.cni())
  t.is(added.exitCode, 0, added.stdout)
  const [{ addresses, interfaceName }] = agent.endpoints.live() as [PodEndpoint]
  const table = async () => {
    const found = await machine.world.kernel().nftables({ family: 'inet', name: 'margay-policy' })
    const keys = (of: string) =>
      (found?.elements ?? [])
        .filter(({ set }) => set.startsWith(of))
        .flatMap(({ elements }) => elements.map(({ key }) => key.join(' ')))
    return { told: keys('d4-'), pods: keys('told_pods'), resolvers: keys('e4-') }
  }
  const shown = { told: [] as string[], pods: [interfaceName], resolvers: ['10.244.9.9 udp 53'] }
  await eventually(t, 'answers are copied', table, seen => isDeepStrictEqual(seen, shown))
  const payload = udpPacket({ from: RESOLVER, to: addresses[0]! }, addressesOf(NAME, ['192.0.2.1'], 600))
  machine.world.log(ANSWER_GROUP, [{ family: 'ipv4', prefix: '', hook: 'postrouting', payload }])
  const told = { ...shown, told: [`${addresses[0]} 192.0.2.1`] }
  await eventually(t, 'the address is open', table, seen => isDeepStrictEqual(seen, told))
  await agent.close()
  t.deepEqual(await table(), told)
  const next = await startAgent(t, machine, store, network)
  await eventually(t, 'the next agent is ready', () => next.ready(), Boolean)
  t.deepEqual(await table(), told)
})
