// The values that fields of margay-bgp's file hold, each with its bounds and with what to write instead. What passes here
// works when it is used: nothing below may fail later for a reason that the file alone could tell.
import * as z from 'zod'
import {
  addressBytes,
  isHostAddress,
  isLinkLocal,
  parseAddress,
  parseCidr,
  parseSocketAddress,
  type SocketAddress,
} from '../../lib/ip.ts'
import { BGP_PORT } from '../config.ts'
import { type Community, parseCommunity } from '../wire/communities.ts'
import { isUsableNextHop } from '../wire/multiprotocol.ts'

/** A whole number from `least` to `most`; `what` tells both. */
export const between = (least: number, most: number, what: string) =>
  z
    .number(`write a number: ${what}`)
    .int(`write a whole number: ${what}`)
    .min(least, `too small: ${what}`)
    .max(most, `too large: ${what}`)

export const u32 = between(0, 4294967295, '0-4294967295')
export const asn = between(1, 4294967295, 'an AS number, 1-4294967295')
export const port = between(1, 65535, 'a port, 1-65535')
export const seconds = (least: number, most: number) => between(least, most, `seconds, ${least}-${most}`)

/** A text for people, without control characters: it goes into logs and answers. */
export const label = (most: number) =>
  octets(most).refine(text => !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(text), 'no control characters or line breaks, please')

/** A text of 1 to `most` octets of UTF-8. */
export const octets = (most: number) =>
  z
    .string('write a text; quote one that looks like a number')
    .min(1, 'empty: write something or leave the field out')
    .refine(text => Buffer.byteLength(text) <= most, `too long: at most ${most} octets`)

/** The path of a file or socket: at most `most` octets. */
export const path = (most: number) => octets(most).refine(text => !text.includes('\0'), 'a path has no NUL')

/** An address, canonical. */
const address = z.string('write an IP address, quoted').transform((text, context) => {
  const found = parseAddress(text)
  if (found !== undefined) return found
  context.addIssue('not an IP address; write it like 192.0.2.1 or 2001:db8::1')
  return z.NEVER
})

/** The address of one host: of a peer, a collector, ourselves. */
export const host = address.refine(isHostAddress, 'not the address of one host; write it like 192.0.2.1 or 2001:db8::1')

/** An address that routes can lead to (RFC 4271 §6.3), for peers on any link. */
export const nextHop = address.refine(
  text => isUsableNextHop(addressBytes(text)) && !isLinkLocal(text),
  'no next hop for others; write a global address of a host',
)

/** A router or cluster id. */
export const identifier = address
  .refine(text => !text.includes(':'), 'write a dotted quad, like 192.0.2.1')
  .refine(text => text !== '0.0.0.0', "0.0.0.0 is nobody; write one of this router's addresses")

export const prefix = z.string('write a CIDR like 203.0.113.0/24').transform((text, context) => {
  const parsed = parseCidr(text)
  if (parsed === undefined) {
    context.addIssue('not a CIDR; write it like 203.0.113.0/24')
    return z.NEVER
  }
  const canonical = `${parsed.address}/${parsed.length}`
  if (parseAddress(text.split('/')[0]!) !== parsed.address) context.addIssue(`host bits are set; write ${canonical}`)
  return canonical
})

/** Where to listen; the address may be unspecified: all of its family. */
export const listenEndpoint = z
  .string('write an address with a port, quoted')
  .transform((text, context): SocketAddress => {
    const found = parseSocketAddress(text, BGP_PORT)
    if (found === undefined)
      context.addIssue('not an address with a port; write it like 192.0.2.1:179 or [2001:db8::1]:179')
    else if (isLinkLocal(found.address))
      context.addIssue(
        'a link-local address needs its interface; write [::]:179, and name the interface in the neighbor',
      )
    else if (found.address !== '0.0.0.0' && found.address !== '::' && !isHostAddress(found.address))
      context.addIssue('not an address to listen on; write one of this machine, 0.0.0.0 or [::]')
    else return found
    return z.NEVER
  })

/** A name that Linux gives interfaces: at most 15 octets without slash, colon and space. */
export const interfaceName = octets(15).refine(
  text => !/[\s/:\0]/.test(text) && text !== '.' && text !== '..',
  'not the name of an interface; write it like eth1',
)

const COMMUNITY_FORMS =
  'write a community like 65001:100, no-export, a large one like 65001:1:2, or an extended one like rt:65001:100; ' +
  'each number of a standard one is 0-65535'

/** A community as people write it, kept as text. */
export const communityText = z
  .string('write a community as text, in quotes')
  .refine(text => parseCommunity(text) !== undefined, COMMUNITY_FORMS)

/** A community as its value. */
export const community = z.string('write a community as text, in quotes').transform((text, context): Community => {
  const value = parseCommunity(text)
  if (value !== undefined) return value
  context.addIssue(COMMUNITY_FORMS)
  return z.NEVER
})

/** A list in which nothing stands twice. */
export const distinct = <T extends z.ZodType>(item: T) =>
  z.array(item).superRefine((list, context) => {
    for (const [i, value] of list.entries())
      if (list.indexOf(value) < i)
        context.addIssue({ code: 'custom', path: [i], input: value, message: 'is there already; remove one' })
  })
