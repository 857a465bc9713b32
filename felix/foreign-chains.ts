// What the forward chains of other programs do with packets between pods. Pure: rules as the kernel tells them are walked for two
// packets, one that leaves a pod and one that comes from another node, and every match is answered with yes, no or
// maybe. What is not understood is a maybe: it never counts as a sure drop, and never as a sure way through.
import type { ForwardChain, NftExpression, NftRule } from '../kernel/port/nftables.ts'
import { fromHex } from '../lib/bytes.ts'
import { addressBits, contains, familyOf, formatAddress, overlaps } from '../lib/ip.ts'

/** What is known of packets between pods. */
export type PodTraffic = {
  /** What the names of the pods' interfaces begin with. */
  interfacePrefix: string
  /** Devices that lead to other nodes. */
  devices: readonly string[]
  /** The CIDRs of the pools. */
  pools: readonly string[]
}

/** `passes` as far as is known; `may drop`: what nothing takes before is dropped, and whether a rule lets pods through is not clear. */
export type ChainVerdict = 'passes' | 'may drop' | 'drops'

type Packet = { in: readonly string[]; out: readonly string[]; pools: readonly string[]; family: 'ipv4' | 'ipv6' }
/** The rules of each chain, and what became of the packet in those that it went through. */
type Walk = { rules: ReadonlyMap<string, readonly NftRule[]>; packet: Packet; done: Map<string, Ends> }
type Match = 'yes' | 'no' | 'maybe'
/** `dropsRest`: what nothing took before is dropped by a rule. */
type Ends = { accept: boolean; drop: boolean; pass: boolean; dropsRest?: boolean }
/** What a register holds that a match may ask for. */
type Loaded =
  | { what: 'in' | 'out' | 'address' | 'family'; octets?: number; mask?: string }
  | { what: 'state'; mask: number }
  | undefined

/** NF_CT_STATE_BIT of a new connection, as the octets of the machine (little-endian) begin with. */
const STATE_NEW = 0x08
const NFPROTO = { ipv4: '02', ipv6: '0a' }
const DEEPEST = 16
const UNCLEAR: Ends = { accept: true, drop: true, pass: true }

/** What `chain` does with packets between pods. */
export function judge(found: ForwardChain, traffic: PodTraffic): ChainVerdict {
  const { chain } = found
  const verdicts = walks(found, traffic).map(on => verdictOf(chain.base?.policy, walk(chain.name, on, 0)))
  return verdicts.includes('drops') ? 'drops' : verdicts.includes('may drop') ? 'may drop' : 'passes'
}

/** The first rule of the chain itself, if any, that surely drops all packets between pods of a family and direction. */
export function firstDrop(found: ForwardChain, traffic: PodTraffic): NftRule | undefined {
  const own = found.rules.filter(({ chain }) => chain === found.chain.name)
  const all = walks(found, traffic)
  return own.find(({ expressions }) =>
    all.some(on => {
      const { match, action } = readRule(expressions, on.packet)
      if (match !== 'yes' || action === undefined) return false
      const { accept, pass, drop } = outcome(action, on, 0)
      return drop && !accept && !pass
    }),
  )
}

/** A packet that leaves a pod and one that comes to a pod, of each family that pods have here. */
function walks({ chain, rules }: ForwardChain, { interfacePrefix, devices, pools }: PodTraffic): Walk[] {
  const pods = [`${interfacePrefix}*`]
  const byChain = Map.groupBy(rules, rule => rule.chain)
  return (['ipv4', 'ipv6'] as const).flatMap((family): Walk[] => {
    const own = pools.filter(pool => familyOf(pool) === family)
    if (own.length === 0 || !carries(chain.family, family)) return []
    const common = { pools: own, family }
    const packets = [
      { ...common, in: pods, out: devices },
      { ...common, in: devices, out: pods },
    ]
    return packets.map(packet => ({ rules: byChain, packet, done: new Map() }))
  })
}

