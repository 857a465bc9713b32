// What the kernel refused, as conditions and for the endpoint that it concerns.
import { BGP_ANNOTATION } from '../api/core.ts'
import {
  broken,
  type Condition,
  type ConditionCause,
  type ConditionType,
  type ObjectRef,
  type ReasonOf,
} from '../api/status.ts'
import {
  noInterface,
  type ObjectKind,
  type ObjectName,
  type Refusal,
  type RefusalReason,
} from '../kernel/reconcile/outcome.ts'
import type { Calculator } from './calc/calculator.ts'
import { tableRole } from './marks.ts'

const KINDS: Record<ObjectKind, ObjectRef['kind']> = {
  link: 'Link',
  address: 'Address',
  sysctl: 'Sysctl',
  neighbour: 'Neighbour',
  fdb: 'FdbEntry',
  route: 'Route',
  nextHop: 'NextHop',
  shaping: 'Qdisc',
  nftTable: 'NftTable',
  nftSet: 'NftSet',
  nftChain: 'NftChain',
  nftElement: 'NftElement',
}

const REMEDIES: Record<RefusalReason, string> = {
  Refused: 'it is tried again; look at what the kernel says',
  NoInterface:
    'bring the interface back, or delete the pod it belongs to; if the uplink was renamed, restart the agent',
  ForeignOwner: 'remove one of the two',
  NotShown: 'it is tried again; find out who removes it',
}

export function refOf({ kind, key }: ObjectName): ObjectRef {
  return { kind: KINDS[kind], name: key }
}

/** One condition per refused object, but one alone for all that waits for the same missing interface. */
export function refusalConditions(refused: readonly Refusal[]): Condition[] {
  const missing = new Set<string>()
  for (const { reason, interfaceName } of refused)
    if (reason === 'NoInterface' && interfaceName !== undefined) missing.add(interfaceName)
  const others = refused.filter(({ interfaceName }) => interfaceName === undefined || !missing.has(interfaceName))
  const links = [...missing].map(name => ({ kind: 'link', key: name, ...noInterface(name) }) as const)
  return [...links, ...others].map(refusalCondition)
}

/** Groups of next hops are plain ones although others are asked for; `said`: by the kernel, where it is so. */
export function flowsMove(said: string | undefined): Condition[] {
  if (said === undefined) return []
  const condition = broken('KernelInSync', {
    object: { kind: 'BGPConfiguration', name: 'default' },
    reason: 'NoResilientGroups',
    message: `this kernel cannot have resilient groups: ${said}; when one of three or more paths goes, flows of the others may move too`,
    remedy: `use Linux 5.13 or later, or take the word resilient out of the annotation ${BGP_ANNOTATION.multipath}`,
  })
  return [condition]
}

type Lacking<T extends ConditionType> = { reason: ReasonOf<T>; remedy: string }

/** What is not there without each of our tables: those of NAT have the families ip and ip6. */
const WITHOUT_TABLE = {
  filter: {
    type: 'PodsFiltered',
    means: 'until it is there pods can send what it would drop, and route_localnet stays 0',
    lacking: {
      reason: 'NoNftables',
      remedy: 'load the module nf_tables, or use a kernel that has nftables with the families inet and arp',
    },
  },
  policy: {
    type: 'PoliciesEnforced',
    means: 'until it is there packets of pods pass whatever policies say, but where an earlier run left it',
    lacking: {
      reason: 'NoNftables',
      remedy: 'load the module nf_tables, or use a kernel that has nftables with the family inet',
    },
  },
  qos: {
    type: 'QosApplied',
    means: 'until it is there packets of pods have no limits and keep their DSCP',
    lacking: {
      reason: 'NoNftables',
      remedy: 'load the module nf_tables, or use a kernel that has nftables with the family inet',
    },
  },
  floating: {
    type: 'FloatingAddressesHeld',
    means: 'until it is there floating addresses lead to no pod of this node',
    lacking: {
      reason: 'NoNat',
      remedy: 'load the modules nft_chain_nat and nft_nat, or use a kernel that has them',
    },
  },
  services: {
    type: 'ServiceLoopsPrevented',
    means:
      'until it is there packets to addresses of Services that nobody has may go between routers and nodes until their TTL ends',
    lacking: {
      reason: 'NoNftables',
      remedy: 'load the modules nf_tables and nft_reject_inet, or use a kernel that has nftables with the family inet',
    },
  },
  nat: {
    type: 'OutgoingMasqueraded',
    means: 'until it is there packets leave the pools with the address of their pod',
    lacking: {
      reason: 'NoNat',
      remedy: 'load the modules nft_chain_nat, nft_masq and nft_fib, or use a kernel that has them',
    },
  },
} as const satisfies Record<
  string,
  { [T in ConditionType]: { type: T; means: string; lacking: Lacking<T> } }[ConditionType]
>

/** What our tables of nftables do not do: tables that this kernel cannot have, by key, and those that it refused. */
export function tableConditions(lacking: ReadonlyMap<string, string>, refused: readonly Refusal[]): Condition[] {
  const without = (name: string, { message, ...cause }: Omit<ConditionCause, 'object'>): Condition => {
    const { type, means } = WITHOUT_TABLE[partOf(name)]
    return { type, status: 'False', ...cause, object: { kind: 'NftTable', name }, message: `${message}; ${means}` }
  }
  const lacks = [...lacking].map(([name, said]) =>
    without(name, { ...WITHOUT_TABLE[partOf(name)].lacking, message: `this kernel cannot have it: ${said}` }),
  )
  const others = refused
    .filter(({ kind }) => kind === 'nftTable')
    .map(({ key, message }) =>
      without(key, { reason: 'Refused', message, remedy: 'it is tried again; look at what the kernel says' }),
    )
  return [...lacks, ...others]
}

function partOf(table: string): keyof typeof WITHOUT_TABLE {
  return tableRole(table) ?? (/^ip6? /.test(table) ? 'nat' : 'filter')
}

function refusalCondition(refusal: Refusal): Condition {
  const { reason, message } = refusal
  return broken('KernelInSync', { object: refOf(refusal), reason, message, remedy: REMEDIES[reason] })
}

/** What keeps an endpoint from being complete: refusals on its interface, and what others have of it. */
export class EndpointRefusals {
  readonly #calculator: Calculator
  readonly #byInterface: ReadonlyMap<string | undefined, Refusal[]>

  constructor(calculator: Calculator, refused: readonly Refusal[]) {
    this.#calculator = calculator
    this.#byInterface = Map.groupBy(refused, ({ interfaceName }) => interfaceName)
  }

  of(id: string): Refusal[] {
    const endpoint = this.#calculator.endpoint(id)
    if (endpoint === undefined) return [lost({ kind: 'link', key: id }, `felix was not told of endpoint ${id}`)]
    const { interfaceName } = endpoint
    const held = this.#calculator.podOn(interfaceName)
    if (held === undefined || held.endpoint.id !== id)
      return [lost({ kind: 'link', key: interfaceName }, `the interface belongs to endpoint ${held?.endpoint.id}`)]
    const routes = this.#calculator.wanted().route
    const taken = held.routes.flatMap(({ dst }) => {
      const holder = routes.get(dst)?.interfaceName
      return holder === interfaceName ? [] : [lost({ kind: 'route', key: dst }, `the address belongs to ${holder}`)]
    })
    return [...(this.#byInterface.get(interfaceName) ?? []), ...taken]
  }
}

function lost(object: ObjectName, message: string): Refusal {
  return { ...object, reason: 'ForeignOwner', message }
}
