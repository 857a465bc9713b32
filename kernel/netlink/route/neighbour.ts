// Neighbours and forwarding entries on the wire, both ndmsg: family u8 | pad u8 | pad u16 | ifindex i32 | state u16 |
// flags u8 | type u8. Proxied addresses live in a table of their own that only a dump with NTF_PROXY shows.
import { addressBytes, familyOf, formatAddress } from '../../../lib/ip.ts'
import { type FdbEntry, NEIGHBOUR_STATES, type Neighbour } from '../../port/neighbours.ts'
import { formatMac, macBytes } from '../mac.ts'
import { eachAttribute, type Message, type NlWriter } from '../message.ts'
import { AF } from '../numbers.ts'
import { NDA, NTF, NUD } from './numbers.ts'

const NDMSG = 12

/** The head of a dump; `ifindex` 0 means every link. */
export function emitNeighbourDump(w: NlWriter, ifindex: number, { proxy }: { proxy: boolean }): void {
  emitHeader(w, AF.unspec, 0, 0, proxy ? NTF.proxy : 0)
  if (ifindex !== 0) w.attrU32(NDA.ifindex, ifindex)
}

/** RTM_GETNEIGH of one address. */
export function emitNeighbourLookup(w: NlWriter, ifindex: number, address: string): void {
  emitHeader(w, familyOf(address) === 'ipv4' ? AF.inet : AF.inet6, ifindex, 0, 0)
  w.attrBytes(NDA.dst, addressBytes(address))
}

/** RTM_NEWNEIGH and RTM_DELNEIGH of an address. */
export function emitNeighbour(w: NlWriter, { ifindex, address, mac, permanent, proxy }: Neighbour): void {
  const family = familyOf(address) === 'ipv4' ? AF.inet : AF.inet6
  emitHeader(w, family, ifindex, permanent ? NUD.permanent : NUD.reachable, proxy ? NTF.proxy : 0)
  w.attrBytes(NDA.dst, addressBytes(address))
  if (mac !== undefined && !proxy) w.attrBytes(NDA.lladdr, macBytes(mac))
}

/** A neighbour; undefined for forwarding entries and for the mappings that need no resolution (multicast, loopback). */
export function parseNeighbour({ body }: Message): Neighbour | undefined {
  if (body.length < NDMSG || (body[0] !== AF.inet && body[0] !== AF.inet6)) return undefined
  const state = body.readUInt16LE(8)
  const proxy = (body[10]! & NTF.proxy) !== 0
  if (!proxy && state & NUD.noarp) return undefined
  const { dst, mac } = parseAttributes(body)
  if (dst === undefined) return undefined
  const out: Neighbour = { ifindex: body.readInt32LE(4), address: dst, permanent: (state & NUD.permanent) !== 0 }
  if (mac !== undefined) out.mac = mac
  if (proxy) out.proxy = true
  else {
    const word = NEIGHBOUR_STATES.find(each => (state & NUD[each]) !== 0)
    if (word !== undefined) out.state = word
  }
  return out
}

/** The head of a dump of one device's own forwarding table. */
export function emitFdbDump(w: NlWriter, ifindex: number): void {
  emitHeader(w, AF.bridge, ifindex, 0, 0)
}

/** RTM_GETNEIGH of the forwarding entry of one MAC. */
export function emitFdbLookup(w: NlWriter, ifindex: number, mac: string): void {
  emitHeader(w, AF.bridge, ifindex, 0, NTF.self)
  w.attrBytes(NDA.lladdr, macBytes(mac))
}

/** RTM_NEWNEIGH and RTM_DELNEIGH of a forwarding entry. */
export function emitFdb(w: NlWriter, { ifindex, mac, dst }: FdbEntry): void {
  emitHeader(w, AF.bridge, ifindex, NUD.permanent, NTF.self)
  w.attrBytes(NDA.lladdr, macBytes(mac)).attrBytes(NDA.dst, addressBytes(dst))
}

/** A forwarding entry towards another host; undefined for everything else. */
export function parseFdb({ body }: Message): FdbEntry | undefined {
  if (body.length < NDMSG || body[0] !== AF.bridge) return undefined
  const { dst, mac } = parseAttributes(body)
  return dst === undefined || mac === undefined ? undefined : { ifindex: body.readInt32LE(4), mac, dst }
}

/** Whether frames to a MAC go to every entry of it (all zeros: the default; multicast) and not to one. */
export function isFlooded(mac: string): boolean {
  const bytes = macBytes(mac)
  return (bytes[0]! & 1) !== 0 || bytes.every(octet => octet === 0)
}

function emitHeader(w: NlWriter, family: number, ifindex: number, state: number, flags: number): void {
  w.u8(family).u8(0).u16(0).u32(ifindex).u16(state).u8(flags).u8(0)
}

function parseAttributes(body: Buffer): { dst?: string; mac?: string } {
  const out: { dst?: string; mac?: string } = {}
  eachAttribute(body, NDMSG, (type, value) => {
    if (type === NDA.dst && (value.length === 4 || value.length === 16)) out.dst = formatAddress(value)
    else if (type === NDA.lladdr && value.length === 6) out.mac = formatMac(value)
  })
  return out
}
