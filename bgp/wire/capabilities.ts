// Capabilities of an OPEN (RFC 5492): code u8 | length u8 | value. One row per capability. A code without a row, or an
// informational capability with a malformed value, is kept as octets. A wrong length is an error: what follows is unknown.
import { type Reader, toHex, Writer } from '../../lib/bytes.ts'
import { ProtocolError } from './errors.ts'
import { CAPABILITY, ERROR, OPEN_ERROR } from './iana.ts'

export type AfiSafi = { afi: number; safi: number }

export type Capability =
  | { type: 'multiprotocol'; afi: number; safi: number }
  | { type: 'routeRefresh' }
  | { type: 'extendedNextHop'; entries: readonly (AfiSafi & { nextHopAfi: number })[] }
  | { type: 'extendedMessage' }
  | { type: 'role'; role: number }
  /** `restartSeconds` 0-4095; `notification` is the N bit of RFC 8538. */
  | {
      type: 'gracefulRestart'
      restarting: boolean
      notification: boolean
      restartSeconds: number
      families: readonly (AfiSafi & { forwarding: boolean })[]
    }
  | { type: 'fourOctetAs'; asn: number }
  /** `mode` as in `ADD_PATH`, from the sender's point of view. */
  | { type: 'addPath'; entries: readonly (AfiSafi & { mode: number })[] }
  | { type: 'enhancedRouteRefresh' }
  /** `staleSeconds` 0-16777215. */
  | { type: 'longLived'; entries: readonly (AfiSafi & { forwarding: boolean; staleSeconds: number })[] }
  | { type: 'hostname'; hostname: string; domain: string }
  | { type: 'softwareVersion'; version: string }
  | { type: 'unknown'; code: number; value: Uint8Array }

export type CapabilityType = Exclude<Capability['type'], 'unknown'>
export type CapabilityOf<T extends CapabilityType> = Extract<Capability, { type: T }>

/** `parse` sees a reader over exactly the value and throws, or leaves octets, when the value is malformed. */
export type CapabilityRow<T extends CapabilityType> = {
  code: number
  /** `keep`: an informational capability with a malformed value does not end the session. */
  ifMalformed: 'reset' | 'keep'
  parse(r: Reader): CapabilityOf<T>
  emit(w: Writer, value: CapabilityOf<T>): void
}

const FORWARDING = 0x80
const RESTARTING = 0x8
const NOTIFICATION = 0x4
// text that is not UTF-8 throws, so that the capability is kept as octets and written again unchanged
const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const octets = new TextEncoder()

const bare = <T extends 'routeRefresh' | 'extendedMessage' | 'enhancedRouteRefresh'>(type: T): CapabilityRow<T> => ({
  code: CAPABILITY[type],
  ifMalformed: 'reset',
  // extra octets are ignored: they change nothing
  parse(r) {
    r.rest()
    return { type } as CapabilityOf<T>
  },
  emit: () => undefined,
})

