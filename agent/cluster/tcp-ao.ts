// What the annotation `margay.io/TCPAO` of a BGPPeer, or of the BGPConfiguration for the mesh, asks for: keys of TCP-AO (RFC 5925) from
// Secrets, the one first that the peer is asked to sign with. Calico has no field for them. Pure. No session comes up with fewer.
import { BGP_ANNOTATION } from '../../api/core.ts'
import type { CauseOf } from '../../api/status.ts'
import { TCP_AO_ALGORITHMS, type TcpAoAlgorithm, type TcpAoKey } from '../../lib/tcp-ao.ts'
import { keyOf, NO_SESSION, NOT_READ, type Password, type SecretKey } from './passwords.ts'
import type { Guard } from './session-requests.ts'

/** A key whose id is one in both directions; `from`: where its secret is. */
type AskedKey = { id: number; algorithm: TcpAoAlgorithm; from: SecretKey }

/** `fault`: why there must be no session. */
export type AskedAo = { keys: readonly AskedKey[]; fault?: CauseOf<'PeersConfigured'> }

const MOST_KEYS = 16

/** What an object asks for: no keys without the annotation, or with an empty one. `password`: whether it has a field for a password too. */
export function askedAo({ annotations = {} }: { annotations?: Record<string, string> }, password: boolean): AskedAo {
  const text = annotations[BGP_ANNOTATION.tcpAo]?.trim() ?? ''
  if (text === '') return { keys: [] }
  const keys = parse(text)
  if (typeof keys === 'string')
    return bad(
      `annotation ${BGP_ANNOTATION.tcpAo} is ${JSON.stringify(text.slice(0, 80))}: ${keys}`,
      `write ID=NAME/KEY, a key of a Secret, for each of up to ${MOST_KEYS} keys; with :aes-128-cmac behind it where it is none of hmac-sha1`,
    )
  if (password)
    return bad(
      `it has a password beside annotation ${BGP_ANNOTATION.tcpAo}`,
      'remove one: a connection is signed in one way',
    )
  return { keys }
}

/** What sessions must have by these keys, of which `known` says what is known, by `keyOf`. */
export function guardOfKeys({ keys }: AskedAo, known: ReadonlyMap<string, Password>): Guard {
  const tcpAo: TcpAoKey[] = []
  for (const { id, algorithm, from } of keys) {
    const secret = known.get(keyOf(from))
    if (secret === undefined) return { closed: NOT_READ, isPending: true }
    if ('missing' in secret) return { closed: secret.missing }
    tcpAo.push({ sendId: id, receiveId: id, algorithm, secret: secret.text })
  }
  return { tcpAo }
}

function bad(message: string, remedy: string): AskedAo {
  return { keys: [], fault: { reason: 'BadTCPAO', message: `${message}; ${NO_SESSION}`, remedy } }
}

function parse(text: string): AskedKey[] | string {
  const keys: AskedKey[] = []
  for (const word of text.split(/\s+/)) {
    const [, id = '', name = '', key = '', algorithm = 'hmac-sha1'] =
      /^(\d{1,3})=([^/:]+)\/([^/:]+)(?::(.+))?$/.exec(word) ?? []
    if (id === '') return `${word} is not of the form ID=NAME/KEY`
    if (Number(id) > 255) return `the id ${id} is above 255`
    if (keys.some(each => each.id === Number(id))) return `two keys have the id ${id}`
    if (!isAlgorithm(algorithm)) return `nothing is known of ${algorithm}, but of ${TCP_AO_ALGORITHMS.join(' and ')}`
    keys.push({ id: Number(id), algorithm, from: { name, key } })
  }
  return keys.length > MOST_KEYS ? `it has ${keys.length} keys` : keys
}

function isAlgorithm(text: string): text is TcpAoAlgorithm {
  return TCP_AO_ALGORITHMS.some(each => each === text)
}
