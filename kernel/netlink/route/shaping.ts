// Queueing disciplines and filters on the wire, both tcmsg: family u8 | pad u8 | pad u16 | ifindex i32 | handle u32 | parent u32 |
// info u32 (of a filter preference u16 | protocol u16, big-endian). A bucket is tc_tbf_qopt: rate | peak rate (each tc_ratespec:
// cell u8 | link layer u8 | overhead u16 | align i16 | mpu u16 | octets per second u32) | limit u32 | buffer u32 | mtu u32 in ticks.
import { type Bucket, bucketTicks, type IngressFilter, type Qdisc, ticksOctets } from '../../port/shaping.ts'
import { attributeText, eachAttribute, type Message, type NlWriter } from '../message.ts'
import { AF } from '../numbers.ts'
import { TC_ACT, TC_H, TC_U32, TCA, TCA_ACT, TCA_MIRRED, TCA_TBF, TCA_U32 } from './numbers.ts'

const TCMSG = 20
const QOPT = 36
const MIRRED = 28
/** ETH_P_ALL, in the byte order of the network. */
const ALL_PROTOCOLS = 0x0300
/** TC_LINKLAYER_ETHERNET: with it the kernel asks for no table of rates. */
const ETHERNET = 1
const MAX_U32 = 0xffff_ffff

/** RTM_GETQDISC of all links. */
export function emitQdiscDump(w: NlWriter): void {
  emitHeader(w, 0, 0, 0)
}

/** RTM_NEWQDISC of a token bucket at the root of a link. */
export function emitBucket(w: NlWriter, ifindex: number, handle: number, bucket: Bucket): void {
  const { rate, burst, limit, peak } = bucket
  emitHeader(w, ifindex, handle * 0x10000, TC_H.root)
  w.attrText(TCA.kind, 'tbf')
  w.nest(TCA.options, () => {
    w.nest(TCA_TBF.parms, () => {
      emitRate(w, rate)
      emitRate(w, peak?.rate ?? 0)
      w.u32(limit)
      w.u32(bucketTicks(burst, rate))
      w.u32(peak === undefined ? 0 : bucketTicks(peak.burst, peak.rate))
    })
    w.attrU32(TCA_TBF.burst, burst)
    if (rate > MAX_U32) emitRate64(w, TCA_TBF.rate64, rate)
    if (peak === undefined) return
    w.attrU32(TCA_TBF.peakBurst, peak.burst)
    if (peak.rate > MAX_U32) emitRate64(w, TCA_TBF.peakRate64, peak.rate)
  })
}

/** RTM_DELQDISC of the one with this handle at the root of a link. */
export function emitBucketDeletion(w: NlWriter, ifindex: number, handle: number): void {
  emitHeader(w, ifindex, handle * 0x10000, TC_H.root)
}

/** RTM_NEWQDISC and RTM_DELQDISC of what filters of packets that come in hang on. */
export function emitIngress(w: NlWriter, ifindex: number): void {
  emitHeader(w, ifindex, TC_H.ingressHandle, TC_H.ingress)
  w.attrText(TCA.kind, 'ingress')
}

/** RTM_GETTFILTER of what comes in by a link. */
export function emitFilterDump(w: NlWriter, ifindex: number): void {
  emitHeader(w, ifindex, 0, TC_H.ingressHandle)
}

/** RTM_NEWTFILTER: a `u32` that matches everything, with the action `mirred`. */
export function emitRedirect(w: NlWriter, ifindex: number, { preference, to }: Required<IngressFilter>): void {
  emitHeader(w, ifindex, 0, TC_H.ingressHandle, filterInfo(preference))
  w.attrText(TCA.kind, 'u32')
  w.nest(TCA.options, () => {
    // tc_u32_sel: flags u8 | shift u8 | keys u8 | pad u8 | offset mask u16 | 3 x 16 bits | hash mask u32, and one key of no bits
    w.nest(TCA_U32.sel, () => {
      w.u8(TC_U32.terminal).u8(0).u8(1).u8(0).u32(0).u32(0).u32(0)
      w.u32(0).u32(0).u32(0).u32(0)
    })
    w.nest(TCA_U32.act, () =>
      w.nest(1, () => {
        w.attrText(TCA_ACT.kind, 'mirred')
        // tc_mirred: index u32 | capabilities u32 | action i32 | references i32 | bound i32 | what i32 | ifindex u32
        w.nest(TCA_ACT.options, () =>
          w.nest(TCA_MIRRED.parms, () => {
            w.u32(0).u32(0).u32(TC_ACT.stolen).u32(0).u32(0).u32(TC_ACT.egressRedirect).u32(to)
          }),
        )
      }),
    )
  })
}

