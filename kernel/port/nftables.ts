// nftables of one network namespace: tables, chains, sets, elements and rules as values, and transactions over them.
// Part of the kernel port. Words are those of nft(8). A rule is a list of expressions, each of which reads or writes
// registers, as the kernel has it: there is no other form that loses nothing. Octets are lower-case hex.
// Over 400 lines: the values of one subsystem of the kernel, which refer to each other, and the promises about them.
import type { KernelError } from './error.ts'

export type NftFamily = 'inet' | 'ip' | 'ip6' | 'arp' | 'bridge' | 'netdev'

/**
 * What belongs to an object and says nothing about packets. Of `comment` and `userdata` there is one at most: `userdata`
 * is what another program wrote that is more than a comment. `handle` is the kernel's number, in dumps only.
 */
type NftNotes = { comment?: string; userdata?: string; handle?: number }

export type NftTable = { kind: 'table'; family: NftFamily; name: string; flags?: number } & NftNotes

export type NftTableName = Pick<NftTable, 'family' | 'name'>

export type NftHook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting' | 'ingress' | 'egress'

/** Where packets enter a base chain. `devices` are needed by the family netdev and by the hook ingress only. */
type NftBase = {
  type: string
  hook: NftHook
  priority: number
  policy?: 'accept' | 'drop'
  devices?: readonly string[]
}

export type NftChain = { kind: 'chain'; family: NftFamily; table: string; name: string; base?: NftBase } & NftNotes

export type NftSetFlag = 'anonymous' | 'constant' | 'interval' | 'timeout' | 'dynamic'

/**
 * A set, or a map when it has `data`. `type` and `data` are nft's words (`ipv4_addr . inet_service`; `verdict`).
 * `keyLength` and `dataLength` are octets, given where they are not those of the type. `size` bounds the elements; a
 * set that rules fill needs it. `id` names an anonymous set within its transaction.
 */
export type NftSet = {
  kind: 'set'
  family: NftFamily
  table: string
  name: string
  type: string
  keyLength?: number
  data?: string
  dataLength?: number
  flags?: readonly NftSetFlag[]
  size?: number
  timeoutMs?: number
  gcIntervalMs?: number
  /** NFT_SET_POL_MEMORY instead of performance. */
  preferMemory?: true
  /** What every element gets: counters, limits. */
  expressions?: readonly NftExpression[]
  id?: number
} & NftNotes

/** `jump` and `goto` name a chain. */
export type NftVerdict =
  | { verdict: 'accept' | 'drop' | 'return' | 'continue' | 'break' }
  | { verdict: 'jump' | 'goto'; chain: string }

/**
 * One element. `key` has a word per field of the set's type, as nft prints it: `10.0.0.1`, `10.0.0.0/8` and
 * `10.0.0.1-10.0.0.9` in sets with the flag `interval`, `cali1`, `tcp`, `80`, `0x00000010`; `['*']` alone is what matches
 * when nothing else does. `expiresMs` is told by dumps. The kernel evaluates `expressions` when a packet finds the element
 * (5.7 and newer), and removes by itself, within a second, one whose `connlimit` counts no connection.
 */
export type NftElement = {
  key: readonly string[]
  data?: NftVerdict | readonly string[]
  timeoutMs?: number
  expiresMs?: number
  comment?: string
  userdata?: string
  expressions?: readonly NftExpression[]
}

/** What is needed of a set to write its elements. */
export type NftSetTypes = Pick<NftSet, 'type' | 'keyLength' | 'data' | 'dataLength' | 'flags'>

/** Elements of one set. */
export type NftElements = {
  kind: 'elements'
  family: NftFamily
  table: string
  set: string
  setId?: number
  elements: readonly NftElement[]
} & NftSetTypes

/** A rule. In changes `position` is the handle of the rule that it is put before (`insert`) or after (`add`). */
export type NftRule = {
  kind: 'rule'
  family: NftFamily
  table: string
  chain: string
  expressions: readonly NftExpression[]
  position?: number
} & NftNotes

/** Something with a name that rules use by `objref`: it outlives them. */
export type NftObject = {
  kind: 'object'
  family: NftFamily
  table: string
  name: string
  state: NftStateful | NftOpaque
} & NftNotes

/**
 * Devices whose established connections pass the hooks by (`flow_offload`). One that is added again gets the devices that it
 * has not: none is taken away.
 */
export type NftFlowtable = {
  kind: 'flowtable'
  family: NftFamily
  table: string
  name: string
  priority: number
  devices: readonly string[]
  flags?: readonly ('offload' | 'counter')[]
  handle?: number
}

/** Some of the devices of a flowtable. */
type NftFlowtableDevices = {
  kind: 'devices'
  family: NftFamily
  table: string
  flowtable: string
  priority: number
  devices: readonly string[]
}

