// An interpreter of nftables: tables as values and one packet in, the verdict and the way that led to it out. It walks the
// hooks that the packet passes, their base chains by priority and the rules of each as the kernel does (nft_do_chain), so
// that rules can be proved without a kernel. Connections are not tracked and addresses not translated: the packet says.
import type { NftChain, NftHook, NftObject, NftRule, NftRuleset, NftVerdict } from '../../kernel/port/nftables.ts'
import { execute, type Run } from './interpreter/expressions.ts'
import { type HookPacket, isV6 } from './interpreter/packet.ts'
import { Registers } from './interpreter/registers.ts'
import { LookupSet } from './interpreter/sets.ts'

/** One table, as a dump or a renderer has it. */
export type Table = Pick<NftRuleset, 'chains' | 'sets' | 'elements' | 'rules'> & Partial<Pick<NftRuleset, 'objects'>>

/** A rule of which every expression was true, and what it said; `index` is its place in its chain. */
export type MatchedRule = {
  hook: NftHook
  table: string
  chain: string
  index: number
  rule: NftRule
  verdict?: NftVerdict
}

export type Outcome = {
  verdict: 'accept' | 'drop'
  /** Every chain that was entered, in order: `forward filter/from`. */
  chains: readonly string[]
  rules: readonly MatchedRule[]
  /** The packet, its mark and that of its connection, after all hooks. */
  bytes: Uint8Array
  mark: number
  ctMark: number
}

type Held = {
  chains: Map<string, { chain: NftChain; rules: NftRule[] }>
  set(name: string, id?: number): LookupSet
  object(name: string): NftObject
}
type Base = { held: Held; chain: NftChain; base: NonNullable<NftChain['base']> }

/** NFT_JUMP_STACK_SIZE: the kernel takes no rules that jump deeper. */
const DEPTH = 16
/** From which priority on connections are tracked, and destinations translated (NF_IP_PRI_CONNTRACK, NF_IP_PRI_NAT_DST). */
const TRACKED = -200
const TRANSLATED = -100

/**
 * What these tables do with packets. Tables are read once: make a new one after a change. Throws where a packet meets what
 * has no meaning here: an unknown expression, a chain or set that is not there, a register that was not loaded.
 */
export function interpreter(tables: readonly Table[]): (packet: HookPacket) => Outcome {
  const bases: Base[] = tables
    .map(hold)
    .flatMap(held =>
      [...held.chains.values()].flatMap(({ chain }) =>
        chain.base === undefined ? [] : [{ held, chain, base: chain.base }],
      ),
    )
  return packet => walk(bases, packet)
}

function hold({ chains, sets, elements, rules, objects = [] }: Table): Held {
  const byName = new Map(
    chains.map(chain => [chain.name, { chain, rules: rules.filter(rule => rule.chain === chain.name) }]),
  )
  for (const { chain } of rules)
    if (!byName.has(chain)) throw new Error(`rules of the chain ${chain}, which is not there`)
  const made = new Map<string, LookupSet>()
  return {
    chains: byName,
    object(name) {
      const found = objects.find(each => each.name === name)
      if (found === undefined) throw new Error(`no object ${name}`)
      return found
    },
    set(name, id) {
      const key = id === undefined ? name : `${name} ${id}`
      let set = made.get(key)
      if (set === undefined) {
        const of = sets.find(each => (id === undefined || each.id === undefined ? each.name === name : each.id === id))
        if (of === undefined) throw new Error(`no set ${key}`)
        set = new LookupSet(
          of,
          elements.filter(each => (of.id === undefined ? each.set === of.name : each.setId === of.id)),
        )
        made.set(key, set)
      }
      return set
    },
  }
}

function hooksOf({ iif, oif }: HookPacket): readonly NftHook[] {
  if (iif !== undefined && oif !== undefined) return ['ingress', 'prerouting', 'forward', 'postrouting']
  if (iif !== undefined) return ['ingress', 'prerouting', 'input']
  if (oif !== undefined) return ['output', 'postrouting']
  throw new Error('a packet that comes by no interface and leaves by none')
}

