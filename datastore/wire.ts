// One kind as a server names and stores it, in one of the two API groups: paths, bodies, and what of a selection the server can
// do itself. In crd.projectcalico.org/v1 it cannot select by labels, which are in an annotation, nor by a field: then everything
// is listed or watched and sorted out here.
import type { ApiGroup } from '../api/api-group.ts'
import { apiVersion, isCustom, type Kind, type KindRow, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import {
  ListSelectorError,
  parseFieldSelector,
  parseFieldSelectorForMetadata,
  parseLabelSelector,
} from '../api/list-selectors.ts'
import { isObject, mergePatch } from '../api/merge-patch.ts'
import { type Served, servedAs } from '../api/served.ts'
import {
  annotated,
  decodeStored,
  encodeStored,
  isTiered,
  METADATA_ANNOTATION,
  otherUid,
  storedNames,
} from '../api/stored-form.ts'
import { anyPath, type Place } from './paths.ts'
import { type Fields, type ListOptions, NotFound, Refused } from './port.ts'

/** An object without `apiVersion` and `kind`, and why it must not be used. */
export type Incoming = { object: unknown; problem?: string }

export class Wire {
  readonly #kind: Kind
  readonly #served: Served
  readonly isStoredForm: boolean

  /** Throws NotFound for a kind that the group does not have. */
  constructor(kind: Kind, apiGroup: ApiGroup) {
    const served = servedAs(kind, apiGroup)
    if (served === undefined)
      throw new NotFound(`there is no ${kind} in crd.projectcalico.org/v1: Calico has none where Kubernetes has Pods`)
    this.#kind = kind
    this.#served = served
    this.isStoredForm = isCustom(kind) && apiGroup === 'v1'
  }

  get plural(): string {
    return this.#served.plural
  }

  /** Throws Error for an object of a namespace that is not named. */
  path({ name, namespace, subresource }: Place): string {
    const { namespaced }: KindRow = kinds[this.#kind]
    if (namespaced && namespace === undefined && name !== undefined)
      throw new Error(`${this.#kind} ${name} was asked for without its namespace`)
    return anyPath(this.#served, { name, namespace: namespaced ? namespace : undefined, subresource })
  }

  /** Where the server tells what it has of this group. */
  get discoveryPath(): string {
    return `/apis/${apiVersion(this.#served)}`
  }

  /** Names under which the object may be there, the usual one first. */
  names(name: string): readonly string[] {
    return this.isStoredForm ? storedNames(this.#kind, name) : [name]
  }

  outgoing(object: object, storedName?: string): Record<string, unknown> {
    const body = this.isStoredForm ? encodeStored(this.#kind, object, storedName) : object
    return { ...body, apiVersion: apiVersion(this.#served), kind: this.#served.kind }
  }

  /** A part of an object, as a merge patch has it, without anything that is in the annotation. */
  part(patch: unknown): unknown {
    if (!this.isStoredForm || !isObject(patch)) return patch
    const { metadata, ...rest } = patch
    return { ...encodeStored(this.#kind, rest), ...(metadata !== undefined && { metadata }) }
  }

  /** What is applied to an object that is there: what the patch names, merged with all that is in the annotation, or it would be lost. */
  applied(current: object, patch: object, storedName: string): object {
    const { metadata: now } = current as { metadata: Record<string, unknown> }
    const { metadata = {}, ...rest } = patch as { metadata?: Record<string, unknown> }
    const kept = mergePatch(annotated(now), annotated(metadata)) as object
    return this.outgoing(
      { ...rest, metadata: { resourceVersion: now['resourceVersion'], ...metadata, ...kept } },
      storedName,
    )
  }

  /** A UID as the server knows it. */
  uid(uid: string): string {
    return this.isStoredForm ? otherUid(uid) : uid
  }

  incoming(object: unknown): Incoming {
    if (!isObject(object)) return { object }
    const { apiVersion: _version, kind: _kind, ...rest } = object
    return this.isStoredForm ? decodeStored(this.#kind, rest) : { object: rest }
  }

  /** Whether a watch has to begin with a list: what it tells depends on what there was. */
  needsList(options: ListOptions): boolean {
    return this.isStoredForm && (isTiered(this.#kind) || this.selection(options).matches !== undefined)
  }

  /** The query for a selection, and the test of decoded objects for what the server does not select. */
  selection({ labelSelector = '', fieldSelector = '', storedName }: ListOptions): {
    query: { labelSelector?: string; fieldSelector?: string }
    matches?: (object: unknown) => boolean
  } {
    const given = { ...(labelSelector !== '' && { labelSelector }), ...(fieldSelector !== '' && { fieldSelector }) }
    if (!this.isStoredForm || (labelSelector === '' && fieldSelector === '')) return { query: given }
    if (labelSelector === '' && readable(() => parseFieldSelectorForMetadata(fieldSelector)).decides)
      return { query: given }
    const [byLabel, byField] = readable(() => [parseLabelSelector(labelSelector), parseFieldSelector(fieldSelector)])
    const matches = (object: unknown): boolean =>
      isObject(object) && isObject(object['metadata']) && byLabel(object as AnyObject) && byField(object)
    return { query: storedName === undefined ? {} : { fieldSelector: `metadata.name=${storedName}` }, matches }
  }
}

/** Throws Refused for a selector that cannot be read, as a server does that selects. */
function readable<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (error instanceof ListSelectorError) throw new Refused(400, error.message, { cause: error })
    throw error
  }
}

/** The annotation that holds labels is needed wherever metadata is, whichever group it will be. */
export function wireFields(kind: Kind, fields: Fields): Fields {
  if (!isCustom(kind) || fields === true) return fields
  const { metadata } = fields
  if (metadata === undefined || metadata === true || metadata['annotations'] === true) return fields
  return {
    ...fields,
    metadata: { ...metadata, annotations: { ...metadata['annotations'], [METADATA_ANNOTATION]: true } },
  }
}