/** A value or a verdict, as immediates have it. */
export type NftData = { value: string } | NftVerdict

type NftMetaKey =
  | 'length'
  | 'protocol'
  | 'priority'
  | 'mark'
  | 'iif'
  | 'oif'
  | 'iifname'
  | 'oifname'
  | 'iiftype'
  | 'oiftype'
  | 'skuid'
  | 'skgid'
  | 'nftrace'
  | 'nfproto'
  | 'l4proto'
  | 'pkttype'
  | 'iifgroup'
  | 'oifgroup'

type NftCtKey =
  | 'state'
  | 'direction'
  | 'status'
  | 'mark'
  | 'expiration'
  | 'l3proto'
  | 'protocol'
  | 'packets'
  | 'bytes'
  | 'zone'
  | 'id'
  | 'ip saddr'
  | 'ip daddr'
  | 'ip6 saddr'
  | 'ip6 daddr'
  | 'proto-src'
  | 'proto-dst'

export type NftPayloadBase = 'link' | 'network' | 'transport'
export type NftComparison = 'eq' | 'neq' | 'lt' | 'lte' | 'gt' | 'gte'
export type NftFibFlag = 'saddr' | 'daddr' | 'mark' | 'iif' | 'oif' | 'present'
/** `ports` says that there are some to take from. */
type NftMasqueradeFlag = 'ports' | 'random' | 'persistent' | 'fully-random'
/** `addresses` says that there are some to take from: the kernel tells it, and takes it. */
type NftNatFlag = 'addresses' | NftMasqueradeFlag

type NftLogLevel = 'emerg' | 'alert' | 'crit' | 'err' | 'warn' | 'notice' | 'info' | 'debug' | 'audit'
type NftLogFlag = 'tcp-sequence' | 'tcp-options' | 'ip-options' | 'skuid' | 'ether'

/**
 * What keeps a number from packet to packet: in a rule, for each element of a set, or as an object with a name. `limit`
 * matches up to `rate` of `unit` per time and, after a pause, `burst` more (packets: 5 is what nft takes, and 0 means 5
 * to the kernel; bytes: nft takes 0); with `over` it matches what is more. `connlimit` (nft: `ct count`) matches while
 * there are `count` connections at most, with `over` when there are more.
 */
export type NftStateful =
  | { type: 'counter'; packets?: bigint; bytes?: bigint }
  | {
      type: 'limit'
      unit: 'packets' | 'bytes'
      rate: number
      per: 'second' | 'minute' | 'hour' | 'day' | 'week'
      burst: number
      over?: true
    }
  | { type: 'connlimit'; count: number; over?: true }

/** What an object can be: one of those, or what Margay has no words for. */
type NftOpaque = { type: 'opaque'; name: string; octets?: string }

/**
 * One step of a rule. Registers: 0 is the verdict; 1 to 4 hold 16 octets each; 8 to 23 are the same in pieces of 4, so
 * that 9 is the second piece of 1 (NFT_REG_* of linux/netfilter/nf_tables.h). `load` is the register that is written,
 * `from` the one that is read; masq and nat read addresses and ports from `minPort` and its like. `opaque` is an expression, or a form of one, that Margay knows nothing of: `octets` are
 * its attributes as the kernel told them.
 */
