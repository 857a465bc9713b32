// A node of `host.ts` on this machine's kernel: its own namespace and those of its pods, whose journal is a file, and which a child
// process may be, or this one, one after the other.
import { createFakeStore } from '../../datastore/fake.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { addNetns, removeNetns } from '../../kernel/netns.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { openDatabase } from '../../lib/database.ts'
import { aPool } from '../ipam/world.ts'
import { aHost, type Host } from './host.ts'
import { Mortal } from './kill-points.ts'
import { settled } from './sound.ts'

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1)

export class RealWorld extends FakeWorld {
  readonly #root = openKernel()
  readonly #kernel: Kernel
  /** Kernels of pods: a node that was killed closes none. */
  readonly #inside = new Set<Kernel>()

  /** `netns`: the path of the namespace that is the node. */
  constructor(netns: string) {
    super()
    this.#kernel = this.#root.inside(netns)
  }

  override kernel(): Kernel {
    return new Proxy(this.#kernel, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function') return method
        return (...args: unknown[]) => {
          const answer: unknown = method.apply(target, args)
          if (name === 'inside') this.#inside.add(answer as Kernel)
          return answer
        }
      },
    })
  }

  override addNetns(path: string): void {
    addNetns(nameOf(path))
  }

  override removeNetns(path: string): void {
    removeNetns(nameOf(path))
  }

  close(): void {
    for (const kernel of this.#inside) kernel.close()
    this.#kernel.close()
    this.#root.close()
  }
}

/** Starts the node at `netns` from the journal at `path`. Its clock goes as fast as this machine's, and `kill` ends it. */
export async function aRealHost(
  netns: string,
  path: string,
  kill?: () => void,
): Promise<{ host: Host; mortal: Mortal }> {
  const world = new RealWorld(netns)
  const mortal = new Mortal(kill)
  const db = openDatabase(path)
  const pools = [aPool('v4', '10.0.0.0/24'), aPool('v6', 'fd00::/112')]
  const kernel = world.kernel()
  const options = { store: createFakeStore(), pools, takesOver: true }
  const host = await aHost(mortal.database(db), world, mortal.kernel(kernel), options)
  const ticking = setInterval(() => host.clock.advance(5), 5)
  await settled(host)
  const close = async (): Promise<void> => {
    clearInterval(ticking)
    await host.close()
    world.close()
    db.close()
  }
  return { host: { ...host, close }, mortal }
}
