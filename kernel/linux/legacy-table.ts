// The octets of a table of iptables-legacy or ip6tables-legacy as a forward chain with rules in the words of nftables, so that one
// judge reads both. Layouts: struct ipt_getinfo, ipt_entry, ip6t_entry and xt_standard_target of
// linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h and netfilter/x_tables.h. Pure, and total.
import { toHex } from '../../lib/bytes.ts'
import type { Family } from '../../lib/ip.ts'
import type { ForwardChain, NftChain, NftExpression, NftFamily, NftRule } from '../port/nftables.ts'

type Layout = {
  nft: NftFamily
  /** Octets of an address. */
  address: number
  /** Where flags, and behind them inverting flags, lie in an entry, and where its offsets. */
  flags: number
  offsets: number
  goto: number
  /** The size of an entry without matches. */
  head: number
}

export const LAYOUT: Readonly<Record<Family, Layout>> = {
  ipv4: { nft: 'ip', address: 4, flags: 82, offsets: 88, goto: 0x02, head: 112 },
  ipv6: { nft: 'ip6', address: 16, flags: 131, offsets: 140, goto: 0x04, head: 168 },
}
/** Where the source lies in the header of a packet. */
const SOURCE: Readonly<Record<Family, number>> = { ipv4: 12, ipv6: 8 }
/** Octets of a table's name, with its final zero. */
const NAME_LENGTH = 32
const IFNAMSIZ = 16
/** NF_INET_FORWARD, and its name. */
const FORWARD = { hook: 2, name: 'FORWARD' } as const
export const HOOK_NAMES = ['PREROUTING', 'INPUT', FORWARD.name, 'OUTPUT', 'POSTROUTING'] as const
/** IPT_INV_*, the same for both families. */
const INVERTED = { in: 0x01, out: 0x02, source: 0x08, destination: 0x10 } as const
/** xt_entry_match and xt_entry_target: size u16 | name[29] | revision u8. */
const EXTENSION_HEAD = 32
/** The target of an entry that is no rule and has the name of the chain behind it, or is the last one. */
export const CHAIN_NAME = 'ERROR'
const ACCEPT = -2
export const DROP = -1
const RETURN = -5
/** Targets after which the next rule is read. */
const GO_ON =
  /^(LOG|NFLOG|ULOG|MARK|CONNMARK|CONNSECMARK|SECMARK|TCPMSS|TCPOPTSTRIP|CLASSIFY|DSCP|TOS|TTL|HL|ECN|CHECKSUM|AUDIT|TRACE|SET|TEE|LED|RATEEST|IDLETIMER|HMARK|CT|NOTRACK)$/

/** So many rules of a table are read at the most. What a packet may meet behind them is unknown. */
const MOST_RULES = 2000
/** Nobody knows what becomes of a packet. */
const UNCLEAR: readonly NftExpression[] = [{ type: 'opaque', name: 'queue' }]

export type LegacyTable = { family: Family; table: string; info: Buffer; entries: Buffer }
type Entry = { bytes: Buffer; target: string; data: Buffer; matches: Buffer; next: number }

/** Whether a table has a chain at the hook forward, from the octets of `ipt_getinfo`. */
export function hasForwardChain(info: Buffer): boolean {
  return (info.readUInt32LE(NAME_LENGTH) & (1 << FORWARD.hook)) !== 0
}

/**
 * The forward chain of a table with the rules of all chains that its packets may meet, from the octets of `ipt_getinfo` and
 * of the entries; undefined where it has none. Total: what is cut off is left out. Its cost has a limit, however many
 * rules there are: a rule that decides nothing for sure stands for those that are not read.
 */