export type NftExpression =
  | NftStateful
  | { type: 'meta'; key: NftMetaKey; load?: number; from?: number }
  /** With `from` it writes into the packet: `checksum` is the kind of checksum that covers it and lies at `checksumOffset` of the same header. */
  | {
      type: 'payload'
      base: NftPayloadBase
      offset: number
      length: number
      load?: number
      from?: number
      checksum?: 'inet' | 'sctp'
      checksumOffset?: number
      /** The octets are also in the checksum of the header above: addresses are in that of TCP. */
      checksumFlags?: readonly 'pseudo-header'[]
    }
  | { type: 'cmp'; op: NftComparison; from: number; value: string }
  /** Within or without two values, which belong to the range. nft takes two `cmp` for `within`. */
  | { type: 'range'; op: 'eq' | 'neq'; from: number; first: string; last: string }
  | { type: 'lookup'; set: string; from: number; load?: number; inverted?: true; setId?: number }
  /** Writes an element with the key in the register `from`. What counts for the new element is given here, or by the set if the set has it. */
  | {
      type: 'dynset'
      op: 'add' | 'update' | 'delete'
      set: string
      from: number
      data?: number
      timeoutMs?: number
      inverted?: true
      expressions?: readonly NftStateful[]
      setId?: number
    }
  | { type: 'bitwise'; from: number; load: number; length: number; mask: string; xor: string }
  /**
   * Turns numbers of the machine into those of the network (`hton`) or back, `size` octets each. Without it less and more,
   * ranges and sets of intervals of marks, lengths or packets compare the wrong octet first.
   */
  | { type: 'byteorder'; op: 'ntoh' | 'hton'; from: number; load: number; length: number; size: number }
  | { type: 'ct'; key: NftCtKey; load?: number; from?: number; direction?: 'original' | 'reply' }
  | { type: 'fib'; result: 'oif' | 'oifname' | 'type'; flags: readonly NftFibFlag[]; load: number }
  | { type: 'immediate'; load: number; data: NftData }
  /** The counter, limit or connlimit with this name. */
  | { type: 'objref'; of: NftStateful['type']; name: string }
  /**
   * With `group` to NFLOG (copying the first `snapLength` octets, handing on after `queueThreshold` packets; neither is
   * 0), else to the kernel's log (level `warn` when there is none). The prefix is 127 octets at most.
   */
  | {
      type: 'log'
      group?: number
      prefix?: string
      snapLength?: number
      queueThreshold?: number
      level?: Exclude<NftLogLevel, 'warn'>
      flags?: readonly NftLogFlag[]
    }
  /**
   * `code` is that of a destination that is unreachable: with `icmp` of ICMP or of ICMPv6, as the packet is; with `icmpx`
   * 0 no route, 1 port, 2 host, 3 prohibited. A reset has none, and is for TCP only.
   */
  | { type: 'reject'; with: 'icmp' | 'icmpx' | 'tcp reset'; code?: number }
  | { type: 'notrack' }
  | { type: 'flow_offload'; flowtable: string }
  | { type: 'masq'; flags?: readonly NftMasqueradeFlag[]; minPort?: number; maxPort?: number }
  | {
      type: 'nat'
      of: 'source' | 'destination'
      family: 'ip' | 'ip6'
      minAddress?: number
      maxAddress?: number
      minPort?: number
      maxPort?: number
      flags?: readonly NftNatFlag[]
    }
  | NftOpaque

/** What names an object of the kernel. A rule is named by its handle. */
export type NftName =
  | Pick<NftTable, 'kind' | 'family' | 'name'>
  | Pick<NftChain, 'kind' | 'family' | 'table' | 'name'>
  | Pick<NftSet, 'kind' | 'family' | 'table' | 'name'>
  | (Pick<NftRule, 'kind' | 'family' | 'table' | 'chain'> & { handle: number })
  | (Pick<NftObject, 'kind' | 'family' | 'table' | 'name'> & { state: { type: NftObject['state']['type'] } })
  | Pick<NftFlowtable, 'kind' | 'family' | 'table' | 'name'>

/**
 * One step of a transaction. `add` succeeds when the same object is there, `create` is refused with EEXIST; an element
 * that is there with other data is refused by both. A chain that is added again takes the new policy. `insert` puts a
 * rule first, `replace` takes the place of the rule with its `handle`. `flush` empties a chain of its rules or a set of its
 * elements. `delete` is refused with ENOENT when there is none, and with EBUSY while something refers to it.
 */
export type NftChange =
  | { verb: 'add'; object: NftTable | NftChain | NftSet | NftElements | NftRule | NftObject | NftFlowtable }
  | { verb: 'create'; object: NftTable | NftChain | NftSet | NftElements | NftObject | NftFlowtable }
  | { verb: 'insert'; object: NftRule }
  | { verb: 'replace'; object: NftRule & { handle: number } }
  | { verb: 'delete'; object: NftName | NftElements | NftFlowtableDevices }
  | { verb: 'flush'; object: Extract<NftName, { kind: 'chain' | 'set' }> }

/**
 * Why a transaction changed nothing. `index` is the change that was refused; absent when it was the whole of them.
 * `element` of those that it writes, or `step` of its rule, counted from 0, is what the kernel objects to, when it says so.
 */
export type NftRefusal = { index?: number; error: KernelError; element?: number; step?: number }

/**
 * One table with everything in it, all of one generation. Rules are in the order of their chains. Where single elements were asked
 * for, their set is not in `sets`, and those that are not there are in `missing`.
 */
export type NftRuleset = {
  generation: number
  table: NftTable
  chains: NftChain[]
  sets: NftSet[]
  elements: NftElements[]
  missing?: NftElements[]
  objects: NftObject[]
  flowtables: NftFlowtable[]
  rules: NftRule[]
}

/** An element of a set; `key` is what the kernel names it by, and is for questions to the same kernel. */
export type NftElementName = { set: string; key: string }

/** Chains and sets of one table, by name, and single elements of other sets. */
export type NftPartNames = {
  chains: readonly string[]
  sets: readonly string[]
  elements: readonly NftElementName[]
}

