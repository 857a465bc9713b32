// What the choice of route reflectors uses of Nodes. Pure.
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import type { ReflectionReceipt } from '../api/receipt-schemas.ts'
import type { PlanNode } from './reflector-plan.ts'

/** A node that takes part in the mesh. */
export type MeshNode = {
  name: string
  rack: string
  labels: Readonly<Record<string, string>>
  /** As its annotation has it. */
  asNumber: string | undefined
  /** Nobody is about to take it away. */
  isKept: boolean
  /** Undefined: nobody says whether it is. */
  isReady: boolean | undefined
  /** Since when, in milliseconds since the epoch; 0: it is not told. */
  sinceMs: number
}

/** A node whose kubelet was not heard of for so long has lost its pods to others, and is not waited for. */
const GONE_MS = 300_000

/** Those with an address for BGP, which their agents write, but for reflectors that people made: they are not in the mesh. */
export function meshNodes(nodes: Iterable<Resource<'Node'>>, label: string | undefined): MeshNode[] {
  return [...nodes].flatMap(({ metadata, spec, status }) => {
    const { name, labels = {}, annotations = {}, deletionTimestamp } = metadata
    const has = (key: keyof typeof NODE_ANNOTATION) => (annotations[NODE_ANNOTATION[key]] ?? '') !== ''
    if (!(has('ipv4Address') || has('ipv6Address')) || has('routeReflectorClusterId')) return []
    const isKept =
      deletionTimestamp === undefined &&
      spec['unschedulable'] !== true &&
      annotations[NODE_ANNOTATION.drainBgp] !== 'true'
    const { isReady, sinceMs } = readiness(status?.['conditions'])
    const rack = (label === undefined ? undefined : labels[label]) ?? ''
    return [{ name, rack, labels, asNumber: annotations[NODE_ANNOTATION.asNumber], isKept, isReady, sinceMs }]
  })
}

function readiness(conditions: unknown): Pick<MeshNode, 'isReady' | 'sinceMs'> {
  const all: unknown[] = Array.isArray(conditions) ? conditions : []
  const ready = all.find(each => isObject(each) && each['type'] === 'Ready')
  if (!isObject(ready)) return { isReady: undefined, sinceMs: 0 }
  const sinceMs = Date.parse(String(ready['lastTransitionTime']))
  return { isReady: ready['status'] === 'True', sinceMs: Number.isNaN(sinceMs) ? 0 : sinceMs }
}

/** `isLost`: other nodes do not have it as a reflector. `awayMs`: for how long it was seen not to be Ready. */
export function goodNode(
  { name, rack, isKept, isReady, sinceMs }: MeshNode,
  { said, isLost, awayMs }: { said: ReflectionReceipt | undefined; isLost: boolean; awayMs: number },
): PlanNode {
  const isFit = isKept && isReady === true && !isLost
  const isAwaited = awayMs < GONE_MS
  return { name, rack, isFit, isAwaited, readyMs: sinceMs, said }
}
