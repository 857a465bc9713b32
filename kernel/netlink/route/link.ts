// Links on the wire: ifinfomsg is family u8 | pad u8 | type u16 | index i32 | flags u32 | change u32, then attributes.
// A kind's own attributes lie in IFLA_LINKINFO > IFLA_INFO_DATA; a veth's peer is a whole ifinfomsg in there.
import { addressBytes, familyOf, formatAddress } from '../../../lib/ip.ts'
import type { Link, LinkChange, LinkSpec } from '../../port/links.ts'
import { formatMac, macBytes } from '../mac.ts'
import { attributeText, eachAttribute, type Message, type NlWriter } from '../message.ts'
import { AF } from '../numbers.ts'
import { IFF, IFLA, IFLA_INFO, IFLA_IPTUN, IFLA_VRF, IFLA_VXLAN, VETH_INFO } from './numbers.ts'

const IFINFOMSG = 16

export function emitLinkHeader(w: NlWriter, index = 0, flags = 0, change = 0): void {
  w.u8(AF.unspec).u8(0).u16(0).u32(index).u32(flags).u32(change)
}

/** RTM_NEWLINK of a new link; `peerNetnsFd` is an open descriptor of the namespace that a veth's peer is born in. */
export function emitNewLink(w: NlWriter, spec: LinkSpec, peerNetnsFd?: number): void {
  emitLinkHeader(w)
  w.attrText(IFLA.ifname, spec.name)
  if (spec.mtu !== undefined) w.attrU32(IFLA.mtu, spec.mtu)
  if ('mac' in spec && spec.mac !== undefined) w.attrBytes(IFLA.address, macBytes(spec.mac))
  w.nest(IFLA.linkinfo, () => {
    w.attrText(IFLA_INFO.kind, spec.kind)
    w.nest(IFLA_INFO.data, () => emitKind(w, spec, peerNetnsFd))
  })
}

function emitKind(w: NlWriter, spec: LinkSpec, peerNetnsFd?: number): void {
  switch (spec.kind) {
    case 'veth':
      w.nest(VETH_INFO.peer, () => {
        emitLinkHeader(w)
        w.attrText(IFLA.ifname, spec.peer.name)
        if (spec.peer.mtu !== undefined) w.attrU32(IFLA.mtu, spec.peer.mtu)
        if (spec.peer.mac !== undefined) w.attrBytes(IFLA.address, macBytes(spec.peer.mac))
        if (peerNetnsFd !== undefined) w.attrU32(IFLA.netNsFd, peerNetnsFd)
      })
      break
    case 'ipip':
      if (spec.local !== undefined) w.attrBytes(IFLA_IPTUN.local, addressBytes(spec.local))
      if (spec.remote !== undefined) w.attrBytes(IFLA_IPTUN.remote, addressBytes(spec.remote))
      break
    case 'vxlan':
      w.attrU32(IFLA_VXLAN.id, spec.vni)
      w.attrBytes(IFLA_VXLAN.port, Uint8Array.of(spec.port >>> 8, spec.port & 0xff))
      w.attrU8(IFLA_VXLAN.learning, 0)
      if (spec.local !== undefined) {
        const type = familyOf(spec.local) === 'ipv4' ? IFLA_VXLAN.local : IFLA_VXLAN.local6
        w.attrBytes(type, addressBytes(spec.local))
      }
      break
  }
}

/** RTM_SETLINK; `netnsFd` is an open descriptor of the namespace to move to. */
export function emitSetLink(w: NlWriter, index: number, change: LinkChange, netnsFd?: number): void {
  emitLinkHeader(w, index, change.up ? IFF.up : 0, change.up === undefined ? 0 : IFF.up)
  if (change.mtu !== undefined) w.attrU32(IFLA.mtu, change.mtu)
  if (change.mac !== undefined) w.attrBytes(IFLA.address, macBytes(change.mac))
  if (change.name !== undefined) w.attrText(IFLA.ifname, change.name)
  if (change.alias !== undefined) w.attrBytes(IFLA.ifalias, Buffer.from(change.alias))
  if (change.master !== undefined) w.attrU32(IFLA.master, change.master)
  if (netnsFd !== undefined) w.attrU32(IFLA.netNsFd, netnsFd)
}

