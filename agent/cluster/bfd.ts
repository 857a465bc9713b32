// What the annotation `margay.io/BFD` of a BGPPeer, or of the BGPConfiguration for the mesh, asks for: `300ms x 3`, and words after
// it, of which one may name a key. Calico has no field for BFD. Pure. A session whose annotation makes no sense has no BFD, and comes up.
import { BGP_ANNOTATION } from '../../api/core.ts'
import { broken, type CauseOf, type Condition, type ObjectRef } from '../../api/status.ts'
import type { BfdConfig } from '../../bgp/config.ts'
import { keyOf, NO_SESSION, type Password, type SecretKey } from './passwords.ts'

/** `secret`: where the key for `bfd` is, where one is asked for. `fault`: why there is none of it. */
export type AskedBfd = { bfd?: BfdConfig; secret?: SecretKey; fault?: CauseOf<'PeersConfigured'> }

/** RFC 5880 §4.4. */
export const MOST_KEY_OCTETS = 20
/** The neighbour has to know the key by the same number. */
const KEY_ID = 1

/** From 50 ms on, and noticed after 150 ms at the least. */
const INTERVAL = { least: 50, most: 60_000 }
const LEAST_DETECTION_MS = 150
const NO_BFD = 'the sessions have no BFD'

/** What an object asks for: nothing without the annotation, or with an empty one. */
export function askedBfd({ annotations = {} }: { annotations?: Record<string, string> }): AskedBfd {
  const text = annotations[BGP_ANNOTATION.bfd]?.trim() ?? ''
  if (text === '') return {}
  const parsed = parse(text)
  if (typeof parsed !== 'string') return parsed
  return {
    fault: {
      reason: 'BadBFD',
      message: `annotation ${BGP_ANNOTATION.bfd} is ${JSON.stringify(text.slice(0, 80))}: ${parsed}; ${NO_BFD}`,
      remedy:
        'write "300ms x 3", after it multihop where the neighbour is told so, and secret=NAME/KEY for a key, or remove the annotation',
    },
  }
}

/** What is asked for with its key; nothing while that is being read, so that nothing goes out unsigned. `keys`: what is known of them, by `keyOf`. */
export function withKey(asked: AskedBfd, keys: ReadonlyMap<string, Password>): AskedBfd {
  const { bfd, secret } = asked
  if (bfd === undefined || secret === undefined) return asked
  const known = keys.get(keyOf(secret))
  if (known === undefined) return { secret }
  if ('missing' in known) {
    const { message, ...cause } = known.missing
    return { secret, fault: { ...cause, message: `of BFD: ${message.replace(NO_SESSION, NO_BFD)}` } }
  }
  const octets = Buffer.byteLength(known.text)
  if (octets > MOST_KEY_OCTETS)
    return {
      secret,
      fault: {
        reason: 'LongKey',
        message: `the key of BFD in ${keyOf(secret)} has ${octets} octets, and packets have room for ${MOST_KEY_OCTETS}; ${NO_BFD}`,
        remedy: 'take a shorter one, at both ends',
      },
    }
  return {
    secret,
    bfd: { ...bfd, authentication: { type: 'meticulous-sha1', keys: [{ id: KEY_ID, secret: known.text }] } },
  }
}

/** The objects whose sessions have no BFD though they ask for it: that of the mesh, and BGPPeers for this node. */
export function badBfd(
  of: { mesh?: AskedBfd; peers: ReadonlyMap<string, { bfd: AskedBfd }>; keys: ReadonlyMap<string, Password> },
  isForThis: (peer: ObjectRef) => boolean,
): Condition[] {
  const mesh: ObjectRef = { kind: 'BGPConfiguration', name: 'default' }
  const { fault: ofMesh } = withKey(of.mesh ?? {}, of.keys)
  const ofPeers = [...of.peers].flatMap(([name, { bfd }]) => {
    const { fault } = withKey(bfd, of.keys)
    const peer: ObjectRef = { kind: 'BGPPeer', name }
    return fault !== undefined && isForThis(peer) ? [broken('PeersConfigured', { ...fault, object: peer })] : []
  })
  return [...(ofMesh === undefined ? [] : [broken('PeersConfigured', { ...ofMesh, object: mesh })]), ...ofPeers]
}

function parse(text: string): AskedBfd | string {
  const [, interval = '', unit, multiplier = '', rest = ''] =
    /^(\d{1,5})(ms|s)\s*x\s*(\d{1,3})(?:\s+(.*))?$/.exec(text) ?? []
  if (interval === '') return 'it does not begin with an interval and a number of packets, such as 300ms x 3'
  const config: BfdConfig = { intervalMs: Number(interval) * (unit === 's' ? 1000 : 1), multiplier: Number(multiplier) }
  const { intervalMs = 0 } = config
  if (intervalMs < INTERVAL.least || intervalMs > INTERVAL.most)
    return `the interval is not from ${INTERVAL.least}ms to ${INTERVAL.most / 1000}s`
  if (Number(multiplier) < 1 || Number(multiplier) > 255) return 'the number of packets is not from 1 to 255'
  if (intervalMs * Number(multiplier) < LEAST_DETECTION_MS)
    return `${intervalMs * Number(multiplier)} ms are too short to tell a late packet from a lost path: at least ${LEAST_DETECTION_MS}`
  let secret: SecretKey | undefined
  for (const word of rest.split(/\s+/).filter(each => each !== '')) {
    const [, name = '', key = ''] = /^secret=([^/]+)\/([^/]+)$/.exec(word) ?? []
    if (word === 'multihop') config.multihop = true
    else if (name !== '' && secret === undefined) secret = { name, key }
    else return `nothing is known of the word ${word}, but of multihop, and once of secret=NAME/KEY`
  }
  return secret === undefined ? { bfd: config } : { bfd: config, secret }
}
