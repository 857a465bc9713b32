// Tracked connections as messages: nfgenmsg | CTA_TUPLE_ORIG { IP, PROTO } | CTA_TUPLE_REPLY | CTA_STATUS | CTA_ID | CTA_ZONE ...
// Numbers are big-endian. What the kernel tells is read in two steps, since a table of 100,000 is walked for a few addresses: is
// one of them a sender, and only then all of it. Hazard: kernels before 5.8 do not know CTA_FILTER and tell everything.
import { addressBytes, type Family, formatAddress, formatIpv4, ipv4Number } from '../../../lib/ip.ts'
import type { Flow, FlowTuple } from '../../port/conntrack.ts'
import { eachAttribute, type Message, type NlWriter } from '../message.ts'
import { emitNfHeader, NFGENMSG, NFNL_SUBSYSTEM } from '../nfnetlink.ts'
import { AF, NLA_F } from '../numbers.ts'
import type { Request } from '../requests.ts'
import {
  CT_MSG,
  CTA,
  CTA_FILTER,
  CTA_FILTER_IP_SRC,
  CTA_IP,
  CTA_PROTO,
  CTA_TUPLE,
  IPS_EXPECTED,
  IPS_SEEN_REPLY,
} from './numbers.ts'

/** Who sends in which direction. */
export type FlowDirection = 'original' | 'reply'

const FAMILY: Record<Family, number> = { ipv4: AF.inet, ipv6: AF.inet6 }
const OCTETS: Record<Family, number> = { ipv4: 4, ipv6: 16 }
const IP: Record<Family, Record<'source' | 'destination', number>> = {
  ipv4: { source: CTA_IP.v4Src, destination: CTA_IP.v4Dst },
  ipv6: { source: CTA_IP.v6Src, destination: CTA_IP.v6Dst },
}
const ICMP = {
  1: { id: CTA_PROTO.icmpId, type: CTA_PROTO.icmpType, code: CTA_PROTO.icmpCode },
  58: { id: CTA_PROTO.icmpv6Id, type: CTA_PROTO.icmpv6Type, code: CTA_PROTO.icmpv6Code },
} as const

/** Asks for all connections of a family. */
export function dumpFlows(family: Family): Request {
  return { type: message(CT_MSG.get), body: w => emitNfHeader(w, FAMILY[family]) }
}

/** Asks for those of which this address is the sender of one direction, where the kernel can tell them apart. */
export function dumpFlowsFrom(family: Family, direction: FlowDirection, address: string): Request {
  const [of, flags] =
    direction === 'original' ? [CTA.tupleOrig, CTA_FILTER.origFlags] : [CTA.tupleReply, CTA_FILTER.replyFlags]
  return {
    type: message(CT_MSG.get),
    body: w => {
      emitNfHeader(w, FAMILY[family])
      nested(w, of, () => nested(w, CTA_TUPLE.ip, () => w.attrAddress(IP[family].source, address)))
      nested(w, CTA.filter, () => w.attrU32(flags, CTA_FILTER_IP_SRC))
    },
  }
}

/** Deletes one connection, unless another one has its packets by now. */
export function deleteFlow({ family, original, id }: Flow): Request {
  return {
    type: message(CT_MSG.delete),
    body: w => {
      emitNfHeader(w, FAMILY[family])
      emitTuple(w, CTA.tupleOrig, family, original)
      w.nest(CTA.id, () => w.u32be(id))
    },
  }
}

/** Reads those messages of a dump that tell of a connection of zone 0 with a sender among these addresses, or with any. */
export function flowReader(addresses: ReadonlySet<string> | 'all'): (message: Message) => Flow | undefined {
  if (addresses === 'all') return parseFlow
  const known = { ipv4: new Set<number>(), ipv6: new Set<string>() }
  for (const address of addresses)
    if (address.includes(':')) known.ipv6.add(Buffer.from(addressBytes(address)).toString('latin1'))
    else known.ipv4.add(ipv4Number(address))
  const isKnown = (family: Family, octets: Buffer) =>
    family === 'ipv4' ? known.ipv4.has(octets.readUInt32BE(0)) : known.ipv6.has(octets.toString('latin1'))
  return message => {
    const family = familyOfMessage(message)
    if (family === undefined || !hasSender(message.body, family, isKnown)) return undefined
    return parseFlow(message)
  }
}