function carries(table: string, family: 'ipv4' | 'ipv6'): boolean {
  return table === 'inet' || table === (family === 'ipv4' ? 'ip' : 'ip6')
}

function verdictOf(policy: 'accept' | 'drop' | undefined, ends: Ends): ChainVerdict {
  const dropsAtEnd = (ends.pass && policy === 'drop') || ends.dropsRest === true
  const accepts = ends.accept || (ends.pass && policy !== 'drop')
  if (!accepts) return 'drops'
  return dropsAtEnd ? 'may drop' : 'passes'
}

/** How a packet may leave a chain: taken, dropped, or passed on to what comes after it. */
function walk(name: string, on: Walk, depth: number): Ends {
  const known = on.done.get(name)
  if (known !== undefined) return known
  const ends = depth > DEEPEST ? UNCLEAR : walkRules(on.rules.get(name) ?? [], on, depth)
  on.done.set(name, ends)
  return ends
}

function walkRules(rules: readonly NftRule[], on: Walk, depth: number): Ends {
  const ends: Ends = { accept: false, drop: false, pass: false }
  for (const { expressions } of rules) {
    const { match, action } = readRule(expressions, on.packet)
    if (match === 'no' || action === undefined) continue
    const result = outcome(action, on, depth)
    ends.accept ||= result.accept
    ends.drop ||= result.drop
    const goesOn = action.verdict === 'jump' && result.pass
    if (result.pass && !goesOn) ends.pass = true
    if (match === 'yes' && !goesOn) return { ...ends, dropsRest: result.dropsRest === true }
  }
  return { ...ends, pass: true }
}

type Action = { verdict: string; chain?: string }

function outcome(action: Action, on: Walk, depth: number): Ends {
  switch (action.verdict) {
    case 'accept':
      return { accept: true, drop: false, pass: false }
    case 'drop':
      return { accept: false, drop: true, pass: false, dropsRest: true }
    case 'jump':
    case 'goto':
      return walk(action.chain ?? '', on, depth + 1)
    case 'return':
      return { accept: false, drop: false, pass: true }
  }
  return UNCLEAR
}

/** Whether a rule matches, and what it does then; without an action it only counts, logs or marks. */
function readRule(expressions: readonly NftExpression[], packet: Packet): { match: Match; action?: Action } {
  const registers = new Map<number, Loaded>()
  let match: Match = 'yes'
  const also = (answer: Match) => {
    match = match === 'no' || answer === 'no' ? 'no' : match === 'maybe' ? 'maybe' : answer
  }
  let action: Action | undefined
  for (const expression of expressions)
    switch (expression.type) {
      case 'meta':
        if (expression.load !== undefined) registers.set(expression.load, loadedMeta(expression.key))
        break
      case 'ct':
        if (expression.load !== undefined)
          registers.set(expression.load, expression.key === 'state' ? { what: 'state', mask: 0xff } : undefined)
        break
      case 'payload':
        if (expression.load !== undefined) registers.set(expression.load, loadedAddress(expression, packet))
        break
      case 'bitwise':
        registers.set(expression.load, masked(registers.get(expression.from), expression))
        break
      case 'cmp':
        also(compare(registers.get(expression.from), expression, packet))
        break
      case 'lookup':
        // a map may give a verdict, or a value that is only used later
        if (expression.load === 0) action = { verdict: 'unknown' }
        also('maybe')
        break
      case 'immediate':
        if ('verdict' in expression.data)
          action = 'chain' in expression.data ? expression.data : { verdict: expression.data.verdict }
        break
      case 'reject':
        action = { verdict: 'drop' }
        break
      case 'range':
      case 'limit':
      case 'connlimit':
      // a named one may be a limit, and an element may be there already
      case 'objref':
      case 'dynset':
        also('maybe')
        break
      case 'opaque':
        if (expression.name === 'reject') action = { verdict: 'drop' }
        else if (expression.name === 'queue') action = { verdict: 'unknown' }
        // log and the targets of iptables do something and decide nothing
        else if (expression.name !== 'log' && expression.name !== 'target') also('maybe')
        break
      case 'fib':
      case 'byteorder':
        registers.set(expression.load, undefined)
        break
    }
  return action === undefined ? { match } : { match, action }
}

