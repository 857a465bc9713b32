// How packets of pods reach the chains of their lists: by one look-up of the interface in a map, whatever the number of
// pods. A pod is judged for what it sends when the packet is forwarded or is for this host, and for what it receives when
// the packet is forwarded; what this host sends to its own pods is not judged.
// A list accepts what it allows, which ends the base chain that asked it: each direction has a base chain of its own.
// Hazard: an interface of a pod that the map does not have yet, or no more, is closed to new connections. Known ones go on,
// since the maps are empty for a moment where a large table is written from nothing, and since a list that the kernel refuses
// closes its pods; none of them is an earlier pod's, whose entries are deleted before an interface is made (cni/old-flows.ts).
import type { NftChain, NftRule, NftSet, NftVerdict } from '../../kernel/port/nftables.ts'
import type { NftChainProgram } from '../../kernel/reconcile/nft-state.ts'
import { byInterface, fromInterfaces, isIcmp, jump, type Steps, toInterfaces } from '../calc/nft-expressions.ts'
import type { Direction } from './active.ts'
import { ACCEPT_KNOWN, chainName, deniedRules } from './chains.ts'
import { cutSets, dropUnknown } from './cut-connections.ts'
import { echoOfProbes } from './probes.ts'
import type { TableName } from './sources.ts'

/** The maps from the name of a pod's interface to the chain of its list. */
export const POD_MAPS: Readonly<Record<Direction, string>> = { egress: 'from_pod', ingress: 'to_pod' }

const INTERFACE_KEY = { egress: 'iifname', ingress: 'oifname' } as const
const JUDGED: Readonly<Record<Direction, string>> = { egress: 'from_pods', ingress: 'to_pods' }
/** Just before the usual filters of others. */
const PRIORITY = -5
const NEIGHBOUR = { solicitation: 135, advertisement: 136 } as const

/** What stands whatever the policies are. `interfacePrefix`: what the names of the pods' interfaces begin with. */
export function dispatch(
  table: TableName,
  interfacePrefix: string,
): { sets: readonly NftSet[]; chains: readonly NftChainProgram[] } {
  const map = (direction: Direction): NftSet => {
    return { kind: 'set', ...table, name: POD_MAPS[direction], type: 'ifname', data: 'verdict' }
  }
  const chain = (name: string, rules: readonly Rule[], base?: NftChain['base']): NftChainProgram => ({
    chain: { kind: 'chain', ...table, name, ...(base !== undefined && { base }) },
    rules: rules.map((rule): NftRule => ({ kind: 'rule', ...table, chain: name, ...rule })),
  })
  const judged = (direction: Direction) =>
    chain(JUDGED[direction], [
      dropUnknown(INTERFACE_KEY[direction], 'own'),
      { expressions: byInterface(INTERFACE_KEY[direction], POD_MAPS[direction]) },
      { expressions: ACCEPT_KNOWN },
      // no policy selects it, so that none makes the paths of pods look lost
      ...echoOfProbes(INTERFACE_KEY[direction]),
      ...deniedRules({ of: 'pod without policies yet', direction, outcome: 'deny' }),
    ])
  const fromPods = fromInterfaces(interfacePrefix)
  const judge: Readonly<Record<Direction, Rule>> = {
    egress: { expressions: [...fromPods, ...jump(JUDGED.egress)] },
    ingress: { expressions: [...toInterfaces(interfacePrefix), ...jump(JUDGED.ingress)] },
  }
  const base = (name: string, hook: 'forward' | 'input', rules: readonly Rule[], before = 0) =>
    chain(name, rules, { type: 'filter', hook, priority: PRIORITY - before, policy: 'accept' })
  return {
    sets: [map('egress'), map('ingress'), ...cutSets(table)],
    chains: [
      judged('egress'),
      judged('ingress'),
      base('forward_from', 'forward', [judge.egress], 1),
      base('forward_to', 'forward', [judge.ingress]),
      base('input', 'input', [
        // what finds the host's address is no traffic of the pod
        ...Object.values(NEIGHBOUR).map(type => ({ expressions: [...fromPods, ...isIcmp('ipv6', type), ...ACCEPT] })),
        judge.egress,
      ]),
    ],
  }
}

/** What a map has for the interface of an endpoint with this list. */
export function toList(direction: Direction, key: string): NftVerdict {
  return { verdict: 'goto', chain: chainName(direction, key) }
}

type Rule = { expressions: Steps; comment?: string }

const ACCEPT: Steps = [{ type: 'immediate', load: 0, data: { verdict: 'accept' } }]
