// Where a BGPPeer without an address has its peers, which Calico has no field for: on a link (`margay.io/Interface`), or anywhere in a prefix
// (`margay.io/Range`). Pure. An annotation that makes no sense closes the session, also where there is an address beside it: it is
// never another one than was asked for.
import { BGP_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import type { CauseOf, ReasonOf } from '../../api/status.ts'
import { isHostAddress, isLinkLocal, isLoopback, parseCidr } from '../../lib/ip.ts'

/** `fault`: why there is no session. Both are absent where the BGPPeer names or selects its peers otherwise. */
export type AskedPlace = { place?: PeerPlace; fault?: CauseOf<'PeersConfigured'> }
export type PeerPlace = { interface: string } | RangePlace
/** `range`: a canonical CIDR. `limit`: most neighbours at a time. */
export type RangePlace = { range: string; limit: number }

/** What the BGPPeer names or selects beside, which would be another peer. */
const OTHERS = ['peerIP', 'peerSelector', 'localWorkloadSelector'] as const
/** IFNAMSIZ without its end; the kernel takes no white space, slash and colon (dev_valid_name, net/core/dev.c). */
const INTERFACE = /^[^\s/:]{1,15}$/
const PATTERN = /[*?[\]]/
const LIMIT = { usual: 100, most: 10_000 }

/** Empty annotations count as none. */
export function askedPlace({ metadata: { annotations = {} }, spec }: Resource<'BGPPeer'>): AskedPlace {
  const [link, range] = [BGP_ANNOTATION.interface, BGP_ANNOTATION.range].map(name => ({
    ...{ name, text: annotations[name]?.trim() ?? '' },
  }))
  const asked = [link!, range!].filter(({ text }) => text !== '')
  const [first, second] = asked
  if (first === undefined) return {}
  const other = second?.name ?? OTHERS.find(field => (spec[field] ?? '') !== '')
  if (other !== undefined)
    return bad(
      'TwoPlaces',
      `${saidOf(first)}, and ${other} is set too: one peer cannot be both`,
      `remove ${other} or ${first.name}`,
    )
  return first === link ? linkPlace(first) : rangePlace(first, spec)
}

type Asked = { name: string; text: string }

function linkPlace(asked: Asked): AskedPlace {
  const { text } = asked
  if (PATTERN.test(text))
    return bad(
      'BadInterface',
      `${saidOf(asked)}: patterns are not taken`,
      'create a BGPPeer for each interface, by its name',
    )
  if (!INTERFACE.test(text) || text === '.' || text === '..')
    return bad(
      'BadInterface',
      `${saidOf(asked)}, which no interface can be called`,
      'write the name of one interface, such as eth1',
    )
  return { place: { interface: text } }
}

/** A prefix that can be read is kept with its fault, so that no other range takes whoever lies in it. */
function rangePlace(asked: Asked, { reachableBy }: Resource<'BGPPeer'>['spec']): AskedPlace {
  const remedy = `write one prefix, and after it limit=N for another number of neighbours than ${LIMIT.usual}, such as "192.0.2.0/24 limit=20"`
  const [prefix = '', ...words] = asked.text.split(/\s+/)
  const cidr = parseCidr(prefix)
  if (cidr === undefined) return bad('BadRange', `${saidOf(asked)}, which begins with no prefix`, remedy)
  const { address, length } = cidr
  if (length > 0 && (isLinkLocal(address) || isLoopback(address) || !isHostAddress(address)))
    return bad(
      'BadRange',
      `${saidOf(asked)}, where no router outside has its address`,
      `write the prefix that the routers have; peers with link-local addresses have ${BGP_ANNOTATION.interface}`,
    )
  const limit = limitOf(words)
  const place = { range: `${address}/${length}`, limit: typeof limit === 'number' ? limit : LIMIT.usual }
  if (typeof limit === 'string') return { place, ...bad('BadRange', `${saidOf(asked)}: ${limit}`, remedy) }
  if (!reachableBy) return { place }
  return { place, ...bad('NotForRanges', 'reachableBy has no meaning for a range of peers', 'remove reachableBy') }
}

/** What the words after a prefix ask for, or what is wrong with them. */
function limitOf([word, another]: readonly string[]): number | string {
  if (word === undefined) return LIMIT.usual
  const [, digits] = /^limit=(\d{1,6})$/.exec(word) ?? []
  if (digits === undefined || another !== undefined) return 'of words after the prefix one limit=N alone is known'
  const limit = Number(digits)
  return limit >= 1 && limit <= LIMIT.most ? limit : `the limit is not from 1 to ${LIMIT.most}`
}

function saidOf({ name, text }: Asked): string {
  return `annotation ${name} is ${JSON.stringify(text.slice(0, 80))}`
}

function bad(reason: ReasonOf<'PeersConfigured'>, message: string, remedy: string): AskedPlace {
  return { fault: { reason, message: `${message}; there is no session`, remedy } }
}
