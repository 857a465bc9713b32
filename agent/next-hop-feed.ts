// What a tracker of next hops has to know of the speaker whose next hops it follows.
import type { RouteSink } from '../bgp/port.ts'
import type { Explanation } from '../bgp/rib/explain.ts'
import { formatNextHop, octetsOf } from '../bgp/rib/next-hop.ts'
import type { NextHopTracker } from './next-hop-tracker.ts'

/** A sink whose changes the tracker hears too: next hops may be reached over what is selected. */
export function heardBy(tracker: Pick<NextHopTracker, 'selected'>, sink: RouteSink): RouteSink {
  return {
    selected: route => {
      sink.selected(route)
      tracker.selected(route.prefix)
    },
    withdrawn: prefix => {
      sink.withdrawn(prefix)
      tracker.selected(prefix)
    },
  }
}

/** The next hops of the paths that import accepted. */
export function announcedNextHops(explanation: Explanation | undefined): string[] {
  const candidates = explanation?.candidates.filter(candidate => candidate.import.accepted) ?? []
  return candidates.flatMap(({ attributes: { attributes, mpNextHop } }) => {
    const octets = mpNextHop ?? (attributes.nextHop === undefined ? undefined : octetsOf(attributes.nextHop))
    return octets === undefined ? [] : [formatNextHop(octets)]
  })
}
