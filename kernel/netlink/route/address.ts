// Addresses of links on the wire: ifaddrmsg is family u8 | length u8 | flags u8 | scope u8 | index u32.
import { addressBytes, familyOf, formatAddress } from '../../../lib/ip.ts'
import type { Address } from '../../port/addresses.ts'
import { eachAttribute, type Message, type NlWriter } from '../message.ts'
import { AF } from '../numbers.ts'
import { IFA, IFA_F } from './numbers.ts'

const IFADDRMSG = 8

/** The head of a dump; `ifindex` 0 means every link. */
export function emitAddressDump(w: NlWriter, ifindex: number): void {
  w.u8(AF.unspec).u8(0).u8(0).u8(0).u32(ifindex)
}

/** RTM_NEWADDR and RTM_DELADDR. */
export function emitAddress(w: NlWriter, { ifindex, address, length, scope, noDad }: Address): void {
  const bytes = addressBytes(address)
  w.u8(familyOf(address) === 'ipv4' ? AF.inet : AF.inet6)
    .u8(length)
    .u8(noDad ? IFA_F.nodad : 0)
    .u8(scope)
    .u32(ifindex)
  // both, or IPv4 takes the one for the far end of a point-to-point link
  w.attrBytes(IFA.local, bytes).attrBytes(IFA.address, bytes)
}

export function parseAddressMessage({ body }: Message): Address | undefined {
  if (body.length < IFADDRMSG || (body[0] !== AF.inet && body[0] !== AF.inet6)) return undefined
  let flags = body[2]!
  let address: Buffer | undefined
  let local: Buffer | undefined
  eachAttribute(body, IFADDRMSG, (type, value) => {
    if (type === IFA.address) address = value
    else if (type === IFA.local) local = value
    else if (type === IFA.flags) flags = value.readUInt32LE(0)
  })
  const bytes = local ?? address
  if (bytes === undefined) return undefined
  const out: Address = {
    ifindex: body.readUInt32LE(4),
    address: formatAddress(bytes),
    length: body[1]!,
    scope: body[3]!,
  }
  if (flags & IFA_F.tentative) out.tentative = true
  if (flags & IFA_F.nodad) out.noDad = true
  return out
}
