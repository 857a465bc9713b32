// Blocks that one network of another plugin has for itself on this node (`cni/ipam/`): its containers share a link, or have a gateway
// that the plugin gives to the host, so the block is their subnet, and one address of it is that gateway's. Or they are on a LAN, whose
// addresses the block has a part of. Nobody else gets an address of such a block. The slot of the gateway says so, and on a LAN that
// of each pod, in the block itself: what is known of it outlives the journal. Pure.
import type { Resource } from '../api/kinds.ts'
import { addressAt, addressBits, cidr, familyOf, indexOf } from '../lib/ip.ts'
import { type Block, isEmpty, nextFree } from './block.ts'
import { isHostOf } from './lan.ts'
import { PLUGIN_TYPE, type SubnetRequest } from './port.ts'

/** Whether the holder of a slot is a pod, and not the node itself: a tunnel or a gateway. */
export function isPods(secondary: Readonly<Record<string, string>> | undefined): boolean {
  const type = secondary?.['type']
  return type === undefined || type === PLUGIN_TYPE.pod
}

/** Whether a network has the block of an IPAMBlock for itself. */
export function isSubnet({ attributes }: Pick<Resource<'IPAMBlock'>['spec'], 'attributes'>): boolean {
  return attributes.some(({ secondary }) => secondary?.['network'] !== undefined)
}

/** The network that has a block for itself. */
export function subnetOf({ slots }: Block): string | undefined {
  return slots.find(slot => slot?.secondary['network'] !== undefined)?.secondary['network']
}

/** Whether the pods of the network that has a block for itself are on a LAN. */
export function isOnLan(block: Block): boolean {
  const hasGateway = block.slots.some(slot => slot?.secondary['type'] === PLUGIN_TYPE.gateway)
  return !hasGateway && subnetOf(block) !== undefined
}

/** Whether blocks of a pool have an address for a container beside that of the network, the gateway and, of IPv4, the broadcast. */
export function isSubnetSize(poolCidr: string, blockSize: number): boolean {
  return addressBits(familyOf(poolCidr)) - blockSize >= 2
}

/** Slots of a block; `gateway`: the one that makes it the subnet of the network. */
export type Places = { ordinal: number; gateway?: number }

/**
 * Where a pod may have an address of a block, or that of `address` alone, which the caller knows is free; undefined: nowhere.
 * `subnet`: of a network that has the block for itself, or takes it for itself while it is empty. Absent: blocks of no network.
 */
export function placesIn(
  block: Block,
  subnet: Pick<SubnetRequest, 'network' | 'lan'> | undefined,
  usable: (address: string) => boolean,
  address?: string,
): Places | undefined {
  const asked = address === undefined ? undefined : indexOf(block.cidr, address)
  const owner = subnetOf(block)
  if (subnet === undefined) {
    const ordinal = owner === undefined ? (asked ?? nextFree(block, usable)) : undefined
    return ordinal === undefined ? undefined : { ordinal }
  }
  const isNew = owner === undefined && isEmpty(block)
  if (!isNew && !isOf(block, subnet)) return undefined
  const lan = subnet.lan?.[familyOf(block.cidr)]
  const isFit = (each: number) => (lan === undefined ? isHost(block, each) : isHostOf(lan, addressAt(block.cidr, each)))
  const hosts = block.free.filter(each => isFit(each) && usable(addressAt(block.cidr, each)))
  const gateway =
    isNew && lan === undefined
      ? hosts.filter(each => each !== asked).reduce(lower, Number.POSITIVE_INFINITY)
      : undefined
  if (gateway === Number.POSITIVE_INFINITY) return undefined
  const ordinal = asked === undefined ? hosts.find(each => each !== gateway) : isFit(asked) ? asked : undefined
  return ordinal === undefined ? undefined : { ordinal, ...(gateway !== undefined && { gateway }) }
}

/** Whether a network has a block for itself, and as what it asks for now. */
export function isOf(block: Block, { network, lan }: Pick<SubnetRequest, 'network' | 'lan'>): boolean {
  return subnetOf(block) === network && isOnLan(block) === (lan !== undefined)
}

function lower(a: number, b: number): number {
  return Math.min(a, b)
}

/** The first address of a subnet is the network's (RFC 4291 2.6.1: of its routers), the last one of IPv4 the broadcast. */
function isHost({ cidr: blockCidr, slots }: Block, ordinal: number): boolean {
  return ordinal > 0 && (ordinal < slots.length - 1 || cidr(blockCidr).family === 'ipv6')
}
