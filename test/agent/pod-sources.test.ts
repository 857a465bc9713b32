// From the annotation of a Pod and FelixConfiguration to the kernel, by a whole agent.
import test from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { handleCni } from '../../cni/handle.ts'
import { aResource } from '../datastore/objects.ts'
import { aCluster, eventually, type Machine, startAgent } from './machines.ts'

const POD = { namespace: 'default', name: 'gw', uid: 'u1' }

function add(agent: NodeAgent) {
  const env = {
    ...{ CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c0', CNI_NETNS: '/run/netns/c0', CNI_IFNAME: 'eth0' },
    ...{ CNI_PATH: '/opt/cni/bin', CNI_ARGS: 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=gw;K8S_POD_UID=u1' },
  }
  return handleCni({ env, stdin: JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay' }) }, agent.cni())
}

async function allowed({ world }: Machine): Promise<string[]> {
  const { elements = [] } = (await world.kernel().nftables({ family: 'inet', name: 'margay' })) ?? {}
  const of = elements.filter(({ set }) => set.startsWith('allowed_'))
  return of.flatMap(({ elements }) => elements.map(({ key }) => key[1]!)).sort()
}

test('what a Pod asks is in the kernel when its ADD ends, follows annotation and setting, and outlives a restart without the API server', async t => {
  const { store, network, machines } = await aCluster(t)
  const [machine] = machines
  const asks = (prefixes?: string) => {
    const annotations = prefixes === undefined ? {} : { 'cni.projectcalico.org/allowedSourcePrefixes': prefixes }
    store.inject('Pod', aResource('Pod', { metadata: { ...POD, annotations }, spec: { nodeName: 'n1' } }))
  }
  const setting = (workloadSourceSpoofing: string) =>
    store.inject(
      'FelixConfiguration',
      aResource('FelixConfiguration', { metadata: { name: 'default' }, spec: { workloadSourceSpoofing } }),
    )
  store.inject('Namespace', aResource('Namespace', { metadata: { name: 'default' } }))
  setting('Any')
  asks('["198.51.100.0/24", "2001:db8::/64"]')
  const first = await startAgent(t, machine, store, network)
  await eventually(
    t,
    'ready',
    () => first.ready(),
    ready => ready,
  )
  const { exitCode, stdout } = await add(first)
  t.is(exitCode, 0, stdout)
  t.deepEqual(await allowed(machine), ['198.51.100.0/24', '2001:db8::/64'])

  const told = (agent: NodeAgent) =>
    agent.conditions().filter(({ type, status }) => type === 'SourcesAllowed' && status === 'False')
  const becomes = (what: string, cidrs: readonly string[], reasons: readonly string[]) =>
    eventually(
      t,
      what,
      async () => [await allowed(machine), told(first).map(({ reason }) => reason)],
      seen => JSON.stringify(seen) === JSON.stringify([cidrs, reasons]),
    )
  asks('["198.51.100.128/25"]')
  await becomes('narrower', ['198.51.100.128/25'], [])
  asks('["198.51.100.128/25", "198.51.100.1/25"]')
  await becomes('what cannot be read', [], ['Invalid'])
  asks('["198.51.100.0/24"]')
  await becomes('corrected', ['198.51.100.0/24'], [])
  setting('Disabled')
  await becomes('switched off', [], ['Disabled'])
  setting('Any')
  await becomes('switched on', ['198.51.100.0/24'], [])
  await first.close()

  store.disconnect()
  const taken: string[][] = []
  const second = await startAgent(t, machine, store, network)
  await eventually(
    t,
    'ready again',
    async () => {
      taken.push(await allowed(machine))
      return second.ready()
    },
    ready => ready,
  )
  t.deepEqual(new Set(taken.map(String)), new Set(['198.51.100.0/24']))
  store.reconnect()
  asks()
  await eventually(
    t,
    'taken away',
    () => allowed(machine),
    cidrs => cidrs.length === 0,
  )
})
