// The addresses of a node's tunnels together: those of IPv4, without which other nodes would have no way to its blocks, and
// that of IPv6, which no other node needs and so nothing of this one waits for.
import type { Condition } from '../api/status.ts'
import type { TunnelsNeeded } from '../felix/calc/mtu.ts'
import type { ThisNode } from '../felix/input.ts'
import { TunnelAddresses, type TunnelAddressesDeps } from './tunnel-addresses.ts'

/** `reached`: resolves once other nodes have a route to a block, or are not waited for any more. */
type Deps = Omit<TunnelAddressesDeps, 'kinds' | 'reached'> & Required<Pick<TunnelAddressesDeps, 'reached'>>

export class NodeTunnels {
  readonly #ipv4: TunnelAddresses
  readonly #ipv6: TunnelAddresses

  constructor({ reached, ...deps }: Deps) {
    this.#ipv4 = new TunnelAddresses({ ...deps, kinds: ['ipip', 'vxlan'] })
    this.#ipv6 = new TunnelAddresses({ ...deps, kinds: ['vxlanV6'], reached })
  }

  get addresses(): TunnelAddresses['addresses'] {
    return { ...this.#ipv4.addresses, ...this.#ipv6.addresses }
  }

  /** The same as what felix and the Node object are told. */
  get facts(): Pick<ThisNode, 'ipipTunnelAddress' | 'vxlanTunnelAddress' | 'vxlanTunnelAddressV6'> {
    const { ipip, vxlan, vxlanV6 } = this.addresses
    return { ipipTunnelAddress: ipip, vxlanTunnelAddress: vxlan, vxlanTunnelAddressV6: vxlanV6 }
  }

  /** Whether IPAM has not answered yet for a tunnel that other nodes need; `changed` is called when it has. */
  get asking(): boolean {
    return this.#ipv4.asking
  }

  refused(): Condition[] {
    return [...this.#ipv4.refused(), ...this.#ipv6.refused()]
  }

  /** Asks for the addresses that are needed and missing; of IPv4 on a node with such an address alone. */
  need({ ipip, vxlanIpv4, vxlanIpv6 }: TunnelsNeeded, { ipv4 }: Pick<ThisNode, 'ipv4'>): void {
    const hasIpv4 = ipv4 !== undefined
    this.#ipv4.need({ ipip: hasIpv4 && ipip, vxlan: hasIpv4 && vxlanIpv4 })
    this.#ipv6.need({ vxlanV6: vxlanIpv6 })
  }

  retryNow(): void {
    this.#ipv4.retryNow()
    this.#ipv6.retryNow()
  }

  close(): void {
    this.#ipv4.close()
    this.#ipv6.close()
  }
}
