// Of which families one request gets an address. Pure.
import { type Family, familyOf } from '../lib/ip.ts'
import type { Assigned, AssignRefusal, AssignRequest } from './port.ts'

/**
 * Those that a request demands, those that it asks an address of by name, and of `ifServed` those that it holds already and
 * those that a pool serves. Never none. Refused also where it cannot be told yet whether a pool serves one of `ifServed`.
 * `refusalOf`: why no pool serves a family; undefined where one does.
 */
export function familiesOf(
  { families, ifServed = [], addresses = [] }: Pick<AssignRequest, 'families' | 'ifServed' | 'addresses'>,
  held: readonly Assigned[],
  refusalOf: (family: Family) => AssignRefusal | undefined,
): readonly Family[] | AssignRefusal {
  const refusals: AssignRefusal[] = []
  const isWanted = (family: Family): boolean => {
    if (families.includes(family)) return true
    if (!ifServed.includes(family)) return false
    if (held.some(has => has.family === family)) return true
    if (addresses.some(address => familyOf(address) === family)) return true
    const refusal = refusalOf(family)
    if (refusal !== undefined) refusals.push(refusal)
    return refusal === undefined
  }
  const wanted = (['ipv4', 'ipv6'] as const).filter(isWanted)
  const unclear = refusals.find(({ refused }) => refused === 'unreachable')
  if (unclear !== undefined) return unclear
  const [first] = refusals
  if (wanted.length > 0 || first === undefined) return wanted
  return { ...first, message: [...new Set(refusals.map(({ message }) => message))].join('; ') }
}
