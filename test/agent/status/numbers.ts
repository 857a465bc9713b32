// The numbers of a small, healthy node, for tests of what is made of them.
import type { NodeNumbers } from '../../../agent/status/metrics.ts'

export function someNumbers(): NodeNumbers {
  return {
    ...{ version: '1.2.3', ready: true, conditions: [], datastore: 'whole', nodes: 1, endpoints: 0, learned: 0 },
    ...{ passes: { count: 1, seconds: 0.01, failures: 0 }, events: new Map([['Started', 1]]), blocks: [], peers: [] },
    ...{
      prefixes: () => new Map(),
      room: [{ family: 'ipv4', free: 40, untilBlock: 24 }],
      dropped: new Map(),
      decided: new Map(),
      copiesLost: 0,
      recordsDropped: 0,
      paths: [],
    },
  }
}
