// What the annotation `margay.io/BFD` of a BGPPeer, or of the BGPConfiguration for the mesh, asks for: `300ms x 3`, and words after
// it. Calico has no field for BFD. Pure. A session whose annotation makes no sense has no BFD, and comes up.
import { BGP_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import { broken, type Condition, type ConditionCause, type ObjectRef } from '../../api/status.ts'
import type { BfdConfig } from '../../bgp/config.ts'

/** At most one of the two. */
export type AskedBfd = { bfd?: BfdConfig; fault?: ConditionCause }

/** From 50 ms on, and noticed after 150 ms at the least. */
const INTERVAL = { least: 50, most: 60_000 }
const LEAST_DETECTION_MS = 150

/** What an object asks for: nothing without the annotation, or with an empty one. */
export function askedBfd({ annotations = {} }: { annotations?: Record<string, string> }): AskedBfd {
  const text = annotations[BGP_ANNOTATION.bfd]?.trim() ?? ''
  if (text === '') return {}
  const parsed = parse(text)
  if (typeof parsed !== 'string') return { bfd: parsed }
  return {
    fault: {
      reason: 'BadBFD',
      message: `annotation ${BGP_ANNOTATION.bfd} is ${JSON.stringify(text.slice(0, 80))}: ${parsed}; the sessions have no BFD`,
      remedy: 'write "300ms x 3", after it multihop where the neighbour is told so, or remove the annotation',
    },
  }
}

/** The objects whose sessions have no BFD, as what they say of it makes no sense: that of the mesh, and BGPPeers for this node. */
export function badBfd(
  { fault: ofMesh }: AskedBfd,
  peers: ReadonlyMap<string, { object: Resource<'BGPPeer'> }>,
  isForThis: (peer: ObjectRef) => boolean,
): Condition[] {
  const mesh: ObjectRef = { kind: 'BGPConfiguration', name: 'default' }
  const ofPeers = [...peers].flatMap(([name, { object }]) => {
    const { fault } = askedBfd(object.metadata)
    const peer: ObjectRef = { kind: 'BGPPeer', name }
    return fault !== undefined && isForThis(peer) ? [broken('PeersConfigured', { ...fault, object: peer })] : []
  })
  return [...(ofMesh === undefined ? [] : [broken('PeersConfigured', { ...ofMesh, object: mesh })]), ...ofPeers]
}

function parse(text: string): BfdConfig | string {
  const [, interval = '', unit, multiplier = '', rest = ''] =
    /^(\d{1,5})(ms|s)\s*x\s*(\d{1,3})(?:\s+(.*))?$/.exec(text) ?? []
  if (interval === '') return 'it does not begin with an interval and a number of packets, such as 300ms x 3'
  const config: BfdConfig = { intervalMs: Number(interval) * (unit === 's' ? 1000 : 1), multiplier: Number(multiplier) }
  const { intervalMs = 0 } = config
  if (intervalMs < INTERVAL.least || intervalMs > INTERVAL.most)
    return `the interval is not from ${INTERVAL.least}ms to ${INTERVAL.most / 1000}s`
  if (Number(multiplier) < 1 || Number(multiplier) > 255) return 'the number of packets is not from 1 to 255'
  if (intervalMs * Number(multiplier) < LEAST_DETECTION_MS)
    return `${intervalMs * Number(multiplier)} ms are too short to tell a late packet from a lost path: at least ${LEAST_DETECTION_MS}`
  for (const word of rest.split(/\s+/).filter(each => each !== '')) {
    if (word !== 'multihop') return `nothing is known of the word ${word}, but of multihop`
    config.multihop = true
  }
  return config
}
