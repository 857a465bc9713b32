// A source of routes that is no session: a table dump, a program. The RIB knows it as an internal peer that is up and
// is sent nothing, so decision, policies and export are those of any other peer.
import { ipv4Number } from '../lib/ip.ts'
import type { PeerConfig } from './config.ts'
import { addPathSwitches, FAMILIES } from './family.ts'
import { Policy } from './policy.ts'
import type { Rib } from './rib/rib.ts'
import type { RibPeer } from './rib/types.ts'
import type { ProtocolError } from './wire/errors.ts'

export type RouteSourceConfig = {
  /** Must differ from the names of all peers. */
  name: string
  /** Of the router that the routes come from: what the decision process compares (RFC 4271 §9.1.2.2), and ORIGINATOR_ID. */
  address: string
  /** Dotted quad. */
  routerId: string
  /** Its AS, for dumps. Routes are taken as from an internal peer, whatever it is. */
  asn: number
  /** Its prefixes carry path ids (RFC 7911). */
  addPath: boolean
  /** Default: accept. */
  import?: PeerConfig['import']
}

/** An open source. After `close`, which takes its routes away, `receive` throws. */
export type RouteSource = {
  readonly name: string
  /**
   * The UPDATE body in `bytes[start..end)`, AS numbers of four octets, any family, IPv4 also over IPv6 next hops. An
   * error tells what a session would have ended with; the source stays open.
   */
  receive(bytes: Uint8Array, start: number, end: number): ProtocolError | undefined
  close(): void
}

/** Opens a source in `rib` that speaks as AS `localAs`. */
export function openSource(rib: Rib, localAs: number, config: RouteSourceConfig): RouteSource {
  const { name } = config
  // throws for rules that name no community or no CIDR, before the RIB knows the source
  new Policy(config.import, { external: false })
  rib.peerUp(sourcePeer(config, localAs))
  return {
    name,
    receive: (bytes, start, end) => rib.receive(name, bytes, start, end),
    close: () => rib.peerDown(name, { retain: false }),
  }
}

function sourcePeer(
  { name, address, routerId, asn, addPath, import: rules }: RouteSourceConfig,
  localAs: number,
): RibPeer {
  const session = {
    as4: true,
    peerType: 'ibgp',
    addPath: addPathSwitches(() => addPath),
    extendedNextHop: true,
    extendedMessage: true,
  } as const
  return {
    source: true,
    key: name,
    // as a route reflection client, so that internal peers get its routes too (RFC 4456 §6)
    config: { name, asn, import: rules ?? 'accept', reflectorClient: true },
    peerType: 'ibgp',
    localAs,
    remoteAs: asn,
    routerId: ipv4Number(routerId),
    localAddress: UNSPECIFIED,
    remoteAddress: address,
    families: FAMILIES,
    receive: session,
    send: session,
    enhancedRefresh: false,
  }
}

/** A source has no session, so no address of ours to compare its next hops with. */
const UNSPECIFIED = '0.0.0.0'
