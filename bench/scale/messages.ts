// What a simulated speaker of the bench says: whole messages, ready to be written.
import { AFI, CEASE, SAFI } from '../../bgp/wire/iana.ts'
import { emitKeepalive, MAX_MESSAGE } from '../../bgp/wire/message.ts'
import { cease, emitNotification } from '../../bgp/wire/notification.ts'
import { emitOpen } from '../../bgp/wire/open.ts'
import { emitUpdate } from '../../bgp/wire/update.ts'
import { Writer } from '../../lib/bytes.ts'
import { ipv4Number } from '../../lib/ip.ts'
import { CLUSTER_ASN } from './ground.ts'

export const PORT = 179
const HOLD_SECONDS = 90
export const KEEPALIVE_MS = 30_000
export const KEEPALIVE = encode(emitKeepalive)
/** Ends a session. */
export const GOODBYE = encode(w => emitNotification(w, cease(CEASE.shutdown)))

const SESSION = {
  as4: true,
  peerType: 'ibgp' as const,
  addPath: { ipv4: false, ipv6: false },
  extendedNextHop: false,
  extendedMessage: false,
}

/** The OPEN of the speaker with this address. */
export function open(address: string): Uint8Array {
  const capabilities = [
    { type: 'multiprotocol', afi: AFI.ipv4, safi: SAFI.unicast },
    { type: 'fourOctetAs', asn: CLUSTER_ASN },
  ] as const
  const routerId = ipv4Number(address)
  return encode(w => emitOpen(w, { asn: CLUSTER_ASN, holdTime: HOLD_SECONDS, routerId, capabilities }))
}

/** An UPDATE of a node of this cluster, with IPv4 prefixes that fit into one. */
export function announcement(prefixes: readonly string[], nextHop: string): Uint8Array {
  const attributes = { origin: 0, asPath: [], nextHop: ipv4Number(nextHop), localPref: 100 }
  const nlri = prefixes.map(prefix => ({ prefix }))
  return encode(w => emitUpdate(w, { withdrawn: [], attributes, nlri }, SESSION))
}

function encode(emit: (w: Writer) => void): Uint8Array {
  const w = new Writer(MAX_MESSAGE)
  emit(w)
  // thousands of them are kept: without what of the buffer is empty
  return w.done().slice()
}