/**
 * `only` those chains with their rules and the sets of single rules, those sets with their elements, and those elements: as far
 * as they are there. A set whose elements have no names (ranges) is read instead of them.
 */
export type NftReading = { without: 'elements' } | { only: NftPartNames }

/**
 * A table that others changed: only those parts of it, with all that they hold, or anything of it without `parts`. Whoever made or
 * changed a chain may have changed anything: the kernel does not tell the name that a chain had. `isGone`: it was deleted;
 * `isMost`: hundreds of its chains and sets are other ones, more than are named.
 */
export type NftChangedTable = NftTableName & { parts?: NftPartNames; isGone?: true; isMost?: true }

/**
 * One transaction of anybody. `generation` is the one that it made; what this port itself did is in none of `tables`. `by`: the
 * process, by the number that the machine itself knows it by.
 */
export type NftNews = {
  generation: number
  tables: readonly NftChangedTable[]
  by?: { pid: number; name: string }
}

/** What the counters of one rule have counted since it was written; `handle` and `chain` name it, as in `NftRule`. */
export type NftRuleCounter = { chain: string; handle: number; comment?: string; packets: bigint; bytes: bigint }

/**
 * A base chain at the hook forward, and the rules to which jumps lead from it, those of a chain together; there may be others of
 * its table.
 */
export type ForwardChain = {
  chain: NftChain
  rules: readonly NftRule[]
  /** It is one of iptables-legacy or ip6tables-legacy, which nft does not show. */
  legacy?: true
}

export type NftablesPort = {
  /**
   * One table; undefined when there is none. Rejects with EBADMSG when the kernel tells something of it that makes no
   * sense here. Parts of it may be left out: a table can have many. It is read again while anybody changes anything: a large
   * table never ends to be beside a program that writes often. So `isQuiet` may tell that no transaction after the generation
   * `since` up to `until` changed this table, and then what was read meanwhile is taken.
   */
  nftables(
    of: NftTableName,
    options?: NftReading,
    isQuiet?: (since: number, until: number) => boolean,
  ): Promise<NftRuleset | undefined>

  /** The generation of all rules of this namespace: each transaction of anybody, about any table, makes the next one. */
  nftGeneration(): Promise<number>

  /**
   * The counters of all rules of a table, or of one of its chains, without reading anything else of it; rules without a
   * counter are left out. Empty when there is no such table or chain. Nothing is reset. Rejects as `nftables` does.
   */
  ruleCounters(of: NftTableName & { chain?: string }): Promise<NftRuleCounter[]>

  /** The base chains of all tables for IP, without their rules: an incomplete list where somebody changes it meanwhile. Rejects as `nftables` does. */
  baseChains(): Promise<NftChain[]>

  /**
   * The chains that packets pass which this host forwards, of all tables for IP. An expression that makes no sense here is
   * told as opaque. What is read may be of two states, where somebody changes it meanwhile. Rejects as `nftables` does.
   */
  forwardChains(): Promise<ForwardChain[]>

  /**
   * The same of iptables-legacy and ip6tables-legacy, whose changes nobody tells. Empty where this kernel has no such tables.
   * Rejects with KernelError where they may not be read.
   */
  legacyForwardChains(): Promise<ForwardChain[]>

  /** The built-in chains of iptables-legacy and ip6tables-legacy that have rules or a policy that drops, as `legacyForwardChains`. */
  legacyBaseChains(): Promise<NftChain[]>

  /**
   * Does all changes in order, or none: the refusals, of which every refused change has one, are empty when all was
   * done. With `generation` nothing is done once the rules of this namespace are of another one (ERESTART).
   */
  changeNftables(changes: readonly NftChange[], options?: { generation?: number }): Promise<NftRefusal[]>

  /**
   * Calls `listen` from now on with each transaction, in their order; without one when some was missed, or when others did one
   * that does not say what it changed. Nothing is told where this kernel has no nftables, or does not let us listen. `close` is
   * final. Hazard: the kernel keeps a rule of more than some kilobytes to itself.
   */
  monitorNftables(listen: (news?: NftNews) => void): { close(): void }
}

/** What is asked and done in one socket, of nftables alone. */
export type NftablesInOneSocket = Omit<NftablesPort, 'monitorNftables' | 'legacyForwardChains' | 'legacyBaseChains'>

/** The generation that the next transaction makes: there is no 0. */
export function nextGeneration(generation: number): number {
  return generation === 0xffffffff ? 1 : generation + 1
}

/** What elements of a set take over from it. */
export function typesOf({ type, keyLength, data, dataLength, flags }: NftSetTypes): NftSetTypes {
  const all = { type, keyLength, data, dataLength, flags }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as NftSetTypes
}
