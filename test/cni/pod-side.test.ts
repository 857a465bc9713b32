// The side of a pod's interface that is in the pod, on a kernel that makes the routes to its addresses late.
import test from 'ava'
import type { PodEndpoint } from '../../cni/endpoints.ts'
import { createPair, writePodSide } from '../../cni/pod-side.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { HOST_MAC, podSide } from '../../kernel/pod-interface.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ManualClock } from '../../lib/clock.ts'

const NETNS = '/run/netns/p'

/** A pod whose kernel takes packets to its IPv6 address from the `looks`th look on. */
async function slowPod(looks: number) {
  const world = new FakeWorld()
  world.addNetns(NETNS)
  const endpoint: PodEndpoint = {
    ...{ id: 'net/c1/eth0', network: 'net', containerID: 'c1', ifname: 'eth0', interfaceName: 'cali1', netns: NETNS },
    ...{ addresses: ['10.0.0.1', 'fd00::1'], mac: '02:00:00:00:00:01', mtu: 1450, handle: 'net.c1.eth0', createdMs: 0 },
  }
  await createPair(world.kernel(), endpoint)
  const kernel = world.kernel().inside(NETNS)
  const looked: string[] = []
  const lookupRoute: Kernel['lookupRoute'] = async (dst, packet) => {
    looked.push(dst)
    const route = await kernel.lookupRoute(dst, packet)
    if (looked.length >= looks) return route
    if (looked.length === 1) throw new KernelError(ERRNO.ENETUNREACH, 'look up route', dst)
    return { ...route, type: 'unicast' }
  }
  const pod: Kernel = new Proxy(kernel, {
    get: (of, name) => {
      const value = name === 'lookupRoute' ? lookupRoute : Reflect.get(of, name)
      return typeof value === 'function' ? value.bind(of) : value
    },
  })
  const clock = new ManualClock()
  let ended = ''
  const written = writePodSide(pod, podSide(endpoint, HOST_MAC), clock).then(
    () => {
      ended = 'written'
    },
    (error: KernelError) => {
      ended = `${error.errno}`
    },
  )
  /** So many milliseconds later. */
  const after = async (ms: number) => {
    for (let i = 0; i < ms; i++) {
      await new Promise(setImmediate)
      clock.advance(1)
    }
    await new Promise(setImmediate)
    return ended
  }
  return { written, looked, after }
}

test('an ADD waits until packets to the IPv6 address of its pod are taken', async t => {
  const { written, looked, after } = await slowPod(5)
  t.is(await after(3), '')
  t.is(await after(3), 'written')
  await written
  t.deepEqual(looked, Array(5).fill('fd00::1'))
})

test('a kernel that takes no packets to the address of a pod for a second fails its ADD', async t => {
  const { written, after } = await slowPod(Number.POSITIVE_INFINITY)
  t.is(await after(900), '')
  t.is(await after(200), `${ERRNO.ETIMEDOUT}`)
  await written
})
