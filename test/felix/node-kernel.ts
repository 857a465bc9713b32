// What tests of felix need of a node's kernel, real or fake: links such as `eth0` and `caliX`, a count of what felix reads
// and writes, and a monitor whose events can be held back.
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel, KernelEvent } from '../../kernel/port/kernel.ts'
import type { Route, RouteChange } from '../../kernel/port/routes.ts'
import { ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { ANSWER_MS } from '../slowness.ts'

export type Spy = {
  kernel: Kernel
  /** Names of the methods that changed something, in order; `changeRoutes` counts once per change. */
  writes: string[]
  /** Names of the methods that read, each with its first argument. */
  reads: { method: string; of: unknown }[]
  /** While true, no event reaches the listeners. */
  holdsEvents: boolean
  /** Hands an event to the listeners as if the kernel had told it. */
  tell(event: KernelEvent): void
  /** Destinations whose routes this kernel refuses to change. */
  refused: Set<string>
  /** Routes that were seen to go. */
  lost: string[]
}

const WRITES = new Set(['createLink', 'setLink', 'deleteLink', 'addAddress', 'deleteAddress', 'setNeighbour'])
for (const name of ['deleteNeighbour', 'setFdb', 'deleteFdb', 'writeSysctl', 'changeNftables']) WRITES.add(name)

const READS = new Set([
  'links',
  'link',
  'addresses',
  'routes',
  'lookupRoute',
  'rules',
  'neighbours',
  'neighbour',
  'fdb',
  'fdbEntry',
])

/** Passes everything on to `real` and notes what passes. */
export function spy(real: Kernel): Spy {
  const listeners = new Set<(event: KernelEvent) => void>()
  const noted: Spy = {
    kernel: real,
    writes: [],
    reads: [],
    holdsEvents: false,
    refused: new Set(),
    lost: [],
    tell: event => {
      for (const listen of listeners) listen(event)
    },
  }
  noted.kernel = new Proxy(real, {
    get(target, name: keyof Kernel) {
      if (name === 'monitor')
        return (listen: (event: KernelEvent) => void) => {
          listeners.add(listen)
          const monitor = target.monitor(event => {
            if (event.type === 'route-gone') noted.lost.push(event.route.dst)
            if (!noted.holdsEvents) listen(event)
          })
          return {
            close: () => {
              listeners.delete(listen)
              monitor.close()
            },
          }
        }
      const value = target[name]
      if (typeof value !== 'function') return value
      if (name === 'changeRoutes')
        return async (changes: readonly RouteChange[]) => {
          noted.writes.push(...changes.map(() => 'changeRoutes'))
          const sent = changes.filter(({ route }) => !noted.refused.has(route.dst))
          const answers = await target.changeRoutes(sent)
          return changes.map(change =>
            sent.includes(change)
              ? answers[sent.indexOf(change)]
              : new KernelError(ERRNO.EPERM, 'change route', change.route.dst),
          )
        }
      return (...args: unknown[]) => {
        if (WRITES.has(String(name))) noted.writes.push(String(name))
        else if (READS.has(String(name))) noted.reads.push({ method: String(name), of: args[0] })
        return Reflect.apply(value, target, args)
      }
    },
  })
  return noted
}

/** lo and eth0 (192.168.10.11/24) up, as a node has them before its agent starts. */
export async function setUpNode(kernel: Kernel): Promise<void> {
  await kernel.setLink('lo', { up: true })
  await setUpLink(kernel, 'eth0')
}

/** An uplink with the address of the node. */
export async function setUpLink(kernel: Kernel, name: string): Promise<void> {
  await addLink(kernel, name)
  const { index } = (await kernel.link(name))!
  await kernel.addAddress({ ifindex: index, address: '192.168.10.11', length: 24, scope: 0 })
}

/** A link with a far end, up: an uplink or the host side of a pod. */
export async function addLink(kernel: Kernel, name: string): Promise<void> {
  await kernel.createLink({ kind: 'veth', name, peer: { name: `p-${name}` } })
  await kernel.setLink(`p-${name}`, { up: true })
  await kernel.setLink(name, { up: true })
}

/** The main table without the kernel's own routes, as short sorted lines. */
export async function table(kernel: Kernel): Promise<string[]> {
  const links = new Map((await kernel.links()).map(({ index, name }) => [index, name]))
  const routes = await kernel.routes({ table: ROUTE_TABLE.main })
  return routes
    .filter(({ protocol }) => protocol !== 2)
    .map(({ dst, type, gateway, ifindex, protocol, onlink }) => {
      const dev = type === 'blackhole' || ifindex === undefined ? '' : ` dev ${links.get(ifindex)}`
      const via = gateway === undefined ? '' : ` via ${gateway}`
      return `${type} ${dst}${via}${dev} proto ${protocol}${onlink === true ? ' onlink' : ''}`
    })
    .toSorted()
}

export async function routeTo(kernel: Kernel, dst: string): Promise<Route | undefined> {
  return (await kernel.routes({ table: ROUTE_TABLE.main })).find(route => route.dst === dst)
}

/** Looks until `holds` answers true; fails with `what` after `limitMs`. */
export async function eventually(
  what: string,
  holds: () => Promise<boolean> | boolean,
  limitMs = ANSWER_MS,
): Promise<number> {
  const startMs = performance.now()
  while (!(await holds())) {
    if (performance.now() - startMs > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 2))
    // timers come before what waits in sockets, also after a turn that took longer than the limit
    await new Promise(setImmediate)
  }
  return performance.now() - startMs
}

