// What of the events of a namespace is told of pods. Pure.
import type { KernelEvent, PodEvent } from './kernel.ts'

/** Undefined for what a monitor of pods does not tell. */
export function asPodEvent(event: KernelEvent): PodEvent | undefined {
  switch (event.type) {
    case 'link':
    case 'link-gone':
    case 'address':
    case 'address-gone':
    case 'neighbour-gone':
      return event
    case 'neighbour':
      return event.neighbour.permanent || event.neighbour.mac === undefined ? event : undefined
    case 'route-gone':
      return /\/(0|32|128)$/.test(event.route.dst) ? { ...event, type: 'route-gone' } : undefined
  }
  return undefined
}
