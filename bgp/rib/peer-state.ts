// What the RIB keeps per peer, over all its sessions.
import type { Cancel } from '../../lib/clock.ts'
import { addressBytes, parseAddress } from '../../lib/ip.ts'
import type { AddressFamily } from '../family.ts'
import { Policy } from '../policy.ts'
import { plainRulesFor } from './in/admission.ts'
import type { PlainRules } from './in/read-facts.ts'
import { type LinkNetwork, nextHopNetworks, ownAddresses } from './next-hop.ts'
import type { SpeakerNumbers } from './speaker-numbers.ts'
import { peerOwner } from './store/set-owner.ts'
import type { ExportSource, RibPeer } from './types.ts'

/** Per family: paths held, and how many of those are stale. */
type PeerFamily = {
  received: number
  stale: number
  warned: boolean
  /** Cancels the running timer: restart time, wait for End-of-RIB, or long-lived stale time. */
  timer?: Cancel
  longLivedSeconds: number
  /** When the restart time of its stale paths is over, on the monotonic clock. */
  staleUntilMs: number
}

export class RibPeerState {
  readonly index: number
  peer: RibPeer
  up = false
  importPolicy: Policy
  plainRules: PlainRules | undefined
  mpPlainRules: PlainRules | undefined
  own: Uint8Array[]
  /** Where the next hops of its routes must lie. */
  link: readonly LinkNetwork[] | undefined
  source: ExportSource
  readonly families = new Map<AddressFamily, PeerFamily>()
  discarded = 0
  treatedAsWithdrawn = 0

  constructor(index: number, peer: RibPeer, speaker: SpeakerNumbers) {
    this.index = index
    this.peer = peer
    this.importPolicy = new Policy(peer.config.import, { external: peer.peerType === 'ebgp' })
    this.plainRules = plainRulesFor(peer, speaker)
    this.mpPlainRules = this.plainRules === undefined ? undefined : { ...this.plainRules, multiprotocol: true }
    this.own = ownAddresses(peer)
    this.link = nextHopNetworks(peer)
    this.source = sourceOf(peer)
  }

  /** Replaces the session values, as when a session comes up or the configuration changes. */
  set(peer: RibPeer, speaker: SpeakerNumbers): void {
    const fresh = new RibPeerState(this.index, peer, speaker)
    this.peer = peer
    this.importPolicy = fresh.importPolicy
    this.plainRules = fresh.plainRules
    this.mpPlainRules = fresh.mpPlainRules
    this.own = fresh.own
    this.link = fresh.link
    this.source = fresh.source
  }

  /** Owner of sets as this peer sends them, whose octets depend on the width of its AS numbers. */
  get raw(): number {
    return peerOwner(this.index, this.peer.receive)
  }

  /** Owner of sets from this peer in their stored form. */
  get canonical(): number {
    return peerOwner(this.index, { as4: true })
  }

  family(family: AddressFamily): PeerFamily {
    let found = this.families.get(family)
    if (found === undefined) {
      found = { received: 0, stale: 0, warned: false, longLivedSeconds: 0, staleUntilMs: 0 }
      this.families.set(family, found)
    }
    return found
  }
}

function sourceOf({ peerType, config, routerId, remoteAddress, leadsOut }: RibPeer): ExportSource {
  const { reflectorClient: client = false, group, behindUs } = config
  const address = parseAddress(remoteAddress) === undefined ? undefined : addressBytes(remoteAddress)
  return { local: false, peerType, client, group, behindUs, routerId, address, interface: leadsOut }
}
