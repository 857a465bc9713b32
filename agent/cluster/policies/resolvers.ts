// Whose answers about names of domains are believed, as an annotation of FelixConfiguration says it, in the words that Calico
// Enterprise has for its field dnsTrustedServers. Pure. An entry that cannot be read is left out: nobody is believed by mistake.
import type { Resolvers } from '../../../felix/policy/model.ts'
import { isHostAddress, parseSocketAddress } from '../../../lib/ip.ts'

const DNS_PORT = 53
/** What every cluster has its resolver behind, whatever program it is. */
const DEFAULT: Resolvers = { services: [{ namespace: 'kube-system', name: 'kube-dns', port: DNS_PORT }], addresses: [] }
const MOST = 32
const SERVICE = /^k8s-service:(?:([a-z0-9][-a-z0-9]{0,62})\/)?([a-z0-9][-a-z0-9]{0,62})(?::(\d{1,5}))?$/

/**
 * `k8s-service:[NAMESPACE/]NAME[:PORT]`, `ADDRESS[:PORT]` and `[ADDRESS]:PORT`, with commas between them; without a text the
 * Service kube-system/kube-dns. A namespace that is not said is kube-system, a port 53. `wrong`: the entries that are none.
 */
export function resolversOf(text: string | undefined): { resolvers: Resolvers; wrong: readonly string[] } {
  if (text === undefined) return { resolvers: DEFAULT, wrong: [] }
  const services: Resolvers['services'][number][] = []
  const addresses: Resolvers['addresses'][number][] = []
  const entries = text.split(',').map(entry => entry.trim())
  const wrong = entries.slice(MOST)
  for (const entry of entries.slice(0, MOST)) {
    const [, namespace = 'kube-system', name, digits] = SERVICE.exec(entry) ?? []
    const port = Number(digits ?? DNS_PORT)
    const address = parseSocketAddress(entry, DNS_PORT)
    if (name !== undefined && port >= 1 && port <= 65535) services.push({ namespace, name, port })
    else if (address !== undefined && isHostAddress(address.address)) addresses.push(address)
    else wrong.push(entry)
  }
  return { resolvers: { services, addresses }, wrong }
}
