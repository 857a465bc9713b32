// What no single field of margay-bgp's file shows: two neighbors with one address, names that meet, a role towards an
// internal peer, two listeners on one port. Pure; each fault is a path, the value and a remedy.
import { contains, familyOf, formatSocketAddress, parseAddress } from '../../lib/ip.ts'
import { nameOf, type PeerConfig } from '../config.ts'
import { relation } from '../fsm/negotiate.ts'
import type { ConfigFault } from './faults.ts'
import type { ConfigFile } from './types.ts'

/** Every contradiction in a file whose fields are all good. */
export function contradictions(file: ConfigFile): ConfigFault[] {
  return [
    ...inSpeaker(file),
    ...inListeners(file),
    ...inPeers(file),
    ...file.peers.flatMap((peer, i) =>
      againstSpeaker(file, peer).map(([field, message]) => at(`neighbors[${i}]`, field, message, peer)),
    ),
    ...inNetworks(file),
    ...inCollectors(file),
  ]
}

function at(where: string, field: string, message: string, holder: object): ConfigFault {
  const value = (holder as Record<string, unknown>)[field]
  return { path: field === '' ? where : `${where}.${field}`, value, message }
}

function inSpeaker({ speaker: { asn, confederation } }: ConfigFile): ConfigFault[] {
  if (confederation === undefined) return []
  const { identifier, members } = confederation
  const faults: ConfigFault[] = []
  if (identifier !== asn && members.includes(identifier)) {
    const message = 'is a member AS, too, and its routes would look like loops; write the AS that the outside sees'
    faults.push({ path: 'confederation.identifier', value: identifier, message })
  }
  return faults
}

function inListeners({ listen }: ConfigFile): ConfigFault[] {
  return listen.flatMap((one, i) => {
    const other = listen.slice(0, i).find(before => meets(before, one))
    if (other === undefined) return []
    const text = formatSocketAddress(other)
    return [
      { path: `listen[${i}]`, value: formatSocketAddress(one), message: `${text} listens there already; remove one` },
    ]
  })
}

/** An unspecified address takes the port of every address of its family. */
function meets(a: ConfigFile['listen'][number], b: ConfigFile['listen'][number]): boolean {
  const wild = [a, b].some(({ address }) => address === '0.0.0.0' || address === '::')
  return a.port === b.port && familyOf(a.address) === familyOf(b.address) && (a.address === b.address || wild)
}

function inPeers({ peers, mrt }: ConfigFile): ConfigFault[] {
  const source = mrt === undefined ? undefined : (mrt.name ?? 'mrt')
  return peers.flatMap((peer, i) => {
    const where = `neighbors[${i}]`
    const before = peers.slice(0, i)
    const name = nameOf(peer)
    const faults: ConfigFault[] = []
    const same = before.find(other => nameOf(other) === name)
    const place = before.find(other => samePlace(other, peer))
    if (same !== undefined && peer.name === undefined && place !== undefined)
      faults.push(
        at(where, keyOf(peer), `another neighbor is called ${name} already: it has the same address; remove one`, peer),
      )
    else if (same !== undefined)
      faults.push(
        at(where, 'name', `another neighbor is called ${name} already; give this one a name of its own`, peer),
      )
    else if (place !== undefined)
      faults.push(
        at(where, keyOf(peer), `neighbor ${nameOf(place)} has connections from there already; remove one`, peer),
      )
    const range = peers.find(other => other.range !== undefined && dynamicName(other, nameOf(other), name))
    if (range !== undefined)
      faults.push(at(where, 'name', `a neighbour of ${nameOf(range)} can get the name ${name}; choose another`, peer))
    const around = peers.find(other => cutsOff(other, peer))
    if (around !== undefined)
      faults.push(
        at(
          where,
          keyOf(peer),
          `the kernel asks for the ${keyKind(around)} of range ${nameOf(around)} from here too, and nobody could connect; give this neighbor one, or the range another prefix`,
          peer,
        ),
      )
    if (source !== undefined && (source === name || parseAddress(afterName(source, name) ?? '') !== undefined))
      faults.push(
        at(where, 'name', `a peer of the MRT file can get the name ${name}; choose another, or another mrt.name`, peer),
      )
    return faults
  })
}

/** Connections from one address can belong to one neighbor only. */
function samePlace(a: PeerConfig, b: PeerConfig): boolean {
  if (a.range !== undefined || b.range !== undefined) return a.range === b.range
  if (a.interface !== undefined && a.interface === b.interface && (a.address === undefined || b.address === undefined))
    return true
  return a.address !== undefined && a.address === b.address && a.interface === b.interface
}

/** Whether nobody can connect as a peer that is not dialled, as it signs otherwise than a range around it: keys of a prefix have no exceptions. */
function cutsOff({ range, ...around }: PeerConfig, peer: PeerConfig): boolean {
  const place = peer.range ?? (peer.passive ? peer.address : undefined)
  if (range === undefined || place === undefined || range === place || around.disabled || peer.disabled) return false
  const kind = keyKind(around)
  return kind !== undefined && kind !== keyKind(peer) && contains(range, place)
}

function keyKind({ password, tcpAo }: PeerConfig): 'password' | 'tcpAo' | undefined {
  if (tcpAo !== undefined) return 'tcpAo'
  return password === undefined ? undefined : 'password'
}

function keyOf({ address, range }: PeerConfig): string {
  return range !== undefined ? 'range' : address !== undefined ? 'address' : 'interface'
}

/** Whether a neighbour of `range` can be called `name`: they are called RANGE:ADDRESS. */
function dynamicName({ range }: PeerConfig, rangeName: string, name: string): boolean {
  const address = parseAddress(afterName(rangeName, name) ?? '')
  return address !== undefined && contains(range!, address)
}

/** What comes after `name:`. */
function afterName(name: string, text: string): string | undefined {
  return text.startsWith(`${name}:`) ? text.slice(name.length + 1) : undefined
}

/** What a neighbor says that does not fit its AS number. */
function againstSpeaker({ speaker }: ConfigFile, peer: PeerConfig): (readonly [field: string, message: string])[] {
  const known = typeof peer.asn === 'number' ? relation(speaker, peer, peer.asn).peerType : undefined
  const type = peer.asn === 'internal' ? 'ibgp' : known
  const faults: (readonly [string, string])[] = []
  if (peer.role !== undefined && type !== undefined && type !== 'ebgp' && peer.asn !== 'internal')
    faults.push(['role', 'roles are for external peers (RFC 9234), and this one is internal: remove it or correct asn'])
  if (peer.reflectorClient && (type === 'ebgp' || peer.asn === 'external'))
    faults.push([
      'reflectorClient',
      'clients are internal peers (RFC 4456), and this one is external: remove it or correct asn',
    ])
  if (peer.removePrivateAs && type === 'ibgp')
    faults.push(['removePrivateAs', 'the path does not change towards an internal peer: remove it or correct asn'])
  return faults
}

function inNetworks({ networks }: ConfigFile): ConfigFault[] {
  const prefixes = networks.map(({ prefix }) => prefix)
  return prefixes.flatMap((prefix, i) =>
    prefixes.indexOf(prefix) < i
      ? [{ path: `networks[${i}]`, value: prefix, message: 'is there already; remove one' }]
      : [],
  )
}

function inCollectors({ bmp }: ConfigFile): ConfigFault[] {
  const places = bmp.map(({ collector, port }) => formatSocketAddress({ address: collector, port }))
  return places.flatMap((place, i) =>
    places.indexOf(place) < i ? [{ path: `bmp[${i}]`, value: place, message: 'is there already; remove one' }] : [],
  )
}
