// Who may do what. The administrator everything. A node reads what networking needs and writes what belongs to it: its
// Node, its blocks, its endpoints, so that a stolen node token cannot move another node's traffic. Everybody else only
// asks what there is and who they are. After Kubernetes' node authoriser and NodeRestriction.
import { ADDRESSES_WANTED_ANNOTATION } from '../api/address-wishes.ts'
import { BORROWERS_ASKED_ANNOTATION } from '../api/borrower-questions.ts'
import { sameJson } from '../api/json.ts'
import { type Kind, type KindRow, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { BLOCK_WANTED_ANNOTATION } from '../api/names.ts'
import { changesOwnEntry } from '../api/node-entries.ts'
import { POOL_FINALIZER } from '../api/pools.ts'
import { MASTERS, nodeNameOf, type User } from './identity.ts'
import type { ApiVerb } from './routes.ts'
import { ApiError } from './status.ts'

/** What somebody wants to do; `name` absent means the collection. A list or watch of one object by its name has that as `name`. */
export type Attempt = { verb: ApiVerb; kind: Kind; namespace?: string; name?: string; subresource?: string }

/** One write as it would be: an object that comes, changes or goes. Throws Forbidden to refuse it. */
export type WriteGuard = (before: AnyObject | undefined, after: AnyObject | undefined) => void

type Rule = {
  name: string
  verbs: readonly ApiVerb[]
  /** Whose the object is; undefined: nobody's. */
  ownerOf(object: AnyObject): string | undefined
  /** Whether a node may take an object that is nobody's, and give one up. */
  free?: true
  /** Objects that belong to no node: every node may change of them what `refusal` lets pass. */
  shared?: true
  /** What `node` may change of the objects of others. */
  mayChange?(before: AnyObject, after: AnyObject, node: string): boolean
  /** What else must hold of a change; the text says what does not. */
  refusal?(before: AnyObject | undefined, after: AnyObject | undefined): string | undefined
}

const READS: readonly ApiVerb[] = ['get', 'list', 'watch']
const ALL_WRITES: readonly ApiVerb[] = ['create', 'update', 'patch', 'delete']
const RESTRICTED_LABEL = /(^|\.)node-restriction\.kubernetes\.io\//

const specField =
  (field: string) =>
  ({ spec }: AnyObject): string | undefined => {
    const value = (spec as Record<string, unknown> | undefined)?.[field]
    return typeof value === 'string' ? value : undefined
  }

/** What a node may write, by kind. A kind without a row is read only to it. */
const NODE_RULES: Partial<Record<Kind, Rule>> = {
  Node: {
    name: 'a node writes its own Node',
    verbs: ['create', 'update', 'patch'],
    ownerOf: ({ metadata }) => metadata.name,
    refusal: nodeRestriction,
  },
  IPAMBlock: {
    name: 'a node writes its own blocks',
    verbs: ALL_WRITES,
    ownerOf: object => specField('affinity')(object)?.replace(/^host:/, ''),
    free: true,
    mayChange: asksForAddresses,
  },
  IPPool: {
    name: 'a node only says that blocks lie in a pool',
    verbs: ['patch'],
    ownerOf: () => undefined,
    shared: true,
    refusal: poolFinalizerOnly,
  },
  CalicoNodeStatus: {
    name: 'a node fills the status of what asks for its own',
    verbs: ['patch'],
    ownerOf: specField('node'),
    refusal: statusOnly,
  },
  PolicyReceipt: {
    name: 'a node writes its own receipt',
    verbs: ['create', 'update', 'patch'],
    ownerOf: ({ metadata }) => metadata.name,
  },
  BlockAffinity: { name: 'a node writes its own block affinities', verbs: ALL_WRITES, ownerOf: specField('node') },
  WorkloadEndpoint: { name: 'a node writes its own endpoints', verbs: ALL_WRITES, ownerOf: specField('node') },
}

/** A node keeps a pool while blocks lie in it, by its finalizer, and changes nothing else of it. */
function poolFinalizerOnly(before: AnyObject | undefined, after: AnyObject | undefined): string | undefined {
  const rest = (object: AnyObject | undefined): unknown => {
    const finalizers = (object?.metadata.finalizers ?? []).filter(name => name !== POOL_FINALIZER)
    return { ...object, metadata: { ...lastingMetadata(object), finalizers } }
  }
  const same = after === undefined || sameJson(rest(before), rest(after))
  return same ? undefined : `a node changes nothing of an IPPool but the finalizer ${POOL_FINALIZER}`
}

/**
 * A node without a free address asks another one for an empty block, or for single addresses of one, by annotations of it; of the
 * second, and of what asks whether it lives, it changes its own entry. Nothing else.
 */
function asksForAddresses(before: AnyObject, after: AnyObject, node: string): boolean {
  const rest = (names: readonly string[], object: AnyObject): unknown => {
    const annotations = { ...object.metadata.annotations }
    for (const name of names) delete annotations[name]
    return { ...object, metadata: { ...lastingMetadata(object), annotations } }
  }
  const changesNothingBut = (...names: string[]) => sameJson(rest(names, before), rest(names, after))
  const isWanted = after.metadata.annotations?.[BLOCK_WANTED_ANNOTATION] !== undefined
  if (isWanted && changesNothingBut(BLOCK_WANTED_ANNOTATION)) return true
  const own = [ADDRESSES_WANTED_ANNOTATION, BORROWERS_ASKED_ANNOTATION]
  const changes = own.map(name => [before, after].map(({ metadata }) => metadata.annotations?.[name]))
  return (
    changesNothingBut(...own) &&
    changes.some(([was, is]) => was !== is) &&
    changes.every(([was, is]) => changesOwnEntry(was, is, node))
  )
}

function statusOnly(before: AnyObject | undefined, after: AnyObject | undefined): string | undefined {
  const rest = (object: AnyObject | undefined): unknown => ({
    ...{ ...object, status: undefined },
    metadata: lastingMetadata(object),
  })
  return sameJson(rest(before), rest(after)) ? undefined : 'a node changes nothing of a CalicoNodeStatus but its status'
}

/** Without what the server writes at each change. */
function lastingMetadata(object: AnyObject | undefined): object {
  const metadata: Record<string, unknown> = { ...object?.metadata }
  for (const own of ['resourceVersion', 'generation', 'managedFields']) delete metadata[own]
  return metadata
}

/** Labels choose pools and peers, taints and addresses of a Node are others' decision: a node leaves them as they are. */
function nodeRestriction(before: AnyObject | undefined, after: AnyObject | undefined): string | undefined {
  if (after === undefined) return undefined
  if (before === undefined)
    return Object.keys(after.metadata.labels ?? {}).some(label => RESTRICTED_LABEL.test(label))
      ? 'a node sets no label of node-restriction.kubernetes.io'
      : undefined
  const parts = ['labels', 'finalizers', 'ownerReferences'] as const
  const changed = parts.find(part => !sameJson(before.metadata[part], after.metadata[part]))
  if (changed !== undefined) return `a node leaves metadata.${changed} of its Node as they are`
  return sameJson(before.spec, after.spec) ? undefined : 'a node leaves the spec of its Node as it is'
}

/** Why an attempt is refused before any object is looked at; undefined when it may go on. */
export function refusalOf(user: User, { verb, kind, namespace, name }: Attempt): string | undefined {
  if (user.groups.includes(MASTERS)) return undefined
  const node = nodeNameOf(user)
  if (node === undefined) return 'no rule lets this user do it'
  // as Kubernetes' node authoriser: nobody looks through all of them with the token of a node
  if (kind === 'Secret' && (name === undefined || namespace === undefined))
    return 'a node reads a Secret that it names, and not all of them'
  if (READS.includes(verb)) return undefined
  const rule = NODE_RULES[kind]
  if (rule === undefined) return `a node only reads ${kinds[kind].plural}`
  if (!rule.verbs.includes(verb)) return `${rule.name}: by ${rule.verbs.join(', ')} alone`
  if (kind === 'Node' && name !== undefined && name !== node) return rule.name
  return undefined
}

/** Throws Forbidden when the user may not even try. */
export function authorize(user: User, attempt: Attempt): void {
  const why = refusalOf(user, attempt)
  if (why !== undefined) throw forbidden(user, attempt, why)
}

/** What looks at each object that an authorised attempt would write. */
export function guardOf(user: User, attempt: Attempt): WriteGuard {
  const node = nodeNameOf(user)
  const rule = NODE_RULES[attempt.kind]
  if (user.groups.includes(MASTERS) || node === undefined || rule === undefined) return () => {}
  return (before, after) => {
    if (before !== undefined && after !== undefined && rule.mayChange?.(before, after, node)) return
    const isOwn = (object: AnyObject | undefined): boolean => {
      if (rule.shared === true) return true
      const owner = object === undefined ? node : rule.ownerOf(object)
      return owner === node || (owner === undefined && rule.free === true)
    }
    const isSomeones =
      rule.shared === true || [before, after].some(object => object !== undefined && rule.ownerOf(object) === node)
    const why = isOwn(before) && isOwn(after) && isSomeones ? rule.refusal?.(before, after) : rule.name
    if (why === undefined) return
    const name = (after ?? before)?.metadata.name
    throw forbidden(user, { ...attempt, name }, why)
  }
}

function forbidden(user: User, { verb, kind, namespace, name, subresource }: Attempt, rule: string): ApiError {
  const { plural, group }: KindRow = kinds[kind]
  const resource = subresource === undefined ? plural : `${plural}/${subresource}`
  const scope = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`
  const object = `${group === '' ? plural : `${plural}.${group}`}${name === undefined ? '' : ` "${name}"`}`
  const what = `cannot ${verb} resource "${resource}" in API group "${group}" ${scope}`
  const details = { ...(name === undefined ? {} : { name }), group, kind: plural }
  return new ApiError('Forbidden', `${object} is forbidden: User "${user.name}" ${what}: ${rule}`, details)
}
