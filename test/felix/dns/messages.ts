// Messages of DNS and the packets that carry them, written plainly.
import { addressBytes, familyOf } from '../../../lib/ip.ts'

export type Entry = { owner: string } & (
  | { type: 'A' | 'AAAA'; ttl: number; address: string }
  | { type: 'CNAME'; ttl: number; target: string }
  | { type: 'TXT'; ttl: number; octets: Uint8Array }
)

export type Message = {
  id?: number
  flags?: number
  question?: { name: string; type: number; class?: number }
  answers?: readonly Entry[]
  /** Names are written once, and then by pointers. */
  compressed?: boolean
}

export const TYPE = { A: 1, CNAME: 5, TXT: 16, AAAA: 28 } as const
/** A response without an error; recursion was asked for and is there. */
export const FLAGS = 0x8180

class Text {
  readonly octets: number[] = []
  readonly #names = new Map<string, number>()
  readonly #isCompressed: boolean

  constructor(isCompressed: boolean) {
    this.#isCompressed = isCompressed
  }

  u16(...values: number[]): void {
    for (const value of values) this.octets.push(value >> 8, value & 255)
  }

  u32(value: number): void {
    this.u16(Math.floor(value / 65536), value % 65536)
  }

  name(text: string): void {
    const labels = text.replace(/\.$/, '').split('.')
    for (let i = 0; i < labels.length; i++) {
      const rest = labels.slice(i).join('.').toLowerCase()
      const known = this.#names.get(rest)
      if (known !== undefined && this.#isCompressed) {
        this.u16(0xc000 | known)
        return
      }
      if (this.octets.length < 0x4000) this.#names.set(rest, this.octets.length)
      this.octets.push(labels[i]!.length, ...Buffer.from(labels[i]!))
    }
    this.octets.push(0)
  }
}

export function emitMessage({ id = 7, flags = FLAGS, question, answers = [], compressed = true }: Message): Uint8Array {
  const out = new Text(compressed)
  out.u16(id, flags, question === undefined ? 0 : 1, answers.length, 0, 0)
  if (question !== undefined) {
    out.name(question.name)
    out.u16(question.type, question.class ?? 1)
  }
  for (const entry of answers) {
    out.name(entry.owner)
    out.u16(TYPE[entry.type], 1)
    out.u32(entry.ttl)
    const at = out.octets.length
    out.u16(0)
    if (entry.type === 'CNAME') out.name(entry.target)
    else if (entry.type === 'TXT') for (const octet of entry.octets) out.octets.push(octet)
    else out.octets.push(...addressBytes(entry.address))
    const length = out.octets.length - at - 2
    out.octets.splice(at, 2, length >> 8, length & 255)
  }
  return Uint8Array.from(out.octets)
}

/** The answer to the question for a name's addresses, each with this TTL. */
export function addressesOf(name: string, addresses: readonly string[], ttl = 60): Uint8Array {
  const type = familyOf(addresses[0] ?? '') === 'ipv4' ? 'A' : 'AAAA'
  const answers = addresses.map(address => ({ owner: name, type, ttl, address }) as const)
  return emitMessage({ question: { name, type: TYPE[type] }, answers })
}

type Ends = { from: string; to: string; fromPort?: number; toPort?: number }

export function udpPacket({ from, to, fromPort = 53, toPort = 40000 }: Ends, data: Uint8Array): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt16BE(fromPort, 0)
  header.writeUInt16BE(toPort, 2)
  header.writeUInt16BE(8 + data.length, 4)
  return ipPacket({ from, to, protocol: 17 }, Buffer.concat([header, data]))
}

export function tcpPacket(
  { from, to, fromPort = 53, toPort = 40000 }: Ends,
  { sequence, flags = 0x10 }: { sequence: number; flags?: number },
  data: Uint8Array = new Uint8Array(),
): Buffer {
  const header = Buffer.alloc(24)
  header.writeUInt16BE(fromPort, 0)
  header.writeUInt16BE(toPort, 2)
  header.writeUInt32BE(sequence >>> 0, 4)
  header[12] = 6 << 4
  header[13] = flags
  return ipPacket({ from, to, protocol: 6 }, Buffer.concat([header, data]))
}

/** `extensions`: headers of IPv6, each with the place of the next one empty. */
export function ipPacket(
  {
    from,
    to,
    protocol,
    extensions = [],
  }: { from: string; to: string; protocol: number; extensions?: [number, Buffer][] },
  data: Uint8Array,
): Buffer {
  if (familyOf(from) === 'ipv4') {
    const header = Buffer.alloc(20)
    header[0] = 0x45
    header.writeUInt16BE(20 + data.length, 2)
    header[9] = protocol
    header.set(addressBytes(from), 12)
    header.set(addressBytes(to), 16)
    return Buffer.concat([header, data])
  }
  const header = Buffer.alloc(40)
  header[0] = 0x60
  const numbers = [...extensions.map(([number]) => number), protocol]
  header[6] = numbers[0]!
  const more = extensions.map(([, octets], i) => Buffer.from([numbers[i + 1]!, ...octets.subarray(1)]))
  const rest = Buffer.concat([...more, data])
  header.writeUInt16BE(rest.length, 4)
  header.set(addressBytes(from), 8)
  header.set(addressBytes(to), 24)
  return Buffer.concat([header, rest])
}
