// Networks, ports and protocols of rules, from the words of the API to those of the model: sorted, without repetitions, so
// that the order in which a person wrote them changes nothing. Pure. What makes no sense is told, and left out.
import { parsePorts, protocolNumber } from '../../../api/ports.ts'
import type { PolicyRule, PortRange, Ports, Protocol } from '../../../felix/policy/model.ts'
import { addressBits, familyOf, formatCidr, parseAddress, parseCidr } from '../../../lib/ip.ts'
import type { Faults } from './faults.ts'

/** A CIDR, without the bits of hosts; an address alone is itself. */
export function netOf(text: string, path: string, faults: Faults): string | undefined {
  const address = parseAddress(text)
  if (address !== undefined) return `${address}/${addressBits(familyOf(address))}`
  const net = parseCidr(text)
  return net === undefined ? faults.add(path, `${JSON.stringify(text)} is not a CIDR`) : formatCidr(net)
}

export function netsOf(texts: readonly string[], path: string, faults: Faults): string[] {
  const nets = texts.map((text, i) => netOf(text, `${path}[${i}]`, faults))
  return sorted(nets.filter(net => net !== undefined))
}

/** What each rule of an object became, as one list in which each says whose it is where its place does not. */
export function inPlace(rules: readonly (readonly PolicyRule[])[]): PolicyRule[] {
  const list: PolicyRule[] = []
  for (const [of, became] of rules.entries())
    for (const rule of became) list.push(list.length === of ? rule : { ...rule, of })
  return list
}

export function sorted(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort()
}

/** A port, a range as `first:last`, or a name. */
export function calicoPorts(values: readonly (string | number)[], path: string, faults: Faults): Ports {
  const ranges: PortRange[] = []
  const names: string[] = []
  for (const [i, value] of values.entries()) {
    const port = parsePorts(value)
    if (port === undefined) faults.add(`${path}[${i}]`, `${JSON.stringify(value)} is not a port, a range or a name`)
    else if ('name' in port) names.push(port.name)
    else ranges.push(port)
  }
  return portsOf(ranges, names)
}

/** With ranges that touch or overlap as one. */
export function portsOf(ranges: readonly PortRange[], names: readonly string[]): Ports {
  const joined: PortRange[] = []
  for (const { first, last } of [...ranges].sort((a, b) => a.first - b.first)) {
    const before = joined.at(-1)
    if (before !== undefined && first <= before.last + 1)
      joined[joined.length - 1] = { first: before.first, last: Math.max(before.last, last) }
    else joined.push({ first, last })
  }
  return { ranges: joined, names: sorted(names) }
}

/** A protocol by name or number. */
export function protocolOf(value: string | number, path: string, faults: Faults): Protocol | undefined {
  return (
    protocolNumber(value) ??
    faults.add(path, `${JSON.stringify(value)} is not TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or 1 to 255`)
  )
}
