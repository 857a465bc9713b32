// The addresses of this host's interfaces.
import { networkInterfaces } from 'node:os'
import { formatCidr, parseAddress, parseCidr } from '../lib/ip.ts'
import type { LocalAddress } from './port.ts'

export class HostAddresses {
  #read: readonly LocalAddress[] | undefined

  /** As of this turn of the event loop: the kernel lists all interfaces for it, and many sessions may come up at once. */
  now(): readonly LocalAddress[] {
    if (this.#read === undefined) {
      this.#read = readAddresses()
      setImmediate(() => {
        this.#read = undefined
      })
    }
    return this.#read
  }
}

function readAddresses(): readonly LocalAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, list]) =>
    (list ?? []).flatMap(({ address, cidr }) => {
      const network = cidr === null ? undefined : parseCidr(cidr)
      const canonical = parseAddress(address)
      return network === undefined || canonical === undefined
        ? []
        : [{ interface: name, address: canonical, cidr: formatCidr(network) }]
    }),
  )
}
