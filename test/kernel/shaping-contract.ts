// What every implementation of the port promises of token buckets and of the way over another link.
import type { ExecutionContext, SerialFn } from 'ava'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { type Bucket, sameBucket } from '../../kernel/port/shaping.ts'
import { listenTo, veth } from './builders.ts'
import type { World } from './contract.ts'

const HANDLE = 0x77
const SLOW: Bucket = { rate: 125_000, burst: 4000, limit: 131_072 }
/** Limits of what the kernel takes and tells: more than 32 bits of octets a second, and more than it tells of a burst. */
const BUCKETS: readonly Bucket[] = [
  SLOW,
  { rate: 125, burst: 2 ** 29, limit: 131_072 },
  { rate: 1_250_000, burst: 2000, limit: 200_000, peak: { rate: 2_500_000, burst: 1514 } },
  { rate: 1.25e14, burst: 2 ** 32 - 1, limit: 2 ** 32 - 1, peak: { rate: 1.2625e14, burst: 1e8 } },
]

export function shapingContract(test: SerialFn, open: () => World): void {
  const promise = (title: string, body: (t: ExecutionContext, kernel: Kernel) => Promise<void>) =>
    test(title, async t => {
      const world = open()
      try {
        await body(t, world.node)
      } finally {
        world.close()
      }
    })

  promise(
    'a bucket is put at the root of a link, read as it was written, changed in its place, and taken away',
    async (t, kernel) => {
      const index = await veth(kernel, 'a', 'b')
      const root = async () => (await kernel.qdiscs()).find(({ ifindex, at }) => ifindex === index && at === 'root')
      const heard = listenTo(kernel)
      for (const bucket of BUCKETS) {
        await kernel.setBucket(index, HANDLE, bucket)
        const seen = await root()
        t.like(seen, { kind: 'tbf', handle: HANDLE })
        t.true(sameBucket(bucket, seen!.bucket!), JSON.stringify([bucket, seen]))
        for (const other of BUCKETS) t.is(sameBucket(other, seen!.bucket!), other === bucket, JSON.stringify(other))
      }
      await heard.until(event => event.type === 'shaping' && event.ifindex === index)
      heard.close()
      await kernel.deleteBucket(index, HANDLE)
      await kernel.deleteBucket(index, HANDLE)
      t.is((await root())?.handle ?? 0, 0)
    },
  )

  promise('a bucket of another handle is neither written over nor taken away', async (t, kernel) => {
    const index = await veth(kernel, 'a', 'b')
    await kernel.setBucket(index, 1, SLOW)
    const error = await t.throwsAsync(kernel.setBucket(index, HANDLE, BUCKETS[2]!), { instanceOf: KernelError })
    t.is((error as KernelError).errno, ERRNO.EEXIST)
    await kernel.deleteBucket(index, HANDLE)
    const seen = (await kernel.qdiscs()).find(({ ifindex, handle }) => ifindex === index && handle === 1)
    t.true(sameBucket(SLOW, seen!.bucket!))
  })

  promise('what comes in is led over another link, and the way goes with what it hangs on', async (t, kernel) => {
    const index = await veth(kernel, 'a', 'b')
    const over = await kernel.createLink({ kind: 'ifb', name: 'over', mtu: 1400 })
    t.like(over, { kind: 'ifb', mtu: 1400, up: false })
    t.deepEqual(await kernel.ingressFilters(index), [])
    await kernel.addIngress(index)
    const again = await t.throwsAsync(kernel.addIngress(index), { instanceOf: KernelError })
    t.is((again as KernelError).errno, ERRNO.EEXIST)
    t.deepEqual(await kernel.ingressFilters(index), [])
    await kernel.addRedirect(index, { preference: 20, to: over.index })
    await kernel.addRedirect(index, { preference: 10, to: index })
    t.deepEqual(await kernel.ingressFilters(index), [
      { preference: 10, to: index },
      { preference: 20, to: over.index },
    ])
    await kernel.deleteIngressFilter(index, 10)
    await kernel.deleteIngressFilter(index, 10)
    t.deepEqual(await kernel.ingressFilters(index), [{ preference: 20, to: over.index }])
    t.true(
      (await kernel.qdiscs()).some(
        ({ ifindex, at, kind }) => ifindex === index && at === 'ingress' && kind === 'ingress',
      ),
    )
    await kernel.deleteIngress(index)
    await kernel.deleteIngress(index)
    t.deepEqual(await kernel.ingressFilters(index), [])
    t.false((await kernel.qdiscs()).some(({ at }) => at === 'ingress'))
  })
}
