// Single requests about objects, in the API group and the form that the server has: what is sent and what comes back is a v3
// object. In crd.projectcalico.org/v1 a change of what is in the annotation reads the whole object, changes it and writes it.
import type { ApiGroup } from '../api/api-group.ts'
import { isCustom, type Kind } from '../api/kinds.ts'
import { isObject, mergePatch } from '../api/merge-patch.ts'
import { isInAnnotation } from '../api/stored-form.ts'
import { depthProblem, formatProblems } from '../api/validate.ts'
import { type Log, silentLog } from '../lib/log.ts'
import { type ApiConnection, Gone } from './connection.ts'
import { GroupFinder } from './group-finder.ts'
import type { Place } from './paths.ts'
import { Conflict, NotFound, Refused } from './port.ts'
import { type Incoming, Wire } from './wire.ts'

/** How a patch is meant: RFC 7386, RFC 6902, Kubernetes' own with lists that merge, or what this manager wants to own. */
export type PatchType = 'merge' | 'json' | 'strategic' | 'apply'

/** `query` goes with the write alone. */
export type WriteForm = { query?: Readonly<Record<string, string>>; subresource?: 'status' }

type Named = { name: string; namespace?: string }
type Identity = Named & { resourceVersion?: string }

const CONTENT_TYPES: Readonly<Record<PatchType, string>> = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
}
const ATTEMPTS = 5

/** All methods reject with the four classes of the port. */
export class Requests {
  readonly #connection: ApiConnection
  readonly #log: Log
  readonly #groups: GroupFinder
  readonly #wires = new Map<Kind, Wire>()
  /** Whether kinds of the stored form have a status of their own, by their plurals, as far as that was asked. */
  readonly #statuses = new Map<string, boolean>()

  constructor(connection: ApiConnection, { log = silentLog, apiGroup = 'auto', groupOfBoth }: RequestsOptions) {
    this.#connection = connection
    this.#log = log
    const given = apiGroup === 'auto' ? undefined : apiGroup
    const read = (path: string): Promise<unknown> => this.call({ method: 'GET', path })
    const ofBoth = groupOfBoth && (() => groupOfBoth(read))
    this.#groups = new GroupFinder({ given, log, ask: () => read('/apis'), ...(ofBoth && { ofBoth }) })
  }

  apiGroup(lastKnown?: ApiGroup): Promise<ApiGroup> {
    return this.#groups.find(lastKnown)
  }