export function parseLegacyTable({ family, table, info, entries }: LegacyTable): ForwardChain | undefined {
  if (!hasForwardChain(info)) return undefined
  const layout = LAYOUT[family]
  const policyAt = info.readUInt32LE(56 + 4 * FORWARD.hook)
  const chainAt = chainsOf(entries, info, layout)
  const starts = [info.readUInt32LE(36 + 4 * FORWARD.hook)]
  const met = new Set(starts)
  const rules: NftRule[] = []
  const end = entryAt(entries, policyAt, layout)
  const policy = end?.target === '' && verdictOf(end) === DROP ? 'drop' : 'accept'
  // it grows while it is walked
  for (const start of starts) {
    const chain = chainAt.get(start) ?? FORWARD.name
    const add = (expressions: readonly NftExpression[]) => {
      rules.push({ kind: 'rule', family: layout.nft, table, chain, expressions: [...expressions] })
    }
    for (let at = start; ; ) {
      if (rules.length >= MOST_RULES) {
        add(UNCLEAR)
        break
      }
      const entry = entryAt(entries, at, layout)
      // the next chain begins with a name
      if (entry === undefined || entry.target === CHAIN_NAME || at === policyAt) break
      add([...conditionsOf(entry, family), ...actionOf(entry, chainAt, layout)])
      const leadsTo = entry.target === '' ? verdictOf(entry) : DROP
      if (leadsTo >= 0 && chainAt.has(leadsTo) && !met.has(leadsTo)) {
        met.add(leadsTo)
        starts.push(leadsTo)
      }
      at = entry.next
    }
  }
  const base: NftChain['base'] = { type: 'filter', hook: 'forward', priority: 0, policy }
  return { chain: { kind: 'chain', family: layout.nft, table, name: FORWARD.name, base }, rules, legacy: true }
}

/** The names of the chains by the places of their first rules. A chain of a user follows an entry that has its name. */
export function chainsOf(entries: Buffer, info: Buffer, layout: Layout): Map<number, string> {
  const chainAt = new Map<number, string>()
  for (const [hook, name] of HOOK_NAMES.entries())
    if ((info.readUInt32LE(NAME_LENGTH) & (1 << hook)) !== 0) chainAt.set(info.readUInt32LE(36 + 4 * hook), name)
  for (let at = 0; ; ) {
    const place = placeAt(entries, at, layout)
    if (place === undefined) return chainAt
    // most entries are no names of chains: their first octet is another one
    if (entries[place.target + 2] === CHAIN_NAME.charCodeAt(0)) {
      const entry = entryAt(entries, at, layout)!
      if (entry.target === CHAIN_NAME) chainAt.set(place.next, text(entry.data))
    }
    at = place.next
  }
}

/** Where the target of an entry lies, and the next entry; undefined where there is no whole entry. */
function placeAt(entries: Buffer, at: number, { head, offsets }: Layout): { target: number; next: number } | undefined {
  if (at + head > entries.length) return undefined
  const target = entries.readUInt16LE(at + offsets)
  const size = entries.readUInt16LE(at + offsets + 2)
  if (target < head || size < target + EXTENSION_HEAD || at + size > entries.length) return undefined
  return { target: at + target, next: at + size }
}

export function entryAt(entries: Buffer, at: number, layout: Layout): Entry | undefined {
  const place = placeAt(entries, at, layout)
  if (place === undefined) return undefined
  const { target, next } = place
  return {
    bytes: entries.subarray(at, next),
    target: text(entries.subarray(target + 2, target + 31)),
    data: entries.subarray(target + EXTENSION_HEAD, next),
    matches: entries.subarray(at + layout.head, target),
    next,
  }
}

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0)
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end)
}

export function verdictOf({ data }: Entry): number {
  return data.length < 4 ? RETURN : data.readInt32LE(0)
}

