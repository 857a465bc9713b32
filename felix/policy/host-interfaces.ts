// Which interfaces the host endpoints of this node are for. One for an interface is so by its name, whether it is there or not:
// it is closed from its first packet on. One without a name is for each interface that has one of its addresses, and one for
// all is for those that no other is for. Of several the first by name counts (Calico's order). Interfaces of pods and loopback
// are nobody's. Pure.
import { ALL_INTERFACES, type HostEndpointHere } from './model.ts'

const LOOPBACK = 'lo'

/** Why a host endpoint is for no interface, or for one that is not there. */
export type Gap = { why: string; remedy: string }

type Found = { interfaces: ReadonlyMap<string, readonly string[]>; gaps: ReadonlyMap<string, Gap> }

/** Whether an interface can be a host endpoint's. */
export function isOfHost(name: string, interfacePrefix: string): boolean {
  return name !== LOOPBACK && !name.startsWith(interfacePrefix)
}

/** `there`: the addresses of the interfaces that are there, by name. Pure. */
export function hostInterfaces(
  hosts: ReadonlyMap<string, HostEndpointHere>,
  there: ReadonlyMap<string, readonly string[]>,
  interfacePrefix: string,
): Found {
  const isHosts = (name: string) => isOfHost(name, interfacePrefix)
  const names = [...hosts.keys()].sort()
  const ownerOf = new Map<string, string>()
  const gaps = new Map<string, Gap>()
  for (const key of names) {
    const { interfaceName } = hosts.get(key)!
    if (interfaceName === undefined) continue
    const owner = ownerOf.get(interfaceName)
    if (owner !== undefined) gaps.set(key, takenBy(owner))
    else if (!isHosts(interfaceName))
      gaps.set(key, { why: `${interfaceName} is no interface of the host that is protected`, remedy: NAME_ONE })
    else {
      ownerOf.set(interfaceName, key)
      if (interfaceName !== ALL_INTERFACES && !there.has(interfaceName))
        gaps.set(key, { why: `this node has no interface ${interfaceName}`, remedy: NAME_ONE })
    }
  }
  const byAddress = names.filter(key => hosts.get(key)!.interfaceName === undefined)
  for (const key of byAddress) {
    const { addresses } = hosts.get(key)!
    const own = [...there].filter(([name, has]) => isHosts(name) && has.some(each => addresses.includes(each)))
    const free = own.filter(([name]) => !ownerOf.has(name))
    if (own.length === 0)
      gaps.set(key, {
        why: `no interface of this node has an address of ${addresses.join(', ') || 'expectedIPs, which is empty'}`,
        remedy: 'correct spec.expectedIPs, or name the interface in spec.interfaceName',
      })
    else if (free.length === 0) gaps.set(key, takenBy(ownerOf.get(own[0]![0])!))
    for (const [name] of free) ownerOf.set(name, key)
  }
  const interfaces = new Map<string, string[]>()
  for (const [name, key] of [...ownerOf].sort(([a], [b]) => (a < b ? -1 : 1)))
    interfaces.set(key, [...(interfaces.get(key) ?? []), name])
  return { interfaces, gaps }
}

const NAME_ONE = 'correct spec.interfaceName, or delete the object'

function takenBy(owner: string): Gap {
  return { why: `HostEndpoint ${owner} is for its interface`, remedy: 'delete one of the two' }
}