/** Everything in a kernel that felix may write, except sysctls. */
export async function kernelState(kernel: Kernel) {
  const links = await kernel.links()
  const tunnels = links.filter(({ name }) => name === 'tunl0' || name === 'vxlan.calico')
  const nameOf = new Map(links.map(({ index, name }) => [index, name]))
  const addresses = (await kernel.addresses()).flatMap(({ ifindex, address, length }) =>
    ['lo', 'tunl0', 'vxlan.calico'].includes(nameOf.get(ifindex) ?? '') && length === 32
      ? [`${nameOf.get(ifindex)} ${address}/${length}`]
      : [],
  )
  const neighbours = (await kernel.neighbours()).flatMap(({ ifindex, address, mac, permanent }) =>
    permanent ? [`${nameOf.get(ifindex)} ${address} ${mac}`] : [],
  )
  const vxlan = tunnels.find(({ name }) => name === 'vxlan.calico')
  const fdb = vxlan === undefined ? [] : (await kernel.fdb(vxlan.index)).map(({ mac, dst }) => `${mac} ${dst}`)
  return {
    routes: await table(kernel),
    links: tunnels.map(({ name, mtu, up, mac }) => `${name} ${mtu} ${up} ${name === 'tunl0' ? '' : mac}`).toSorted(),
    addresses: addresses.toSorted(),
    neighbours: neighbours.toSorted(),
    fdb: fdb.toSorted(),
    nftables: (await Promise.all(NFT_TABLES.map(table => nftState(kernel, table)))).flat(),
  }
}

const NFT_TABLES = [
  { family: 'inet', name: 'margay' },
  { family: 'arp', name: 'margay' },
  { family: 'ip', name: 'margay' },
  { family: 'ip6', name: 'margay' },
  { family: 'ip', name: 'margay-floating' },
  { family: 'ip6', name: 'margay-floating' },
  { family: 'inet', name: 'margay-services' },
] as const

/** Everything in a table, in short sorted lines; counters and the kernel's numbers left out. */
async function nftState(kernel: Kernel, table: (typeof NFT_TABLES)[number]): Promise<string[]> {
  const ruleset = await kernel.nftables(table)
  if (ruleset === undefined) return []
  const keys = ruleset.elements.flatMap(({ set, elements }) =>
    elements.map(
      ({ key, data }) => `element ${table.family} ${set} ${key.join(' . ')}${data === undefined ? '' : ` : ${data}`}`,
    ),
  )
  const chains = ruleset.chains.map(({ name, base }) => `chain ${table.family} ${name} ${JSON.stringify(base)}`)
  const rules = ruleset.rules.map(
    ({ chain, comment, expressions }) => `rule ${table.family} ${chain} ${comment} ${expressions.length}`,
  )
  return [...keys.sort(), ...chains.sort(), ...rules]
}
