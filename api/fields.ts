// Field types that several kinds share.
import { z } from 'zod'
import { formatCidr, parseAddress, parseCidr } from '../lib/ip.ts'

/** A CIDR in canonical text; input with host bits set is refused, as Calico does. */
export const cidrField = z.string().refine(text => {
  const parsed = parseCidr(text)
  return parsed !== undefined && formatCidr(parsed) === text.toLowerCase()
}, 'must be a CIDR without host bits, such as 10.244.0.0/16')

export const addressField = z.string().refine(text => parseAddress(text) !== undefined, 'must be an IP address')

/** 4-octet AS number (RFC 6793); Calico also takes it as text, also as `high.low` (RFC 5396). */
export const asNumberField = z.union([z.number(), z.string()]).transform((value, context) => {
  const [high, low] = String(value).split('.')
  const asn = low === undefined ? Number(high) : Number(high) * 65536 + Number(low)
  if (Number.isInteger(asn) && asn >= 1 && asn <= 0xffffffff) return asn
  context.addIssue('must be an AS number, 1 to 4294967295')
  return z.NEVER
})

/** A 64-bit integer of the wire: a number below 2^53, a bigint above, never rounded. */
export const int64Field = z.union([z.int(), z.bigint()])
