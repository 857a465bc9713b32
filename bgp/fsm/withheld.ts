// Capabilities that go into no OPEN because the peer refused them. Pure. A peer that does not know the parameter answers
// with NOTIFICATION 2/4 and gets OPENs without any (RFC 5492 §3). One that answers with 2/7 may name capabilities
// (RFC 5492 §5): those are left out first, and then all. Refused even so, the next OPEN has all of them again.
import { toHex } from '../../lib/bytes.ts'
import { type AddressFamily, BASE_FAMILY, numbersOfFamily } from '../family.ts'
import { type Capability, capabilityBytes } from '../wire/capabilities.ts'
import { ERROR, OPEN_ERROR } from '../wire/iana.ts'
import type { Notification } from '../wire/notification.ts'

/** `all`, or the capabilities themselves: the code of each in hex; of multiprotocol ones the whole capability. */
export type Withheld = 'all' | readonly string[]

export const NOTHING_WITHHELD: Withheld = []

/** The capabilities that are left. */
export function withoutWithheld(capabilities: readonly Capability[], withheld: Withheld): Capability[] {
  return withheld === 'all' ? [] : capabilities.filter(each => !withheld.includes(keyOfCapability(each)))
}

/**
 * What is withheld from the next OPEN, after a NOTIFICATION in answer to one with all of `capabilities` but what is withheld
 * now. Undefined: the NOTIFICATION is not about capabilities, or without them none of `families` would be left.
 */
export function withheldAfter(
  withheld: Withheld,
  { code, subcode, data }: Notification,
  { capabilities, families }: { capabilities: readonly Capability[]; families: readonly AddressFamily[] },
): Withheld | undefined {
  if (code !== ERROR.open || (subcode !== OPEN_ERROR.parameter && subcode !== OPEN_ERROR.capability)) return undefined
  if (withheld === 'all') return NOTHING_WITHHELD
  const sent = withoutWithheld(capabilities, withheld)
  const listed = subcode === OPEN_ERROR.capability ? keysIn(data) : []
  const named = sent.map(keyOfCapability).filter(key => listed.includes(key))
  const next = named.length === 0 ? 'all' : [...withheld, ...named]
  return leavesFamily(withoutWithheld(capabilities, next), families) ? next : undefined
}

/** The capabilities that a list of octets names. */
function keysIn(data: Uint8Array): string[] {
  const keys: string[] = []
  for (let at = 0; at + 2 <= data.length; at += 2 + data[at + 1]!)
    keys.push(keyOf(toHex(data.subarray(at, at + 2 + data[at + 1]!))))
  return keys
}

/** The code; several multiprotocol capabilities are several families, so of those the value counts, too. */
function keyOf(hex: string): string {
  const code = hex.slice(0, 2)
  return code === MULTIPROTOCOL ? hex : code
}

const MULTIPROTOCOL = '01'

/** Without a multiprotocol capability a session carries the base family alone (RFC 4760 §8). */
function leavesFamily(capabilities: readonly Capability[], families: readonly AddressFamily[]): boolean {
  const multiprotocol = capabilities.filter(each => each.type === 'multiprotocol')
  if (multiprotocol.length === 0) return families.includes(BASE_FAMILY)
  return families.some(family => {
    const { afi, safi } = numbersOfFamily(family)
    return multiprotocol.some(each => each.afi === afi && each.safi === safi)
  })
}

function keyOfCapability(capability: Capability): string {
  return keyOf(toHex(capabilityBytes([capability])))
}