/** Whether a base chain of this family and these devices sees the packet. */
function sees({ chain, base }: Base, { bytes, iif = '' }: HookPacket): boolean {
  if (base.devices !== undefined && !base.devices.includes(iif)) return false
  const own = isV6(bytes) ? 'ip6' : 'ip'
  return chain.family === 'inet' || chain.family === 'netdev' || chain.family === own
}

function walk(bases: readonly Base[], packet: HookPacket): Outcome {
  const chains: string[] = []
  const rules: MatchedRule[] = []
  let tracked = packet.state ?? 'new'
  let { mark = 0, ctMark = 0 } = packet
  // rules may write into them
  const untranslated = Uint8Array.from(packet.bytes)
  const bytes = packet.translated === undefined ? untranslated : Uint8Array.from(packet.translated)
  for (const hook of hooksOf(packet)) {
    const ofHook = bases
      .filter(each => each.base.hook === hook && sees(each, packet))
      .toSorted((a, b) => a.base.priority - b.base.priority)
    for (const each of ofHook) {
      const { priority } = each.base
      const isEarly = hook === 'ingress' || hook === 'prerouting' || hook === 'output'
      const isBeforeRouting = hook === 'ingress' || hook === 'prerouting'
      const isTranslated =
        packet.translated !== undefined && !(isEarly && (hook === 'ingress' || priority <= TRANSLATED))
      const run: Run = {
        packet,
        bytes: isTranslated ? bytes : untranslated,
        registers: new Registers(),
        iif: packet.iif,
        oif: isBeforeRouting || hook === 'input' ? undefined : packet.oif,
        mark,
        ctMark,
        state: isEarly && (hook === 'ingress' || priority < TRACKED) && tracked !== 'untracked' ? undefined : tracked,
        set: each.held.set,
        object: each.held.object,
      }
      const verdict = through(each, run, hook, chains, rules)
      ;({ mark, ctMark } = run)
      if (run.state === 'untracked') tracked = 'untracked'
      if (verdict === 'drop') return { verdict, chains, rules, bytes, mark, ctMark }
    }
  }
  return { verdict: 'accept', chains, rules, bytes, mark, ctMark }
}

/** One base chain with all that it jumps to. */
function through(
  { held, chain: first, base }: Base,
  run: Run,
  hook: NftHook,
  chains: string[],
  matched: MatchedRule[],
): 'accept' | 'drop' {
  const enter = (name: string) => {
    const found = held.chains.get(name)
    if (found === undefined) throw new Error(`no chain ${name}`)
    chains.push(`${hook} ${first.table}/${name}`)
    if (chains.length > 10_000) throw new Error(`chains that go round: ${chains.slice(-5).join(', ')}`)
    return { name, rules: found.rules, at: 0 }
  }
  const stack: ReturnType<typeof enter>[] = []
  let now = enter(first.name)
  for (;;) {
    const rule = now.rules[now.at]
    // the end of a chain is a return
    const verdict: NftVerdict = rule === undefined ? { verdict: 'return' } : evaluate(rule, now, run, hook, matched)
    now.at++
    switch (verdict.verdict) {
      case 'accept':
      case 'drop':
        return verdict.verdict
      case 'jump':
        if (stack.length === DEPTH) throw new Error(`jumps deeper than ${DEPTH}`)
        stack.push(now)
        now = enter(verdict.chain)
        break
      case 'goto':
        now = enter(verdict.chain)
        break
      case 'return': {
        const back = stack.pop()
        if (back === undefined) return base.policy ?? 'accept'
        now = back
        break
      }
      case 'continue':
      case 'break':
        break
    }
  }
}

/** What a rule says; `continue` when it says nothing, or is not about the packet. */
function evaluate(
  rule: NftRule,
  { name, at }: { name: string; at: number },
  run: Run,
  hook: NftHook,
  matched: MatchedRule[],
): NftVerdict {
  run.registers.forget()
  const place = { hook, table: rule.table, chain: name, index: at, rule }
  for (const expression of rule.expressions) {
    const effect = execute(expression, run)
    if (effect === 'break' || (effect !== 'next' && effect.verdict === 'break')) return { verdict: 'continue' }
    if (effect === 'next' || effect.verdict === 'continue') continue
    matched.push({ ...place, verdict: effect })
    return effect
  }
  matched.push(place)
  return { verdict: 'continue' }
}
