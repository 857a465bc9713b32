// Addresses and CIDRs as strings of bits: slow, and plain to see. A CIDR may have bits set behind its length (they mean
// nothing) and may be a single address.
import { isIPv4, isIPv6 } from 'node:net'

/** An address or CIDR, a port or a protocol that makes no sense. What it stands in cannot be judged. */
export class Unreadable extends Error {
  override readonly name = 'Unreadable'
}

export function familyOf(address: string): 4 | 6 {
  if (isIPv4(address)) return 4
  if (isIPv6(address)) return 6
  throw new Unreadable(`not an address: ${address}`)
}

/** Whether the address is in the CIDR. False across families. Throws Unreadable. */
export function contains(cidr: string, address: string): boolean {
  const [network = '', length] = cidr.split('/')
  const [bits, asked] = [bitsOf(network), bitsOf(address)]
  const count = length === undefined ? bits.length : Number(length)
  if (!/^\d+$/.test(length ?? '0') || count > bits.length) throw new Unreadable(`not a CIDR: ${cidr}`)
  return bits.length === asked.length && asked.startsWith(bits.slice(0, count))
}

/** 4 or 6: the family of the addresses in a CIDR. Throws Unreadable. */
export function familyOfCidr(cidr: string): 4 | 6 {
  return familyOf(cidr.split('/')[0] ?? '')
}

export function sameAddress(a: string, b: string): boolean {
  return bitsOf(a) === bitsOf(b)
}

const known = new Map<string, string>()

function bitsOf(address: string): string {
  const bits = known.get(address) ?? spell(address)
  known.set(address, bits)
  return bits
}

function spell(address: string): string {
  return familyOf(address) === 4
    ? address
        .split('.')
        .map(part => binary(Number(part), 8))
        .join('')
    : groups(address)
        .map(group => binary(group, 16))
        .join('')
}

/** The eight groups of an IPv6 address. */
function groups(address: string): number[] {
  const tail = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address)
  const hex = (high: string, low: string) => (Number(high) * 256 + Number(low)).toString(16)
  const text = tail === null ? address : `${tail[1]}${hex(tail[2]!, tail[3]!)}:${hex(tail[4]!, tail[5]!)}`
  const [before = '', after] = text.split('::')
  const list = (part: string) => (part === '' ? [] : part.split(':').map(group => Number.parseInt(group, 16)))
  if (after === undefined) return list(before)
  const zeros = 8 - list(before).length - list(after).length
  return [...list(before), ...Array<number>(zeros).fill(0), ...list(after)]
}

const binary = (value: number, length: number) => value.toString(2).padStart(length, '0')