/** A link from RTM_NEWLINK or RTM_DELLINK; undefined for what bridges say about their ports under the same types. */
export function parseLink({ body }: Message): Link | undefined {
  if (body.length < IFINFOMSG || body[0] !== AF.unspec) return undefined
  const flags = body.readUInt32LE(8)
  const link: Link = {
    index: body.readInt32LE(4),
    name: '',
    mtu: 0,
    up: (flags & IFF.up) !== 0,
    running: (flags & IFF.lowerUp) !== 0,
  }
  eachAttribute(body, IFINFOMSG, (type, value) => {
    if (type === IFLA.ifname) link.name = attributeText(value)
    else if (type === IFLA.mtu) link.mtu = value.readUInt32LE(0)
    else if (type === IFLA.address && value.length === 6) link.mac = formatMac(value)
    else if (type === IFLA.ifalias) link.alias = attributeText(value)
    else if (type === IFLA.master) link.master = value.readUInt32LE(0)
    else if (type === IFLA.link) link.peer = value.readUInt32LE(0)
    else if (type === IFLA.linkNetnsId) link.peerNetnsId = value.readInt32LE(0)
    else if (type === IFLA.linkinfo) parseKind(link, value)
  })
  // 0: no lower device; its own index in the same namespace: what ordinary devices say
  if (link.peer === 0 || (link.peer === link.index && link.peerNetnsId === undefined)) delete link.peer
  return link
}

/** What changed are all flags at once (ifi_change): the link came, by creation or from another namespace. */
export function isNewLink({ body }: Message): boolean {
  return body.readUInt32LE(12) === 0xffffffff
}

function parseKind(link: Link, info: Buffer): void {
  let data: Buffer | undefined
  eachAttribute(info, 0, (type, value) => {
    if (type === IFLA_INFO.kind) link.kind = attributeText(value)
    else if (type === IFLA_INFO.data) data = value
  })
  if (data === undefined) return
  if (link.kind === 'vxlan') {
    const vxlan: NonNullable<Link['vxlan']> = { vni: 0, port: 0, learning: false }
    eachAttribute(data, 0, (type, value) => {
      if (type === IFLA_VXLAN.id) vxlan.vni = value.readUInt32LE(0)
      else if (type === IFLA_VXLAN.port) vxlan.port = value.readUInt16BE(0)
      else if (type === IFLA_VXLAN.learning) vxlan.learning = value[0] !== 0
      else if (type === IFLA_VXLAN.local || type === IFLA_VXLAN.local6) vxlan.local = specified(value)
      else if (type === IFLA_VXLAN.link && value.readUInt32LE(0) !== 0) vxlan.lower = value.readUInt32LE(0)
    })
    link.vxlan = vxlan
  } else if (link.kind === 'ipip') {
    const ipip: NonNullable<Link['ipip']> = {}
    eachAttribute(data, 0, (type, value) => {
      if (type === IFLA_IPTUN.local) ipip.local = specified(value)
      else if (type === IFLA_IPTUN.remote) ipip.remote = specified(value)
    })
    link.ipip = ipip
  } else if (link.kind === 'vrf')
    eachAttribute(data, 0, (type, value) => {
      if (type === IFLA_VRF.table) link.vrf = { table: value.readUInt32LE(0) }
    })
}

/** The text of an address, undefined for 0.0.0.0 and ::, with which tunnels say "any". */
function specified(bytes: Buffer): string | undefined {
  return bytes.some(octet => octet !== 0) ? formatAddress(bytes) : undefined
}