/** RTM_DELTFILTER of all with this preference. */
export function emitFilterDeletion(w: NlWriter, ifindex: number, preference: number): void {
  emitHeader(w, ifindex, 0, TC_H.ingressHandle, filterInfo(preference))
}

/** The link that a notification of these kinds is about. */
export function shapingIfindex({ body }: Message): number | undefined {
  return body.length < TCMSG ? undefined : body.readInt32LE(4)
}

/** One at the root of a link or of what comes in; undefined for those within others. */
export function parseQdisc({ body }: Message): Qdisc | undefined {
  if (body.length < TCMSG) return undefined
  const parent = body.readUInt32LE(12)
  if (parent !== TC_H.root && parent !== TC_H.ingress) return undefined
  const qdisc: Qdisc = {
    ifindex: body.readInt32LE(4),
    at: parent === TC_H.root ? 'root' : 'ingress',
    kind: '',
    handle: body.readUInt32LE(8) >>> 16,
  }
  let options: Buffer | undefined
  eachAttribute(body, TCMSG, (type, value) => {
    if (type === TCA.kind) qdisc.kind = attributeText(value)
    else if (type === TCA.options) options = value
  })
  const bucket = qdisc.kind === 'tbf' && options !== undefined ? parseBucket(options) : undefined
  return bucket === undefined ? qdisc : { ...qdisc, bucket }
}

/** A filter, or a part of one: only one part says where packets go. */
export function parseIngressFilter({ body }: Message): IngressFilter | undefined {
  if (body.length < TCMSG) return undefined
  const filter: IngressFilter = { preference: body.readUInt32LE(16) >>> 16 }
  eachAttribute(body, TCMSG, (type, options) => {
    if (type !== TCA.options) return
    eachAttribute(options, 0, (part, actions) => {
      if (part !== TCA_U32.act) return
      eachAttribute(actions, 0, (_, action) => {
        const to = parseRedirect(action)
        if (to !== undefined) filter.to = to
      })
    })
  })
  return filter
}

function parseRedirect(action: Buffer): number | undefined {
  let kind = ''
  let parms: Buffer | undefined
  eachAttribute(action, 0, (type, value) => {
    if (type === TCA_ACT.kind) kind = attributeText(value)
    else if (type === TCA_ACT.options)
      eachAttribute(value, 0, (part, each) => {
        if (part === TCA_MIRRED.parms) parms = each
      })
  })
  if (kind !== 'mirred' || parms === undefined || parms.length < MIRRED) return undefined
  return parms.readInt32LE(20) === TC_ACT.egressRedirect ? parms.readUInt32LE(24) : undefined
}

function parseBucket(options: Buffer): Bucket | undefined {
  let parms: Buffer | undefined
  const rates: { rate64?: number; peakRate64?: number } = {}
  eachAttribute(options, 0, (type, value) => {
    if (type === TCA_TBF.parms && value.length >= QOPT) parms = value
    else if (type === TCA_TBF.rate64 && value.length >= 8) rates.rate64 = Number(value.readBigUInt64LE(0))
    else if (type === TCA_TBF.peakRate64 && value.length >= 8) rates.peakRate64 = Number(value.readBigUInt64LE(0))
  })
  if (parms === undefined) return undefined
  const rate = rates.rate64 ?? parms.readUInt32LE(8)
  const peakRate = rates.peakRate64 ?? parms.readUInt32LE(20)
  const peak = { rate: peakRate, burst: ticksOctets(parms.readUInt32LE(32), peakRate) }
  return {
    ...{ rate, burst: ticksOctets(parms.readUInt32LE(28), rate), limit: parms.readUInt32LE(24) },
    ...(peakRate > 0 && { peak }),
  }
}

function emitHeader(w: NlWriter, ifindex: number, handle: number, parent: number, info = 0): void {
  w.u8(AF.unspec).u8(0).u16(0).u32(ifindex).u32(handle).u32(parent).u32(info)
}

function filterInfo(preference: number): number {
  return preference * 0x10000 + ALL_PROTOCOLS
}

function emitRate(w: NlWriter, rate: number): void {
  w.u8(0)
    .u8(rate === 0 ? 0 : ETHERNET)
    .u16(0)
    .u16(0)
    .u16(0)
    .u32(Math.min(rate, MAX_U32))
}

function emitRate64(w: NlWriter, type: number, rate: number): void {
  const octets = Buffer.alloc(8)
  octets.writeBigUInt64LE(BigInt(rate))
  w.attrBytes(type, octets)
}
