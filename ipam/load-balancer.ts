// Addresses of Services of type LoadBalancer: blocks that belong to no node but to what Calico calls the virtual node of load
// balancers, each address under the handle that Calico gives a Service, so that either program goes on with what the other wrote.
// An address that several Services share is the first one's; the others stand in its attributes, which is ours: they and the
// address change in one write of the block. Pure.
import { createHash } from 'node:crypto'
import type { Resource } from '../api/kinds.ts'
import { blockName } from '../api/names.ts'
import { assign, type Block, blockSpec, freeAt, type Holder, handOver } from './block.ts'

type BlockObject = Resource<'IPAMBlock'>

/** Calico's name for who owns such a block (libcalico-go, VirtualLoadBalancer), and the affinity. */
export const LOAD_BALANCER_NODE = 'load-balancer'
export const LOAD_BALANCER = `virtual:${LOAD_BALANCER_NODE}`
/** The `type` of such an address in the attributes of its block: that of the Service. */
const SERVICE_TYPE = 'LoadBalancer'
/** `NAME/HANDLE` of each other Service of the same namespace, by spaces, in the order in which they came. */
const SHARED_WITH = 'margay.io/shared-with'

/** A Service that has an address. A Service that is made again under its name has another handle. */
export type ServiceHolder = { namespace: string; name: string; handle: string }

export function isLoadBalancerBlock({ spec }: Pick<BlockObject, 'spec'>): boolean {
  return spec.affinity === LOAD_BALANCER
}

/** Whether the holder of a slot is a Service. */
export function isServices(secondary: Holder['secondary'] | undefined): boolean {
  return secondary?.['type'] === SERVICE_TYPE && secondary['service'] !== undefined
}

/** Of a Service, by Calico's rule (kube-controllers, createHandle): a hash of its name, namespace and uid. */
export function serviceHolder({ name, namespace = '', uid = '' }: Resource<'IPPool'>['metadata']): ServiceHolder {
  const hash = createHash('sha256').update(`${name}-${namespace}-${uid}`.toLowerCase()).digest('base64url')
  return { namespace, name, handle: `lb-${hash.replace(/[-_.]/g, '')}` }
}

/** The Services that have an address, the first one first; none where the attributes name no Service. */
export function serviceHolders({ handle, secondary }: Holder): ServiceHolder[] {
  const { namespace, service } = secondary
  if (namespace === undefined || service === undefined) return []
  const others = (secondary[SHARED_WITH] ?? '').split(' ').filter(each => each !== '')
  return [
    { namespace, name: service, handle },
    ...others.map(each => {
      const [name = '', its = ''] = each.split('/')
      return { namespace, name, handle: its }
    }),
  ]
}

/** The block in which an address belongs to these Services of one namespace, or to nobody. `since`: when the first one got it. */
export function giveTo(
  block: Block,
  ordinal: number,
  [first, ...others]: readonly ServiceHolder[],
  since: string,
): Block {
  const before = block.slots[ordinal]
  if (first === undefined) return before ? freeAt(block, ordinal) : block
  const { namespace, name: service, handle } = first
  const secondary = {
    ...{ namespace, service, type: SERVICE_TYPE, timestamp: before?.secondary['timestamp'] ?? since },
    ...(others.length > 0 && { [SHARED_WITH]: others.map(each => `${each.name}/${each.handle}`).join(' ') }),
  }
  const holder = { handle, secondary }
  return before ? handOver(block, ordinal, holder) : assign(block, holder, ordinal)
}

/** Writes such a block, keeping what `base` (the object as read) has beyond our own fields. */
export function emitLoadBalancerBlock(block: Block, base?: BlockObject): BlockObject {
  return {
    ...base,
    metadata: base?.metadata ?? { name: blockName(block.cidr) },
    spec: blockSpec(block, LOAD_BALANCER, base?.spec),
  }
}
