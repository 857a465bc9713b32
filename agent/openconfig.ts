// The neighbors of a speaker as JSON (RFC 7951) of openconfig-bgp 9.8.0, as far as the model asks for what is counted here. Its
// 64 bit numbers are texts, its list has an address once.
import type { OpenconfigAnswer } from '../api/openconfig-answer.ts'
import type { PeerStatus } from '../bgp/config.ts'
import type { AddressFamily } from '../bgp/family.ts'
import type { Speaker } from '../bgp/speaker.ts'

const AFI_SAFI: Record<AddressFamily, string> = {
  'ipv4-unicast': 'openconfig-bgp-types:IPV4_UNICAST',
  'ipv6-unicast': 'openconfig-bgp-types:IPV6_UNICAST',
}

type Known = Pick<Speaker, 'peers' | 'restarting'> & {
  rib: Pick<Speaker['rib'], 'peers' | 'counts' | 'familyCounts'>
}

/**
 * `openconfig-bgp:neighbors`: of each peer with an address its state. Of several sessions with one address, which the model
 * does not have, the first that is Established, else the first. Without a speaker there are none. `nameOf`: what people call a peer.
 */
export function openconfigNeighbors(
  speaker: Known | undefined,
  nameOf: (peer: string) => string = peer => peer,
): OpenconfigAnswer {
  const byAddress = new Map<string, PeerStatus>()
  for (const peer of speaker?.peers() ?? []) {
    const address = addressOf(peer)
    const before = byAddress.get(address)
    if (address !== '' && (before === undefined || (!isUp(before) && isUp(peer)))) byAddress.set(address, peer)
  }
  const neighbor = [...byAddress.values()].map(peer => neighborOf(peer, speaker!, nameOf(peer.name)))
  return { 'openconfig-bgp:neighbors': { neighbor } }
}

const isUp = ({ state }: PeerStatus) => state === 'Established'

/** Without the link of a link-local one: the model's address has none. */
function addressOf({ address }: PeerStatus): string {
  return address.replace(/%.*$/, '')
}

function neighborOf(peer: PeerStatus, { rib, restarting }: Known, description: string) {
  const { name, asn, sinceMs, flaps, messages, holdTimeSeconds } = peer
  const session = isUp(peer) ? rib.peers().find(({ key }) => key === name) : undefined
  const families = rib.familyCounts(name)
  const address = addressOf(peer)
  return {
    'neighbor-address': address,
    state: {
      'neighbor-address': address,
      description,
      'peer-as': asn,
      'local-as': session?.localAs,
      'peer-type': session && (session.peerType === 'ebgp' ? 'EXTERNAL' : 'INTERNAL'),
      'session-state': peer.state.toUpperCase(),
      'last-established': text64(BigInt(Math.round(sinceMs)) * 1_000_000n),
      'established-transitions': text64(flaps + (isUp(peer) ? 1 : 0)),
      messages: { sent: { UPDATE: text64(messages.updatesOut) }, received: { UPDATE: text64(messages.updatesIn) } },
    },
    timers: { state: { 'negotiated-hold-time': holdTimeSeconds } },
    'error-handling': { state: { 'erroneous-update-messages': rib.counts(name)?.treatedAsWithdrawn ?? 0 } },
    'graceful-restart': {
      state: {
        'peer-restarting': [...families.values()].some(({ stale }) => stale > 0),
        'local-restarting': restarting,
      },
    },
    'afi-safis': {
      'afi-safi': peer.families.map(family => {
        const { received = 0, accepted = 0, announced = 0 } = families.get(family) ?? {}
        return {
          'afi-safi-name': AFI_SAFI[family],
          state: {
            'afi-safi-name': AFI_SAFI[family],
            active: isUp(peer),
            prefixes: { 'received-pre-policy': received, received: accepted, sent: announced },
          },
        }
      }),
    },
  }
}

/** RFC 7951 §6.1: a number that a double may not hold. */
function text64(value: number | bigint): string {
  return `${value}`
}
