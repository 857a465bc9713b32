// What nodes and controllers tell each other about policies. A revision stands for what a policy says, a digest for all policies of
// a kind, whatever order they came in: a node that says a digest has worked through everything that was there when it was the
// cluster's. Both are compared for equality alone: versions of an API server have no order that a client may rely on.
// Hazards: both ends must make the same text of the same object, so only its kind, its name and its spec count; who may write
// policies can look for two sets with one digest, and gains a wrong number in a status, no packet.
import { hash } from 'node:crypto'
import { emitJson } from './json.ts'
import type { Kind } from './kinds.ts'

/** The kinds whose objects have receipts. */
export const RECEIPT_KINDS = [
  'KubernetesNetworkPolicy',
  'ClusterNetworkPolicy',
  'NetworkPolicy',
  'GlobalNetworkPolicy',
  'StagedKubernetesNetworkPolicy',
  'StagedNetworkPolicy',
  'StagedGlobalNetworkPolicy',
] as const satisfies readonly Kind[]

/**
 * Of the ClusterInformation `default`: margay-controllers ask all nodes to say in their receipts that they have worked through this
 * version of Pods (`podsAsked`), and all of them had worked through this one (`podsSettled`).
 */
export const RECEIPT_ANNOTATION = { podsAsked: 'margay.io/PodsAsked', podsSettled: 'margay.io/PodsSettled' } as const

export type ReceiptKind = (typeof RECEIPT_KINDS)[number]

export function hasReceipts(kind: Kind): kind is ReceiptKind {
  return (RECEIPT_KINDS as readonly Kind[]).includes(kind)
}

const MOST_NAME = 253

/** The name of the PolicyStatus of a policy: `kubernetesnetworkpolicy.shop.allow-web`. One that is too long is cut, with digits of its own. */
export function policyStatusName(kind: ReceiptKind, { name, namespace }: { name: string; namespace?: string }): string {
  const whole = [kind.toLowerCase(), ...(namespace === undefined ? [] : [namespace]), name].join('.')
  if (whole.length <= MOST_NAME) return whole
  const digits = hash('sha256', whole).slice(0, DIGITS)
  return `${whole.slice(0, MOST_NAME - DIGITS - 1).replace(/[^a-z0-9]+$/, '')}.${digits}`
}

/** Of a revision and a digest: one in 10^11 clusters of ten thousand policies has two with the same. */
const DIGITS = 16

/** The digits that stand for what a policy says: the same for the same spec under the same name, whoever reads it. */
export function revisionOf(id: string, spec: unknown): string {
  return hash('sha256', `${id}\n${canonicalJson(spec)}`).slice(0, DIGITS)
}

/** JSON with the keys of each object in their order, and without those that are undefined. */
function canonicalJson(value: unknown): string {
  if (typeof value !== 'object' || value === null) return emitJson(value) ?? 'null'
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join()}]`
  const fields = Object.entries(value).filter(([, field]) => field !== undefined)
  const sorted = fields.toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `{${sorted.map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`).join()}}`
}

/** The digest of a set of revisions that come and go: no set and the empty one have the same. */
export class PolicyDigest {
  #sum = 0n

  /** Takes a revision in, or one that was taken in out again. */
  toggle(revision: string): void {
    this.#sum ^= BigInt(`0x${revision}`)
  }

  get text(): string {
    return this.#sum.toString(16).padStart(DIGITS, '0')
  }
}

/**
 * Whether one version of the objects of a kind is another one or a later one; false where that cannot be known. Versions of one kind
 * are decimal numbers that grow: Kubernetes promises it since 1.35 (KEP-5504) and had no other ones before. Beyond 2^53 too.
 */
export function isAtLeast(version: string | undefined, other: string): boolean {
  if (version === undefined || !VERSION.test(version) || !VERSION.test(other)) return false
  return version.length === other.length ? version >= other : version.length > other.length
}

const VERSION = /^[1-9][0-9]*$/
