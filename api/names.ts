// Names of objects that are computed from what they stand for, as Calico computes them (libcalico-go/lib/names and
// lib/backend/model): the name of a block is its lock, so every writer must come to the same one.
import { createHash } from 'node:crypto'

/** An IPAMBlock's name from its CIDR: `10.244.1.0/26` is `10-244-1-0-26`. */
export function blockName(cidr: string): string {
  return cidr.replace(/[.:/]/g, '-')
}

/** Longest name of a BlockAffinity; a longer one is cut and gets the start of a hash instead. */
const AFFINITY_NAME_LIMIT = 252
const AFFINITY_HASH_LENGTH = 11

/** A BlockAffinity's name: `<node>-<block name>`, kept unique with a hash when the node's name is too long for that. */
export function blockAffinityName(node: string, cidr: string): string {
  const block = blockName(cidr)
  const plain = `${node}-${block}`
  if (plain.length <= AFFINITY_NAME_LIMIT) return plain
  const hash = createHash('sha256')
    .update(node + block)
    .digest('hex')
    .slice(0, AFFINITY_HASH_LENGTH)
  const room = AFFINITY_NAME_LIMIT - block.length - AFFINITY_HASH_LENGTH - 2
  return `${node.slice(0, room)}-${block}-${hash}`
}

/** Who an endpoint belongs to. `workload` is the pod in Kubernetes, the container's id without it. */
export type EndpointIdentity = { node: string; orchestrator: 'k8s' | 'cni'; workload: string; endpoint: string }

/** A WorkloadEndpoint's name: `<node>-<orchestrator>-<workload>-<endpoint>`, each `-` inside a part doubled. */
export function workloadEndpointName({ node, orchestrator, workload, endpoint }: EndpointIdentity): string {
  return [node, orchestrator, workload, endpoint].map(part => part.replaceAll('-', '--')).join('-')
}

/** A DNS-1123 subdomain, at most 253 characters: what Kubernetes takes as the name of an object. */
export function isObjectName(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(text)
}

/** A qualified label or annotation name: an optional DNS prefix and `/`, then at most 63 characters. */
export function isQualifiedName(text: string): boolean {
  const slash = text.lastIndexOf('/')
  if (slash >= 0 && !isObjectName(text.slice(0, slash))) return false
  return /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.test(text.slice(slash + 1))
}

/** A label's value: empty, or at most 63 characters that begin and end with a letter or digit. */
export function isLabelValue(text: string): boolean {
  return text === '' || /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.test(text)
}
