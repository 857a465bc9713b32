// The address of a node's end of path probes (agent/probes/). It is there for the pods of its node: it is taken of a block that the
// node has for them already, and never a reason to claim one, to ask another node, or to keep one.
import type { Family } from '../lib/ip.ts'
import type { AssignRequest } from './port.ts'

/** The request for an address of a family; asking again gives the same address. */
export function probeRequest(node: string, family: Family): AssignRequest {
  const attributes = { node, type: 'probeAddress' }
  return {
    handle: `margay-probe-${node}-${family}`,
    attributes,
    families: [family],
    use: 'Workload',
    from: 'own blocks',
  }
}