/** What a packet must be for the rule, as nftables says it; what is not understood is opaque. */
function* conditionsOf({ bytes, matches }: Entry, family: Family): Generator<NftExpression> {
  const { address, flags, goto } = LAYOUT[family]
  const inverted = bytes[flags + 1]!
  const [source, destination] = [0, address]
  for (const [from, offset, flag] of [
    [source, SOURCE[family], INVERTED.source],
    [destination, SOURCE[family] + address, INVERTED.destination],
  ] as const) {
    const mask = toHex(bytes.subarray(from + 2 * address, from + 3 * address))
    if (/^0*$/.test(mask)) continue
    yield { type: 'payload', base: 'network', offset, length: address, load: 1 }
    yield { type: 'bitwise', from: 1, load: 1, length: address, mask, xor: '00'.repeat(address) }
    const value = toHex(bytes.subarray(from, from + address))
    yield { type: 'cmp', op: (inverted & flag) === 0 ? 'eq' : 'neq', from: 1, value }
  }
  const names = 4 * address
  for (const [from, key, flag] of [
    [names, 'iifname', INVERTED.in],
    [names + IFNAMSIZ, 'oifname', INVERTED.out],
  ] as const) {
    const asked = bytes.subarray(from + 2 * IFNAMSIZ, from + 3 * IFNAMSIZ).lastIndexOf(0xff) + 1
    if (asked === 0) continue
    const name = bytes.subarray(from, from + asked)
    yield { type: 'meta', key, load: 1 }
    // a name that is asked for whole has its final zero in the mask
    const value = toHex(name).padEnd(name.includes(0) ? 2 * IFNAMSIZ : 0, '0')
    yield { type: 'cmp', op: (inverted & flag) === 0 ? 'eq' : 'neq', from: 1, value }
  }
  const protocol = bytes.readUInt16LE(names + 4 * IFNAMSIZ)
  const isMore = protocol !== 0 || (inverted & ~0x1b) !== 0 || (bytes[flags]! & ~goto) !== 0
  if (isMore) yield { type: 'opaque', name: 'protocol' }
  for (let at = 0; at + EXTENSION_HEAD <= matches.length; ) {
    const size = matches.readUInt16LE(at)
    if (size < EXTENSION_HEAD) return
    const match = matches.subarray(at, at + size)
    yield* matchOf(text(match.subarray(2, 31)), match[31]!, match.subarray(EXTENSION_HEAD))
    at += size
  }
}

/** `-m state` and `-m conntrack --ctstate` are what most rules ask; comments ask nothing. */
function* matchOf(name: string, revision: number, data: Buffer): Generator<NftExpression> {
  if (name === 'comment') return
  const state =
    name === 'state' && data.length >= 4
      ? data.readUInt32LE(0)
      : name === 'conntrack'
        ? onlyState(revision, data)
        : undefined
  if (state === undefined) {
    yield { type: 'opaque', name: 'match' }
    return
  }
  const mask = Buffer.alloc(4)
  mask.writeUInt32LE(state & 0xff)
  yield { type: 'ct', key: 'state', load: 1 }
  yield { type: 'bitwise', from: 1, load: 1, length: 4, mask: toHex(mask), xor: '00000000' }
  yield { type: 'cmp', op: 'neq', from: 1, value: '00000000' }
}

/** The states of xt_conntrack_mtinfo 1 to 3, where they are all that is asked and not inverted. */
function onlyState(revision: number, data: Buffer): number | undefined {
  const at = 146
  if (revision < 1 || revision > 3 || data.length < at + 6) return undefined
  const isState = data.readUInt16LE(at) === 1 && (data.readUInt16LE(at + 2) & 1) === 0
  return isState ? data[at + 4] : undefined
}

function actionOf(entry: Entry, chainAt: ReadonlyMap<number, string>, { flags, goto }: Layout): NftExpression[] {
  const { target, bytes, next } = entry
  if (target === 'REJECT') return [{ type: 'opaque', name: 'reject' }]
  if (target !== '') return [{ type: 'opaque', name: GO_ON.test(target) ? 'target' : 'queue' }]
  const verdict = verdictOf(entry)
  const immediate = (data: (NftExpression & { type: 'immediate' })['data']): NftExpression[] => [
    { type: 'immediate', load: 0, data },
  ]
  if (verdict === ACCEPT) return immediate({ verdict: 'accept' })
  if (verdict === DROP) return immediate({ verdict: 'drop' })
  if (verdict === RETURN) return immediate({ verdict: 'return' })
  const goes = (bytes[flags]! & goto) !== 0
  // a rule without a target leads to the next one
  if (verdict === next && !goes) return []
  const chain = chainAt.get(verdict)
  return chain === undefined
    ? [{ type: 'opaque', name: 'queue' }]
    : immediate({ verdict: goes ? 'goto' : 'jump', chain })
}
