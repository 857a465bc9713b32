// Which of Calico's API groups a server has, asked once per run. A wrong answer would be an empty cluster, so nothing is assumed:
// while the server does not tell, whoever asks is refused and tries again, or goes on with what the last run knew.
import { type ApiGroup, apiGroupAmong, GROUP_VERSIONS } from '../api/api-group.ts'
import { isObject } from '../api/merge-patch.ts'
import type { Log } from '../lib/log.ts'
import { isStoreError, NotFound, Unreachable } from './port.ts'

export type GroupFinderDeps = {
  /** Said by a person: then nothing is asked. */
  given?: ApiGroup
  log: Log
  /** The answer of the server to GET /apis. Rejects as the store. */
  ask(): Promise<unknown>
  /** Says which one counts where the server has both. Without it that is Calico's rule. */
  ofBoth?(): Promise<ApiGroup>
}

export class GroupFinder {
  readonly #deps: GroupFinderDeps
  #found: ApiGroup | undefined
  #asking: Promise<ApiGroup> | undefined

  constructor(deps: GroupFinderDeps) {
    this.#deps = deps
    this.#found = deps.given
  }

  /** The group. Without an answer it is `lastKnown` from now on, and without that it rejects as the store and asks again the next time. */
  async find(lastKnown?: ApiGroup): Promise<ApiGroup> {
    if (this.#found !== undefined) return this.#found
    try {
      this.#asking ??= this.#ask().finally(() => {
        this.#asking = undefined
      })
      return this.#take(await this.#asking)
    } catch (error) {
      if (!isStoreError(error) || lastKnown === undefined) throw error
      this.#deps.log.warn(
        { err: error, apiGroup: lastKnown },
        'the API group is taken for that of the last start: the server does not tell',
      )
      return this.#take(lastKnown)
    }
  }

  /** The first answer counts for the whole run. */
  #take(group: ApiGroup): ApiGroup {
    this.#found ??= group
    return this.#found
  }

  async #ask(): Promise<ApiGroup> {
    const answer = await this.#deps.ask()
    const groups = isObject(answer) ? answer['groups'] : undefined
    if (!Array.isArray(groups)) throw new Unreachable('the list of API groups is no list: is this an API server?')
    const names = groups.map(each => (isObject(each) ? String(each['name']) : ''))
    const hasBoth = Object.values(GROUP_VERSIONS).every(({ group }) => names.includes(group))
    const group = hasBoth && this.#deps.ofBoth ? await this.#deps.ofBoth() : apiGroupAmong(names)
    if (group === undefined)
      throw new NotFound('the API server has neither projectcalico.org nor crd.projectcalico.org: apply the CRDs first')
    this.#deps.log.info({ apiGroup: group }, 'the API group of the cluster is known')
    return group
  }
}
