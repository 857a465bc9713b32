// Addresses of tunnel devices and of pods' interfaces. An address that is already there is as good as added, and one of IPv6 works
// at once: nobody else can have it.
import { familyOf } from '../../lib/ip.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type { Kernel } from '../port/kernel.ts'
import { writeEach } from './each.ts'
import type { LinkView } from './link-view.ts'
import { addressKey, type NamedAddress } from './objects.ts'
import type { Ownership } from './ownership.ts'
import { KernelTable } from './table.ts'

export function addressTable(kernel: Kernel, links: LinkView, ownership: Ownership): KernelTable<NamedAddress> {
  const onInterface = async (interfaceName: string, ifindex: number): Promise<[string, NamedAddress][]> =>
    (await kernel.addresses(ifindex)).map(({ address, length, scope }) => {
      const value = { interfaceName, address, length, scope }
      return [addressKey(value), value]
    })
  const listInterface = async (name: string): Promise<[string, NamedAddress][]> => {
    const link = await links.find(name)
    return link === undefined ? [] : onInterface(name, link.index)
  }
  return new KernelTable(
    {
      kind: 'address',
      // the kernel cannot change the scope of an address that is there
      same: () => true,
      interfaceOf: ({ interfaceName }) => interfaceName,
      owns: address => ownership.ownsAddress(address),
      // an address with this key is the wanted one already
      mayTake: () => true,
      async list() {
        const all: [string, NamedAddress][] = []
        for (const { ifindex, address, length, scope } of await kernel.addresses()) {
          const interfaceName = await links.findName(ifindex)
          if (interfaceName === undefined) continue
          const value = { interfaceName, address, length, scope }
          all.push([addressKey(value), value])
        }
        return all
      },
      listInterface,
      async look(objects) {
        const byInterface = new Map<string, Map<string, NamedAddress>>()
        const found: [string, NamedAddress | undefined][] = []
        for (const { key, like } of objects) {
          const name = like.interfaceName
          const known = byInterface.get(name) ?? new Map(await listInterface(name))
          byInterface.set(name, known)
          found.push([key, known.get(key)])
        }
        return found
      },
      write: writes =>
        writeEach(links, writes, async (verb, { interfaceName: _, ...address }, ifindex) => {
          if (verb === 'delete') return kernel.deleteAddress({ ...address, ifindex })
          try {
            const noDad = familyOf(address.address) === 'ipv6'
            await kernel.addAddress({ ...address, ifindex, ...(noDad && { noDad }) })
          } catch (error) {
            if (!(error instanceof KernelError) || error.errno !== ERRNO.EEXIST) throw error
          }
        }),
    },
    { confirm: true },
  )
}
