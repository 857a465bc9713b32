// The BGPPeers of the cluster with what they name: filters, and passwords and keys of BFD from Secrets. Pure.
import { isDeepStrictEqual } from 'node:util'
import type { Resource } from '../../api/kinds.ts'
import type { ReflectorState } from '../../api/reflectors.ts'
import { broken, type CauseOf, type Condition, type ObjectRef } from '../../api/status.ts'
import { BGP_PORT } from '../../bgp/config.ts'
import { parseSocketAddress } from '../../lib/ip.ts'
import { type AskedBfd, askedBfd, badBfd, withKey } from './bfd.ts'
import { closedCause } from './fields.ts'
import { type FilterRules, Filters } from './filters.ts'
import type { PeeringAddresses } from './local-pods.ts'
import { keyOf, NOT_READ, type Password, passwordOf, type SecretKey, sameKey } from './passwords.ts'
import { type AskedPlace, askedPlace } from './peer-places.ts'
import type { Guard } from './session-requests.ts'
import type { Asked } from './sessions.ts'
import type { BgpSettings } from './settings.ts'
import { type AskedAo, askedAo, guardOfKeys } from './tcp-ao.ts'

export type BgpPeer = Resource<'BGPPeer'>
/** `target`: the address that it names. `closed`: why it must have no session. `secret`: where its password is, where it names one. */
export type KnownPeer = {
  object: BgpPeer
  closed: CauseOf<'PeersConfigured'> | undefined
  target: string | undefined
  secret: SecretKey | undefined
  bfd: AskedBfd
  ao: AskedAo
  place: AskedPlace
  filters: FilterRules | undefined
}

/** What all sessions of this node have in common. */
export type PeersOf = {
  nodeName: string
  address?: string
  ipv6Address?: string
  config: BgpSettings
  /** Of the mesh. */
  bfd?: AskedBfd
  ao?: AskedAo
  asLabel?: string | undefined
  /** Absent: no pod is a peer. */
  peering?: PeeringAddresses
  /** Which nodes reflect for the mesh. */
  reflectors?: ReflectorState | undefined
}

export class KnownPeers {
  readonly #byName = new Map<string, KnownPeer>()
  /** The names of those that name an address. */
  readonly #byTarget = new Map<string, Set<string>>()
  readonly #filters = new Filters()
  /** What is known of passwords, by their keys. */
  readonly #passwords = new Map<string, Password>()

  get(name: string): KnownPeer | undefined {
    return this.#byName.get(name)
  }

  names(): MapIterator<string> {
    return this.#byName.keys()
  }

  /** A BGPPeer changed, appeared, or went. */
  set(name: string, object: BgpPeer | undefined): void {
    this.#aim(name, this.#byName.get(name)?.target, undefined)
    if (object === undefined) this.#byName.delete(name)
    else {
      const { peerSelector, peerIP = '' } = object.spec
      const target = peerSelector === undefined ? parseSocketAddress(peerIP, BGP_PORT)?.address : undefined
      const secret = passwordOf(object.spec.password)
      const bfd = askedBfd(object.metadata)
      const ao = askedAo(object.metadata, secret !== undefined)
      const place = askedPlace(object)
      this.#aim(name, undefined, target)
      this.#byName.set(name, { object, target, secret, bfd, ao, place, ...this.#rulesOf(object) })
    }
  }

  /** A BGPFilter changed, appeared, or went; the BGPPeers that name it. */
  filter(name: string, object: Resource<'BGPFilter'> | undefined): string[] {
    this.#filters.set(name, object)
    const theirs = [...this.#byName].filter(([, known]) => known.object.spec.filters?.includes(name))
    for (const [, known] of theirs) Object.assign(known, this.#rulesOf(known.object))
    return theirs.map(([peerName]) => peerName)
  }

  /** What is known of a password; undefined: it is being read. The BGPPeers that name it; undefined where nothing changed. */
  password(secret: SecretKey, password: Password | undefined): string[] | undefined {
    const key = keyOf(secret)
    if (isDeepStrictEqual(password, this.#passwords.get(key))) return undefined
    if (password === undefined) this.#passwords.delete(key)
    else this.#passwords.set(key, password)
    const theirs = [...this.#byName].filter(([, known]) => secretsOf(known).some(each => sameKey(each, secret)))
    return theirs.map(([peerName]) => peerName)
  }

  /** The names of those that name one of these addresses. */
  at(addresses: readonly string[]): string[] {
    return [...new Set(addresses)].flatMap(address => [...(this.#byTarget.get(address) ?? [])])
  }

  asked({ object, filters, bfd }: KnownPeer): Asked {
    return { ...object, filters, ...this.withKey(bfd) }
  }

  /** What is asked for of BFD, with its key. */
  withKey(asked: AskedBfd): Pick<AskedBfd, 'bfd'> {
    return { bfd: withKey(asked, this.#passwords).bfd }
  }

  /** A session whose password is not known does not come up: never without one. */
  guardOf({ closed, secret, ao }: Pick<KnownPeer, 'closed' | 'secret' | 'ao'>): Guard {
    const cause = closed ?? ao.fault
    if (cause !== undefined) return { closed: cause }
    if (ao.keys.length > 0) return guardOfKeys(ao, this.#passwords)
    if (secret === undefined) return {}
    const known = this.#passwords.get(keyOf(secret))
    if (known === undefined) return { closed: NOT_READ, isPending: true }
    return 'missing' in known ? { closed: known.missing } : { password: known.text }
  }

  /** The Secrets that those name that are for this node. */
  secrets(isForThis: (peer: ObjectRef) => boolean): (SecretKey | undefined)[] {
    return [...this.#byName].flatMap(([name, known]) => (isForThis({ kind: 'BGPPeer', name }) ? secretsOf(known) : []))
  }

  /** Those that ask for a session with this node that must not come up, and those whose sessions have no BFD, and so the mesh. */
  refused(isForThis: (peer: ObjectRef) => boolean, mesh: AskedBfd | undefined): Condition[] {
    const closed = [...this.#byName].flatMap(([name, known]) => {
      const object: ObjectRef = { kind: 'BGPPeer', name }
      const { closed: cause, isPending } = this.guardOf(known)
      if (cause === undefined || isPending || !isForThis(object)) return []
      return [broken('PeersConfigured', { ...cause, object })]
    })
    return [...closed, ...badBfd({ mesh, peers: this.#byName, keys: this.#passwords }, isForThis)]
  }

  #aim(name: string, before: string | undefined, target: string | undefined): void {
    const old = this.#byTarget.get(before ?? '')
    old?.delete(name)
    if (old?.size === 0) this.#byTarget.delete(before!)
    if (target !== undefined) this.#byTarget.set(target, (this.#byTarget.get(target) ?? new Set()).add(name))
  }

  #rulesOf(object: BgpPeer): Pick<KnownPeer, 'closed' | 'filters'> {
    const { filters, closed } = this.#filters.of(object.spec.filters ?? [])
    return { filters, closed: closedCause('BGPPeer', object) ?? askedPlace(object).fault ?? closed }
  }
}

/** Those that an object names: of its password, of BFD and of TCP-AO. */
export function secretsOf({ secret, bfd, ao }: Pick<KnownPeer, 'secret' | 'bfd' | 'ao'>): (SecretKey | undefined)[] {
  return [secret, bfd.secret, ...ao.keys.map(({ from }) => from)]
}
