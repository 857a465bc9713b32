// Another MTU of the node reaches the pods that are running, over the kernel in memory.
import test from 'ava'
import type { Condition } from '../../api/status.ts'
import type { PodEndpoint } from '../../cni/endpoints.ts'
import { PodMtu } from '../../cni/pod-mtu.ts'
import { added, aHost, type Host, POD } from './host.ts'

type Sides = { host: number | undefined; pod: number | undefined; row: number | undefined }

async function sides({ world, deps }: Host, id = 'c1', netns = POD): Promise<Sides> {
  const row = deps.endpoints.get('net', { containerID: id, ifname: 'eth0' })
  using pod = world.kernel().inside(netns)
  const host = row && (await world.kernel().link(row.interfaceName))
  return { host: host?.mtu, pod: (await pod.link('eth0'))?.mtu, row: row?.mtu }
}

const both = (mtu: number): Sides => ({ host: mtu, pod: mtu, row: mtu })

type Follower = {
  podMtu: PodMtu
  /** The conditions of the last run. */
  told(): string[]
  /** Waits for the end of the run that `act` begins. */
  ran(act: () => void): Promise<void>
}

function follower(host: Host): Follower {
  let last: readonly Condition[] = []
  let end = (): void => {}
  const report = (conditions: readonly Condition[]) => {
    last = conditions
    end()
  }
  return {
    podMtu: new PodMtu({ ...host.deps, report }),
    told: () => last.map(({ object, reason, message }) => `${object?.name} ${reason}: ${message}`),
    async ran(act) {
      const { promise, resolve } = Promise.withResolvers<void>()
      end = resolve
      act()
      await promise
    },
  }
}

test('a smaller and a larger MTU of the node reach both ends of a pod, and its row', async t => {
  const host = await aHost()
  await added(host)
  t.deepEqual(await sides(host), both(1500))
  const { podMtu, told, ran } = follower(host)
  await ran(() => podMtu.follow(1300, 'configuration'))
  t.deepEqual(await sides(host), both(1300))
  await ran(() => podMtu.follow(1400, 'configuration'))
  t.deepEqual(await sides(host), both(1400))
  const again = await aHost(host.db, host.world)
  t.is(again.deps.endpoints.get('net', { containerID: 'c1', ifname: 'eth0' })?.mtu, 1400)
  t.deepEqual(told(), [])
})

test('a smaller MTU that a plugin behind ours gave a pod stays, and shrinks where the node’s is smaller still', async t => {
  const host = await aHost()
  await added(host)
  const { podMtu, ran } = follower(host)
  using pod = host.world.kernel().inside(POD)
  await pod.setLink('eth0', { mtu: 1300 })
  await ran(() => podMtu.follow(1400, 'configuration'))
  t.deepEqual(await sides(host), { host: 1400, pod: 1300, row: 1400 })
  await ran(() => podMtu.follow(1290, 'configuration'))
  t.deepEqual(await sides(host), both(1290))
})

test('the end in the pod shrinks first and grows last, so that the end that receives is never the smaller one', async t => {
  const host = await aHost()
  await added(host)
  const { podMtu, ran } = follower(host)
  const seen: string[] = []
  const name = host.deps.endpoints.get('net', { containerID: 'c1', ifname: 'eth0' })!.interfaceName
  using pod = host.world.kernel().inside(POD)
  pod.monitor(event => event.type === 'link' && event.link.name === 'eth0' && seen.push(`pod ${event.link.mtu}`))
  host.world
    .kernel()
    .monitor(event => event.type === 'link' && event.link.name === name && seen.push(`host ${event.link.mtu}`))
  await ran(() => podMtu.follow(1300, 'configuration'))
  await ran(() => podMtu.follow(1400, 'configuration'))
  await new Promise(setImmediate)
  t.deepEqual(seen, ['pod 1300', 'host 1300', 'host 1400', 'pod 1400'])
})

test('a pod whose MTU is in its CNI configuration keeps it, and so does one of an earlier version', async t => {
  const host = await aHost()
  await added(host, 'c1', POD, { mtu: 1450 })
  await added(host, 'old', '/run/netns/old')
  const { followsNodeMtu: _, ...row } = host.deps.endpoints.get('net', { containerID: 'old', ifname: 'eth0' })!
  host.deps.endpoints.publish(row)
  const { podMtu, ran } = follower(host)
  await ran(() => podMtu.follow(1300, 'configuration'))
  t.deepEqual(await sides(host), both(1450))
  t.deepEqual(await sides(host, 'old', '/run/netns/old'), both(1500))
})

