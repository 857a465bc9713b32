// Two whole agents and margay-controllers over one store: an address goes to the next pod after its rest, and a node that has not
// heard of the end of the pod before is named.
import test from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { RECEIPT_ANNOTATION } from '../../api/policy-receipts.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { handleCni } from '../../cni/handle.ts'
import { Controllers } from '../../controllers/controllers.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { type Store, Unreachable } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool, aResource } from '../datastore/objects.ts'
import { aMachine, startAgent } from './machines.ts'

const SPEC = { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: 'a' } } }] }] }

function call(agent: NodeAgent, command: 'ADD' | 'DEL', pod: string, container: string) {
  const env = {
    ...{ CNI_COMMAND: command, CNI_CONTAINERID: container, CNI_NETNS: `/run/netns/${container}`, CNI_IFNAME: 'eth0' },
    ...{ CNI_PATH: '/opt/cni/bin', CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod}` },
  }
  return handleCni({ env, stdin: JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay' }) }, agent.cni())
}

test('an address goes to another pod after 30 s, all nodes are asked whether they have heard of it, and the one that does not answer is named until it does', async t => {
  const store = createFakeStore()
  for (const name of ['n1', 'n2']) await store.create('Node', aNode(name, { labels: { name } }))
  const none = { ipipMode: 'Never', vxlanMode: 'Never' }
  const only = { cidr: '10.244.0.0/32', blockSize: 32, nodeSelector: "name == 'n1'", ...none }
  await store.create('IPPool', aPool('pool', only))
  await store.create('Namespace', aResource('Namespace', { metadata: { name: 'default' } }))
  const policy = { metadata: { name: 'p', namespace: 'default' }, spec: SPEC }
  await store.create('KubernetesNetworkPolicy', aResource('KubernetesNetworkPolicy', policy))
  const spec = { datastoreReady: true }
  await store.create('ClusterInformation', aResource('ClusterInformation', { metadata: { name: 'default' }, spec }))

  const clock = new ManualClock()
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      clock.advance(1000)
      for (let turn = 0; turn < 15; turn++) await new Promise(setImmediate)
    }
  }
  let isHeld = false
  let receipts = 0
  const held = <T>(kind: string, write: () => Promise<T>): Promise<T> => {
    if (kind === 'PolicyReceipt') receipts++
    return kind === 'PolicyReceipt' && isHeld ? Promise.reject(new Unreachable('held')) : write()
  }
  const storeOfTwo: Store = {
    ...store,
    create: (kind, object) => held(kind, () => store.create(kind, object)),
    patch: (kind, ...rest) => held(kind, () => store.patch(kind, ...rest)),
  }
  const network = new MemoryNetwork()
  const machines = [await aMachine(t, 'n1', '192.0.2.11'), await aMachine(t, 'n2', '192.0.2.12')] as const
  const one = await startAgent(t, machines[0], store, network, clock)
  await startAgent(t, machines[1], storeOfTwo, network, clock)
  const options = { identity: 'c', namespace: 'kube-system', graceMs: 60_000, answerMs: 60_000, firstPools: [] }
  const controllers = new Controllers(options, { store, clock, log: silentLog })
  controllers.start()
  t.teardown(() => controllers.close())
  const named = () => controllers.conditions().filter(({ type }) => type === 'AddressesRested')
  const annotation = async (name: string) =>
    (await store.get('ClusterInformation', 'default')).metadata.annotations?.[name]
  const aPod = (name: string, status: object) =>
    aResource('Pod', {
      metadata: { name, namespace: 'default', labels: { app: name } },
      spec: { nodeName: 'n1' },
      status,
    })
  await pass(10)

  store.inject('Pod', aPod('a', { phase: 'Pending' }))
  store.inject('Pod', aPod('b', { phase: 'Pending' }))
  await pass(1)
  const added = await call(one, 'ADD', 'a', 'c0')
  t.is(added.exitCode, 0, added.stdout)
  const ip = '10.244.0.0'
  store.inject('Pod', aPod('a', { phase: 'Running', podIP: ip, podIPs: [{ ip }] }))
  await pass(120)
  t.is(await annotation(RECEIPT_ANNOTATION.podsAsked), undefined, 'nobody is asked without need')
  const before = receipts

  t.is((await call(one, 'DEL', 'a', 'c0')).exitCode, 0)
  await pass(60)
  const refused = await call(one, 'ADD', 'b', 'c1')
  t.regex(refused.stdout, /1 released addresses rest for 30 s/, 'the API server still tells of the pod')
  isHeld = true
  await store.delete('Pod', 'a', { namespace: 'default' })
  await pass(1)
  const next = await call(one, 'ADD', 'b', 'c1')
  t.is(next.exitCode, 0, next.stdout)
  t.regex(next.stdout, /10\.244\.0\.0/)
  await pass(20)
  const asked = await annotation(RECEIPT_ANNOTATION.podsAsked)
  t.regex(asked ?? '', /^[0-9]+$/)
  t.is((await store.get('PolicyReceipt', 'n1')).spec.pods, asked)
  t.deepEqual(named(), [])
  await pass(200)
  t.is(named().length, 1)
  t.regex(named()[0]!.message, /: n2$/)

  isHeld = false
  await pass(400)
  t.deepEqual(named(), [])
  t.is(await annotation(RECEIPT_ANNOTATION.podsSettled), asked)
  t.true(receipts - before < 15, `${receipts - before} attempts of n2`)
})
