// The host side of pod interfaces in the tests of the verbs: felix, told of the endpoints as the agent does.
import type { EndpointStore } from '../../cni/endpoints.ts'
import type { HostSide } from '../../cni/host-side.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { Link } from '../../kernel/port/links.ts'
import type { Clock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

export type FelixSide = { felix: Felix; hostSide: HostSide }

/** A running felix for these endpoints. The uplink need not exist. */
export function felixFor(
  kernel: Kernel,
  endpoints: EndpointStore,
  clock: Clock,
  { uplink = 'eth0', onLink = () => {} }: { uplink?: string; onLink?: (link: Link) => void } = {},
): FelixSide {
  const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
  const felix = new Felix(kernel, { clock, log: silentLog, marks, onConditions: () => {}, onLink })
  felix.configure({ node: { name: 'n1', ipv4: '192.168.10.11/24', uplink } })
  for (const endpoint of endpoints.live()) felix.set('endpoint', endpoint.id, endpoint)
  endpoints.onChange(({ type, endpoint }) => felix.set('endpoint', endpoint.id, type === 'set' ? endpoint : undefined))
  felix.complete('endpoints')
  felix.complete('datastore')
  felix.start()
  return {
    felix,
    hostSide: {
      applied: id => felix.applied(id),
      routeProtocol: () => felix.podRouteProtocol,
      isFloating: () => false,
      podsFiltered: () => felix.podsFiltered,
      filterDifferences: name => felix.filterDifferences(name),
    },
  }
}
