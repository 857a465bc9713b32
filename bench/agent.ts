// What one change of a Node object costs the agent in a large cluster, from the cache's event to what felix and the
// speaker are told. Medians, in ms.
import { ClusterFeed } from '../agent/cluster-feed.ts'
import type { Watched } from '../agent/cluster-view.ts'
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { validate } from '../api/validate.ts'
import type { CacheChange } from '../datastore/kind-cache.ts'
import type { Row } from './row.ts'

const NODES = 5_000
const ROUNDS = 200

export async function benchAgent(): Promise<Row[]> {
  const { tell, flush, sessions } = started()
  for (let i = 0; i < NODES; i++) tell(node(i), undefined)
  await flush()
  const held = sessions()
  const row = async (name: string, change: (i: number) => Resource<'Node'>): Promise<Row> => ({
    name: `agent: ${name}, ${NODES} nodes in the mesh`,
    value: await median(i => {
      const [after, before] = [change(i), node(i)]
      return async () => {
        tell(after, before)
        await flush()
      }
    }),
    unit: 'ms',
  })
  return [
    await row('a Node changes in nothing that is used', i => ({ ...node(i), spec: { podCIDR: '10.0.0.0/24' } })),
    await row('another AS number of one node', i => node(i, { [NODE_ANNOTATION.asNumber]: '65001' })),
    { name: 'agent: sessions of the mesh', value: held, unit: 'sessions' },
  ]
}

/** A feed of node n0, told by hand; what it tells others is counted and dropped. */
function started() {
  let listener: (change: CacheChange<'Node'>) => void = () => undefined
  let changed = 0
  const view = {
    onChange: <K extends Watched>(kind: K, listen: (change: CacheChange<K>) => void) => {
      if (kind === 'Node') listener = listen as unknown as typeof listener
    },
    all: () => [],
    get: () => undefined,
  }
  const felix = { set: () => undefined, configure: () => undefined }
  const routing = {
    identify: async () => undefined,
    change: (changes: readonly unknown[]) => {
      changed += changes.length
    },
    announce: () => undefined,
    trust: () => undefined,
    admit: () => undefined,
    drain: () => undefined,
    setPools: () => undefined,
    nextHops: { recheck: () => undefined, setPeerWay: () => undefined },
    witness: () => undefined,
    share: () => undefined,
  }
  const services = {
    setRanges: () => undefined,
    setExcluded: () => undefined,
    take: () => new Map(),
    refused: () => [],
  }
  const feed = new ClusterFeed({
    ...{ nodeName: 'n0', view, felix, services, report: () => undefined, changed: () => undefined },
    secrets: { want: () => undefined, onChange: () => undefined },
  })
  feed.open({ address: address(0), subnets: [] })
  return {
    tell: (after: Resource<'Node'>, before: Resource<'Node'> | undefined) =>
      listener({ key: after.metadata.name, ...(before !== undefined && { before }), after }),
    flush: () => feed.flush(routing, { blocks: [], own: [] }),
    sessions: () => changed,
  }
}

function node(i: number, more: Record<string, string> = {}): Resource<'Node'> {
  const annotations = {
    [NODE_ANNOTATION.ipv4Address]: `${address(i)}/16`,
    [NODE_ANNOTATION.vxlanTunnelAddress]: `10.250.${i >> 8}.${i & 255}`,
    ...more,
  }
  const object = validate('Node', { metadata: { name: `n${i}`, labels: { rack: `r${i % 40}` }, annotations } })
  if (Array.isArray(object)) throw new Error(JSON.stringify(object))
  return object
}

function address(i: number): string {
  return `172.16.${i >> 8}.${i & 255}`
}

/** Of what `prepare` returns, which itself is not measured. */
async function median(prepare: (i: number) => () => Promise<void>): Promise<number> {
  const times: number[] = []
  for (let i = 1; i <= ROUNDS; i++) {
    const run = prepare(i)
    const startMs = performance.now()
    await run()
    times.push(performance.now() - startMs)
  }
  return times.sort((a, b) => a - b)[ROUNDS / 2]!
}
