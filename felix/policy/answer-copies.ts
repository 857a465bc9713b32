// The copies of answers of DNS that the agent reads: chains of nftables, for pods that policies ask for names of domains. They
// are made beside the packets' way and change nothing for them.
// What counts is a packet in the reply direction of a connection that began at the pod and is to a resolver: nobody else can
// send one, since packets under foreign addresses are dropped before (the pod filter). Where connections of DNS are not
// tracked, as with NodeLocal DNSCache, it is what this host itself sends from the address of a resolver.
// Hazards: what a Service leads to keeps its own address until it leaves this host, so connections are asked and not packets.
// A pod that gets very many answers must not take the reader from the others.
import { isDeepStrictEqual } from 'node:util'
import type { NftExpression, NftRule, NftSet } from '../../kernel/port/nftables.ts'
import type { NftChainProgram } from '../../kernel/reconcile/nft-state.ts'
import { type Family, familyOf } from '../../lib/ip.ts'
import { jump, ofFamily, SOURCE, type Steps } from '../calc/nft-expressions.ts'
import type { ElementChanges } from './held-set.ts'
import { lookup, type SetsOf } from './matches.ts'
import type { Resolvers } from './model.ts'
import { type MemberSource, type SetPlace, sourceKey, type TableName } from './sources.ts'

/** The NFLOG group of the copies, in the agent's network namespace. No other program may read it. */
export const ANSWER_GROUP = 81
/** Of each packet: an answer that is longer is cut off. */
export const ANSWER_OCTETS = 9216
/** Packets in a second: to one pod, and to all. What is more is not copied. */
const RATE = { pod: 500, node: 5000 } as const

/** The interfaces of pods that policies ask for names. */
const TOLD_PODS = 'told_pods'
/** Addresses and ports of resolvers that have no Service. */
const RESOLVERS: Readonly<Record<Family, string>> = { ipv4: 'resolvers4', ipv6: 'resolvers6' }
const COPY = 'copy_answer'
/** Behind everything else that may drop or change a packet: what is copied leaves. */
const LAST_PRIORITY = 200

const FAMILIES = ['ipv4', 'ipv6'] as const
const PROTOCOLS = { udp: 17, tcp: 6 } as const
const ADDRESS_TYPE: Readonly<Record<Family, string>> = { ipv4: 'ipv4_addr', ipv6: 'ipv6_addr' }
const IP: Readonly<Record<Family, 'ip' | 'ip6'>> = { ipv4: 'ip', ipv6: 'ip6' }
/** IP_CT_DIR_REPLY. */
const REPLY = '01'
/** As the kernel keeps it in a register. */
const UNTRACKED = '40000000'

/** What stands for the copies. */
export type Copies = {
  sets: ReadonlyMap<string, NftSet>
  elements: ReadonlyMap<string, ReadonlySet<string>>
  chains: ReadonlyMap<string, NftChainProgram>
}

export const NO_COPIES: Copies = { sets: new Map(), elements: new Map(), chains: new Map() }

export type CopyChanges = {
  sets: Map<string, NftSet | undefined>
  elements: Map<string, ElementChanges>
  chains: Map<string, NftChainProgram | undefined>
}

/** The sources of the sets that the chains look up. */
export function sourcesOfResolvers({ services }: Resolvers): MemberSource[] {
  return services.map(({ namespace, name }) => ({ of: 'service', namespace, name, with: 'ports' }))
}

/** All that copies the answers of these resolvers to the pods of these interfaces; nothing where there are none. */
export function answerCopies(
  table: TableName,
  interfaces: readonly string[],
  resolvers: Resolvers,
  setsOf: SetsOf,
): Copies {
  if (interfaces.length === 0) return NO_COPIES
  const chain = (
    name: string,
    rules: readonly Steps[],
    base?: { hook: 'postrouting' | 'output'; priority: number },
  ): NftChainProgram => ({
    chain: { kind: 'chain', ...table, name, ...(base && { base: { type: 'filter', ...base, policy: 'accept' } }) },
    rules: rules.map((expressions): NftRule => ({ kind: 'rule', ...table, chain: name, expressions })),
  })
  const addressed = FAMILIES.filter(family => resolvers.addresses.some(({ address }) => familyOf(address) === family))
  const each = Object.values(PROTOCOLS)
  const byService = resolvers.services.flatMap((service, i) => {
    const { ipv4, ipv6 } = setsOf(sourceKey(sourcesOfResolvers(resolvers)[i]!))
    return each.flatMap(protocol => [
      ...ipv4.map(set => ofService(protocol, 'ipv4', set, service.port)),
      ...ipv6.map(set => ofService(protocol, 'ipv6', set, service.port)),
    ])
  })
  const byAddress = each.flatMap(protocol => addressed.map(family => ofAddress(protocol, family)))
  const own = each.flatMap(protocol => addressed.map(family => fromAddress(protocol, family)))
  const chains = [
    chain(COPY, [COPY_RULE]),
    chain('copy_answers', [...byService, ...byAddress], { hook: 'postrouting', priority: LAST_PRIORITY }),
    ...(own.length === 0 ? [] : [chain('copy_own_answers', own, { hook: 'output', priority: LAST_PRIORITY })]),
  ]
  const limit = { type: 'limit', unit: 'packets', rate: RATE.pod, per: 'second', burst: RATE.pod } as const
  const sets: NftSet[] = [
    { kind: 'set', ...table, name: TOLD_PODS, type: 'ifname', expressions: [limit] },
    ...addressed.map((family): NftSet => {
      return { kind: 'set', ...table, name: RESOLVERS[family], type: `${ADDRESS_TYPE[family]} . inet_service` }
    }),
  ]
  const elements = new Map([[TOLD_PODS, new Set(interfaces)]])
  for (const family of addressed) {
    const own = resolvers.addresses.filter(({ address }) => familyOf(address) === family)
    elements.set(RESOLVERS[family], new Set(own.map(({ address, port }) => `${address} . ${port}`)))
  }
  return {
    sets: new Map(sets.map(set => [set.name, set])),
    elements,
    chains: new Map(chains.map(program => [program.chain.name, program])),
  }
}

