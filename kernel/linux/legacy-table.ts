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

const LAYOUT: Readonly<Record<Family, Layout>> = {
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
const HOOK_NAMES = ['PREROUTING', 'INPUT', FORWARD.name, 'OUTPUT', 'POSTROUTING'] as const
/** IPT_INV_*, the same for both families. */
const INVERTED = { in: 0x01, out: 0x02, source: 0x08, destination: 0x10 } as const
/** xt_entry_match and xt_entry_target: size u16 | name[29] | revision u8. */
const EXTENSION_HEAD = 32
const ACCEPT = -2
const DROP = -1
const RETURN = -5
/** Targets after which the next rule is read. */
const GO_ON =
  /^(LOG|NFLOG|ULOG|MARK|CONNMARK|CONNSECMARK|SECMARK|TCPMSS|TCPOPTSTRIP|CLASSIFY|DSCP|TOS|TTL|HL|ECN|CHECKSUM|AUDIT|TRACE|SET|TEE|LED|RATEEST|IDLETIMER|HMARK|CT|NOTRACK)$/

type LegacyTable = { family: Family; table: string; info: Buffer; entries: Buffer }
type Entry = { at: number; bytes: Buffer; target: string; data: Buffer; matches: Buffer; next: number }

/**
 * The forward chain of a table with all rules of the table, from the octets of `ipt_getinfo` and of the entries; undefined
 * where it has none. Total: what is cut off is left out.
 */
export function parseLegacyTable({ family, table, info, entries }: LegacyTable): ForwardChain | undefined {
  const layout = LAYOUT[family]
  const hooks = HOOK_NAMES.map((name, hook) => ({
    name,
    valid: (info.readUInt32LE(NAME_LENGTH) & (1 << hook)) !== 0,
    first: info.readUInt32LE(36 + 4 * hook),
    policy: info.readUInt32LE(56 + 4 * hook),
  })).filter(({ valid }) => valid)
  const forward = hooks.find(({ name }) => name === FORWARD.name)
  if (forward === undefined) return undefined
  const all = [...entriesOf(entries, layout)]
  const chainAt = new Map<number, string>(hooks.map(({ first, name }) => [first, name]))
  for (const { target, data, next } of all) if (target === 'ERROR') chainAt.set(next, text(data))
  const rules: NftRule[] = []
  let policy: 'accept' | 'drop' = 'accept'
  let chain = ''
  for (const entry of all) {
    chain = chainAt.get(entry.at) ?? chain
    if (entry.at === forward.policy && entry.target === '') policy = verdictOf(entry) === DROP ? 'drop' : 'accept'
    if (entry.target === 'ERROR' || hooks.some(hook => hook.policy === entry.at)) continue
    const expressions = [...conditionsOf(entry, family), ...actionOf(entry, chainAt, layout)]
    rules.push({ kind: 'rule', family: layout.nft, table, chain, expressions })
  }
  const base: NftChain['base'] = { type: 'filter', hook: 'forward', priority: 0, policy }
  return { chain: { kind: 'chain', family: layout.nft, table, name: FORWARD.name, base }, rules, legacy: true }
}

function* entriesOf(entries: Buffer, { head, offsets }: Layout): Generator<Entry> {
  for (let at = 0; at + head <= entries.length; ) {
    const target = entries.readUInt16LE(at + offsets)
    const size = entries.readUInt16LE(at + offsets + 2)
    const next = at + size
    if (target < head || size < target + EXTENSION_HEAD || next > entries.length) return
    const bytes = entries.subarray(at, next)
    const data = bytes.subarray(target + EXTENSION_HEAD)
    yield {
      at,
      bytes,
      target: text(bytes.subarray(target + 2, target + 31)),
      data,
      matches: bytes.subarray(head, target),
      next,
    }
    at = next
  }
}

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0)
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end)
}

function verdictOf({ data }: Entry): number {
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
