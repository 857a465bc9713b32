// The rules of every node of a world, made from its objects by the program itself.
import { podProfiles } from '../../agent/cluster/policies/endpoints.ts'
import { PolicyObjects } from '../../agent/cluster/policies/objects.ts'
import { felixSettings } from '../../agent/cluster/settings.ts'
import { PolicyCalculator } from '../../felix/policy/calculator.ts'
import { hostInterfaces } from '../../felix/policy/host-interfaces.ts'
import type { HostEndpointHere, PolicyEndpoint } from '../../felix/policy/model.ts'
import { KeptTable, TABLE } from '../felix/policy/kept-table.ts'
import type { Rendered } from './agreement.ts'
import { hopsOf } from './hops.ts'
import { interpreter, type Table } from './interpreter.ts'
import { keyOf, kindOf, resourceOf } from './model.ts'
import { isJudged, nodeAddresses } from './reference/endpoints.ts'
import { ofKind, type Pod, type World } from './reference/objects.ts'
import type { Packet } from './reference.ts'

/** As many names as there are pods, all different, in the order of the objects. */
export function interfaces(world: World): (pod: Pod) => string {
  const names = new Map(ofKind(world, 'Pod').map((pod, i) => [keyOf(pod), `cali${i}`]))
  return pod => names.get(keyOf(pod))!
}

/** The table of each node, made of all objects of the world. `ownSets`: as that of `Members`. */
export function rendered(world: World, ownSets?: number): Rendered {
  const interfaceOf = interfaces(world)
  const tables = new Map<string, Table>()
  return {
    interfaceOf,
    tablesOf(node) {
      const known = tables.get(node)
      if (known !== undefined) return [known]
      const calculator = new PolicyCalculator(TABLE, ownSets)
      const endpoints = new Map<string, PolicyEndpoint | undefined>()
      const policies = new PolicyObjects(({ kind, key, value }) => {
        if (kind === 'endpoint') endpoints.set(key, value)
        calculator.set(kind, key, value as never)
      })
      for (const object of world.objects) {
        const kind = kindOf(object)
        policies.change(kind, keyOf(object), resourceOf(kind, object))
      }
      for (const pod of ofKind(world, 'Pod'))
        if (isJudged(pod) && pod.spec.nodeName === node) {
          const profiles = podProfiles(resourceOf('Pod', pod))
          calculator.setLocal(keyOf(pod), { interfaceName: interfaceOf(pod), profiles })
        }
      for (const [i, { pod, name, addresses }] of (world.answers ?? []).entries()) {
        const from = endpoints.get(pod)?.addresses ?? []
        const told = { from, name: name.toLowerCase().replace(/\.$/, ''), addresses, expired: [] }
        calculator.setAnswer(`${i}`, told)
      }
      tellHosts(calculator, policies, { world, node })
      const kept = new KeptTable()
      kept.apply(calculator.step())
      const table = kept.table()
      tables.set(node, table)
      return [table]
    },
  }
}

/** Tells the host endpoints of a node, which has its addresses on eth0. */
export function tellHosts(
  calculator: PolicyCalculator,
  policies: PolicyObjects,
  { world, node }: { world: World; node: string },
): void {
  calculator.setHostRules({ ...hostSettings(), interfacePrefix: 'cali', tunnels: NO_TUNNELS })
  const { interfaces: of } = hostInterfaces(hostsOf(policies, node), uplinkOf(world, node), 'cali')
  for (const [key, { profiles }] of hostsOf(policies, node))
    calculator.setLocal(key, { interfaces: of.get(key) ?? [], profiles })
}

const NO_TUNNELS = { ipip: false, vxlan: false, vxlanPort: 4789 }
const hostSettings = () => felixSettings(undefined).hosts!

/** The host endpoints of a node. */
function hostsOf({ hosts }: PolicyObjects, node: string): Map<string, HostEndpointHere> {
  const here = [...hosts].filter(([, host]) => host.node === node)
  return new Map(
    here.map(([key, { endpoint, interfaceName, profiles }]) => [
      key,
      { addresses: endpoint.addresses, profiles, ...(interfaceName !== undefined && { interfaceName }) },
    ]),
  )
}

function uplinkOf(world: World, name: string): Map<string, readonly string[]> {
  const node = ofKind(world, 'Node').find(({ metadata }) => metadata.name === name)
  return new Map([['eth0', node === undefined ? [] : nodeAddresses(node)]])
}

/** Whether the rules let a packet through. */
export function passes(world: World, packet: Packet): boolean {
  const made = rendered(world)
  return hopsOf(world, packet, made).every(hop => interpreter(made.tablesOf(hop.node))(hop.packet).verdict === 'accept')
}