function loadedMeta(key: string): Loaded {
  if (key === 'iifname') return { what: 'in' }
  if (key === 'oifname') return { what: 'out' }
  if (key === 'nfproto') return { what: 'family' }
  return undefined
}

/** The source or the destination; iptables loads only so many octets as a prefix has. */
function loadedAddress(expression: NftExpression & { type: 'payload' }, { family }: Packet): Loaded {
  const { base, offset, length } = expression
  const starts = family === 'ipv4' ? [12, 16] : [8, 24]
  return base === 'network' && starts.includes(offset) ? { what: 'address', octets: length } : undefined
}

function masked(loaded: Loaded, { mask, xor }: NftExpression & { type: 'bitwise' }): Loaded {
  if (loaded === undefined || /[^0]/.test(xor)) return undefined
  if (loaded.what === 'state') return { what: 'state', mask: loaded.mask & fromHex(mask)[0]! }
  return loaded.what === 'address' ? { ...loaded, mask } : undefined
}

function compare(loaded: Loaded, { op, value }: NftExpression & { type: 'cmp' }, packet: Packet): Match {
  if (loaded === undefined || (op !== 'eq' && op !== 'neq')) return 'maybe'
  const equal = equals(loaded, value, packet, op)
  if (op === 'eq' || equal === 'maybe') return equal
  return equal === 'yes' ? 'no' : 'yes'
}

function equals(loaded: NonNullable<Loaded>, value: string, packet: Packet, op: 'eq' | 'neq'): Match {
  switch (loaded.what) {
    case 'in':
      return namesMatch(packet.in, value)
    case 'out':
      return namesMatch(packet.out, value)
    case 'family':
      return value === NFPROTO[packet.family] ? 'yes' : 'no'
    case 'address':
      return addressMatch(loaded, value, packet)
    case 'state':
      // `ct state MASK` is "the masked bits are not all zero", asked of the first packet of a connection
      if (op === 'neq' && /^0*$/.test(value)) return (loaded.mask & STATE_NEW) === 0 ? 'yes' : 'no'
      return 'maybe'
  }
}

/** A name of IFNAMSIZ octets with a final zero is meant whole, a shorter value is the beginning of a name. */
function namesMatch(names: readonly string[], value: string): Match {
  const octets = Buffer.from(value, 'hex')
  const end = octets.indexOf(0)
  const asked = octets.subarray(0, end < 0 ? octets.length : end).toString()
  const answers = names.map((name): Match => {
    if (!name.endsWith('*')) return (end < 0 ? name.startsWith(asked) : name === asked) ? 'yes' : 'no'
    const prefix = name.slice(0, -1)
    if (end < 0 && prefix.startsWith(asked)) return 'yes'
    return asked.startsWith(prefix) ? 'maybe' : 'no'
  })
  if (answers.length === 0) return 'maybe'
  return answers.every(answer => answer === answers[0]) ? answers[0]! : 'maybe'
}

function addressMatch({ octets = 0, mask }: { octets?: number; mask?: string }, value: string, packet: Packet): Match {
  const size = addressBits(packet.family) / 8
  const bytes = Buffer.alloc(size)
  Buffer.from(value, 'hex').copy(bytes)
  const bits = mask === undefined ? octets * 8 : prefixLength(mask)
  if (bits === undefined) return 'maybe'
  const asked = `${formatAddress(bytes)}/${bits}`
  if (packet.pools.every(pool => contains(asked, pool))) return 'yes'
  return packet.pools.some(pool => overlaps(asked, pool)) ? 'maybe' : 'no'
}

function prefixLength(mask: string): number | undefined {
  const bits = [...fromHex(mask)].map(octet => octet.toString(2).padStart(8, '0')).join('')
  return /^1*0*$/.test(bits) ? (bits.indexOf('0') < 0 ? bits.length : bits.indexOf('0')) : undefined
}
