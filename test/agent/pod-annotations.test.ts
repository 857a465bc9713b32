// From annotations of a Pod and its Namespace to the interface that ADD makes, by a whole agent.
import test, { type ExecutionContext } from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { kinds } from '../../api/kinds.ts'
import { handleCni } from '../../cni/handle.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { aResource } from '../datastore/objects.ts'
import { aCluster, cni, eventually, startAgent } from './machines.ts'

type Texts = Readonly<Record<string, string>>

/** The pool `10.244.0.0/16` of the cluster, two that serve only who names them, and a namespace. */
async function aNode(t: ExecutionContext, change: (kernel: Kernel) => Kernel = kernel => kernel) {
  const { store, network, machines } = await aCluster(t)
  const pool = (name: string, cidr: string, spec = {}) =>
    store.create('IPPool', kinds.IPPool.schema.parse({ metadata: { name }, spec: { cidr, ...spec } }))
  await pool('named', '10.99.0.0/24', { assignmentMode: 'Manual' })
  await pool('named6', 'fd00:99::/112', { assignmentMode: 'Manual' })
  const prefixed = (texts: Texts) =>
    Object.fromEntries(
      Object.entries(texts).map(([name, text]) => [name.includes('/') ? name : `cni.projectcalico.org/${name}`, text]),
    )
  const namespace = (texts: Texts) =>
    store.inject('Namespace', aResource('Namespace', { metadata: { name: 'default', annotations: prefixed(texts) } }))
  const pod = (name: string, texts: Texts) => {
    const metadata = { namespace: 'default', name, uid: `uid-${name}`, annotations: prefixed(texts) }
    store.inject('Pod', aResource('Pod', { metadata, spec: { nodeName: 'n1' } }))
  }
  const start = () =>
    startAgent(t, machines[0], store, network, undefined, { kernel: change(machines[0].world.kernel()) })
  const agent = await start()
  await eventually(
    t,
    'ready',
    () => agent.ready(),
    ready => ready,
  )
  return { agent, start, store, network, machine: machines[0], namespace, pod }
}

