// What probes are sent by: a network namespace of their own, held by a descriptor alone, so that it ends with this process whatever
// ends it, and sockets there and on the host. The data of a probe: magic u64 | secret of this run u64 | kind u8, 3 of 0 | look u32 |
// source, 16 octets, of IPv4 the first 4. By the secret this run knows its answers, which no pod can make up; by the source the
// receiver sees whether somebody gave the packet another one on its way.
import { randomBytes } from 'node:crypto'
import { closeSync } from 'node:fs'
import { type EchoSocket, openEchoSocket } from '../../kernel/echo-socket.ts'
import { newNetns } from '../../kernel/netns.ts'
import { addressBytes, type Family, familyOf, formatAddress } from '../../lib/ip.ts'
import type { Packet, PacketKind } from './paths.ts'

/** What may come in. */
export type Arrivals = {
  answered(look: number, kind: PacketKind): void
  /** A probe of another node under `source`, whose data says that it was sent under `claimed`. */
  asked(family: Family, claimed: string, source: string): void
}

export type ProbeWire = {
  /** The path of the namespace, for this process. */
  readonly netns: string
  /** Sends under these addresses of the namespace from now on, one of a family; sockets of others are closed. Throws `KernelError`. */
  use(addresses: readonly string[]): void
  /** False where nothing was sent by a fault of this machine alone. `octets`: of the whole IP packet. */
  send(packet: Packet & { octets?: number }): boolean
  drain(arrivals: Arrivals): void
  close(): void
}

const MAGIC = Buffer.from('margay\0p')
const SECRET_OCTETS = 8
const AT = { secret: 8, kind: 16, look: 20, source: 24 } as const
const DATA_OCTETS = 40
/** Of IP and ICMP. */
const HEADERS: Readonly<Record<Family, number>> = { ipv4: 28, ipv6: 48 }
const KINDS = ['pod', 'host', 'tunnel', 'size'] as const satisfies readonly PacketKind[]

type Sockets = { source: string; replies: EchoSocket; requests: EchoSocket }

/** Throws `KernelError`. */
export function openProbeWire(): ProbeWire {
  const namespace = newNetns()
  const secret = randomBytes(SECRET_OCTETS)
  const own = { receives: 'reply', holding: { offset: AT.secret, octets: secret } } as const
  const inside = new Map<Family, Sockets>()
  const onHost = new Map<Family, EchoSocket>()
  const close = (family: Family) => {
    const sockets = inside.get(family)
    inside.delete(family)
    sockets?.replies.close()
    sockets?.requests.close()
  }
  const hostSocket = (family: Family): EchoSocket => {
    const socket = onHost.get(family) ?? openEchoSocket(family, own)
    onHost.set(family, socket)
    return socket
  }
  const read = (data: Uint8Array, arrivals: Arrivals) => {
    if (data.length < DATA_OCTETS) return
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.length)
    const kind = KINDS[bytes[AT.kind]!]
    if (kind !== undefined) arrivals.answered(bytes.readUInt32BE(AT.look), kind)
  }
  return {
    netns: `/proc/${process.pid}/fd/${namespace}`,
    use(addresses) {
      for (const [family, { source }] of inside) if (!addresses.includes(source)) close(family)
      for (const source of addresses) {
        const family = familyOf(source)
        if (inside.has(family)) continue
        const replies = openEchoSocket(family, { ...own, netns: namespace, local: source, whole: true })
        try {
          const holding = { offset: 0, octets: MAGIC }
          const requests = openEchoSocket(family, { netns: namespace, receives: 'request', holding })
          inside.set(family, { source, replies, requests })
        } catch (error) {
          replies.close()
          throw error
        }
      }
    },
    send({ kind, address, look, octets }) {
      const family = familyOf(address)
      const fromPod = kind === 'pod' || kind === 'size'
      const sockets = inside.get(family)
      const socket = fromPod ? sockets?.replies : hostSocket(family)
      if (socket === undefined) return false
      const data = Buffer.alloc(octets === undefined ? DATA_OCTETS : octets - HEADERS[family])
      data.set(MAGIC)
      data.set(secret, AT.secret)
      data[AT.kind] = KINDS.indexOf(kind)
      data.writeUInt32BE(look, AT.look)
      if (fromPod) data.set(addressBytes(sockets!.source), AT.source)
      // one for each look: a packet of a flow that somebody translated before goes the same way for as long as the flow is known
      return socket.send(address, look, data)
    },
    drain(arrivals) {
      for (const [family, { replies, requests }] of inside) {
        replies.drain((_, data) => read(data, arrivals))
        requests.drain((from, data) => {
          if (data.length < DATA_OCTETS) return
          const end = AT.source + (family === 'ipv4' ? 4 : 16)
          arrivals.asked(family, formatAddress(data.subarray(AT.source, end)), from)
        })
      }
      for (const socket of onHost.values()) socket.drain((_, data) => read(data, arrivals))
    },
    close() {
      for (const family of [...inside.keys()]) close(family)
      for (const socket of onHost.values()) socket.close()
      closeSync(namespace)
    },
  }
}
