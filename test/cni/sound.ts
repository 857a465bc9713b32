// What must hold on a node whenever nothing is under way, whatever happened to it: interfaces, rows and addresses are of each other.
import type { CniDeps } from '../../cni/deps.ts'
import { formatMismatch, hostFacts, inspect } from '../../cni/inspect.ts'
import type { Attachment } from '../../cni/request.ts'
import { ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { Host } from './host.ts'

/** Pods that went are walked for a quarter of a second later. The uplink of these hosts is not there, which is refused in each pass. */
export async function settled({ felix, clock }: Host): Promise<void> {
  clock.advance(250)
  await felix.applied().catch(() => {})
}

export const linksOf = async ({ world }: Host) =>
  (await world.kernel().links()).filter(({ name }) => name.startsWith('cali'))

/** What is wrong on a node. `mayLack`: whether a row may have no interface, since its namespace ended after the last start. */
export async function faultsOf(host: Host, mayLack: (id: string) => boolean = () => false): Promise<string[]> {
  const { deps, world } = host
  const rows = deps.endpoints.all()
  const held = deps.ipam.held()
  const links = await linksOf(host)
  const routes = await world.kernel().routes({ table: ROUTE_TABLE.main })
  const faults = links.flatMap(({ name, index }) => {
    const row = rows.find(each => each.interfaceName === name)
    if (row === undefined) return [`${name} is nobody's`]
    const has = (held.get(row.handle) ?? []).map(({ address }) => address).sort()
    const routed = routes.flatMap(({ dst, ifindex }) => (ifindex === index ? [dst.replace(/\/.*/, '')] : [])).sort()
    const should = `${[...row.addresses].sort()}`
    return [
      ...(`${has}` === should && has.length === 2 ? [] : [`${name} has ${should}, and holds ${has}`]),
      ...(`${routed.filter(dst => !dst.startsWith('fe80'))}` === should ? [] : [`${name} is routed ${routed}`]),
    ]
  })
  for (const { id, interfaceName } of rows)
    if (!links.some(({ name }) => name === interfaceName) && !mayLack(id)) faults.push(`${id} has no interface`)
  for (const handle of held.keys())
    if (!rows.some(row => row.handle === handle)) faults.push(`${handle} has addresses and no interface`)
  const addresses = rows.flatMap(row => row.addresses)
  if (new Set(addresses).size !== addresses.length) faults.push(`an address is had twice: ${addresses}`)
  return faults
}

/** How the interface of an attachment differs from what ADD makes. */
export async function mismatchesOf({ deps }: Host, network: string, attachment: Attachment): Promise<string[]> {
  const row = deps.endpoints.get(network, attachment)
  if (row === undefined) return ['it is not there']
  const { mismatches } = await inspect(deps.kernel, row, hostFacts(deps.hostSide))
  return mismatches.map(formatMismatch)
}

export const NOTHING = { links: [], endpoints: [], held: [] }

/** All that a node has of pods. */
export async function remains({ deps, world }: Host): Promise<unknown> {
  const links = (await world.kernel().links()).filter(({ name }) => name !== 'lo')
  return { links, endpoints: deps.endpoints.all(), held: [...deps.ipam.held().keys()] }
}

/** A kernel with another way to make links. */
export function withLinks<K extends CniDeps['kernel']>(kernel: K, createLink: K['createLink']): K {
  return new Proxy(kernel, {
    get(target, name) {
      const method: unknown = name === 'createLink' ? createLink : Reflect.get(target, name)
      return typeof method === 'function' ? method.bind(target) : method
    },
  })
}
