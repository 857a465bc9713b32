// What an event of the kernel is about, as one name for all that is told of it.
import type { KernelEvent } from '../kernel/port/kernel.ts'
import { routeKeyOf } from '../kernel/reconcile/objects.ts'

export function changedObject(event: KernelEvent): string {
  switch (event.type) {
    case 'overrun':
      return 'lost events'
    case 'link':
    case 'link-gone':
      return `link ${event.link.name}`
    case 'address':
    case 'address-gone':
      return `address ${event.address.address}`
    case 'route':
    case 'route-gone':
      return `route ${routeKeyOf(event.route)}`
    case 'rule':
    case 'rule-gone':
      return `rule ${event.rule.priority}`
    case 'next-hop':
    case 'next-hop-gone':
      return `next hop object ${event.object.id}`
    case 'neighbour':
    case 'neighbour-gone':
      return `neighbour ${event.neighbour.address}`
    case 'fdb':
    case 'fdb-gone':
      return `forwarding entry ${event.entry.mac}`
    case 'shaping':
      return `shaping of ${event.ifindex}`
    case 'sysctl':
      return `setting ${event.family} ${event.of} ${event.name}`
  }
}
