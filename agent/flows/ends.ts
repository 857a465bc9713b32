// Who has an address: pods, hosts and nodes, and the network sets that hold it, from what policies are made of. Memory only, one
// entry for each address and CIDR of the cluster.
// Hazard: an address can be of several, for a moment: the one that was told last counts, and it goes with its own object alone.
import type { FlowEnd } from '../../api/answers.ts'
import type { PolicyInputs } from '../../felix/policy/model.ts'
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'

type Named = 'endpoint' | 'node' | 'networkSet'
type Owner = Pick<FlowEnd, 'kind' | 'name' | 'namespace'>

export class FlowEnds {
  readonly #byAddress = { endpoint: new Map<string, string>(), node: new Map<string, string>() }
  readonly #hosts = new Set<string>()
  /** The addresses or CIDRs of an object as they were told. */
  readonly #told = {
    endpoint: new Map<string, readonly string[]>(),
    node: new Map<string, readonly string[]>(),
    networkSet: new Map<string, readonly string[]>(),
  }
  /** The sets that have a CIDR. */
  readonly #sets = new PrefixIndex<readonly string[]>()

  /** Takes in what policies are told; other kinds name nobody. */
  set<K extends keyof PolicyInputs>(kind: K, key: string, value: PolicyInputs[K] | undefined): void {
    if (kind === 'endpoint') {
      const endpoint = value as PolicyInputs['endpoint'] | undefined
      if (endpoint?.kind === 'host') this.#hosts.add(key)
      else this.#hosts.delete(key)
      this.#setAddresses(kind, key, endpoint?.addresses ?? [])
    } else if (kind === 'node') {
      const node = value as PolicyInputs['node'] | undefined
      this.#setAddresses(kind, key, node?.addresses ?? [])
    } else if (kind === 'networkSet') {
      const set = value as PolicyInputs['networkSet'] | undefined
      this.#setNets(key, set?.nets ?? [])
    }
  }

  /** The address with who has it, as far as anybody is known. */
  at(address: string): FlowEnd {
    const endpoint = this.#byAddress.endpoint.get(address)
    if (endpoint !== undefined) return { address, ...this.#endpoint(endpoint) }
    const node = this.#byAddress.node.get(address)
    if (node !== undefined) return { address, kind: 'Node', name: node }
    const prefix = parsePrefix(address)
    const [set] = (prefix && this.#sets.match(prefix)) ?? []
    return set === undefined ? { address } : { address, ...setOf(set) }
  }

  /** Of a pod the key is `namespace/name`, with the id of an interface beside its first behind it. */
  #endpoint(key: string): Owner {
    if (this.#hosts.has(key)) return { kind: 'HostEndpoint', name: key }
    const [namespace = '', name = ''] = key.split('/')
    return namespace === '' ? { kind: 'Endpoint', name } : { kind: 'Pod', namespace, name }
  }

  #setAddresses(kind: 'endpoint' | 'node', key: string, addresses: readonly string[]): void {
    const owners = this.#byAddress[kind]
    for (const address of this.#told[kind].get(key) ?? [])
      if (!addresses.includes(address) && owners.get(address) === key) owners.delete(address)
    for (const address of addresses) owners.set(address, key)
    this.#keep(kind, key, addresses)
  }

  #setNets(key: string, nets: readonly string[]): void {
    for (const prefix of prefixesOf(this.#told.networkSet.get(key) ?? [])) {
      const left = (this.#sets.get(prefix) ?? []).filter(each => each !== key)
      if (left.length === 0) this.#sets.delete(prefix)
      else this.#sets.set(prefix, left)
    }
    const alone = [key]
    for (const prefix of prefixesOf(nets)) {
      const others = this.#sets.get(prefix)
      // of two sets with one CIDR the first by name counts, whichever came first
      this.#sets.set(prefix, others === undefined ? alone : [...new Set([...others, key])].sort())
    }
    this.#keep('networkSet', key, nets)
  }

  #keep(kind: Named, key: string, all: readonly string[]): void {
    if (all.length === 0) this.#told[kind].delete(key)
    else this.#told[kind].set(key, all)
  }
}

function prefixesOf(nets: readonly string[]): Prefix[] {
  return nets.flatMap(net => parsePrefix(net) ?? [])
}

function setOf(key: string): Owner {
  const [first = '', name] = key.split('/')
  return name === undefined ? { kind: 'GlobalNetworkSet', name: first } : { kind: 'NetworkSet', namespace: first, name }
}
