// The VXLAN tunnel end points of the other nodes. A node address, a VTEP address or a VTEP MAC belongs to one node: of
// several that claim one, the first by precedence has it. A node with addresses of both families whose IPv6 address another
// one has keeps its tunnel over IPv4: an annotation of that address stays in a Node object after the machine lost it. Only nodes
// that share a claim, directly or through others, are looked at when one of them changes.
import { isDeepStrictEqual } from 'node:util'
import { broken, type Condition } from '../../api/status.ts'
import type { TunnelDevice } from '../desired.ts'
import type { RemoteNode, ThisNode } from '../input.ts'
import type { ConditionCounts } from './conditions.ts'
import { VXLAN_DEVICE, VXLAN_DEVICE_V6, vtepMac } from './tunnels.ts'

/**
 * `address` and `ipv6Address`: of the node, one of which is there: where the packets go, and under which it announces its blocks.
 * `vtep`: of the tunnel device; a node that needs VXLAN for IPv6 alone has none.
 */
export type Vtep = { node: string; address?: string; ipv6Address?: string; vtep?: string; mac: string }

/** The VTEP that a node had and has. */
export type VtepChange = { name: string; before: Vtep | undefined; now: Vtep | undefined }

export class VtepGroup {
  readonly #conditions: ConditionCounts
  readonly #wishes = new Map<string, Vtep>()
  readonly #precedence = new Map<string, string>()
  readonly #claimants = new Map<string, Set<string>>()
  readonly #granted = new Map<string, Vtep>()
  readonly #byAddress = new Map<string, Vtep>()
  readonly #refused = new Map<string, Condition>()
  readonly #lackIpv4 = new Set<string>()

  constructor(conditions: ConditionCounts) {
    this.#conditions = conditions
  }

  /** Returns the nodes whose VTEP changed. */
  update(name: string, remote: RemoteNode | undefined): VtepChange[] {
    const affected = this.#related(name)
    this.#withdraw(name)
    const { address, ipv6Address, vxlanTunnelAddress: vtep, vxlanTunnelMac, precedence = '' } = remote ?? {}
    const hasAddress = address !== undefined || ipv6Address !== undefined
    if (hasAddress && (vtep !== undefined || vxlanTunnelMac !== undefined)) {
      this.#precedence.set(name, `${precedence} ${name}`)
      this.#wish({ node: name, address, ipv6Address, vtep, mac: (vxlanTunnelMac ?? vtepMac(name)).toLowerCase() })
      for (const other of this.#related(name)) affected.add(other)
    }
    const key = (each: string) => this.#precedence.get(each) ?? each
    return this.#grant([...affected].sort((a, b) => (key(a) < key(b) ? -1 : 1)))
  }

  /** Whether some node takes VXLAN over IPv6 alone. */
  get someLackIpv4(): boolean {
    return this.#lackIpv4.size > 0
  }

  /** The VTEP of the node with an address of either family. */
  byAddress(address: string): Vtep | undefined {
    return this.#byAddress.get(address)
  }

  /** The VTEP of a node. */
  get(name: string): Vtep | undefined {
    return this.#granted.get(name)
  }

  all(): Iterable<Vtep> {
    return this.#granted.values()
  }

  /** Grants anew among nodes that share claims with nobody else. */
  #grant(names: readonly string[]): VtepChange[] {
    const holders = new Map<string, string>()
    const changes: VtepChange[] = []
    for (const name of names) {
      const before = this.#granted.get(name)
      const wish = this.#wishes.get(name)
      const { now, refused } = wish === undefined ? {} : granted(wish, holders)
      if (now !== undefined) for (const claim of claimsOf(now)) holders.set(claim, name)
      this.#refuse(name, refused)
      if (isDeepStrictEqual(before, now)) continue
      if (now === undefined) this.#granted.delete(name)
      else this.#granted.set(name, now)
      changes.push({ name, before, now })
    }
    // first all that went: one may have had the address of another that came
    for (const { before } of changes) for (const each of nodeAddresses(before)) this.#byAddress.delete(each)
    for (const { now } of changes)
      if (now !== undefined) for (const each of nodeAddresses(now)) this.#byAddress.set(each, now)
    return changes
  }

