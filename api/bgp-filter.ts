// What a BGPFilter says, read strictly: a condition that this version does not know would narrow a rule that accepts, and a rule
// that makes no sense would let pass what it was to stop. So the whole filter is refused, and whoever uses it is closed.
import * as z from 'zod'
import { type Family, familyOf } from '../lib/ip.ts'
import { cidrField, isCommunity } from './fields.ts'

/** Rules of one direction and family that are read, so that one object costs a bounded part of each route. */
const MOST_RULES = 500

const community = z.string().refine(isCommunity, 'must be a community such as 65001:100 or 65001:1:2')
const asNumber = (least: 0 | 1) => z.int().min(least).max(0xffffffff)
const priority = z.int().min(1).max(2147483646)

const operation = z
  .strictObject({
    addCommunity: z.strictObject({ value: community }).optional(),
    prependASPath: z.strictObject({ prefix: z.array(asNumber(1)).min(1).max(10) }).optional(),
    setPriority: z.strictObject({ value: priority }).optional(),
  })
  .refine(given => Object.values(given).filter(each => each !== undefined).length === 1, 'must be one operation')

/** A text that is absent where it is empty. */
const named = <T extends z.ZodType>(schema: T) => z.union([z.literal('').transform(() => undefined), schema]).optional()

function rule(family: Family) {
  const bits = z
    .int()
    .min(0)
    .max(family === 'ipv4' ? 32 : 128)
  const cidr = cidrField.refine(text => familyOf(text) === family, `must be of ${family === 'ipv4' ? 'IPv4' : 'IPv6'}`)
  return z
    .strictObject({
      action: z.enum(['Accept', 'Reject']),
      cidr: named(cidr),
      matchOperator: named(z.enum(['Equal', 'NotEqual', 'In', 'NotIn'])),
      prefixLength: z.strictObject({ min: bits.optional(), max: bits.optional() }).optional(),
      source: named(z.literal('RemotePeers')),
      interface: named(z.string().regex(/^[a-zA-Z0-9_.*-]{1,15}$/, 'must be a name, in which * may stand')),
      peerType: named(z.enum(['eBGP', 'iBGP'])),
      communities: z.strictObject({ values: z.array(community) }).optional(),
      asPathPrefix: z.array(asNumber(0)).optional(),
      priority: priority.optional(),
      operations: z.array(operation).max(10).optional(),
    })
    .superRefine((given, context) => {
      const wrong = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message })
      if ((given.cidr === undefined) !== (given.matchOperator === undefined))
        wrong('cidr', 'cidr and matchOperator must both be set, or neither')
      if (given.prefixLength !== undefined && given.cidr === undefined)
        wrong('prefixLength', 'needs a cidr and a matchOperator')
      if (given.action === 'Reject' && (given.operations ?? []).length > 0)
        wrong('operations', 'a rule that rejects changes nothing')
    })
}

const rules = (family: Family) => z.array(rule(family)).max(MOST_RULES, `at most ${MOST_RULES} rules`).default([])

export const bgpFilterSpec = z.strictObject({
  importV4: rules('ipv4'),
  importV6: rules('ipv6'),
  exportV4: rules('ipv4'),
  exportV6: rules('ipv6'),
})

export type BgpFilterSpec = z.output<typeof bgpFilterSpec>
