// What the model says of a packet, read from it as plainly as can be: no sets, no chains, no order of events.
import { evaluate, parseSelector } from '../../../api/selector.ts'
import type { Icmp, Policy, PolicyRule, Ports, RuleSide } from '../../../felix/policy/model.ts'
import { comparePolicies, compareTiers } from '../../../felix/policy/order.ts'
import { contains, familyOf } from '../../../lib/ip.ts'
import type { Told } from './worlds.ts'

export type Flow = {
  from: string
  to: string
  protocol: number
  sourcePort?: number
  destinationPort?: number
  icmp?: { type: number; code: number }
}

type Direction = 'ingress' | 'egress'
const ICMP = { ipv4: 1, ipv6: 58 } as const

/** Whether a pod of this node may send or receive. One that the cluster says nothing of may not. */
export function allows(told: Told, key: string, direction: Direction, flow: Flow): boolean {
  const labels = told.endpoint.get(key)?.labels
  const local = told.local.get(key)
  if (labels === undefined || local === undefined) return false
  const asked = [...told.policy.values()].filter(
    policy =>
      policy[direction] !== undefined &&
      policy.staged !== true &&
      ['normal', 'forward'].includes(policy.hostStage) &&
      evaluate(parseSelector(policy.selector), labels),
  )
  const tiers = [...new Set(asked.map(({ tier }) => tier))].sort((a, b) =>
    compareTiers([a, told.tier.get(a)], [b, told.tier.get(b)]),
  )
  for (const tier of tiers) {
    const found = decide(told, asked.filter(policy => policy.tier === tier).sort(comparePolicies), direction, flow)
    if (found === 'allow' || found === 'deny') return found === 'allow'
    if (found === undefined && told.tier.get(tier)?.defaultAction !== 'pass') return false
  }
  for (const name of local.profiles)
    for (const rule of told.profile.get(name)?.[direction] ?? []) {
      const found = actionOf(told, rule, direction, flow)
      if (found !== undefined) return found === 'allow'
    }
  return false
}

function decide(told: Told, policies: readonly Policy[], direction: Direction, flow: Flow) {
  for (const policy of policies)
    for (const rule of policy[direction]!) {
      const found = actionOf(told, rule, direction, flow)
      if (found !== undefined) return found
    }
  return undefined
}

/** What a rule decides. One about domains that is not of packets that are sent is closed. */
function actionOf(told: Told, rule: PolicyRule, direction: Direction, flow: Flow) {
  if (rule.action === 'log') return undefined
  if (rule.destination.domains !== undefined && direction === 'ingress')
    return rule.action === 'allow' ? undefined : 'deny'
  return isOf(told, rule, flow) ? rule.action : undefined
}

function isOf(told: Told, rule: PolicyRule, flow: Flow): boolean {
  const { ipVersion, protocol, notProtocol, icmp, notIcmp, source, destination, never } = rule
  return (
    never !== true &&
    (ipVersion === undefined || ipVersion === (familyOf(flow.from) === 'ipv4' ? 4 : 6)) &&
    (protocol === undefined || protocol === flow.protocol) &&
    (notProtocol === undefined || notProtocol !== flow.protocol) &&
    (icmp === undefined || isIcmp(icmp, flow)) &&
    (notIcmp === undefined || !isIcmp(notIcmp, flow)) &&
    isOfSide(told, rule, source, { address: flow.from, port: flow.sourcePort }, flow, false) &&
    isOfSide(told, rule, destination, { address: flow.to, port: flow.destinationPort }, flow, true)
  )
}

function isIcmp({ type, code }: Icmp, flow: Flow): boolean {
  return (
    flow.protocol === ICMP[familyOf(flow.from)] &&
    flow.icmp?.type === type &&
    (code === undefined || flow.icmp.code === code)
  )
}

type End = { address: string; port?: number }

function isOfSide(told: Told, rule: PolicyRule, side: RuleSide, end: End, flow: Flow, isDestination: boolean): boolean {
  const { nets, notNets, selector, notSelector, ports, notPorts, service, nodes, domains } = side
  const { address } = end
  const isChosen = (text: string) => {
    const chosen = parseSelector(text)
    return (
      [...told.endpoint.values()].some(each => evaluate(chosen, each.labels) && each.addresses.includes(address)) ||
      [...told.networkSet.values()].some(
        each => evaluate(chosen, each.labels) && each.nets.some(net => contains(net, address)),
      )
    )
  }
  const hasPort = ({ ranges, names }: Ports) =>
    ranges.some(({ first, last }) => end.port !== undefined && first <= end.port && end.port <= last) ||
    names.some(name =>
      [...told.endpoint.values()].some(
        each =>
          evaluate(parseSelector(selector ?? 'all()'), each.labels) &&
          each.addresses.includes(address) &&
          each.ports.some(
            port =>
              port.name === name &&
              (rule.protocol ?? port.protocol) === port.protocol &&
              port.protocol === flow.protocol &&
              port.port === end.port,
          ),
      ),
    )
  const isOfDomain = (pattern: string, name: string) =>
    pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) : name === pattern
  return (
    (domains === undefined ||
      [...told.answer.values()].some(
        ({ from, name, addresses }) =>
          domains.some(pattern => isOfDomain(pattern, name)) && from.includes(flow.from) && addresses.includes(flow.to),
      )) &&
    (nets === undefined || nets.some(net => contains(net, address))) &&
    (notNets === undefined || !notNets.some(net => contains(net, address))) &&
    (selector === undefined || isChosen(selector)) &&
    (notSelector === undefined || !isChosen(notSelector)) &&
    (ports === undefined || hasPort(ports)) &&
    (notPorts === undefined || !hasPort(notPorts)) &&
    (nodes === undefined ||
      [...told.node.values()].some(
        node => evaluate(parseSelector(nodes), node.labels) && node.addresses.includes(address),
      )) &&
    (service === undefined ||
      (told.service.get(`${service.namespace}/${service.name}`)?.addresses ?? []).some(
        each =>
          each.address === address && (!isDestination || (each.protocol === flow.protocol && each.port === end.port)),
      ))
  )
}
