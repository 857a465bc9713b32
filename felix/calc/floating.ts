// Floating addresses: what comes to one goes to the pod that has it, which sees the sender as it is and answers under its own
// address. A table of its own for each family, with all addresses in two maps, so that a packet costs the same for any number. Pure.
// Hazards: kube-proxy comes first (-100), and the first translation of a connection counts: an address of a Service cannot be
// taken. A pod that sends to its own floating address would see a packet from itself and drop it: that one gets the floating
// address as its source, before others masquerade it. The rest of what a pod sends keeps its own address, as in Calico.
import type { NftChain, NftExpression, NftFamily, NftRule, NftSet } from '../../kernel/port/nftables.ts'
import type { NftProgram } from '../../kernel/reconcile/objects.ts'
import { type Family, familyOf } from '../../lib/ip.ts'
import { type Steps, translateByDestination, translateByEnds } from './nft-expressions.ts'

/** `address` leads to a pod's own address `to`, of the same family. */
export type FloatingTarget = { address: string; to: string }

export const FLOATING_FAMILIES = { ipv4: 'ip', ipv6: 'ip6' } as const satisfies Record<Family, NftFamily>

/** From a floating address to that of its pod. */
export const TARGETS = 'targets'
/** From the address of a pod, twice, to the one of its floating addresses that it sees itself under. */
const ITSELF = 'itself'

/** Behind kube-proxy's translation of destinations (-100), and before anybody's masquerading (99 and 100). */
const AFTER_DSTNAT = -99
const BEFORE_MASQUERADING = 98

/** The table of one family, for the addresses of that family; absent without any. */
export function floatingProgram(name: string, family: Family, all: readonly FloatingTarget[]): NftProgram {
  const of = { family: FLOATING_FAMILIES[family], table: name } as const
  const table = { kind: 'table', family: of.family, name } as const
  const targets = all.filter(({ address }) => familyOf(address) === family).sort(byAddress)
  if (targets.length === 0) return { table, sets: [], chains: [], rules: [], absent: true }

  const word = family === 'ipv4' ? 'ipv4_addr' : 'ipv6_addr'
  const map = (setName: string, type: string): NftSet => ({ kind: 'set', ...of, name: setName, type, data: word })
  const maps = { targets: map(TARGETS, word), itself: map(ITSELF, `${word} . ${word}`) }
  const chain = (hook: 'prerouting' | 'output' | 'postrouting', priority: number): NftChain => {
    return { kind: 'chain', ...of, name: hook, base: { type: 'nat', hook, priority, policy: 'accept' } }
  }
  const rule = (in_: string, comment: string, expressions: Steps): NftRule => {
    return { kind: 'rule', ...of, chain: in_, expressions: expressions as readonly NftExpression[], comment }
  }
  const first = new Map<string, string>()
  for (const { address, to } of targets) if (!first.has(to)) first.set(to, address)
  const elements = ({ kind: _, name: set, ...types }: NftSet, pairs: readonly (readonly [string[], string])[]) => {
    return { ...types, kind: 'elements', set, elements: pairs.map(([key, data]) => ({ key, data: [data] })) } as const
  }
  return {
    table,
    sets: Object.values(maps),
    contents: [
      elements(
        maps.targets,
        targets.map(({ address, to }) => [[address], to]),
      ),
      elements(
        maps.itself,
        [...first].map(([to, address]) => [[to, to], address]),
      ),
    ],
    chains: [
      chain('prerouting', AFTER_DSTNAT),
      chain('output', AFTER_DSTNAT),
      chain('postrouting', BEFORE_MASQUERADING),
    ],
    rules: [
      rule('prerouting', 'floating address', translateByDestination(family, TARGETS)),
      rule('output', 'floating address', translateByDestination(family, TARGETS)),
      rule('postrouting', 'a pod’s own floating address', translateByEnds(family, ITSELF)),
    ],
  }
}

function byAddress(a: FloatingTarget, b: FloatingTarget): number {
  return a.address < b.address ? -1 : 1
}
