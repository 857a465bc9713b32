// Tells which changes of a peer's configuration reset its session. A field that is sent in the OPEN, or that says where the
// connection goes, does; all others are applied to the running session.
import { isDeepStrictEqual } from 'node:util'
import { sameKey, type TcpAoKey } from '../lib/tcp-ao.ts'
import type { PeerConfig } from './config.ts'

/** Fields whose change resets an established session, with the reason for the operator. */
const RESETTING: readonly { fields: readonly (keyof PeerConfig)[]; because: string }[] = [
  { fields: ['address', 'interface', 'range', 'source'], because: 'the connection leads elsewhere' },
  { fields: ['asn', 'localAs'], because: 'the AS numbers are part of the OPEN' },
  {
    fields: ['families', 'addPath', 'extendedNextHop', 'gracefulRestart', 'role', 'strictRole'],
    because: 'it is a capability, and those are exchanged in the OPEN',
  },
]

/**
 * Why going from `old` to `next` resets an established session, one sentence per field; empty when it does not. A
 * changed password, key of TCP-AO or TTL is applied to the living connection, BFD to its own session, policies and limits to the routes that are there.
 */
export function resetReasons(old: PeerConfig, next: PeerConfig): string[] {
  const reasons = RESETTING.flatMap(({ fields, because }) =>
    fields
      .filter(field => !isDeepStrictEqual(normal(old, field), normal(next, field)))
      .map(field => `${field} changed: ${because}`),
  )
  const unsigned = keysReset(old, next)
  if (unsigned !== undefined) reasons.push(`tcpAo changed: ${unsigned}`)
  if ((old.timers?.holdTimeSeconds ?? 90) !== (next.timers?.holdTimeSeconds ?? 90))
    reasons.push('timers.holdTimeSeconds changed: the hold time is negotiated in the OPEN')
  if (next.disabled && !old.disabled) reasons.push('disabled: the session is shut down')
  return reasons
}

/** Why a connection cannot go on with other keys of TCP-AO; undefined where it can. */
function keysReset({ tcpAo: old }: PeerConfig, { tcpAo: next }: PeerConfig): string | undefined {
  if (old === undefined && next === undefined) return undefined
  if (old === undefined || next === undefined) return 'a connection has it from its first segment on, or never'
  if (!next.some(key => old.some(other => sameKey(key, other)))) return 'no key of before is left'
  const taken = next.find(key => old.some(other => clash(key, other)))
  return taken && `a key with the ids of another one, ${taken.sendId} and ${taken.receiveId}; give a new key new ids`
}

function clash(key: TcpAoKey, other: TcpAoKey): boolean {
  return !sameKey(key, other) && (key.sendId === other.sendId || key.receiveId === other.receiveId)
}

/** An absent field and its default are the same. */
function normal(config: PeerConfig, field: keyof PeerConfig): unknown {
  const value = config[field]
  if (field === 'addPath') {
    const { send = false, receive = false } = config.addPath ?? {}
    return { send, receive }
  }
  if (field === 'gracefulRestart' && config.gracefulRestart) {
    // how long the peer's routes stay here is no matter of the OPEN
    const { keepOverRestarts: _, ...told } = config.gracefulRestart
    return told
  }
  if (field === 'extendedNextHop' || field === 'strictRole') return value ?? false
  return value
}
