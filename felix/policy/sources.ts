// What rules ask of sets of addresses, and the sets of the kernel that hold it: one for each family, and for selectors two,
// because one CIDR among addresses would make a hash a tree, whose changes cost as much as it is large.
import { hash } from 'node:crypto'
import type { NftSet } from '../../kernel/port/nftables.ts'
import { fromHex } from '../../lib/bytes.ts'
import { type Family, familyOf, formatAddress, parseAddress } from '../../lib/ip.ts'
import type { Protocol, SelectorText } from './model.ts'

/**
 * `selector`: addresses of endpoints and CIDRs of network sets. `ports`: addresses of endpoints that have a port of one of
 * these names, with protocol and port; `protocol` absent: any; `local`: endpoints of this node alone. `service`: its endpoints,
 * with protocol and port or without. `nodes`: addresses of the Nodes that the selector chooses. `domain`: addresses of pods of
 * this node, each with an address that the pod was told for a name of the pattern (`example.com`, `*.example.com`). `list`: these
 * ports, which are of no family: their one set counts as one of IPv4. `cidrs`: CIDRs of one length, by their first addresses.
 */
export type MemberSource =
  | { of: 'selector'; selector: SelectorText }
  | { of: 'ports'; selector: SelectorText; names: readonly string[]; protocol?: Protocol; local?: true }
  | { of: 'service'; namespace: string; name: string; with: 'addresses' | 'ports' }
  | { of: 'nodes'; selector: SelectorText }
  | { of: 'domain'; pattern: string }
  | { of: 'list'; ports: readonly number[] }
  | { of: 'cidrs'; family: Family; bits: number; addresses: readonly string[] }

/** `addresses`, `ports`, `pairs`, `list`: hashes. `nets`: disjoint CIDRs. */
export type SetContent = 'addresses' | 'nets' | 'ports' | 'pairs' | 'list'

/** What can stand in a set that many sources share. */
export type SharedContent = Exclude<SetContent, 'nets'>

/**
 * Where the members of a source stand: in a set of their own, or in one that many sources share, where each key begins with the
 * digits of its source.
 */
export type SetPlace = { set: string; digits?: string }

/** The table that all sets and chains of policy are in. */
export type TableName = Pick<NftSet, 'family' | 'table'>

/** Octets that nft takes of a comment, without the one that ends it. */
export const COMMENT_OCTETS = 127

const TYPES: Readonly<Record<SetContent, Record<Family, string>>> = {
  addresses: { ipv4: 'ipv4_addr', ipv6: 'ipv6_addr' },
  nets: { ipv4: 'ipv4_addr', ipv6: 'ipv6_addr' },
  ports: { ipv4: 'ipv4_addr . inet_proto . inet_service', ipv6: 'ipv6_addr . inet_proto . inet_service' },
  pairs: { ipv4: 'ipv4_addr . ipv4_addr', ipv6: 'ipv6_addr . ipv6_addr' },
  list: { ipv4: 'inet_service', ipv6: 'inet_service' },
}

/** What the names of the sets begin with. */
const LETTERS: Readonly<Record<MemberSource['of'], string>> = {
  selector: 's',
  ports: 'p',
  service: 'e',
  nodes: 'h',
  domain: 'd',
  list: 'l',
  cidrs: 'c',
}

/** nft's words for the protocols that have one (`inet_proto`); the others are numbers. */
const PROTOCOL_WORDS: Readonly<Record<Protocol, string>> = {
  1: 'icmp',
  2: 'igmp',
  6: 'tcp',
  17: 'udp',
  47: 'gre',
  50: 'esp',
  51: 'ah',
  58: 'ipv6-icmp',
  132: 'sctp',
  136: 'udplite',
}

/** How nft writes a protocol. */
export function protocolWord(protocol: Protocol): string {
  return PROTOCOL_WORDS[protocol] ?? `${protocol}`
}

/** The identity of a source. */
export function sourceKey(source: MemberSource): string {
  switch (source.of) {
    case 'selector':
    case 'nodes':
      return `${source.of} ${source.selector}`
    case 'ports':
      return `${source.local === true ? 'local ' : ''}ports ${source.names.map(encodeURIComponent).join()} ${source.protocol ?? 'any'} ${source.selector}`
    case 'service':
      return `service ${source.namespace}/${source.name} ${source.with}`
    case 'domain':
      return `domain ${source.pattern}`
    case 'list':
      return `list ${source.ports.join()}`
    case 'cidrs':
      return `cidrs /${source.bits} ${source.addresses.join()}`
  }
}

/** What the sets of a source hold, each one set of the family. */
export function contentsOf(source: MemberSource, family: Family): readonly SetContent[] {
  switch (source.of) {
    case 'selector':
      return ['addresses', 'nets']
    case 'ports':
      return ['ports']
    case 'service':
      return [source.with]
    case 'nodes':
      return ['addresses']
    case 'domain':
      return ['pairs']
    case 'list':
      return family === 'ipv4' ? ['list'] : []
    case 'cidrs':
      return family === source.family ? ['addresses'] : []
  }
}

/** 32 digits that stand for a text: whoever may write policies cannot make two texts that have the same. */
export function digitsOf(key: string): string {
  return hash('sha256', key, 'buffer').subarray(0, 16).toString('hex')
}

/** The name of one set of a source: `s4-` and its digits for the IPv4 addresses that a selector chooses, `n6-` for IPv6 CIDRs. */
export function setName({ of }: MemberSource, digits: string, content: SetContent, family: Family): string {
  return `${content === 'nets' ? 'n' : LETTERS[of]}${family === 'ipv4' ? 4 : 6}-${digits}`
}

/** One set of a source. Its comment says what the digits of the name stand for. */
export function setOf(table: TableName, name: string, key: string, content: SetContent, family: Family): NftSet {
  return {
    kind: 'set',
    ...table,
    name,
    type: TYPES[content][family],
    ...(content === 'nets' && { flags: ['interval'] }),
    comment: cut(key, COMMENT_OCTETS),
  }
}

/** The set that many sources share for their members of one kind: its keys begin with 16 octets that say the source. */
export function sharedSet(table: TableName, content: SharedContent, family: Family): NftSet {
  return {
    kind: 'set',
    ...table,
    name: `shared${family === 'ipv4' ? 4 : 6}-${content}`,
    // no other type of nft has as many octets as the digits
    type: `ipv6_addr . ${TYPES[content][family]}`,
    comment: 'digits of a selector, a Service or a list . its member',
  }
}

/** What the key of a member begins with in the set that many share. */
export function sharedPrefix(digits: string): string {
  return `${formatAddress(fromHex(digits))} . `
}

/**
 * The text, or its beginning and 8 digits of its own where that is longer than so many octets. Quotes and what nft cannot
 * print are `'`.
 */
export function cut(text: string, octets: number): string {
  const plain = text.replaceAll(/[^ !#-[\]-~]/g, "'")
  return plain.length <= octets ? plain : `${plain.slice(0, octets - 9)}~${digitsOf(text).slice(0, 8)}`
}

/** What can be no element is left out: one word that the kernel refuses would hold up all others. */
export function canonical(addresses: readonly string[]): readonly string[] {
  if (addresses.every(address => parseAddress(address) === address)) return addresses
  return addresses.map(parseAddress).filter(address => address !== undefined)
}

/** Each address of a pod with each that it was told, of one family: `SADDR . DADDR`. */
export function pairsOf(from: readonly string[], told: readonly string[]): string[] {
  const to = canonical(told)
  return canonical(from).flatMap(own =>
    to.filter(each => familyOf(each) === familyOf(own)).map(each => `${own} . ${each}`),
  )
}
