// Protocols and ports as Calico writes them in rules of policies and in settings: a number, a text that stands for one, or a name
// (projectcalico/api, pkg/lib/numorstring).

const NUMBERS: Readonly<Record<string, number>> = { ICMP: 1, TCP: 6, UDP: 17, ICMPv6: 58, SCTP: 132, UDPLite: 136 }
const WITH_PORTS: readonly (string | number)[] = ['TCP', 'UDP', 'SCTP', 6, 17, 132]

/** A protocol as it is read: its number, or its name where somebody gave one. */
function protocolOf(value: string | number): string | number {
  return typeof value === 'string' && /^\d{1,3}$/.test(value) && Number(value) <= 255 ? Number(value) : value
}

const BY_LOWER_CASE = new Map(Object.entries(NUMBERS).map(([name, number]) => [name.toLowerCase(), number]))

/** The number of a protocol of IP, by its name in any case or by 1 to 255; undefined for anything else. */
export function protocolNumber(value: string | number): number | undefined {
  const protocol = protocolOf(value)
  if (typeof protocol === 'string') return BY_LOWER_CASE.get(protocol.toLowerCase())
  return Number.isInteger(protocol) && protocol >= 1 && protocol <= 255 ? protocol : undefined
}

/** Whether this is a protocol of IP as somebody may write it: one of the names in this case, or 1 to 255. */
export function isProtocol(value: string | number): boolean {
  const protocol = protocolOf(value)
  return typeof protocol === 'string' ? Object.hasOwn(NUMBERS, protocol) : protocolNumber(protocol) !== undefined
}

/** Whether packets of the protocol have ports that a rule can name. */
export function hasPorts(value: string | number): boolean {
  return WITH_PORTS.includes(protocolOf(value))
}

/** Both ends of a range, which may be one number; undefined for anything else. A number may be 0, as in Calico. */
export function parsePortRange(value: string | number): { first: number; last: number } | undefined {
  const [, from, to = from] = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(String(value)) ?? []
  if (from === undefined) return undefined
  const [first, last] = [Number(from), Number(to)]
  return first <= last && last <= 65535 ? { first, last } : undefined
}

/** Both ends of a range, or a name; undefined for anything else. */
export function parsePorts(value: string | number): { first: number; last: number } | { name: string } | undefined {
  const range = parsePortRange(value)
  if (range !== undefined) return range
  return typeof value === 'string' && /^[a-zA-Z0-9_.-]{1,128}$/.test(value) && !/^\d+$/.test(value)
    ? { name: value }
    : undefined
}

/** The name of a container's port as Kubernetes has it (IANA_SVC_NAME). */
export function isPortName(text: string): boolean {
  return text.length <= 15 && /^(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/.test(text)
}
