// Static pods after a reboot, while the API server is away. A kubelet starts no other pods then, and knows these by the digits
// of their file, of its path and of the node's name (kubelet 1.36, pkg/kubelet/config/common.go), which it
// writes into the annotation of their copies at the API server (pkg/kubelet/pod/mirror_client.go): the same after a reboot.
import test, { type ExecutionContext } from 'ava'
import { POD_ANNOTATION } from '../../api/core.ts'
import { handleCni } from '../../cni/handle.ts'
import { type Clock, keepProcess } from '../../lib/clock.ts'
import { aPod, aResource } from '../datastore/objects.ts'
import { fastClock } from './fast-clock.ts'
import { aCluster, aMachine, eventually, startAgent } from './machines.ts'

const HASH = '4f1e0f2f3d6d2b1a9c5e7788a0b1c2d3'

/** A node with a static pod and a policy of it, whose agent has stopped. */
async function aNode(t: ExecutionContext) {
  t.teardown(keepProcess())
  const cluster = await aCluster(t)
  const { store, network, machines } = cluster
  await store.create('Namespace', aResource('Namespace', { metadata: { name: 'default' } }))
  const metadata = { name: 'only-a', namespace: 'default' }
  const spec = { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: 'a' } } }] }] }
  await store.create('KubernetesNetworkPolicy', aResource('KubernetesNetworkPolicy', { metadata, spec }))
  const annotations = { [POD_ANNOTATION.staticUid]: HASH }
  await store.create('Pod', aPod('proxy-n1', { nodeName: 'n1' }, { annotations }))
  const [at] = machines
  const before = await startAgent(t, at, store, network)
  await eventually(
    t,
    'ready',
    () => before.ready(),
    ready => ready,
  )
  t.is((await add(before, HASH)).exitCode, 0)
  await before.close()
  const rebooted = async (clock?: Clock) => {
    const machine = { ...(await aMachine(t, 'n1', '192.0.2.11')), dataDir: at.dataDir }
    const agent = await startAgent(t, machine, store, network, clock)
    await eventually(
      t,
      'ready',
      () => agent.ready(),
      ready => ready,
    )
    return { agent, kernel: machine.world.kernel() }
  }
  return { store, rebooted }
}

function add(agent: Awaited<ReturnType<typeof startAgent>>, uid: string, container = 'c0') {
  const args = `K8S_POD_NAMESPACE=default;K8S_POD_NAME=proxy-n1;K8S_POD_UID=${uid}`
  const env = {
    ...{ CNI_COMMAND: 'ADD', CNI_CONTAINERID: container, CNI_NETNS: `/run/netns/${container}`, CNI_IFNAME: 'eth0' },
    ...{ CNI_PATH: '/opt/cni/bin', CNI_ARGS: args },
  }
  return handleCni({ env, stdin: JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay' }) }, agent.cni())
}

test('after a reboot without the API server a static pod gets its network, under the policies that were known of it', async t => {
  const { store, rebooted } = await aNode(t)
  store.disconnect()
  const { agent, kernel } = await rebooted()
  t.deepEqual(agent.endpoints.all(), [], 'the earlier one ended with the machine')
  const { exitCode, stdout } = await add(agent, HASH, 'c1')
  t.is(exitCode, 0, stdout)
  const { interfaceName } = agent.endpoints.all()[0]!
  const { elements = [] } = (await kernel.nftables({ family: 'inet', name: 'margay-policy' })) ?? {}
  const judged = elements.flatMap(({ set, elements }) => (set === 'to_pod' ? elements.flatMap(({ key }) => key) : []))
  t.true(JSON.stringify(judged).includes(interfaceName), JSON.stringify(judged))
})

test('a static pod whose file was changed without the API server is refused, since nobody can tell which policies are about it', async t => {
  const { store, rebooted } = await aNode(t)
  store.disconnect()
  const { agent } = await rebooted(fastClock(20))
  const { exitCode, stdout } = await add(agent, 'another', 'c1')
  t.is(exitCode, 1)
  t.regex(stdout, /told nothing of Pod default\/proxy-n1 yet, so policies of the pod are not known: the store is disc/)
  t.deepEqual(agent.endpoints.all(), [])
})
