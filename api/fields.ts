// Field types that several kinds share.
import * as z from 'zod'
import {
  type Family,
  familyOf,
  formatCidr,
  isHostAddress,
  isLinkLocal,
  parseAddress,
  parseCidr,
  parseSocketAddress,
} from '../lib/ip.ts'
import { parsePortRange } from './ports.ts'
import { parseSelector, SelectorError } from './selector.ts'

/** A CIDR, given back in canonical text; one with host bits set is refused, as Calico does. */
export const cidrField = z.string().transform((text, context) => {
  const parsed = parseCidr(text)
  if (parsed !== undefined && parseAddress(text.slice(0, text.indexOf('/'))) === parsed.address)
    return formatCidr(parsed)
  context.addIssue('must be a CIDR without host bits, such as 10.244.0.0/16')
  return z.NEVER
})

/** Least and most bits of the prefix of a block, Calico's limits: a block has at most 4096 addresses. */
export const BLOCK_LENGTHS: Readonly<Record<Family, readonly [least: number, most: number]>> = {
  ipv4: [20, 32],
  ipv6: [116, 128],
}

/** The CIDR of a block. A larger one is no block: to hold it, a program would need memory for each of its addresses. */
export const blockCidrField = cidrField.superRefine((text, context) => {
  const [least, most] = BLOCK_LENGTHS[familyOf(text)]
  const length = parseCidr(text)?.length ?? 0
  if (length < least) context.addIssue({ code: 'custom', message: `must be a /${least} to /${most}` })
})

/** An IP address, given back in canonical text. */
export const addressField = z.string().transform((text, context) => {
  const address = parseAddress(text)
  if (address !== undefined) return address
  context.addIssue('must be an IP address')
  return z.NEVER
})

/** A peer's address, alone or with its port: `192.0.2.1`, `192.0.2.1:179`, `[2001:db8::1]:179`. Kept as it is written. */
export const peerAddressField = z
  .string()
  .refine(text => parseSocketAddress(text, 179) !== undefined, 'must be an address, ip:port or [ipv6]:port')
  .refine(text => {
    const { address } = parseSocketAddress(text, 179) ?? {}
    return address === undefined || (isHostAddress(address) && !isLinkLocal(address))
  }, 'must be the address of one host, and not link-local: no interface can be named beside it')

/** An IPv4 address, or an empty text for none. */
export const ipv4OrNoneField = z
  .string()
  .refine(text => text === '' || (parseAddress(text) === text && familyOf(text) === 'ipv4'), 'must be an IPv4 address')

/** A CIDR or one address, in canonical text; empty: none. */
export const rangeOrNoneField = z.string().transform((text, context) => {
  if (text === '') return text
  const parsed = parseCidr(text)
  const canonical = parsed === undefined ? parseAddress(text) : formatCidr(parsed)
  if (canonical !== undefined) return canonical
  context.addIssue({ code: 'custom', message: 'is neither a CIDR nor an address' })
  return z.NEVER
})

/** A number, or a text that may stand for one. */
export const numberOrTextField = z.union([z.int(), z.string()])

/** A range of ports as Calico writes it: a number, or `first:last`. Kept as it is written. */
export const portRangeField = z
  .union([z.int(), z.string()])
  .refine(value => parsePortRange(value) !== undefined, 'must be a port (0 to 65535) or FIRST:LAST')

/** 4-octet AS number (RFC 6793); Calico also takes it as text, also as `high.low` (RFC 5396). */
export const asNumberField = z.union([z.number(), z.string()]).transform((value, context) => {
  const asn = typeof value === 'number' ? value : asNumberOf(value)
  if (Number.isInteger(asn) && asn >= 1 && asn <= 0xffffffff) return asn
  context.addIssue('must be an AS number, 1 to 4294967295')
  return z.NEVER
})

function asNumberOf(text: string): number {
  const parts = /^(\d{1,10})(?:\.(\d{1,5}))?$/.exec(text)
  if (parts === null) return Number.NaN
  const [first, second] = [Number(parts[1]), parts[2] === undefined ? undefined : Number(parts[2])]
  if (second === undefined) return first
  return first <= 0xffff && second <= 0xffff ? first * 65536 + second : Number.NaN
}

/** Whether a text is a BGP community: `65001:100`, each part 16 bits, or a large one (RFC 8092) of three parts of 32 bits. */
export function isCommunity(text: string): boolean {
  if (!/^\d{1,10}(:\d{1,10}){1,2}$/.test(text)) return false
  const parts = text.split(':').map(Number)
  return parts.every(part => part <= (parts.length === 2 ? 0xffff : 0xffffffff))
}

/** A 64-bit integer of the wire: a number below 2^53, a bigint above, never rounded. */
export const int64Field = z.union([
  z.int(),
  z
    .bigint()
    .min(-(2n ** 63n))
    .max(2n ** 63n - 1n),
])

/** A selector of api/selector.ts; the message of a bad one says where it goes wrong. */
export const selectorField = z.string().superRefine((text, context) => {
  try {
    parseSelector(text)
  } catch (error) {
    if (!(error instanceof SelectorError)) throw error
    context.addIssue({ code: 'custom', message: error.message })
  }
})

/** A span of time as Go writes it: `90s`, `1m30s`, `250ms`. */
export const durationField = z
  .string()
  .regex(/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$|^0$/, 'must be a span of time such as 90s or 1m30s')

const SECONDS = { ns: 1e-9, us: 1e-6, µs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 } as const

/** The seconds of a `durationField`. */
export function durationSeconds(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)]
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * SECONDS[unit as keyof typeof SECONDS], 0)
}
