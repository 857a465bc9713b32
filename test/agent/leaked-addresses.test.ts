// A whole agent that is asked, through its IPAMBlock, to free what no pod of its node has: by `ipam release --from-report`.
import test from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { emitJson } from '../../api/json.ts'
import { allocationsOf, type NodeAnswer } from '../../ctl/ipam-compare.ts'
import { releaseLeaks } from '../../ctl/ipam-release.ts'
import { leaksOf } from '../../ctl/ipam-report.ts'
import type { FakeStore } from '../../datastore/fake.ts'
import { aResource } from '../datastore/objects.ts'
import { aCluster, cni, eventually, startAgent } from './machines.ts'

/** What the agent says, as `ipam check` reads it. */
async function answerOf(agent: NodeAgent): Promise<NodeAnswer> {
  const { blocks, ...rest } = await agent.checkAddresses()
  return { ...rest, blocks: new Map(blocks.map(({ cidr, sequence }) => [cidr, BigInt(sequence)])) }
}

async function allocations(agent: NodeAgent, store: FakeStore) {
  const blocks = await store.list('IPAMBlock')
  return allocationsOf(blocks, new Set(['n1', 'n2']), new Map([['n1', await answerOf(agent)]]), new Map())
}

const leak = { handle: 'net.gone.eth0', families: ['ipv4'] as const, use: 'Workload' as const }

async function aLeak(t: Parameters<typeof aCluster>[0]) {
  const it = await aCluster(t)
  const agent = await startAgent(t, it.machines[0], it.store, it.network)
  await eventually(t, 'ready', () => agent.ready(), Boolean)
  t.is((await cni(agent, 'ADD', 'c1')).exitCode, 0)
  const leaked = await agent.allocator.assign({ ...leak, attributes: { node: 'n1', pod: 'old', namespace: 'shop' } })
  if ('refused' in leaked) throw new Error(leaked.message)
  await agent.allocator.flush()
  return { ...it, agent, ip: leaked[0]!.address }
}

test('the address of a container that is gone is told, and freed by its owner where a report of it comes back; that of a pod stays', async t => {
  const { agent, store, ip } = await aLeak(t)
  const { findings, looked } = await agent.checkAddresses()
  t.deepEqual(
    findings.map(({ addresses }) => addresses),
    [[ip]],
  )
  t.is(looked, 1)
  const all = await allocations(agent, store)
  t.deepEqual(
    all.filter(({ inUse }) => !inUse).map(each => each.ip),
    [ip],
  )
  const info = aResource('ClusterInformation', {
    metadata: { name: 'default', resourceVersion: '5' },
    spec: { clusterGUID: 'guid' },
  })
  const report = {
    ...{ version: '1', clusterGUID: 'guid', clusterInformationRevision: '5' },
    allocations: Object.groupBy(all, each => each.ip),
  }
  const leaks = leaksOf([{ name: 'r', text: emitJson(report, 2) }], { version: '1', info, force: false })
  t.deepEqual(
    leaks.map(each => each.ip),
    [ip],
  )
  const [block] = await store.list('IPAMBlock')
  t.deepEqual(await releaseLeaks(store, leaks, { force: false, waitMs: 60_000, borrowerWaitMs: 60_000 }), [
    { what: `IPAMBlock ${block!.metadata.name}`, freed: [ip] },
  ])
  t.false(agent.allocator.held().has(leak.handle))
  await agent.allocator.flush()
  const after = await store.get('IPAMBlock', block!.metadata.name)
  t.is(after.metadata.annotations?.['margay/collect-asked'], undefined)
  const inUse = all.filter(each => each.inUse)
  t.is(after.spec.allocations.filter(each => each !== null).length, inUse.length, 'pod and tunnel keep their own')
  t.deepEqual((await agent.checkAddresses()).findings, [])
})

test('an address that a pod of the node has is not freed, whatever a report says, and the reason is told', async t => {
  const { agent, store, ip } = await aLeak(t)
  const held = (await allocations(agent, store)).find(({ inUse }) => inUse)!
  const wrong = { ip: held.ip, handle: held.handle, sequenceNumber: BigInt(held.sequenceNumber!) }
  const [released] = await releaseLeaks(store, [wrong], { force: true, waitMs: 60_000, borrowerWaitMs: 60_000 })
  t.is(released!.what, `IP ${held.ip}`)
  t.regex(released!.refused!, /^the agent of n1 looked, and a pod or a route of the node uses it/)
  t.true([...agent.allocator.held().values()].flat().some(({ address }) => address === held.ip))
  t.false(agent.allocator.held().has(leak.handle), `${ip} went with it: the agent frees all that nobody has`)
})

test('an owner that does not run is named, and frees the address when it comes back', async t => {
  const { agent, store, ip, machines, network } = await aLeak(t)
  const blocks = await store.list('IPAMBlock')
  await agent.close()
  const told = { ip, handle: leak.handle, sequenceNumber: undefined }
  const [released] = await releaseLeaks(store, [told], { force: false, waitMs: 300, borrowerWaitMs: 300 })
  t.regex(released!.refused!, /^the agent of n1 did not answer/)
  const again = await startAgent(t, machines[0], store, network)
  const name = blocks[0]!.metadata.name
  const asked = async () => (await store.get('IPAMBlock', name)).metadata.annotations?.['margay/collect-asked']
  await eventually(t, 'answered', asked, mark => mark === undefined)
  t.false(again.allocator.held().has(leak.handle))
})