  #refuse(name: string, condition: Condition | undefined): void {
    this.#conditions.replace(this.#refused.get(name), condition)
    if (condition === undefined) this.#refused.delete(name)
    else this.#refused.set(name, condition)
  }

  #wish(wish: Vtep): void {
    this.#wishes.set(wish.node, wish)
    if (wish.address === undefined) this.#lackIpv4.add(wish.node)
    for (const claim of claimsOf(wish)) {
      const names = this.#claimants.get(claim) ?? new Set()
      this.#claimants.set(claim, names.add(wish.node))
    }
  }

  #withdraw(name: string): void {
    const wish = this.#wishes.get(name)
    if (wish === undefined) return
    this.#wishes.delete(name)
    this.#lackIpv4.delete(name)
    this.#precedence.delete(name)
    for (const claim of claimsOf(wish)) {
      const names = this.#claimants.get(claim)
      names?.delete(name)
      if (names?.size === 0) this.#claimants.delete(claim)
    }
  }

  /** The node itself and all that share a claim with it, directly or through others. */
  #related(name: string): Set<string> {
    const found = new Set([name])
    for (const each of found) {
      const wish = this.#wishes.get(each)
      if (wish === undefined) continue
      for (const claim of claimsOf(wish)) for (const other of this.#claimants.get(claim) ?? []) found.add(other)
    }
    return found
  }
}

/** What a node gets of its wish, where others hold these claims. */
function granted(wish: Vtep, holders: ReadonlyMap<string, string>): { now?: Vtep; refused?: Condition } {
  const holderOf = (of: Vtep) => claimsOf(of).flatMap(claim => holders.get(claim) ?? [])[0]
  const holder = holderOf(wish)
  if (holder === undefined) return { now: wish }
  const { node, address, ipv6Address, ...ends } = wish
  const overIpv4 = { node, address, ...ends }
  if (address === undefined || ipv6Address === undefined || holderOf(overIpv4) !== undefined)
    return { refused: duplicate(holder, node) }
  return { now: overIpv4, refused: duplicateIpv6(holder, node, ipv6Address) }
}

function claimsOf(wish: Vtep): string[] {
  const { vtep, mac } = wish
  return [...nodeAddresses(wish), ...(vtep === undefined ? [] : [vtep]), mac]
}

/**
 * The device that leads to the tunnel end of another node: the one over IPv4 where both nodes have such an address, else the one
 * over IPv6 where both have that. Both ends decide alike.
 */
export function vxlanDeviceTo(
  { address, ipv6Address }: Vtep,
  { ipv4, ipv6 }: Pick<ThisNode, 'ipv4' | 'ipv6'>,
): TunnelDevice['name'] | undefined {
  if (address !== undefined && ipv4 !== undefined) return VXLAN_DEVICE
  return ipv6Address !== undefined && ipv6 !== undefined ? VXLAN_DEVICE_V6 : undefined
}

/** The addresses of the node of a VTEP. */
export function nodeAddresses(vtep: Vtep | undefined): string[] {
  return [vtep?.address, vtep?.ipv6Address].filter(each => each !== undefined)
}

function duplicate(holder: string, name: string): Condition {
  return broken('AddressesUnique', {
    object: { kind: 'Node', name },
    reason: 'DuplicateVtep',
    message: `nodes ${holder} and ${name} share an address, VTEP address or VTEP MAC; ${holder} has it, and ${name} gets no tunnel`,
    remedy: `delete Node ${name} if its machine is gone, or give it addresses of its own`,
  })
}

function duplicateIpv6(holder: string, name: string, address: string): Condition {
  return broken('AddressesUnique', {
    object: { kind: 'Node', name },
    reason: 'DuplicateIpv6Address',
    message: `nodes ${holder} and ${name} share the IPv6 address ${address}; ${holder} has it, and ${name} has its IPv4 address alone`,
    remedy:
      'remove the annotation projectcalico.org/IPv6Address of the Node that does not have the address any more, or give it another one',
  })
}