async function add(agent: NodeAgent, container: string, name: string, { netns = container, conf = {} } = {}) {
  const env = {
    ...{ CNI_COMMAND: 'ADD', CNI_CONTAINERID: container, CNI_NETNS: `/run/netns/${netns}`, CNI_IFNAME: 'eth0' },
    ...{ CNI_PATH: '/opt/cni/bin' },
    CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name};K8S_POD_UID=uid-${name}`,
  }
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay', ...conf })
  const { exitCode, stdout } = await handleCni({ env, stdin }, agent.cni())
  const { ips = [], interfaces = [], code, msg, details } = JSON.parse(stdout)
  return {
    exitCode,
    ...{ code, msg, details },
    addresses: ips.map(({ address }: { address: string }) => address) as string[],
    mac: interfaces[1]?.mac as string | undefined,
  }
}

test('a pod has the addresses and the MAC that its annotations name, and a later interface of it those of its own network', async t => {
  const { agent, namespace, pod } = await aNode(t)
  namespace({ ipv4pools: '["no-such-pool"]' })
  pod('db-0', { ipAddrs: '["10.99.0.7", "fd00:99::7"]', hwAddr: '02:00:5E:10:00:07' })
  const first = await add(agent, 'c0', 'db-0')
  t.like(first, { exitCode: 0, mac: '02:00:5e:10:00:07' }, first.msg)
  t.deepEqual(first.addresses, ['10.99.0.7/32', 'fd00:99::7/128'])
  t.deepEqual((await add(agent, 'c0', 'db-0')).addresses, first.addresses, 'ADD again')
  const second = await add(agent, 'c0', 'db-0', { netns: 'c2', conf: { name: 'other' } })
  t.is(second.msg, undefined)
  t.regex(second.addresses.join(), /^10\.244\.\d+\.\d+\/32$/)
  t.not(second.mac, first.mac)
  // a new sandbox of the pod, before DEL of the older one
  t.deepEqual((await add(agent, 'c1', 'db-0')).addresses, first.addresses)
})

test('pools and families of a Namespace are those of its pods, and those of a Pod come before them', async t => {
  const { agent, namespace, pod } = await aNode(t)
  namespace({ ipv4pools: '["named"]', ipv6pools: '["named6"]', ipFamilies: '["IPv4","IPv6"]' })
  pod('a', {})
  pod('b', { ipFamilies: '["IPv6"]' })
  pod('c', { ipv4pools: '[]', ipFamilies: '["IPv4"]' })
  const shapes = async (container: string, name: string) => {
    const { addresses, msg } = await add(agent, container, name)
    t.is(msg, undefined)
    return addresses.map(address => address.replace(/[^.:]*\/\d+$/, ''))
  }
  t.deepEqual(await shapes('c0', 'a'), ['10.99.0.', 'fd00:99::'])
  t.deepEqual(await shapes('c1', 'b'), ['fd00:99::'])
  t.regex((await shapes('c2', 'c')).join(), /^10\.244\.\d+\.$/)
})

test('of two addresses by name both are given or none, and the pod that has one is named', async t => {
  const { agent, namespace, pod } = await aNode(t)
  namespace({})
  pod('a', { ipAddrs: '["fd00:99::7"]' })
  pod('b', { ipAddrs: '["10.99.0.7", "fd00:99::7"]' })
  pod('c', { ipAddrs: '["10.99.0.7"]' })
  pod('d', { ipAddrs: '["192.0.2.7"]' })
  t.deepEqual((await add(agent, 'c0', 'a')).addresses, ['fd00:99::7/128'])
  const refused = await add(agent, 'c1', 'b')
  t.is(refused.code, 100)
  t.regex(refused.msg, /fd00:99::7 is held by net\.c0\.eth0/)
  t.deepEqual((await add(agent, 'c2', 'c')).addresses, ['10.99.0.7/32'], 'not held by the one that was refused')
  const outside = await add(agent, 'c3', 'd')
  t.is(outside.code, 100)
  t.regex(outside.msg, /192\.0\.2\.7 is in no enabled pool/)
})

test('an annotation that cannot be read refuses ADD, which leaves nothing and works once it is corrected', async t => {
  const { agent, namespace, pod } = await aNode(t)
  namespace({})
  pod('a', { hwAddr: 'ff:ff:ff:ff:ff:ff' })
  const refused = await add(agent, 'c0', 'a')
  t.is(refused.code, 2)
  t.regex(refused.msg, /^Pod default\/a: annotation cni\.projectcalico\.org\/hwAddr: "ff:ff/)
  t.regex(refused.details, /take the annotation away/)
  t.deepEqual(agent.endpoints.all(), [])
  t.false([...agent.allocator.held().keys()].some(handle => handle.includes('c0')))
  pod('a', { hwAddr: '02:00:5e:10:00:07' })
  await eventually(
    t,
    'added',
    () => add(agent, 'c0', 'a'),
    ({ mac }) => mac === '02:00:5e:10:00:07',
  )
})

test('while the API server is away a pod has what the last that was seen of it says, also with an agent that starts so', async t => {
  const { agent, store, network, machine, namespace, pod } = await aNode(t)
  namespace({ ipv4pools: '["named"]' })
  pod('seen', { ipAddrs: '["10.244.0.99"]' })
  pod('other', {})
  // it claims a block of the pool, and has heard of both by then
  t.regex((await add(agent, 'c0', 'other')).addresses.join(), /^10\.99\.0\./)
  t.deepEqual((await add(agent, 'c1', 'seen')).addresses, ['10.244.0.99/32'])
  await agent.close()
  store.disconnect()
  const second = await startAgent(t, machine, store, network)
  await eventually(
    t,
    'ready again',
    () => second.ready(),
    ready => ready,
  )
  // new sandboxes, as after a reboot
  t.deepEqual((await add(second, 'c2', 'seen')).addresses, ['10.244.0.99/32'])
  t.regex((await add(second, 'c3', 'other')).addresses.join(), /^10\.99\.0\./)
  store.reconnect()
})

test('the bandwidth that a pod asks is limited when its ADD ends, follows the annotation, and is gone with the pod', async t => {
  const { agent, machine, namespace, pod } = await aNode(t)
  const kernel = machine.world.kernel()
  const rates = async () => (await kernel.qdiscs()).flatMap(({ bucket }) => bucket?.rate ?? []).sort()
  const asks = (ingress: string) =>
    pod('a', { 'qos.projectcalico.org/ingressBandwidth': ingress, 'qos.projectcalico.org/egressBandwidth': '16M' })
  namespace({})
  asks('8M')
  t.is((await add(agent, 'c0', 'a')).msg, undefined)
  t.deepEqual(await rates(), [1_000_000, 2_000_000])
  asks('80M')
  await eventually(t, 'followed', rates, now => now.includes(10_000_000))
  asks('slow')
  const told = () => agent.conditions().filter(({ type, reason }) => type === 'QosApplied' && reason === 'Invalid')
  await eventually(t, 'told', told, now => now.length === 1)
  t.deepEqual(await rates(), [2_000_000])
  await cni(agent, 'DEL', 'c0')
  const left = async () => (await kernel.links()).filter(({ kind }) => kind === 'ifb').length
  await eventually(t, 'gone', left, now => now === 0)
})

test('a pod that asks what this kernel cannot do runs, and neither keeps its node from being ready nor other pods from it', async t => {
  const without = (kernel: Kernel): Kernel => {
    const setBucket: Kernel['setBucket'] = async () => {
      throw new KernelError(ERRNO.ENOENT, 'set qdisc', 'tbf', 'Specified qdisc kind is unknown')
    }
    return new Proxy(kernel, {
      get: (target, name) => (name === 'setBucket' ? setBucket : Reflect.get(target, name).bind(target)),
    })
  }
  const { agent, start, namespace, pod } = await aNode(t, without)
  namespace({})
  pod('a', { 'qos.projectcalico.org/ingressBandwidth': '8M' })
  pod('b', {})
  t.is((await add(agent, 'c0', 'a')).msg, undefined)
  t.is((await add(agent, 'c1', 'b')).msg, undefined)
  const told = (of: NodeAgent) =>
    of.conditions().find(({ type, status }) => type === 'QosApplied' && status === 'False')?.object?.name
  await eventually(
    t,
    'told',
    () => told(agent),
    name => name === 'a',
  )
  t.true(agent.ready(), JSON.stringify(agent.conditions().filter(({ status }) => status !== 'True')))
  await agent.close()
  const again = await start()
  await eventually(
    t,
    'ready again',
    () => again.ready() && told(again),
    name => name === 'a',
  )
  t.is((await add(again, 'c2', 'b')).msg, undefined)
})
