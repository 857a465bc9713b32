// A host with one link and a sink that writes routes into its kernel, by a manual clock.
import { KernelSink } from '../../agent/kernel-sink.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

export const MAIN = ROUTE_TABLE.main

export const selected = (prefix: string, nextHop = '192.0.2.9') =>
  ({ prefix, family: 'ipv4', nextHop, encapsulations: [], peer: 'tor' }) as const

export async function aHost(wrap: (kernel: Kernel) => Kernel = kernel => kernel, { nextHopsTracked = false } = {}) {
  const world = new FakeWorld()
  const kernel = world.kernel()
  const { index } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: index, address: '192.0.2.1', length: 24, scope: ROUTE_SCOPE.universe })
  const clock = new ManualClock()
  const sink = new KernelSink(wrap(world.kernel()), { table: MAIN }, silentLog, { clock, nextHopsTracked })
  const pass = async (ms: number) => {
    clock.advance(ms)
    for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  }
  const routes = async () =>
    (await kernel.routes({ table: MAIN, protocol: ROUTE_PROTOCOL.margayBgp }))
      .map(({ dst, gateway }) => `${dst} via ${gateway}`)
      .sort()
  return { kernel, index, clock, sink, pass, routes }
}

/** A kernel that says which of its methods is called with what. */
export function called(kernel: Kernel, note: (method: PropertyKey, args: readonly unknown[]) => void): Kernel {
  return new Proxy(kernel, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        note(name, args)
        return value.apply(target, args)
      }
    },
  })
}
