// Rules of `import` and `export` in margay-bgp's file. Each is taken only when it can match and can be carried out.
import * as z from 'zod'
import { addressBits, cidr } from '../../lib/ip.ts'
import { PRIORITY_BASE } from '../policy.ts'
import { asn, between, communityText, interfaceName, label, prefix } from './fields.ts'

/** Most AS numbers, and most communities, that one rule adds: an attribute must still fit into a message. */
const MOST_ADDED = 255

const match = z
  .strictObject({
    operator: z.enum(['Equal', 'NotEqual', 'In', 'NotIn'], 'write Equal, NotEqual, In or NotIn'),
    cidr: prefix,
    lengths: z
      .strictObject({ min: between(0, 128, '0-128').optional(), max: between(0, 128, '0-128').optional() })
      .optional(),
  })
  .superRefine(({ operator, cidr: text, lengths = {} }, context) => {
    const { family, length } = cidr(text)
    const bits = addressBits(family)
    const { min = 0, max = bits } = lengths
    const wrong = (field: 'min' | 'max', message: string) =>
      context.addIssue({ code: 'custom', path: ['lengths', field], input: lengths[field], message })
    if (min > bits) wrong('min', `prefixes of this family have at most ${bits} bits`)
    else if (max > bits) wrong('max', `prefixes of this family have at most ${bits} bits`)
    else if (min > max) wrong('min', `above max, which is ${max}: no prefix has such a length`)
    else if (max < length) wrong('max', `below the ${length} of ${text}: no prefix in it is that short`)
    else if (operator.endsWith('Equal') && min > length)
      wrong('min', `above the ${length} of ${text}: nothing is equal`)
  })

/** A LOCAL_PREF of 0 to 2^31-1 as Calico's priority. */
const priority = between(0, PRIORITY_BASE, `0-${PRIORITY_BASE}`)

const operation = z.discriminatedUnion(
  'do',
  [
    z.strictObject({ do: z.literal('add-community'), value: communityText }),
    z.strictObject({
      do: z.literal('prepend-as-path'),
      asns: z.array(asn).min(1, 'name an AS').max(MOST_ADDED, `at most ${MOST_ADDED}`),
    }),
    z.strictObject({ do: z.literal('set-priority'), value: priority }),
  ],
  'write do: add-community, prepend-as-path or set-priority',
)

const rule = z
  .strictObject({
    action: z.enum(['accept', 'reject'], 'write accept or reject'),
    family: z.enum(['ipv4', 'ipv6'], 'write ipv4 or ipv6').optional(),
    match: match.optional(),
    source: z.literal('RemotePeers', 'the only source is RemotePeers').optional(),
    group: label(200).optional(),
    peerType: z.enum(['eBGP', 'iBGP'], 'write eBGP or iBGP').optional(),
    interface: interfaceName.optional(),
    communities: z.array(communityText).max(MOST_ADDED, `at most ${MOST_ADDED}`).optional(),
    asPathPrefix: z.array(asn).max(MOST_ADDED, `at most ${MOST_ADDED}`).optional(),
    priority: priority.optional(),
    operations: z.array(operation).max(MOST_ADDED, `at most ${MOST_ADDED}`).optional(),
  })
  .superRefine(({ action, operations = [] }, context) => {
    const wrong = (message: string) => context.addIssue({ code: 'custom', path: ['operations'], message })
    if (action === 'reject' && operations.length > 0) wrong('a rule that rejects changes nothing: remove them')
    const prepended = operations.flatMap(each => (each.do === 'prepend-as-path' ? each.asns : [])).length
    if (prepended > MOST_ADDED) wrong(`${prepended} AS numbers in all: at most ${MOST_ADDED}`)
  })

/** What `import` and `export` hold. */
export const policy = z.union(
  [z.literal('accept'), z.literal('reject'), z.array(rule)],
  'write accept, reject, or a list of rules that each have an action',
)