/** Every known capability; the key is the `type` of its value. */
export const capabilities: { readonly [T in CapabilityType]: CapabilityRow<T> } = {
  // RFC 4760 §8: afi u16 | reserved u8 | safi u8
  multiprotocol: {
    code: CAPABILITY.multiprotocol,
    ifMalformed: 'reset',
    parse(r) {
      const afi = r.u16()
      r.skip(1)
      return { type: 'multiprotocol', afi, safi: r.u8() }
    },
    emit: (w, { afi, safi }) => w.u16(afi).u8(0).u8(safi),
  },
  routeRefresh: bare('routeRefresh'),
  // RFC 8950 §4: (afi u16 | safi u16 | next hop afi u16)*
  extendedNextHop: {
    code: CAPABILITY.extendedNextHop,
    ifMalformed: 'reset',
    parse: r => ({
      type: 'extendedNextHop',
      entries: all(r, () => ({ afi: r.u16(), safi: r.u16(), nextHopAfi: r.u16() })),
    }),
    emit(w, { entries }) {
      for (const { afi, safi, nextHopAfi } of entries) w.u16(afi).u16(safi).u16(nextHopAfi)
    },
  },
  extendedMessage: bare('extendedMessage'),
  // RFC 9234 §4.1
  role: {
    code: CAPABILITY.role,
    ifMalformed: 'reset',
    parse: r => ({ type: 'role', role: r.u8() }),
    emit: (w, { role }) => w.u8(role),
  },
  // RFC 4724 §3, RFC 8538 §2: flags u4, time u12 | (afi u16 | safi u8 | flags u8)*
  gracefulRestart: {
    code: CAPABILITY.gracefulRestart,
    ifMalformed: 'reset',
    parse(r) {
      const head = r.u16()
      return {
        type: 'gracefulRestart',
        restarting: ((head >>> 12) & RESTARTING) !== 0,
        notification: ((head >>> 12) & NOTIFICATION) !== 0,
        restartSeconds: head & 0xfff,
        families: all(r, () => ({ afi: r.u16(), safi: r.u8(), forwarding: (r.u8() & FORWARDING) !== 0 })),
      }
    },
    emit(w, { restarting, notification, restartSeconds, families }) {
      w.u16((((restarting ? RESTARTING : 0) | (notification ? NOTIFICATION : 0)) << 12) | (restartSeconds & 0xfff))
      for (const { afi, safi, forwarding } of families)
        w.u16(afi)
          .u8(safi)
          .u8(forwarding ? FORWARDING : 0)
    },
  },
  fourOctetAs: {
    code: CAPABILITY.fourOctetAs,
    ifMalformed: 'reset',
    parse: r => ({ type: 'fourOctetAs', asn: r.u32() }),
    emit: (w, { asn }) => w.u32(asn),
  },
  // RFC 7911 §4: (afi u16 | safi u8 | mode u8)*; an entry with a mode outside 1-3 is not understood, so it is dropped
  addPath: {
    code: CAPABILITY.addPath,
    ifMalformed: 'reset',
    parse: r => ({
      type: 'addPath',
      entries: all(r, () => ({ afi: r.u16(), safi: r.u8(), mode: r.u8() })).filter(e => e.mode >= 1 && e.mode <= 3),
    }),
    emit(w, { entries }) {
      for (const { afi, safi, mode } of entries) w.u16(afi).u8(safi).u8(mode)
    },
  },
  enhancedRouteRefresh: bare('enhancedRouteRefresh'),
  // RFC 9494 §3: (afi u16 | safi u8 | flags u8 | stale u24)*
  longLived: {
    code: CAPABILITY.longLived,
    ifMalformed: 'reset',
    parse: r => ({
      type: 'longLived',
      entries: all(r, () => ({
        afi: r.u16(),
        safi: r.u8(),
        forwarding: (r.u8() & FORWARDING) !== 0,
        staleSeconds: r.u24(),
      })),
    }),
    emit(w, { entries }) {
      for (const { afi, safi, forwarding, staleSeconds } of entries)
        w.u16(afi)
          .u8(safi)
          .u8(forwarding ? FORWARDING : 0)
          .u24(staleSeconds)
    },
  },
  // draft-walton-bgp-hostname-capability: length u8 | hostname | length u8 | domain
  hostname: {
    code: CAPABILITY.hostname,
    ifMalformed: 'keep',
    parse: r => ({ type: 'hostname', hostname: text.decode(r.take(r.u8())), domain: text.decode(r.take(r.u8())) }),
    emit(w, { hostname, domain }) {
      for (const name of [hostname, domain]) w.prefixed(1, () => w.put(octets.encode(name)))
    },
  },
  // draft-abraitis-bgp-version-capability: length u8 | text; an empty text is malformed there
  softwareVersion: {
    code: CAPABILITY.softwareVersion,
    ifMalformed: 'keep',
    parse(r) {
      const length = r.u8()
      if (length === 0) throw new Error('empty version')
      return { type: 'softwareVersion', version: text.decode(r.take(length)) }
    },
    emit: (w, { version }) => w.prefixed(1, () => w.put(octets.encode(version))),
  },
}

const byCode: ReadonlyMap<number, (typeof capabilities)[CapabilityType]> = new Map(
  Object.values(capabilities).map(row => [row.code, row]),
)

/**
 * The capabilities of one optional parameter, in order, duplicates included. Total: a length that does not fit, or a
 * malformed value of a capability that changes the protocol, is an OPEN error with the capability as data.
 */
export function parseCapabilities(r: Reader): Capability[] | ProtocolError {
  const found: Capability[] = []
  while (r.left > 0) {
    const at = r.offset
    if (r.left < 2) return malformed(r.rest(), 'a capability header is cut off')
    const code = r.u8()
    const length = r.u8()
    if (length > r.left) return malformed(r.bytes.subarray(at, r.offset + r.left), `capability ${code} is cut off`)
    const row = byCode.get(code)
    const value = r.sub(length)
    if (row === undefined) {
      found.push({ type: 'unknown', code, value: value.rest().slice() })
      continue
    }
    const parsed = attempt(row, value)
    if (parsed !== undefined) found.push(parsed)
    else if (row.ifMalformed === 'keep')
      found.push({ type: 'unknown', code, value: r.bytes.slice(at + 2, at + 2 + length) })
    else {
      const raw = r.bytes.subarray(at, at + 2 + length)
      return malformed(raw, `capability ${code} has the malformed value ${toHex(raw.subarray(2))}`)
    }
  }
  return found
}

/** Writes one capability. Throws `BytesError` when its value needs more than 255 octets. */
export function emitCapability(w: Writer, capability: Capability): void {
  if (capability.type === 'unknown') {
    w.u8(capability.code).prefixed(1, () => w.put(capability.value))
    return
  }
  // the row of a type takes exactly the values of that type, which the compiler cannot follow through the lookup
  const row = capabilities[capability.type] as CapabilityRow<CapabilityType>
  w.u8(row.code).prefixed(1, () => row.emit(w, capability))
}

/** The octets of a list of capabilities. */
export function capabilityBytes(list: readonly Capability[]): Uint8Array {
  const w = new Writer(list.length * 257)
  for (const capability of list) emitCapability(w, capability)
  return w.done()
}

function attempt(row: (typeof capabilities)[CapabilityType], r: Reader): Capability | undefined {
  try {
    const value = row.parse(r)
    return r.left === 0 ? value : undefined
  } catch {
    return undefined
  }
}

function all<T>(r: Reader, one: () => T): T[] {
  const found: T[] = []
  while (r.left > 0) found.push(one())
  return found
}

function malformed(data: Uint8Array, detail: string): ProtocolError {
  return new ProtocolError(ERROR.open, OPEN_ERROR.unspecific, data, detail)
}
