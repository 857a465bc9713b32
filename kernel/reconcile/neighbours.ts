// Permanent neighbour entries, and the forwarding entries of the VXLAN device. The mark of both is their interface: on
// one of ours every entry is ours, so what the kernel learned there by itself is written over.
import type { Kernel } from '../port/kernel.ts'
import type { Neighbour } from '../port/neighbours.ts'
import { lookEach, writeEach } from './each.ts'
import type { LinkView } from './link-view.ts'
import { fdbKey, type NamedFdbEntry, type NamedNeighbour, neighbourKey } from './objects.ts'
import type { Ownership } from './ownership.ts'
import { KernelTable } from './table.ts'

/** A neighbour under the name of its interface; undefined for proxied ones and those whose interface is not known. */
export function namedNeighbour(neighbour: Neighbour, links: LinkView): NamedNeighbour | undefined {
  const { ifindex, proxy, state: _, ...rest } = neighbour
  const interfaceName = links.nameOf(ifindex)
  return interfaceName === undefined || proxy === true ? undefined : { ...rest, interfaceName }
}

export function neighbourTable(kernel: Kernel, links: LinkView, ownership: Ownership): KernelTable<NamedNeighbour> {
  const entries = (neighbours: readonly Neighbour[]): [string, NamedNeighbour][] =>
    neighbours.flatMap(neighbour => {
      const value = namedNeighbour(neighbour, links)
      return value === undefined ? [] : [[neighbourKey(value), value] as [string, NamedNeighbour]]
    })
  return new KernelTable(
    {
      kind: 'neighbour',
      same: (wanted, seen) => wanted.mac === seen.mac && wanted.permanent === seen.permanent,
      interfaceOf: ({ interfaceName }) => interfaceName,
      // what is not permanent is the kernel's, which ends it by itself
      owns: ({ interfaceName, permanent }) => permanent && ownership.ownsNeighboursOf(interfaceName),
      mayTake: (_, { interfaceName }) => ownership.ownsNeighboursOf(interfaceName),
      wordsOf: ({ mac, permanent }) => `lladdr ${mac ?? 'unknown'}${permanent ? ' permanent' : ''}`,
      list: async () => entries(await kernel.neighbours()),
      async listInterface(name) {
        const link = await links.find(name)
        return link === undefined ? [] : entries(await kernel.neighbours(link.index))
      },
      look(objects) {
        return lookEach(links, objects, async ({ address }, ifindex) => {
          const neighbour = await kernel.neighbour(ifindex, address)
          return neighbour && namedNeighbour(neighbour, links)
        })
      },
      write: writes =>
        writeEach(links, writes, (verb, { interfaceName: _, ...entry }, ifindex) =>
          verb === 'delete'
            ? kernel.deleteNeighbour({ ...entry, ifindex })
            : kernel.setNeighbour({ ...entry, ifindex }),
        ),
    },
    { confirm: true },
  )
}

/** Where the VXLAN devices send the frames of each far tunnel endpoint. */
export function fdbTable(kernel: Kernel, links: LinkView, ownership: Ownership): KernelTable<NamedFdbEntry> {
  const { vxlanDevices = [] } = ownership.marks
  const listInterface = async (interfaceName: string): Promise<[string, NamedFdbEntry][]> => {
    const link = ownership.ownsVxlan(interfaceName) ? await links.find(interfaceName) : undefined
    if (link === undefined) return []
    return (await kernel.fdb(link.index)).map(({ mac, dst }) => {
      const value = { interfaceName, mac, dst }
      return [fdbKey(value), value]
    })
  }
  return new KernelTable(
    {
      kind: 'fdb',
      same: (wanted, seen) => wanted.dst === seen.dst,
      interfaceOf: ({ interfaceName }) => interfaceName,
      owns: ({ interfaceName }) => ownership.ownsVxlan(interfaceName),
      mayTake: () => false,
      wordsOf: ({ dst }) => `dst ${dst}`,
      list: async () => (await Promise.all(vxlanDevices.map(listInterface))).flat(),
      listInterface,
      look(objects) {
        return lookEach(links, objects, async ({ interfaceName, mac }, ifindex) => {
          const entry = await kernel.fdbEntry(ifindex, mac)
          return entry && { interfaceName, mac, dst: entry.dst }
        })
      },
      write: writes =>
        writeEach(links, writes, (verb, { mac, dst }, ifindex) =>
          verb === 'delete' ? kernel.deleteFdb({ ifindex, mac, dst }) : kernel.setFdb({ ifindex, mac, dst }),
        ),
    },
    { confirm: true },
  )
}
