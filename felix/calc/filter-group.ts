// The part of the pod filter that is no pod's own: its tables, and the addresses of all nodes, this one's too.
import { type NamedNftElement, nftElementKey } from '../../kernel/reconcile/objects.ts'
import type { Desired } from '../desired.ts'
import type { Peering, RemoteNode, ThisNode } from '../input.ts'
import type { TunnelsNeeded } from './mtu.ts'
import { NodeAddresses } from './node-addresses.ts'
import type { Output } from './output.ts'
import {
  nodeElement,
  nodeTunnelElement,
  type PodFilterMarks,
  podFilterPrograms,
  thisNodeElement,
} from './pod-filter.ts'

type Nodes = Pick<NodeAddresses, 'has'>
type Outputs = { readonly [K in 'nftTable' | 'nftElement']: Output<Desired[K]> }

export class FilterGroup {
  readonly #marks: PodFilterMarks | undefined
  readonly #outputs: Outputs
  readonly #nodes: Nodes
  readonly #farTunnels = new NodeAddresses()
  #own: ReadonlyMap<string, NamedNftElement> = new Map()
  #node: ThisNode | undefined
  #tunnels: TunnelsNeeded | undefined
  #vxlanPort: number | undefined
  #peering: Peering | undefined

  /** Without `marks` nothing is wanted. */
  constructor(marks: PodFilterMarks | undefined, nodes: Nodes, outputs: Outputs) {
    this.#marks = marks
    this.#nodes = nodes
    this.#outputs = outputs
  }

  /** Some node has an address from now on, or none has it any more. */
  addressChanged(address: string): void {
    if (this.#marks === undefined) return
    const element = nodeElement(this.#marks, address)
    this.#outputs.nftElement.want(nftElementKey(element), this.#nodes.has(address) ? element : undefined)
  }

  /** Takes in the addresses of another node's tunnels; undefined: it has none. */
  updateTunnelsOf(name: string, node: RemoteNode | undefined): void {
    if (this.#marks === undefined) return
    const { ipipTunnelAddress, vxlanTunnelAddress, vxlanTunnelAddressV6 } = node ?? {}
    const all = [ipipTunnelAddress, vxlanTunnelAddress, vxlanTunnelAddressV6]
    const ends = all.filter(address => address !== undefined)
    for (const address of this.#farTunnels.update(name, ends)) {
      const element = nodeTunnelElement(this.#marks, address)
      this.#outputs.nftElement.want(nftElementKey(element), this.#farTunnels.has(address) ? element : undefined)
    }
  }

  /** Takes in what the tables depend on, once this node is known. The same again costs nothing. */
  updateHere(
    node: ThisNode | undefined,
    tunnels: TunnelsNeeded,
    { vxlanPort, peering }: { vxlanPort: number; peering: Peering | undefined },
  ): void {
    if (this.#marks === undefined || node === undefined) return
    const isSame = this.#node === node && this.#tunnels === tunnels && this.#vxlanPort === vxlanPort
    if (isSame && this.#peering === peering) return
    this.#peering = peering
    this.#node = node
    this.#tunnels = tunnels
    this.#vxlanPort = vxlanPort
    const { nftTable, nftElement } = this.#outputs
    for (const [key, program] of podFilterPrograms(this.#marks, { ...tunnels, vxlanPort }, peering))
      nftTable.want(key, program)
    const marks = this.#marks
    const own = addressesOf(node).map(address => thisNodeElement(marks, address))
    const before = this.#own
    this.#own = new Map(own.map(element => [nftElementKey(element), element]))
    for (const key of before.keys()) if (!this.#own.has(key)) nftElement.want(key, undefined)
    for (const [key, element] of this.#own) nftElement.want(key, element)
  }
}

/** The addresses of this node without their masks: one of a family, or of both. */
export function addressesOf({ ipv4, ipv6 }: ThisNode): string[] {
  return [ipv4, ipv6].flatMap(subnet => subnet?.split('/')[0] ?? [])
}