/** One connection; undefined when it is of another zone, of another family than IP, or not whole. */
function parseFlow(message: Message): Flow | undefined {
  const family = familyOfMessage(message)
  if (family === undefined) return undefined
  const { body } = message
  let original: FlowTuple | undefined
  let reply: FlowTuple | undefined
  let id: number | undefined
  let status = 0
  let isZoned = false
  eachAttribute(body, NFGENMSG, (type, value) => {
    if (type === CTA.tupleOrig) original = parseTuple(value, family)
    else if (type === CTA.tupleReply) reply = parseTuple(value, family)
    else if (type === CTA.id && value.length === 4) id = value.readUInt32BE(0)
    else if (type === CTA.status && value.length === 4) status = value.readUInt32BE(0)
    else if (type === CTA.zone) isZoned ||= value.some(octet => octet !== 0)
  })
  if (original === undefined || reply === undefined || id === undefined || isZoned) return undefined
  const [isExpected, isAnswered] = [(status & IPS_EXPECTED) !== 0, (status & IPS_SEEN_REPLY) !== 0]
  return { id, family, original, reply, isExpected, isAnswered }
}

/** Of a tuple with a zone of its own nothing is told. */
function parseTuple(bytes: Buffer, family: Family): FlowTuple | undefined {
  const octets: { source?: Buffer; destination?: Buffer } = {}
  const numbers = new Map<number, number>()
  let isZoned = false
  eachAttribute(bytes, 0, (type, value) => {
    if (type === CTA_TUPLE.zone) isZoned ||= value.some(octet => octet !== 0)
    else if (type === CTA_TUPLE.ip)
      eachAttribute(value, 0, (kind, address) => {
        if (address.length !== OCTETS[family]) return
        if (kind === IP[family].source) octets.source = address
        else if (kind === IP[family].destination) octets.destination = address
      })
    else if (type === CTA_TUPLE.proto)
      eachAttribute(value, 0, (kind, number) => {
        if (number.length === 1) numbers.set(kind, number[0]!)
        else if (number.length === 2) numbers.set(kind, number.readUInt16BE(0))
      })
  })
  const protocol = numbers.get(CTA_PROTO.num)
  const { source, destination } = octets
  if (isZoned || protocol === undefined || source === undefined || destination === undefined) return undefined
  const tuple = { source: textOf(source), destination: textOf(destination), protocol }
  const icmp = icmpOf(protocol)
  if (icmp !== undefined) {
    const [type, code, id] = [icmp.type, icmp.code, icmp.id].map(kind => numbers.get(kind))
    return type === undefined || code === undefined || id === undefined
      ? undefined
      : { ...tuple, icmp: { type, code, id } }
  }
  const [from, to] = [CTA_PROTO.srcPort, CTA_PROTO.dstPort].map(kind => numbers.get(kind))
  return from === undefined || to === undefined ? tuple : { ...tuple, ports: { source: from, destination: to } }
}

function emitTuple(w: NlWriter, type: number, family: Family, tuple: FlowTuple): void {
  nested(w, type, () => {
    nested(w, CTA_TUPLE.ip, () => {
      w.attrAddress(IP[family].source, tuple.source)
      w.attrAddress(IP[family].destination, tuple.destination)
    })
    nested(w, CTA_TUPLE.proto, () => {
      w.attrU8(CTA_PROTO.num, tuple.protocol)
      if (tuple.ports !== undefined) {
        w.nest(CTA_PROTO.srcPort, () => w.u16be(tuple.ports!.source))
        w.nest(CTA_PROTO.dstPort, () => w.u16be(tuple.ports!.destination))
      }
      const icmp = icmpOf(tuple.protocol)
      if (icmp === undefined || tuple.icmp === undefined) return
      w.nest(icmp.id, () => w.u16be(tuple.icmp!.id))
      w.attrU8(icmp.type, tuple.icmp.type)
      w.attrU8(icmp.code, tuple.icmp.code)
    })
  })
}

/** Whether the sender of a direction is known. The walk of a large table spends its time here. */
function hasSender(body: Buffer, family: Family, isKnown: (family: Family, octets: Buffer) => boolean): boolean {
  let found = false
  eachAttribute(body, NFGENMSG, (type, tuple) => {
    if (found || (type !== CTA.tupleOrig && type !== CTA.tupleReply)) return
    eachAttribute(tuple, 0, (part, ip) => {
      if (part !== CTA_TUPLE.ip) return
      eachAttribute(ip, 0, (end, octets) => {
        if (end === IP[family].source && octets.length === OCTETS[family] && isKnown(family, octets)) found = true
      })
    })
  })
  return found
}

function familyOfMessage({ body }: Message): Family | undefined {
  return body[0] === AF.inet ? 'ipv4' : body[0] === AF.inet6 ? 'ipv6' : undefined
}

function icmpOf(protocol: number): (typeof ICMP)[keyof typeof ICMP] | undefined {
  return protocol === 1 || protocol === 58 ? ICMP[protocol] : undefined
}

function textOf(octets: Buffer): string {
  return octets.length === 4 ? formatIpv4(octets.readUInt32BE(0)) : formatAddress(octets)
}

function nested(w: NlWriter, type: number, body: () => void): void {
  w.nest(type | NLA_F.nested, body)
}

function message(operation: number): number {
  return (NFNL_SUBSYSTEM.conntrack << 8) | operation
}
