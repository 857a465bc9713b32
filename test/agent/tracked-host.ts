// A host of the memory kernel whose next hops are tracked.
import { NextHopTracker } from '../../agent/next-hop-tracker.ts'
import type { NextHopState, SelectedRoute } from '../../bgp/port.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

export const OURS = ROUTE_PROTOCOL.margayBgp

/** A host with 192.0.2.1/24 on eth0 and 198.51.100.1/24 on eth1, and a tracker of its next hops. */
export async function aHost({ defaultRoute = false, wrap = (kernel: Kernel) => kernel } = {}) {
  const world = new FakeWorld()
  const kernel = world.kernel()
  const links: number[] = []
  for (const [name, address] of [
    ['eth0', '192.0.2.1'],
    ['eth1', '198.51.100.1'],
  ] as const) {
    const { index } = await kernel.createLink({ kind: 'dummy', name })
    await kernel.setLink(name, { up: true })
    await kernel.addAddress({ ifindex: index, address, length: 24, scope: ROUTE_SCOPE.universe })
    links.push(index)
  }
  const [eth0, eth1] = links as [number, number]
  const clock = new ManualClock()
  const lookedUp: string[] = []
  const moved: string[] = []
  const ways: string[] = []
  const selected = new Map<string, SelectedRoute>()
  const announced = new Map<string, string[]>()
  const tracker = new NextHopTracker({
    kernel: wrap(noted(world.kernel(), lookedUp)),
    protocol: OURS,
    defaultRoute,
    selectedPaths: prefix => {
      const route = selected.get(prefix)
      return route && (route.paths ?? [route])
    },
    announced: prefix => announced.get(prefix) ?? [],
    moved: nextHop => moved.push(nextHop),
    leads: (address, way) => ways.push(`${address} ${way?.hops.map(hop => hop.gateway).join() ?? 'gone'}`),
    log: silentLog,
    clock,
  })
  const told = new Map<string, NextHopState>()
  tracker.onChange((nextHop, link, state) => told.set(link === undefined ? nextHop : `${nextHop}%${link}`, state))
  const pass = async (ms: number) => {
    for (let i = 0; i < 20; i++) await new Promise(setImmediate)
    clock.advance(ms)
    for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  }
  const common = { table: ROUTE_TABLE.main, type: 'unicast', scope: ROUTE_SCOPE.universe } as const
  const change = (verb: 'add' | 'replace' | 'delete', route: Partial<Route> & { dst: string }) =>
    kernel.changeRoutes([{ verb, route: { ...common, protocol: ROUTE_PROTOCOL.static, ifindex: eth0, ...route } }])
  const text = (nextHop: string) => {
    const state = told.get(nextHop)
    return state === undefined ? 'not told' : state.reachable ? `${state.cost} over ${state.over}` : state.why
  }
  return {
    ...{ kernel, eth0, eth1, clock, lookedUp, moved, ways, selected, announced, tracker, told, pass, change, text },
  }
}

/** A kernel that notes what is looked up. */
function noted(kernel: Kernel, lookedUp: string[]): Kernel {
  const lookupRoute = kernel.lookupRoute.bind(kernel)
  return Object.assign(kernel, {
    lookupRoute: (dst: string) => {
      lookedUp.push(dst)
      return lookupRoute(dst)
    },
  })
}
