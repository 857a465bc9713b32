// What of the policies that are there nobody keeps to yet, as one condition: interfaces of hosts, and names of domains. Pure.
import type { Condition } from '../../../api/status.ts'
import { broken, formatRef } from '../../../api/status.ts'
import type { PolicyRule } from '../../../felix/policy/model.ts'
import type { InputChange } from './objects.ts'

type Gap = { message: string; remedy: string }

export class NotEnforced {
  /** Keys of the host endpoints, and of the policies with a rule that names domains. */
  readonly #hosts = new Set<string>()
  readonly #byDomain = new Map<string, string>()

  /** Takes in an input of policy that came, changed or went. */
  change({ kind, key, value }: InputChange): void {
    if (kind === 'endpoint') {
      if (value?.kind === 'host') this.#hosts.add(key)
      else this.#hosts.delete(key)
    }
    if (kind === 'policy') {
      if (value !== undefined && [...(value.ingress ?? []), ...(value.egress ?? [])].some(namesDomains))
        this.#byDomain.set(key, formatRef(value.ref))
      else this.#byDomain.delete(key)
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
    const [policy] = this.#byDomain.values()
    if (policy !== undefined)
      gaps.push({
        message: `${this.#byDomain.size} policies (such as ${policy}) name domains, which are not looked up: such a rule accepts nothing`,
        remedy: 'name the networks of these domains (networks): this version knows no names',
      })
    if (gaps.length === 0) return []
    const both = (field: keyof Gap) => gaps.map(gap => gap[field]).join('; ')
    return [broken('PoliciesEnforced', { reason: 'NotEnforced', message: both('message'), remedy: both('remedy') })]
  }
}

function namesDomains({ source, destination }: PolicyRule): boolean {
  return source.domains !== undefined || destination.domains !== undefined
}
