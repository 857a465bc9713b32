// Pods that run and are not in the journal, over the kernel in memory.
import test from 'ava'
import { takeOverPods } from '../../agent/earlier-pods.ts'
import { checkAddresses } from '../../cni/address-check.ts'
import { adopt, endpointOf, nameAdopted } from '../../cni/adopt.ts'
import { collectHandles } from '../../cni/collect.ts'
import { handleCni } from '../../cni/handle.ts'
import { openDatabase } from '../../lib/database.ts'
import { added, aHost, call, type Host, POD } from './host.ts'

/** The same machine and store with an empty journal. */
async function withoutJournal(host: Host): Promise<Host> {
  await host.felix.close()
  return aHost(openDatabase(':memory:'), host.world)
}

const attributes = { node: 'n1', containerID: 'c1' }
const valid = (...ids: string[]) => ({
  'cni.dev/valid-attachments': ids.map(containerID => ({ containerID, ifname: 'eth0' })),
})

test('a pod that runs is adopted with its addresses, MAC and namespace, and its address is given to nobody', async t => {
  const host = await aHost()
  await added(host)
  const [row] = host.deps.endpoints.all()
  const again = await withoutJournal(host)
  const [adopted] = await adopt(again.deps)
  const { addresses, mac, netns, interfaceName, mtu, ifname } = row!
  t.like(adopted!, { addresses, mac, netns, interfaceName, mtu, ifname, adopted: true, network: '' })
  const { ips } = await added(again, 'c2', '/run/netns/two')
  t.not(ips[0]?.address, `${addresses[0]}/32`)
  t.deepEqual(await adopt(again.deps), [], 'once')
})

test('a pod whose routes on the host were deleted is adopted by the addresses that it has itself', async t => {
  const host = await aHost()
  await added(host)
  const [row] = host.deps.endpoints.all()
  const again = await withoutJournal(host)
  const kernel = again.world.kernel()
  const { index } = (await kernel.link(row!.interfaceName))!
  const routes = await kernel.routes({ ifindex: index })
  await kernel.changeRoutes(routes.map(route => ({ verb: 'delete', route })))
  for (const neighbour of await kernel.neighbours(index)) await kernel.deleteNeighbour(neighbour)
  t.like((await adopt(again.deps))[0]!, { addresses: row!.addresses, mac: row!.mac })
})

test('an address that a pod gave itself does not count while the host says which it has, nor that of another pod', async t => {
  const host = await aHost()
  await added(host)
  await added(host, 'c2', '/run/netns/two')
  const [victim, thief] = host.deps.endpoints.all()
  using pod = host.world.kernel().inside('/run/netns/two')
  const link = (await pod.link('eth0'))!
  await pod.addAddress({ ifindex: link.index, address: victim!.addresses[0]!, length: 32, scope: 0 })
  const again = await withoutJournal(host)
  const adopted = await adopt(again.deps)
  t.deepEqual(adopted.map(({ addresses }) => addresses).sort(), [victim!.addresses, thief!.addresses].sort())
})

test('a floating address, which has a route to the pod alone, is none of the pod that is adopted', async t => {
  const host = await aHost()
  await added(host)
  const [row] = host.deps.endpoints.all()
  const again = await withoutJournal(host)
  const kernel = again.world.kernel()
  const { index: ifindex } = (await kernel.link(row!.interfaceName))!
  const [route] = await kernel.routes({ ifindex })
  await kernel.changeRoutes([{ verb: 'add', route: { ...route!, dst: '192.0.2.7/32' } }])
  t.deepEqual((await adopt(again.deps))[0]?.addresses, row!.addresses)
})

test('the first DEL names an adopted interface by its container, and removes it', async t => {
  const host = await aHost()
  await added(host)
  const again = await withoutJournal(host)
  await adopt(again.deps)
  t.is((await call(again, 'DEL', { id: 'other' })).exitCode, 0)
  t.is(again.deps.endpoints.all().length, 1, 'not that of another container')
  t.is((await call(again, 'DEL')).exitCode, 0)
  t.deepEqual(again.deps.endpoints.all(), [])
  t.is(again.deps.ipam.held().size, 0)
})

test('the adopted interface of a Kubernetes pod is only named by a request for its own namespace', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  const pod = { namespace: 'shop', name: 'web-0' }
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: POD, CNI_IFNAME: 'eth0' }
  const args = { CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0' }
  const add = await handleCni({ env: { ...env, ...args }, stdin: '{"cniVersion":"1.0.0","name":"net"}' }, host.deps)
  t.is(add.exitCode, 0, add.stdout)
  const again = await withoutJournal(host)
  await adopt(again.deps)
  const request = { containerID: 'older', ifname: 'eth0', conf: { name: 'net' }, pod }
  t.is(endpointOf({ ...request, netns: '/run/netns/older' }, again.deps), undefined)
  t.is(endpointOf(request, again.deps), undefined)
  t.is(endpointOf({ ...request, containerID: 'c1', netns: POD }, again.deps)?.id, 'net/c1/eth0')
})

test('a block names an adopted interface only when the interface has the name of that container', async t => {
  const host = await aHost()
  await added(host)
  const [row] = host.deps.endpoints.all()
  for (const [containerID, id] of [
    ['c1', 'net/c1/eth0'],
    ['dead', `/${row!.interfaceName}/eth0`],
  ] as const) {
    const again = await withoutJournal(host)
    const holder = { handle: `net.${containerID}.eth0`, attributes: { ...attributes, containerID } }
    await again.deps.ipam.assign({ ...holder, use: 'Workload', families: ['ipv4'], addresses: [row!.addresses[0]!] })
    await adopt(again.deps)
    nameAdopted(again.deps)
    t.deepEqual(
      again.deps.endpoints.all().map(each => each.id),
      [id],
    )
    t.deepEqual(await collectHandles(again.deps), [], 'a pod has this address, whatever the block calls it')
  }
})

