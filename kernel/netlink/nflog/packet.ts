// NFULNL_MSG_PACKET: one copy. What the kernel says of it is checked as if it came from outside; the packet itself did.
// Of families other than IP there are copies too: they make no sense here.
import { Buffer } from 'node:buffer'
import type { NflogPacket } from '../../port/nflog.ts'
import type { NftHook } from '../../port/nftables.ts'
import type { Message } from '../message.ts'
import { NFGENMSG } from '../nfnetlink.ts'
import {
  type Codec,
  Malformed,
  optional,
  type Parsed,
  parseSafely,
  record,
  required,
  text,
  u32,
} from '../nftables/fields.ts'
import { HOOKS, NFPROTO } from '../nftables/numbers.ts'
import { NFULA } from './numbers.ts'

const FAMILIES = new Map([
  [NFPROTO.ip as number, 'ipv4'],
  [NFPROTO.ip6 as number, 'ipv6'],
] as const)
const HOOK_NAMES = new Map(Object.entries(HOOKS.inet).map(([name, number]) => [number as number, name as NftHook]))
/** Octets of a log prefix, without the one that ends it (NF_LOG_PREFIXLEN). */
const PREFIX_OCTETS = 127

const onlyRead = () => {
  throw new Error('copies are only read')
}

/** hw_protocol u16 | hook u8 | padding u8 */
const header: Codec<NftHook> = {
  emit: onlyRead,
  parse(bytes) {
    const hook = bytes.length === 4 ? HOOK_NAMES.get(bytes[2]!) : undefined
    if (hook === undefined) throw new Malformed('no hook')
    return hook
  },
}

/** seconds u64 | microseconds u64 */
const time: Codec<number> = {
  emit: onlyRead,
  parse(bytes) {
    if (bytes.length !== 16) throw new Malformed(`${bytes.length} octets of a time`)
    const ms = bytes.readBigUInt64BE(0) * 1000n + bytes.readBigUInt64BE(8) / 1000n
    if (ms > Number.MAX_SAFE_INTEGER) throw new Malformed(`${ms} is no time`)
    return Number(ms)
  },
}

const prefix: Codec<string> = {
  emit: onlyRead,
  parse(bytes) {
    if (bytes.length > PREFIX_OCTETS + 1) throw new Malformed(`${bytes.length} octets of a prefix`)
    return text.parse(bytes)
  },
}

const payload: Codec<Buffer> = { emit: onlyRead, parse: bytes => bytes }

type Wire = Omit<NflogPacket, 'family' | 'prefix' | 'payload'> & { prefix?: string; payload?: Buffer; sequence: number }

const packet = record<Wire>({
  hook: required(NFULA.packetHdr, header),
  mark: optional(NFULA.mark, u32),
  timestampMs: optional(NFULA.timestamp, time),
  inputIndex: optional(NFULA.ifindexIndev, u32),
  outputIndex: optional(NFULA.ifindexOutdev, u32),
  payload: optional(NFULA.payload, payload),
  prefix: optional(NFULA.prefix, prefix),
  sequence: required(NFULA.seq, u32),
})

/** The copy, with its number among those of its reader. `payload` is a view of the message. */
export function parsePacket({ body }: Message): Parsed<NflogPacket & { sequence: number }> {
  return parseSafely(() => {
    const family = body.length < NFGENMSG ? undefined : FAMILIES.get(body[0]!)
    if (family === undefined) throw new Malformed('no header of IP')
    const wire = packet.parse(body.subarray(NFGENMSG))!
    return { ...wire, family, prefix: wire.prefix ?? '', payload: wire.payload ?? Buffer.alloc(0) }
  })
}
