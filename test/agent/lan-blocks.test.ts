// Whole agents: what is for containers on the LAN of the nodes goes there, on their own node too, and nobody is told another way.
import test, { type ExecutionContext } from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { handleCni } from '../../cni/handle.ts'
import { ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { contains } from '../../lib/ip.ts'
import { aPool } from '../datastore/objects.ts'
import { aCluster, cni, eventually, learnedRoutes, type Machine, startAgent } from './machines.ts'

const LAN = '192.0.2.0/24'
const SPEC = { disableBGPExport: true, assignmentMode: 'Manual', allowedUses: ['Workload'], blockSize: 29 }

async function added(t: ExecutionContext, agent: NodeAgent, container: string): Promise<string> {
  const env = {
    ...{ CNI_COMMAND: 'ADD', CNI_CONTAINERID: container, CNI_NETNS: `/run/netns/${container}`, CNI_IFNAME: 'net1' },
    CNI_PATH: '/opt/cni/bin',
  }
  const ipam = { type: 'margay-ipam', subnet: LAN, gateway: '192.0.2.1', ipv4_pools: ['lan'] }
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'lan', type: 'macvlan', master: 'eth0', ipam })
  const { exitCode, stdout } = await handleCni({ env, stdin }, agent.cni(), undefined, 'another')
  t.is(exitCode, 0, stdout)
  return (JSON.parse(stdout) as { ips: { address: string }[] }).ips[0]!.address
}

/** Routes of a machine to parts of the LAN that are more than one address of its own. */
async function partsOfLan(machine: Machine): Promise<string[]> {
  const routes = await machine.world.kernel().routes({ table: ROUTE_TABLE.main })
  return routes.filter(({ dst }) => contains(LAN, dst) && dst !== LAN).map(({ dst, type }) => `${type} ${dst}`)
}

test('no node has a route to a block of a LAN, also where its pool is announced later, and other blocks are told as ever', async t => {
  const { store, network, machines } = await aCluster(t)
  const awake = setInterval(() => undefined, 1000) // the agents' own timers keep no program alive
  t.teardown(() => clearInterval(awake))
  await store.create('IPPool', aPool('lan', { cidr: '192.0.2.128/26', ...SPEC }))
  const one = await startAgent(t, machines[0], store, network)
  const two = await startAgent(t, machines[1], store, network)
  await eventually(t, 'ready', () => one.ready() && two.ready(), Boolean)
  const addresses = [await added(t, one, 'c0'), await added(t, two, 'c0'), await added(t, one, 'c1')]
  for (const address of addresses) t.regex(address, /^192\.0\.2\.1[2-9]\d\/24$/)
  const blockOf = (address: string) =>
    [one, two].flatMap(({ allocator }) =>
      allocator.blocks().filter(({ cidr }) => contains(cidr, address.split('/')[0]!)),
    )
  t.is(new Set(addresses.flatMap(blockOf).map(({ cidr }) => cidr)).size, 2, 'one block of each node')
  for (const machine of machines) t.deepEqual(await partsOfLan(machine), [])
  // with the finalizer that the nodes have put there
  const pool = (await store.list('IPPool')).find(({ metadata }) => metadata.name === 'lan')!
  await store.update('IPPool', { ...pool, spec: { ...pool.spec, disableBGPExport: false } })
  await store.create('IPPool', aPool('later', { cidr: '10.9.0.0/24', nodeSelector: 'all()' }))
  // what is announced after the change has come
  await eventually(
    t,
    'a block of the later pool',
    async () => {
      await cni(two, 'ADD', 'c2', { ipam: { ipv4_pools: ['later'] } })
      return learnedRoutes(machines[0])
    },
    routes => routes.some(route => route.startsWith('10.9.0.')),
  )
  for (const machine of machines) t.deepEqual(await partsOfLan(machine), [])
})
