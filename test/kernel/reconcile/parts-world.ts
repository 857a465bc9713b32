// One table of nftables in parts over a fake kernel: another program writes to it too, and what it does is told a turn later.
import { FakeWorld } from '../../../kernel/fake/world.ts'
import { KernelError } from '../../../kernel/port/error.ts'
import type {
  NftablesPort,
  NftChange,
  NftPartNames,
  NftRule,
  NftRuleset,
  NftSet,
} from '../../../kernel/port/nftables.ts'
import { NftParts } from '../../../kernel/reconcile/nft-parts.ts'
import { INLINE_SET, type NftChainProgram, type NftDatum } from '../../../kernel/reconcile/nft-state.ts'

export const NAME = { family: 'inet', name: 'ours' } as const
export const OF = { family: 'inet', table: 'ours' } as const
export const TABLE = { kind: 'table', ...NAME } as const
export const peers = (name: string): NftSet => ({ kind: 'set', ...OF, name, type: 'ipv4_addr' })
export const DISPATCH: NftSet = { kind: 'set', ...OF, name: 'to', type: 'ifname', data: 'verdict' }
export const rule = (chain: string, comment: string, ...steps: NftRule['expressions']): NftRule => {
  return { kind: 'rule', ...OF, chain, comment, expressions: [...steps, { type: 'counter' }] }
}
export const lookup = (set: string) => ({ type: 'lookup', set, from: 1 }) as const
/** A chain that looks up these sets. */
export const profile = (name: string, ...sets: string[]): NftChainProgram => ({
  chain: { kind: 'chain', ...OF, name },
  rules: sets.map(set => rule(name, set, lookup(set))),
})
/** A chain with a rule that has a set of its own. */
export const withPorts = (name: string, ...ports: string[]): NftChainProgram => ({
  chain: { kind: 'chain', ...OF, name },
  rules: [rule(name, 'ports', { ...lookup(INLINE_SET), setId: 1 })],
  inline: [{ id: 1, type: 'inet_service', flags: ['interval'], elements: ports.map(key => ({ key: [key] })) }],
})
export const HOOK: NftChainProgram = {
  chain: { kind: 'chain', ...OF, name: 'forward', base: { type: 'filter', hook: 'forward', priority: 0 } },
  rules: [rule('forward', 'dispatch', { ...lookup('to'), load: 0 })],
}
export const goto = (chain: string): NftDatum => ({ verdict: 'goto', chain })

/** `read`: of each reading which parts were asked for, or all; whoever changes `otherProgram` is heard after a turn. */
export function bench(world = new FakeWorld()) {
  const [own, otherProgram] = [world.kernel(), world.kernel()]
  const sent: NftChange[][] = []
  const read: (NftPartNames | 'all')[] = []
  const it = { refuse: (_: NftChange): number | undefined => undefined }
  const kernel: NftablesPort = {
    nftables(of, options) {
      read.push(options !== undefined && 'only' in options ? options.only : 'all')
      return own.nftables(of, options)
    },
    nftGeneration: () => own.nftGeneration(),
    monitorNftables: listen => own.monitorNftables(listen),
    ruleCounters: of => own.ruleCounters(of),
    baseChains: () => own.baseChains(),
    forwardChains: () => own.forwardChains(),
    legacyBaseChains: () => own.legacyBaseChains(),
    legacyForwardChains: () => own.legacyForwardChains(),
    async changeNftables(changes) {
      sent.push([...changes])
      const refusals = changes.flatMap((change, index) => {
        const errno = it.refuse(change)
        return errno === undefined ? [] : [{ index, error: new KernelError(errno, 'nft', change.verb) }]
      })
      return refusals.length > 0 ? refusals : own.changeNftables(changes)
    },
  }
  const parts = new NftParts(kernel, TABLE)
  kernel.monitorNftables(news => parts.observe(news))
  return Object.assign(it, { world, kernel, parts, otherProgram, sent, read, held: () => otherProgram.nftables(NAME) })
}

/** News come a turn after what they tell. */
export const turn = () => new Promise(setImmediate)

/** Two pods, one profile that looks up one set. */
export function wantUsual({ parts }: ReturnType<typeof bench>): void {
  parts.wantSet('to', DISPATCH)
  parts.wantSet('web', peers('web'))
  parts.wantElement('web', '10.0.0.1', 'member')
  parts.wantChain('p1', profile('p1', 'web'))
  parts.wantChain('forward', HOOK)
  for (const name of ['cali1', 'cali2']) parts.wantElement('to', name, goto('p1'))
}

export const all = () => true
export const wordsOf = (changes: readonly NftChange[]) => changes.map(({ verb, object }) => `${verb} ${object.kind}`)
export const keysOf = (ruleset: NftRuleset | undefined, set: string) =>
  (ruleset?.elements ?? [])
    .filter(each => each.set === set)
    .flatMap(each => each.elements.map(({ key }) => key.join(' . ')))
