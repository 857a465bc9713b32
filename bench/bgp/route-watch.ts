// Counts what a daemon asks the kernel to change of its routes, by what the kernel tells of it.
import { openKernel } from '../../kernel/linux/kernel.ts'
import { NETLINK } from '../../kernel/netlink/numbers.ts'
import { GROUP } from '../../kernel/netlink/route/numbers.ts'
import { NetlinkSocket } from '../../kernel/netlink/socket.ts'
import { runInNetns } from '../../kernel/netns.ts'
import { KernelError } from '../../kernel/port/error.ts'

/** What is told while the tester does something else: a few seconds of a daemon that does nothing but write. */
const RECEIVE_BUFFER = 1 << 29

export class RouteWatch {
  readonly #netns: string
  readonly #socket: NetlinkSocket
  #last = ''
  /** Requests: the kernel tells a change of a next hop object once for each route that goes by it, too. */
  requests = 0
  /** `performance.now()` of the last that was told. */
  lastMs = 0
  /** The kernel had no more room: there were more. */
  isShort = false

  /** Listens in the network namespace of a process from now on. */
  constructor(pid: number) {
    this.#netns = `/proc/${pid}/ns/net`
    this.#socket = runInNetns(
      this.#netns,
      () =>
        new NetlinkSocket({
          family: NETLINK.route,
          receiveBuffer: RECEIVE_BUFFER,
          groups: [GROUP.ipv4Route, GROUP.nexthop],
          received: messages => {
            this.lastMs = performance.now()
            for (const { port, seq } of messages) {
              const request = `${port} ${seq}`
              if (request !== this.#last) this.requests++
              this.#last = request
            }
          },
          lost: () => {
            this.isShort = true
          },
        }),
    )
  }

  /** The gateways that packets to an address can take; none: no route leads there. */
  async gatewaysOf(address: string): Promise<string[]> {
    using host = openKernel()
    using kernel = host.inside(this.#netns)
    try {
      const { nextHops, gateway } = await kernel.lookupRoute(address)
      return (nextHops ?? [{ gateway }]).flatMap(hop => hop.gateway ?? [])
    } catch (error) {
      if (error instanceof KernelError) return []
      throw error
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }
}
