// Rules of routing on the wire: fib_rule_hdr is family u8 | destination length u8 | source length u8 | tos u8 | table u8 | 2 reserved |
// action u8 | flags u32, then attributes. Source: linux/fib_rules.h.
import { formatAddress } from '../../../lib/ip.ts'
import type { PortRange, RoutingRule } from '../../port/rules.ts'
import { attributeText, eachAttribute, type Message, type NlWriter } from '../message.ts'
import { AF } from '../numbers.ts'
import { FIB_RULE, FRA } from './numbers.ts'

const FIB_RULE_HDR = 12

/** rtm_action by number (FR_ACT_*). */
const ACTIONS: readonly (RoutingRule['action'] | undefined)[] = [
  ...[undefined, 'lookup', 'goto', 'nop', undefined, undefined, 'blackhole', 'unreachable', 'prohibit'],
] as const

/** Of one family. */
export function emitRuleDump(w: NlWriter, family: number): void {
  w.u8(family).put(new Uint8Array(FIB_RULE_HDR - 1))
}

/** Undefined for rules of other families and for actions that Margay knows nothing of. */
export function parseRule({ body }: Message): RoutingRule | undefined {
  if (body.length < FIB_RULE_HDR) return undefined
  const [wireFamily, destinationLength, sourceLength, tos, table, , , actionNumber] = body as unknown as number[]
  const action = ACTIONS[actionNumber!]
  if ((wireFamily !== AF.inet && wireFamily !== AF.inet6) || action === undefined) return undefined
  const rule: RoutingRule = { family: wireFamily === AF.inet ? 'ipv4' : 'ipv6', priority: 0, action }
  if (action === 'lookup') rule.table = table!
  if (body.readUInt32LE(8) & FIB_RULE.invert) rule.inverted = true
  if (tos !== 0) rule.tos = tos!
  let [mark, mask] = [0, 0]
  eachAttribute(body, FIB_RULE_HDR, (attribute, value) => {
    if (attribute === FRA.priority) rule.priority = value.readUInt32LE(0)
    else if (attribute === FRA.table && action === 'lookup') rule.table = value.readUInt32LE(0)
    else if (attribute === FRA.goto && action === 'goto') rule.target = value.readUInt32LE(0)
    else if (attribute === FRA.source) rule.source = `${formatAddress(value)}/${sourceLength}`
    else if (attribute === FRA.destination) rule.destination = `${formatAddress(value)}/${destinationLength}`
    else if (attribute === FRA.iifname) rule.inInterface = attributeText(value)
    else if (attribute === FRA.oifname) rule.outInterface = attributeText(value)
    else if (attribute === FRA.mark) mark = value.readUInt32LE(0)
    else if (attribute === FRA.mask) mask = value.readUInt32LE(0)
    else if (attribute === FRA.protocol) rule.protocol = value[0]!
    else if (attribute === FRA.sourcePorts) rule.sourcePorts = portsOf(value)
    else if (attribute === FRA.destinationPorts) rule.destinationPorts = portsOf(value)
    else if (attribute === FRA.users) rule.users = { first: value.readUInt32LE(0), last: value.readUInt32LE(4) }
    else if (attribute === FRA.l3mdev && value[0] !== 0) rule.ofVrf = true
    else if (attribute === FRA.suppressedLength && value.readInt32LE(0) >= 0)
      rule.suppressedLength = value.readInt32LE(0)
  })
  if (mask !== 0) rule.mark = { value: mark, mask }
  return rule
}

function portsOf(value: Buffer): PortRange {
  return { first: value.readUInt16LE(0), last: value.readUInt16LE(2) }
}