  /** How the server has a kind. */
  async wire(kind: Kind): Promise<Wire> {
    const known = this.#wires.get(kind)
    if (known !== undefined) return known
    const wire = new Wire(kind, isCustom(kind) ? await this.#groups.find() : 'v3')
    this.#wires.set(kind, wire)
    return wire
  }

  async get(kind: Kind, place: Named): Promise<Incoming> {
    const wire = await this.wire(kind)
    const names = wire.names(place.name)
    for (const stored of names.slice(0, -1)) {
      const found = await orNone(this.#getAs(wire, stored, place))
      if (found !== undefined) return found
    }
    return this.#getAs(wire, names.at(-1)!, place)
  }

  async create(kind: Kind, object: { metadata: Named }, form: WriteForm = {}): Promise<Incoming> {
    const { name, namespace } = object.metadata
    const wire = await this.wire(kind)
    const [other] = await this.#storedAs(wire, { name, namespace }, wire.names(name).slice(1))
    if (other !== undefined) throw new Conflict(`${kind} ${name} already exists, as ${other}`)
    return this.#send(wire, 'POST', { namespace }, wire.outgoing(object), form)
  }

  /** Over the version that the object names; over the current one when it names none. */
  async put(kind: Kind, object: { metadata: Identity }, form: WriteForm = {}): Promise<Incoming> {
    const { name, namespace, resourceVersion } = object.metadata
    const wire = await this.wire(kind)
    const write = (stored: string, version: string | undefined): Promise<Incoming> => {
      const whole = { ...object, metadata: { ...object.metadata, resourceVersion: version } }
      return this.#send(wire, 'PUT', { name: stored, namespace }, wire.outgoing(whole, stored), form)
    }
    const attempt = async (): Promise<Incoming> => {
      const stored = await this.#storedName(wire, { name, namespace })
      if (resourceVersion !== undefined) return write(stored, resourceVersion)
      // Kubernetes refuses a write to a custom resource without a version: the current one is used
      const now = await this.#current(wire, { name: stored, namespace })
      if (now === undefined) throw new NotFound(`${kind} ${name} not found`)
      return write(stored, now.metadata.resourceVersion)
    }
    return this.#unlessWithoutStatus(kind, { name, namespace }, form, () =>
      resourceVersion === undefined ? again(attempt) : attempt(),
    )
  }

  async patch(kind: Kind, place: Named, patch: unknown, type: PatchType, form: WriteForm = {}): Promise<Incoming> {
    const wire = await this.wire(kind)
    return this.#unlessWithoutStatus(kind, place, form, async () => {
      const stored = await this.#storedName(wire, place)
      const at = { name: stored, namespace: place.namespace }
      if (!wire.isStoredForm || form.subresource !== undefined) {
        const body = type === 'apply' && isObject(patch) ? wire.outgoing(patch, stored) : patch
        return this.#patch(wire, at, body, type, form)
      }
      if (type === 'apply') return this.#apply(wire, at, patch as object, form)
      if (type === 'merge' && isObject(patch) && isInAnnotation(patch['metadata']))
        return this.#changeWhole(wire, at, patch, form)
      if (type === 'json') checkJsonPatch(patch)
      return this.#patch(wire, at, wire.part(patch), type, form)
    })
  }

  /** Under each name that the object is stored under; the conditions are about the one that counts. */
  async delete(
    kind: Kind,
    place: Named,
    { uid, resourceVersion, dryRun }: { uid?: string; resourceVersion?: string; dryRun?: boolean } = {},
  ): Promise<void> {
    const wire = await this.wire(kind)
    const options = { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background' }
    const dry = { ...options, dryRun: ['All'] }
    const conditions = (uid !== undefined || resourceVersion !== undefined) && {
      preconditions: { uid: uid === undefined ? undefined : wire.uid(uid), resourceVersion },
    }
    const remove = (stored: string, body: object): Promise<unknown> =>
      this.call({ method: 'DELETE', path: wire.path({ name: stored, namespace: place.namespace }), body })
    const names = wire.names(place.name)
    const [first = place.name, ...older] = names.length === 1 ? names : await this.#storedAs(wire, place, names)
    if (older.length > 0 && !dryRun) {
      // the older one goes first, or it would count for a moment: so it is tried before whether the other may go
      await remove(first, { ...dry, ...conditions })
      for (const stored of older) await orNone(remove(stored, options))
    }
    await remove(first, { ...(dryRun ? dry : options), ...conditions })
  }

  async call(call: Parameters<ApiConnection['call']>[0]): Promise<unknown> {
    try {
      return await this.#connection.call(call)
    } catch (error) {
      throw error instanceof Gone ? new Conflict(error.message, { cause: error }) : error
    }
  }

  /** Rejects with NotFound also where another object is stored under the name. */
  async #getAs(wire: Wire, stored: string, { name, namespace }: Named): Promise<Incoming> {
    const answer = await this.call({ method: 'GET', path: wire.path({ name: stored, namespace }) })
    const incoming = wire.incoming(answer)
    if (stored !== name && (incoming.object as { metadata?: Named }).metadata?.name !== name)
      throw new NotFound(`${wire.plural} ${name} not found`)
    return incoming
  }

  /** Those of the names under which the object is stored, in their order. */
  async #storedAs(wire: Wire, place: Named, names: readonly string[]): Promise<string[]> {
    const found: string[] = []
    for (const stored of names) if ((await orNone(this.#getAs(wire, stored, place))) !== undefined) found.push(stored)
    return found
  }

  /** The name to write under: an apply makes what is not there, so the server's NotFound does not tell. */
  async #storedName(wire: Wire, place: Named): Promise<string> {
    const names = wire.names(place.name)
    const [first = place.name] = names.length === 1 ? names : await this.#storedAs(wire, place, names)
    return first
  }

  async #send(
    wire: Wire,
    method: string,
    place: Place,
    body: unknown,
    { query, subresource }: WriteForm,
  ): Promise<Incoming> {
    const path = wire.path({ ...place, subresource })
    return wire.incoming(await this.call({ method, path, body, ...(query && { query: new URLSearchParams(query) }) }))
  }

  async #patch(
    wire: Wire,
    place: Place,
    body: unknown,
    type: PatchType,
    { query, subresource }: WriteForm,
  ): Promise<Incoming> {
    const call = { method: 'PATCH', path: wire.path({ ...place, subresource }), contentType: CONTENT_TYPES[type] }
    return wire.incoming(await this.call({ ...call, body, ...(query && { query: new URLSearchParams(query) }) }))
  }

  /** What is in the annotation is merged with what others wrote there. */
  #apply(wire: Wire, place: Named, patch: object, form: WriteForm): Promise<Incoming> {
    return this.#onCurrent(wire, place, patch, (now = patch) =>
      this.#patch(
        wire,
        place,
        now === patch ? wire.outgoing(patch) : wire.applied(now, patch, place.name),
        'apply',
        form,
      ),
    )
  }

  #changeWhole(wire: Wire, place: Named, patch: object, form: WriteForm): Promise<Incoming> {
    return this.#onCurrent(wire, place, patch, now => {
      if (now === undefined) throw new NotFound(`${wire.plural} ${place.name} not found`)
      return this.#send(wire, 'PUT', place, wire.outgoing(mergePatch(now, patch) as object, place.name), form)
    })
  }

  /** Gives the object that is there to `write`; again after a conflict, unless the patch names the version. */
  #onCurrent(
    wire: Wire,
    place: Named,
    patch: object,
    write: (now: object | undefined) => Promise<Incoming>,
  ): Promise<Incoming> {
    const { metadata } = patch as { metadata?: Identity }
    const attempt = async (): Promise<Incoming> => write(await this.#current(wire, place))
    return metadata?.resourceVersion === undefined ? again(attempt) : attempt()
  }

  async #current(wire: Wire, place: Named): Promise<{ metadata: Identity } | undefined> {
    const answer = await orNone(this.call({ method: 'GET', path: wire.path(place) }))
    const { object, problem }: Incoming = answer === undefined ? { object: undefined } : wire.incoming(answer)
    const tooDeep = depthProblem(object)
    if (problem === undefined && tooDeep === undefined) return object as { metadata: Identity } | undefined
    const why = problem === undefined ? formatProblems([tooDeep!]) : `${problem}: correct or delete the annotation`
    throw new Refused(422, `${wire.plural} ${place.name} cannot be changed: ${why}`)
  }

  /** Older CRDs of Calico have no status for kinds that have one here: then it is left out, and the object comes back as it is. */
  async #unlessWithoutStatus(
    kind: Kind,
    place: Named,
    { subresource }: WriteForm,
    write: () => Promise<Incoming>,
  ): Promise<Incoming> {
    try {
      return await write()
    } catch (error) {
      if (!(error instanceof NotFound) || subresource === undefined) throw error
      const wire = await this.wire(kind)
      if (!wire.isStoredForm || (await this.#hasStatus(wire))) throw error
      return this.get(kind, place)
    }
  }

  async #hasStatus(wire: Wire): Promise<boolean> {
    const known = this.#statuses.get(wire.plural)
    if (known !== undefined) return known
    const answer = await this.call({ method: 'GET', path: wire.discoveryPath })
    const resources = isObject(answer) && Array.isArray(answer['resources']) ? answer['resources'] : []
    const has = resources.some(each => isObject(each) && each['name'] === `${wire.plural}/status`)
    if (!has) this.#log.warn({ resource: wire.plural }, 'the CRD has no status: what would stand there is left out')
    this.#statuses.set(wire.plural, has)
    return has
  }
}

export type RequestsOptions = {
  log?: Log
  /** Which of Calico's API groups the server has. `auto`, or absent: it is asked. */
  apiGroup?: ApiGroup | 'auto'
  /** Which group counts where the server has both and `apiGroup` says none; `read` asks the server. Without it: Calico's rule. */
  groupOfBoth?: (read: (path: string) => Promise<unknown>) => Promise<ApiGroup>
}

/** Throws Refused where a patch by paths is about what is in the annotation. */
function checkJsonPatch(patch: unknown): void {
  const paths = (Array.isArray(patch) ? patch : []).flatMap(each =>
    isObject(each) ? [each['path'], each['from']].filter(path => typeof path === 'string') : [],
  )
  if (paths.some(path => /^(?:\/metadata\/(?:labels|annotations|ownerReferences)(?:\/|$)|\/metadata$|$)/.test(path)))
    throw new Refused(
      422,
      'labels and annotations are kept in an annotation in crd.projectcalico.org/v1: change them with a merge patch',
    )
}

/** Undefined where the answer is that there is no such object. */
async function orNone<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}

/** Tries again after a conflict: the object changed meanwhile. */
async function again<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++)
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof Conflict) || tried === ATTEMPTS) throw error
    }
}