/** Adds to `changes` what leads from one state to the other. */
export function addCopyChanges(before: Copies, now: Copies, changes: CopyChanges): void {
  for (const [name, set] of now.sets) if (!before.sets.has(name)) changes.sets.set(name, set)
  for (const name of before.sets.keys()) if (!now.sets.has(name)) changes.sets.set(name, undefined)
  for (const [name, wanted] of now.elements) {
    const there = before.elements.get(name) ?? new Set()
    const [added, removed] = [[...wanted.difference(there)], [...there.difference(wanted)]]
    if (added.length + removed.length > 0) changes.elements.set(name, { added, removed })
  }
  for (const name of before.chains.keys()) if (!now.chains.has(name)) changes.chains.set(name, undefined)
  for (const [name, program] of now.chains)
    if (!isDeepStrictEqual(program, before.chains.get(name))) changes.chains.set(name, program)
}

/** `oifname @told_pods limit rate ... log group ...`: the element of a pod has a limit of its own. */
const COPY_RULE: Steps = [
  { type: 'meta', key: 'oifname', load: 1 },
  { type: 'lookup', set: TOLD_PODS, from: 1 },
  { type: 'limit', unit: 'packets', rate: RATE.node, per: 'second', burst: RATE.node },
  { type: 'log', group: ANSWER_GROUP, snapLength: ANSWER_OCTETS, queueThreshold: 1 },
]

/** The answer of an endpoint of the Service, whether it was asked by the address of the Service or by its own. */
function ofService(protocol: number, family: Family, place: SetPlace, port: number): Steps {
  return [
    ...replyOf(protocol),
    { type: 'ct', key: 'proto-dst', load: 1, direction: 'original' },
    equals(hex(port, 2)),
    ...lookup(
      place,
      [
        { type: 'ct', key: `${IP[family]} saddr`, direction: 'reply' },
        { type: 'meta', key: 'l4proto' },
        { type: 'ct', key: 'proto-src', direction: 'reply' },
      ],
      'in',
    ),
    ...jump(COPY),
  ]
}

/** The answer to a question that was sent to this address. */
function ofAddress(protocol: number, family: Family): Steps {
  const fields = [
    { type: 'ct', key: `${IP[family]} daddr`, direction: 'original' },
    { type: 'ct', key: 'proto-dst', direction: 'original' },
  ] as const
  return [...replyOf(protocol), ...lookup({ set: RESOLVERS[family] }, fields, 'in'), ...jump(COPY)]
}

/** What this host sends from the address of a resolver, in no connection that is tracked. */
function fromAddress(protocol: number, family: Family): Steps {
  const fields = [
    { type: 'payload', ...SOURCE[family] },
    { type: 'payload', base: 'transport', offset: 0, length: 2 },
  ] as const
  return [
    { type: 'ct', key: 'state', load: 1 },
    { type: 'bitwise', from: 1, load: 1, length: 4, mask: UNTRACKED, xor: '00000000' },
    { type: 'cmp', op: 'neq', from: 1, value: '00000000' },
    ...ofFamily(family),
    ...isProtocol(protocol),
    ...lookup({ set: RESOLVERS[family] }, fields, 'in'),
    ...jump(COPY),
  ]
}

function replyOf(protocol: number): Steps {
  return [...isProtocol(protocol), { type: 'ct', key: 'direction', load: 1 }, equals(REPLY)]
}

function isProtocol(protocol: number): Steps {
  return [{ type: 'meta', key: 'l4proto', load: 1 }, equals(hex(protocol, 1))]
}

function equals(value: string): NftExpression {
  return { type: 'cmp', op: 'eq', from: 1, value }
}

function hex(value: number, octets: number): string {
  return value.toString(16).padStart(2 * octets, '0')
}
