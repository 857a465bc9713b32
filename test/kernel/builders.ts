// Small constructors and observers that the kernel room's tests are built from.
import type { Kernel, KernelEvent } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route, type RouteChange } from '../../kernel/port/routes.ts'
import { ANSWER_MS } from '../slowness.ts'

/** A monitor that remembers, and can be waited on. */
export function listenTo(kernel: Kernel) {
  const events: KernelEvent[] = []
  let wake = () => {}
  const monitor = kernel.monitor(event => {
    events.push(event)
    wake()
  })
  return {
    events,
    close: () => monitor.close(),
    async until(matches: (event: KernelEvent) => boolean): Promise<KernelEvent> {
      const deadline = Date.now() + ANSWER_MS
      for (;;) {
        const found = events.find(matches)
        if (found !== undefined) return found
        if (Date.now() > deadline) throw new Error(`not heard; but: ${events.map(e => e.type).join(' ')}`)
        await new Promise<void>(resolve => {
          const timer = setTimeout(resolve, ANSWER_MS)
          wake = () => {
            clearTimeout(timer)
            resolve()
          }
        })
        // timers come before what waits in sockets, also after a turn that took longer than this
        await new Promise(setImmediate)
      }
    },
  }
}

/** A veth pair inside one namespace, both ends down; the index of the first. */
export async function veth(kernel: Kernel, name: string, peer: string): Promise<number> {
  return (await kernel.createLink({ kind: 'veth', name, peer: { name: peer } })).index
}

/** The pair `a` and `b`, both up; the index of `a`. */
export async function upPair(kernel: Kernel): Promise<number> {
  const index = await veth(kernel, 'a', 'b')
  await kernel.setLink('a', { up: true })
  await kernel.setLink('b', { up: true })
  return index
}

/** A blackhole as own blocks have it. */
export function block(dst: string): Route {
  return { dst, table: ROUTE_TABLE.main, type: 'blackhole', protocol: ROUTE_PROTOCOL.blocks, scope: 0 }
}

/** Two links that are up, with the addresses 10.1.0.1/24 and fd00:1::1/64, and 10.2.0.1/24 and fd00:2::1/64. */
export async function twoUplinks(kernel: Kernel): Promise<[first: number, second: number]> {
  const up = async (name: string, peer: string, of: number) => {
    const ifindex = await veth(kernel, name, peer)
    for (const end of [name, peer]) await kernel.setLink(end, { up: true })
    await kernel.addAddress({ ifindex, address: `10.${of}.0.1`, length: 24, scope: 0 })
    await kernel.addAddress({ ifindex, address: `fd00:${of}::1`, length: 64, scope: 0, noDad: true })
    return ifindex
  }
  return [await up('up1', 'far1', 1), await up('up2', 'far2', 2)]
}

/** A route to one pod. */
export function workload(dst: string, ifindex: number): Route {
  const { boot: protocol } = ROUTE_PROTOCOL
  return { dst, table: ROUTE_TABLE.main, type: 'unicast', protocol, scope: ROUTE_SCOPE.link, ifindex }
}

export function add(route: Route): RouteChange {
  return { verb: 'add', route }
}

export function replace(route: Route): RouteChange {
  return { verb: 'replace', route }
}

/** What the kernel refused of some changes, as text. */
export async function refusals(kernel: Kernel, changes: readonly RouteChange[]): Promise<string[]> {
  return (await kernel.changeRoutes(changes)).flatMap(error => (error === undefined ? [] : [error.message]))
}

/** Routes to exactly `dst` outside the local table, the one of default metric first. */
export async function ours(kernel: Kernel, dst: string): Promise<Route[]> {
  const all = (await kernel.routes()).filter(route => route.dst === dst && route.table !== ROUTE_TABLE.local)
  return all.sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0))
}
