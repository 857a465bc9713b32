// What of the policies that are there nobody keeps to yet, as one condition: interfaces of hosts. Pure.
import type { Condition } from '../../../api/status.ts'
import { broken } from '../../../api/status.ts'
import type { InputChange } from './objects.ts'

/** What is not as policies have it. */
export type Gap = { message: string; remedy: string }

export class NotEnforced {
  /** Keys of the host endpoints. */
  readonly #hosts = new Set<string>()

  /** Takes in an input of policy that came, changed or went. */
  change({ kind, key, value }: InputChange): void {
    if (kind === 'endpoint') {
      if (value?.kind === 'host') this.#hosts.add(key)
      else this.#hosts.delete(key)
    }
  }

  /** One condition for all of it and for `others`; none when there is nothing to tell. */
  conditions(others: readonly Gap[] = []): Condition[] {
    const gaps = [...others]
    const [host] = this.#hosts
    if (host !== undefined)
      gaps.push({
        message: `nobody enforces ${this.#hosts.size} HostEndpoint (such as ${host}): the interfaces of hosts are not protected`,
        remedy: 'protect the interfaces of hosts by other means: this version has no host endpoints',
      })
    if (gaps.length === 0) return []
    const both = (field: keyof Gap) => gaps.map(gap => gap[field]).join('; ')
    return [broken('PoliciesEnforced', { reason: 'NotEnforced', message: both('message'), remedy: both('remedy') })]
  }
}
