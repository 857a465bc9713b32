// Next hop objects on the wire: nhmsg is family u8 | scope u8 | protocol u8 | reserved u8 | flags u32; a member of a group is id u32 |
// weight less one u8 | reserved u8 | reserved u16. Times are in hundredths of a second (clock_t of user space).
import { familyOf, formatAddress } from '../../../lib/ip.ts'
import type { GroupMember, NextHopObject } from '../../port/next-hops.ts'
import { eachAttribute, type Message, type NlWriter } from '../message.ts'
import { AF, NLA_F } from '../numbers.ts'
import { NEXTHOP_GRP_TYPE, NHA, NHA_RES_GROUP, RTNH_F } from './numbers.ts'

const NHMSG = 8
const MEMBER = 8
const HUNDREDTHS = 100

/** RTM_NEWNEXTHOP, and RTM_DELNEXTHOP, which takes the id alone. */
export function emitNextHopObject(
  w: NlWriter,
  object: NextHopObject,
  { forDelete = false }: { forDelete?: boolean } = {},
): void {
  const { id, protocol, hop, group, resilient } = object
  const family = hop === undefined || forDelete ? AF.unspec : familyOf(hop.gateway) === 'ipv4' ? AF.inet : AF.inet6
  w.u8(family)
    .u8(0)
    .u8(forDelete ? 0 : protocol)
    .u8(0)
  w.u32(hop?.onlink === true && !forDelete ? RTNH_F.onlink : 0)
  w.attrU32(NHA.id, id)
  if (forDelete) return
  if (hop !== undefined) w.attrU32(NHA.oif, hop.ifindex).attrAddress(NHA.gateway, hop.gateway)
  if (group === undefined) return
  w.nest(NHA.group, () => {
    for (const { id, weight = 1 } of group)
      w.u32(id)
        .u8(weight - 1)
        .u8(0)
        .u16(0)
  })
  if (resilient === undefined) return
  w.nest(NHA.resGroup | NLA_F.nested, () => {
    w.nest(NHA_RES_GROUP.buckets, () => w.u16(resilient.buckets))
    w.attrU32(NHA_RES_GROUP.idleTimer, resilient.idleSeconds * HUNDREDTHS)
  })
  w.nest(NHA.groupType, () => w.u16(NEXTHOP_GRP_TYPE.resilient))
}

/** The head of a dump. */
export function emitNextHopDump(w: NlWriter): void {
  w.u32(0).u32(0)
}

export function parseNextHopObject({ body }: Message): NextHopObject | undefined {
  if (body.length < NHMSG) return undefined
  const object: NextHopObject = { id: 0, protocol: body[2]! }
  let [gateway, ifindex, type]: [string | undefined, number | undefined, number] = [undefined, undefined, 0]
  const resilient = { buckets: 0, idleSeconds: 0 }
  eachAttribute(body, NHMSG, (attribute, value) => {
    if (attribute === NHA.id && value.length >= 4) object.id = value.readUInt32LE(0)
    else if (attribute === NHA.oif && value.length >= 4) ifindex = value.readUInt32LE(0)
    else if (attribute === NHA.gateway) gateway = formatAddress(value)
    else if (attribute === NHA.group) object.group = parseMembers(value)
    else if (attribute === NHA.groupType && value.length >= 2) type = value.readUInt16LE(0)
    else if (attribute === NHA.resGroup)
      eachAttribute(value, 0, (of, number) => {
        if (of === NHA_RES_GROUP.buckets && number.length >= 2) resilient.buckets = number.readUInt16LE(0)
        else if (of === NHA_RES_GROUP.idleTimer && number.length >= 4)
          resilient.idleSeconds = number.readUInt32LE(0) / HUNDREDTHS
      })
  })
  if (object.id === 0) return undefined
  if (type === NEXTHOP_GRP_TYPE.resilient) object.resilient = resilient
  if (gateway === undefined || ifindex === undefined) return object
  object.hop = { gateway, ifindex }
  if (body.readUInt32LE(4) & RTNH_F.onlink) object.hop.onlink = true
  return object
}

function parseMembers(value: Buffer): GroupMember[] {
  const members: GroupMember[] = []
  for (let at = 0; at + MEMBER <= value.length; at += MEMBER) {
    const id = value.readUInt32LE(at)
    members.push(value[at + 4] === 0 ? { id } : { id, weight: value[at + 4]! + 1 })
  }
  return members.sort((a, b) => a.id - b.id)
}
