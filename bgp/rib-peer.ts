// What the RIB is told of a session that came up: what the OPENs agreed on, and which addresses of this host the peer can
// use as next hops. Pure.
import { contains, type Family, familyOf, ipv4Mapped, isLinkLocal } from '../lib/ip.ts'
import type { PeerConfig } from './config.ts'
import type { Negotiated } from './fsm/negotiate.ts'
import type { BgpConnection, LocalAddress } from './port.ts'
import type { RibPeer } from './rib/types.ts'

/** `addresses`: of this host, empty where they are not known; then the session's own address is the only next hop. */
export function ribPeerOf(
  { key, config, negotiated }: { key: string; config: PeerConfig; negotiated: Negotiated },
  { localAddress, remoteAddress, interface: zone }: BgpConnection,
  addresses: readonly LocalAddress[],
): RibPeer {
  const link = addresses.find(({ address }) => address === localAddress)?.interface ?? zone
  const onLink = addresses.filter(entry => entry.interface === link && entry.address !== '127.0.0.1')
  const networks = onLink.filter(({ address }) => !isLinkLocal(address)).map(({ cidr }) => cidr)
  // RFC 2545 §3 and RFC 4271 §5.1.3 both ask for a common subnet, however many hops the configuration allows
  const shared = zone !== undefined || networks.some(cidr => contains(cidr, remoteAddress))
  const global = (family: Family) =>
    familyOf(localAddress) === family && !isLinkLocal(localAddress)
      ? localAddress
      : onLink.find(({ address }) => familyOf(address) === family && !isLinkLocal(address))?.address
  const mapped =
    config.mappedNextHop === true && familyOf(localAddress) === 'ipv4' ? ipv4Mapped(localAddress) : undefined
  const { localAs, remoteAs, peerType, routerId, families, receive, send, enhancedRefresh } = negotiated
  return {
    key,
    config,
    peerType,
    localAs,
    remoteAs,
    routerId,
    localAddress,
    remoteAddress,
    interface: zone,
    leadsOut: shared ? link : undefined,
    nextHops: {
      ipv4: global('ipv4'),
      ipv6: mapped ?? global('ipv6'),
      linkLocal:
        shared && mapped === undefined ? onLink.find(({ address }) => isLinkLocal(address))?.address : undefined,
    },
    connected: shared ? networks : undefined,
    families,
    receive,
    send,
    enhancedRefresh,
    gracefulRestart: negotiated.gracefulRestart,
    longLived: negotiated.longLived,
  }
}