test('GC releases no address of an attachment that the runtime calls valid, also without row and route', async t => {
  const host = await aHost()
  await host.deps.ipam.assign({ handle: 'net.c1.eth0', attributes, families: ['ipv4'], use: 'Workload' })
  t.is((await call(host, 'GC', { conf: valid('c1') })).exitCode, 0)
  t.is(host.deps.ipam.held().size, 1)
  t.is((await call(host, 'GC', { conf: valid('other') })).exitCode, 0)
  t.is(host.deps.ipam.held().size, 0)
})

test('an address of a block from Calico that a pod of another node has is neither collected nor told as leaked, with a route to it or without', async t => {
  const host = await aHost()
  const lent = { handle: 'k8s-pod-network.c9', attributes: { node: 'n2', pod: 'far', namespace: 'shop' } }
  const own = { handle: 'k8s-pod-network.c8', attributes: { node: 'n1', pod: 'near', namespace: 'shop' } }
  for (const each of [lent, own]) await host.deps.ipam.assign({ ...each, families: ['ipv4'], use: 'Workload' })
  const { findings } = await checkAddresses(host.deps)
  t.deepEqual(
    findings.map(({ fault }) => fault.split(' ')[3]),
    [own.handle],
  )
  t.deepEqual(await collectHandles(host.deps), [own.handle])
  t.is((await call(host, 'GC', { conf: valid() })).exitCode, 0)
  t.deepEqual([...host.deps.ipam.held().keys()], [lent.handle])
})

/** ADD or DEL of a container of the pod web-0, whose containers' interfaces all have one name on the host. */
async function ofWeb0({ world, deps }: Host, verb: 'ADD' | 'DEL', id: string): Promise<void> {
  const netns = `/run/netns/${id}`
  if (!world.namespaces().includes(netns)) world.addNetns(netns)
  const env = { CNI_COMMAND: verb, CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_IFNAME: 'eth0', CNI_PATH: '/' }
  const args = { CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0' }
  const conf = { cniVersion: '1.1.0', name: 'net', args: { cni: { ips: ['10.0.0.7'] } } }
  const { exitCode, stdout } = await handleCni({ env: { ...env, ...args }, stdin: JSON.stringify(conf) }, deps)
  if (exitCode !== 0) throw new Error(stdout)
}

const FIRST_OF_WEB0 = {
  handle: 'net.first.eth0',
  attributes: { node: 'n1', containerID: 'first', pod: 'web-0', namespace: 'shop' },
}
const links = async ({ world }: Host) =>
  (await world.kernel().links()).flatMap(({ name }) => (name.startsWith('cali') ? [name] : []))

test('an adopted interface is not taken for that of an earlier container with the same pod name and address, whose DEL leaves it', async t => {
  const host = await aHost()
  await ofWeb0(host, 'ADD', 'second')
  const [name] = await links(host)
  const again = await withoutJournal(host)
  await again.deps.ipam.assign({ ...FIRST_OF_WEB0, families: ['ipv4'], use: 'Workload', addresses: ['10.0.0.7'] })
  await adopt(again.deps)
  nameAdopted(again.deps)
  await ofWeb0(again, 'DEL', 'first')
  t.deepEqual(await links(again), [name])
  const asked = { handle: 'net.thief.eth0', attributes, families: ['ipv4'], use: 'Workload' } as const
  t.like(again.deps.ipam.assignNow({ ...asked, addresses: ['10.0.0.7'] }), { refused: 'address-taken' })
  await ofWeb0(again, 'DEL', 'second')
  t.deepEqual(await links(again), [])
  t.is(again.deps.ipam.held().size, 0)
})

test('an adopted interface that says for whom it was made is named by the block that says the same', async t => {
  const host = await aHost()
  await ofWeb0(host, 'ADD', 'first')
  const again = await withoutJournal(host)
  await again.deps.ipam.assign({ ...FIRST_OF_WEB0, families: ['ipv4'], use: 'Workload', addresses: ['10.0.0.7'] })
  await adopt(again.deps)
  const [row] = again.deps.endpoints.all()
  t.like(row, { id: 'net/first/eth0', pod: { namespace: 'shop', name: 'web-0' }, madeFor: undefined })
})

test('a row of an old copy of the journal does not count for the interface of a later container of the same name', async t => {
  const host = await aHost()
  await ofWeb0(host, 'ADD', 'first')
  const [row] = host.deps.endpoints.all()
  await ofWeb0(host, 'DEL', 'first')
  await ofWeb0(host, 'ADD', 'second')
  const [name] = await links(host)
  const again = await withoutJournal(host)
  await again.deps.ipam.assign({ ...FIRST_OF_WEB0, families: ['ipv4'], use: 'Workload', addresses: ['10.0.0.7'] })
  again.deps.endpoints.persist(row!)
  again.deps.endpoints.publish(row!)
  await takeOverPods({ cni: again.deps, dataDir: '/', report: () => undefined })
  await ofWeb0(again, 'DEL', 'first')
  t.deepEqual(await links(again), [name])
  t.deepEqual(
    again.deps.endpoints.live().map(({ interfaceName, addresses }) => [interfaceName, addresses]),
    [[name, ['10.0.0.7']]],
  )
  await ofWeb0(again, 'DEL', 'second')
  t.deepEqual(await links(again), [])
  t.is(again.deps.ipam.held().size, 0)
})
