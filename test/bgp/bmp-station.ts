// A BMP collector on the transport in memory that keeps, per table, the routes it was told, as a real one does.
import type { ExecutionContext } from 'ava'
import { BmpCollector } from '../../bgp/bmp/collector.ts'
import type { BmpConfig } from '../../bgp/bmp/config.ts'
import type { PeerConfig } from '../../bgp/config.ts'
import type { BgpConnection } from '../../bgp/port.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import {
  BMP_LOC_RIB,
  type BmpMessage,
  type BmpPeer,
  type BmpUnread,
  bmpSplitter,
  parseBmp,
} from '../../bgp/wire/bmp.ts'
import { HEADER } from '../../bgp/wire/message.ts'
import { parseUpdate } from '../../bgp/wire/update.ts'
import { ManualClock } from '../../lib/clock.ts'
import { settle } from './settle.ts'
import { aSession } from './wire/wire.ts'

export const COLLECTOR = '10.0.0.99'
const BOTH = ['ipv4-unicast', 'ipv6-unicast'] as const

export const LOC_RIB = 'loc-rib'

/** The name of a peer's table. */
function tableOf({ kind, address, ribOut, postPolicy }: BmpPeer): string {
  if (kind === BMP_LOC_RIB) return LOC_RIB
  if (ribOut) return postPolicy ? `to ${address}` : `before to ${address}`
  return postPolicy ? `accepted from ${address}` : address
}

/** Of the tables of a peer these flags tell. */
const TABLES = [
  { ribOut: false, postPolicy: false },
  { ribOut: false, postPolicy: true },
  { ribOut: true, postPolicy: false },
  { ribOut: true, postPolicy: true },
]

/** Understands what arrives on port 11019; `tables` has the prefix of every route by the name of the table. */
class Station {
  readonly messages: (BmpMessage | BmpUnread)[] = []
  readonly tables = new Map<string, Set<string>>()
  readonly ends: string[] = []
  connections: BgpConnection[] = []
  reads = true
  ended = 0

  accept(connection: BgpConnection): void {
    const splitter = bmpSplitter()
    this.connections.push(connection)
    connection.handlers = {
      data: chunk => {
        const failure = splitter.push(chunk, (bytes, start, end) => this.#take(parseBmp(bytes, start, end)))
        if (failure !== undefined) throw failure
      },
      drain: () => undefined,
      closed: () => {
        this.ended++
        this.tables.clear()
      },
    }
    if (!this.reads) connection.pause()
  }

  kinds(): string[] {
    return this.messages.map(({ kind }) => kind)
  }

  of<K extends BmpMessage['kind']>(kind: K): Extract<BmpMessage, { kind: K }>[] {
    return this.messages.filter((m): m is Extract<BmpMessage, { kind: K }> => m.kind === kind)
  }

  #take(message: BmpMessage | BmpUnread): void {
    this.messages.push(message)
    if (message.kind === 'peerUp' || message.kind === 'peerDown')
      for (const flags of TABLES) {
        const table = tableOf({ ...message.peer, ...flags })
        if (message.kind === 'peerUp') this.tables.set(table, new Set())
        else this.tables.delete(table)
      }
    if (message.kind !== 'routeMonitoring') return
    const { peer, update } = message
    const table = this.tables.get(tableOf(peer))
    if (table === undefined) throw new Error(`routes of ${peer.address}, which is not up`)
    const parsed = parseUpdate(update, HEADER, update.length, aSession({ as4: !peer.as2, peerType: 'ibgp' }))
    if (!('nlri' in parsed)) throw parsed
    for (const { prefix } of [...parsed.withdrawn, ...(parsed.mpUnreach?.nlri ?? [])]) table.delete(prefix)
    for (const { prefix } of [...parsed.nlri, ...(parsed.mpReach?.nlri ?? [])]) table.add(prefix)
    const { withdrawn, nlri, mpReach, mpUnreach } = parsed
    if (withdrawn.length + nlri.length > 0 || mpReach !== undefined || (mpUnreach?.nlri.length ?? 0) > 0) return
    this.ends.push(`${tableOf(peer)} ${mpUnreach === undefined ? 'ipv4' : 'ipv6'}`)
  }
}

/** `a` in AS 65001 is monitored; `b` and `c` are its peers in AS 65002 and 65003. */
export async function world(
  t: ExecutionContext,
  options: { config?: Partial<BmpConfig>; toB?: Partial<PeerConfig> } = {},
) {
  const network = new MemoryNetwork()
  const clock = new ManualClock()
  const make = (n: number) =>
    new Speaker(
      { asn: 65000 + n, routerId: `10.0.0.${n}` },
      { transport: network.host(`10.0.0.${n}`), clock, random: () => 1 },
    )
  const [a, b, c] = [make(1), make(2), make(3)] as const
  await a.listen({ address: '10.0.0.1', port: 179 })
  const open = { import: 'accept', export: 'accept', families: BOTH } as const
  a.setPeer({ name: 'b', address: '10.0.0.2', asn: 65002, passive: true, ...open, import: 'reject', ...options.toB })
  a.setPeer({ name: 'c', address: '10.0.0.3', asn: 65003, passive: true, ...open })
  for (const speaker of [b, c]) speaker.setPeer({ address: '10.0.0.1', asn: 65001, ...open })
  const station = new Station()
  const listen = () =>
    network.host(COLLECTOR).listen({ address: COLLECTOR, port: 11019 }, connection => station.accept(connection))
  const config = { collector: COLLECTOR, port: 11019, name: 'a', description: 'margay', statsSeconds: 0 }
  const bmp = new BmpCollector(
    { ...config, ...options.config },
    { speaker: a, transport: network.host('10.0.0.1'), clock, random: () => 1 },
  )
  t.teardown(async () => {
    bmp.close()
    await Promise.all([a.close(), b.close(), c.close()])
    await settle()
    if (clock.pending > 0) throw new Error(`${clock.pending} timers are left`)
  })
  await settle()
  return { network, clock, a, b, c, bmp, station, listen }
}
