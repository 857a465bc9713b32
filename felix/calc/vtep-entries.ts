// What the VXLAN devices hold of the other nodes: where the frames for each VTEP go, as permanent entries, so that no question is
// asked and no answer of anybody is believed. They are wanted while the device is that leads there.
import { isDeepStrictEqual } from 'node:util'
import { fdbKey, type NamedFdbEntry, type NamedNeighbour, neighbourKey } from '../../kernel/reconcile/objects.ts'
import { linkLocal } from '../../lib/ip.ts'
import type { Desired } from '../desired.ts'
import type { ThisNode } from '../input.ts'
import type { Output } from './output.ts'
import { TUNNEL_DEVICES, VXLAN_DEVICE } from './tunnels.ts'
import { type Vtep, type VtepChange, type VtepGroup, vxlanDeviceTo } from './vteps.ts'

type Vteps = Pick<VtepGroup, 'all' | 'get'>
type Outputs = { readonly [K in 'neighbour' | 'fdb']: Output<Desired[K]> }
/** The devices that are wanted, this node’s addresses, and whether packets of pods are carried besides those of IPv4. */
type Carried = { devices: readonly string[]; from: Pick<ThisNode, 'ipv4' | 'ipv6'>; ipv6: boolean }

export class VtepEntries {
  readonly #vteps: Vteps
  readonly #outputs: Outputs
  /** As of the last update. */
  #carried: Carried = { devices: [], from: {}, ipv6: false }

  constructor(vteps: Vteps, outputs: Outputs) {
    this.#vteps = vteps
    this.#outputs = outputs
  }

  /** Takes in the nodes whose VTEP changed, and what is carried from here. */
  update(changes: readonly VtepChange[], carried: Carried): void {
    const { neighbour, fdb } = this.#outputs
    if (!isDeepStrictEqual(carried, this.#carried)) {
      this.#carried = carried
      for (const [key, { interfaceName }] of [...neighbour.wanted()])
        if (TUNNEL_DEVICES.has(interfaceName)) neighbour.want(key, undefined)
      for (const key of [...fdb.wanted().keys()]) fdb.want(key, undefined)
      for (const vtep of this.#vteps.all()) this.#want(vtep, carried, 'present')
    } else {
      // an entry may have passed from one node to another, and back: first all go, then those that hold now come
      for (const { before, now } of changes)
        for (const vtep of [before, now]) if (vtep !== undefined) this.#want(vtep, carried, 'absent')
      for (const { name } of changes) {
        const vtep = this.#vteps.get(name)
        if (vtep !== undefined) this.#want(vtep, carried, 'present')
      }
    }
  }

  #want(vtep: Vtep, carried: Carried, wanted: 'present' | 'absent'): void {
    const { neighbours, fdb } = entriesOf(vtep, carried)
    const shown = <T>(entry: T) => (wanted === 'present' ? entry : undefined)
    for (const each of neighbours) this.#outputs.neighbour.want(neighbourKey(each), shown(each))
    for (const each of fdb) this.#outputs.fdb.want(fdbKey(each), shown(each))
  }
}

/**
 * Routes for IPv6 lead to the link-local address that the MAC of the far device gives it: no IPv6 address has to be given or told.
 * A VTEP without an address for what is carried has no entries.
 */
function entriesOf(
  far: Vtep,
  { devices, from, ipv6 }: Carried,
): { neighbours: NamedNeighbour[]; fdb: NamedFdbEntry[] } {
  const interfaceName = vxlanDeviceTo(far, from)
  if (interfaceName === undefined || !devices.includes(interfaceName)) return { neighbours: [], fdb: [] }
  const { vtep, mac, address, ipv6Address } = far
  const [hop, dst] = interfaceName === VXLAN_DEVICE ? [vtep, address] : [undefined, ipv6Address]
  const hops = [hop, ipv6 ? linkLocal(mac) : undefined].filter(each => each !== undefined)
  return {
    neighbours: hops.map(each => ({ interfaceName, address: each, mac, permanent: true })),
    fdb: hops.length === 0 || dst === undefined ? [] : [{ interfaceName, mac, dst }],
  }
}