test('a pod that cannot be changed keeps the MTU of both ends, becomes a condition, and does not stop the others', async t => {
  const host = await aHost()
  await added(host)
  await added(host, 'c2', '/run/netns/two')
  const lost = host.deps.endpoints.get('net', { containerID: 'c1', ifname: 'eth0' })!
  host.world.addNetns('/run/netns/other')
  await host.world.kernel().inside('/run/netns/other').createLink({ kind: 'dummy', name: 'eth0' })
  const moved: PodEndpoint = { ...lost, netns: '/run/netns/other' } // the path leads to another pod
  host.deps.endpoints.publish(moved)
  const { podMtu, told, ran } = follower(host)
  await ran(() => podMtu.follow(1300, 'configuration'))
  t.is((await host.world.kernel().link(lost.interfaceName))?.mtu, 1500)
  t.is((await host.world.kernel().inside('/run/netns/other').link('eth0'))?.mtu, 1500)
  t.deepEqual(await sides(host, 'c2', '/run/netns/two'), both(1300))
  t.regex(
    told().join(),
    /^net\/c1\/eth0 Refused: the pod does not get the MTU 1300 of its node: .* it is another interface$/,
  )
  await ran(() => podMtu.follow(1600, 'configuration')) // the host side grows first, and goes back
  t.is((await host.world.kernel().link(lost.interfaceName))?.mtu, 1500)
  host.deps.endpoints.publish(lost)
  await ran(() => host.clock.advance(90_000))
  t.deepEqual(await sides(host), both(1600))
  t.deepEqual(told(), [])
})

test('a pod whose host side is refused is a condition until it is written, and both ends are tried again', async t => {
  const host = await aHost()
  await added(host)
  let refuses = true
  const applied = (id: string) => (refuses ? Promise.reject(new Error('EPERM')) : host.deps.hostSide.applied(id))
  const deps = { ...host.deps, hostSide: { ...host.deps.hostSide, applied } }
  const { podMtu, told, ran } = follower({ ...host, deps })
  await ran(() => podMtu.follow(1300, 'configuration'))
  t.is((await sides(host)).row, 1500)
  t.regex(told().join(), /c1\/eth0 Refused: .*EPERM/)
  refuses = false
  await ran(() => host.clock.advance(90_000))
  t.deepEqual(await sides(host), both(1300))
  t.deepEqual(told(), [])
})

test('a pod whose namespace is gone causes no condition', async t => {
  const host = await aHost()
  await added(host)
  host.world.removeNetns(POD)
  const { podMtu, told, ran } = follower(host)
  await ran(() => podMtu.follow(1300, 'configuration'))
  t.deepEqual(told(), [])
})

test('an MTU too small for IPv6 is refused for a pod that has an IPv6 address', async t => {
  const host = await aHost()
  await added(host)
  const row = host.deps.endpoints.get('net', { containerID: 'c1', ifname: 'eth0' })!
  host.deps.endpoints.publish({ ...row, addresses: [...row.addresses, 'fd00::7'] })
  const { podMtu, told, ran } = follower(host)
  await ran(() => podMtu.follow(1200, 'configuration'))
  t.regex(told().join(), /IPv6 needs 1280 bytes/)
  t.is((await sides(host)).pod, 1500)
})

test('the MTU of pods does not grow when a node without IP-in-IP goes away; it grows when the configuration says so', async t => {
  const host = await aHost()
  await added(host)
  const { podMtu, ran } = follower(host)
  await ran(() => podMtu.follow(1450, 'routes'))
  podMtu.follow(1480, 'routes')
  await new Promise(setImmediate)
  t.deepEqual(await sides(host), both(1450))
  await ran(() => podMtu.follow(1480, 'configuration'))
  t.deepEqual(await sides(host), both(1480))
})

test('an ADD that began before the MTU changed ends with the new one', async t => {
  const host = await aHost()
  const { podMtu, ran } = follower(host)
  await ran(() => podMtu.follow(1300, 'configuration'))
  let adding: Promise<unknown> = Promise.resolve()
  await ran(() => (adding = added(host))) // the verb still has 1500
  await adding
  t.deepEqual(await sides(host), both(1300))
})
