// The conditions that the agent itself reports, in words. Pure.
import { broken, type Condition, type ObjectRef, unknown } from '../../api/status.ts'
import type { MeshProblem } from '../cluster/peers.ts'

export const NOT_PROGRAMMED: Condition = unknown('KernelProgrammed', {
  reason: 'NotApplied',
  message: 'the kernel has not taken everything since the start',
  remedy: 'wait a few seconds; then look at the KernelInSync conditions',
})

export const DISCONNECTED: Condition = broken('ApiServerConnected', {
  reason: 'Disconnected',
  message: 'the API server does not answer; this node works from what it saw last',
  remedy: 'check that the API server runs and that the kubeconfig is right',
})

export function noAddress(message: string): Condition {
  return broken('NodeAddressKnown', { reason: 'NoAddress', message, remedy: 'give --node-ip' })
}

export function noTunnelAddress(message: string): Condition {
  return broken('TunnelsAddressed', {
    reason: 'NoTunnelAddress',
    message,
    remedy: 'give an IPPool with allowedUses Tunnel that has free addresses',
  })
}

export function badPeer({ object, message }: MeshProblem): Condition {
  return broken('PeersConfigured', { reason: 'BadPeer', message, remedy: 'correct the BGPPeer', object: refOf(object) })
}

const LOCAL: Readonly<Record<string, ObjectRef['kind']>> = {
  node: 'Node',
  BGPPeer: 'BGPPeer',
}

/** The object of a text such as `route 10.0.0.0/26`. */
export function refOf(text: string): ObjectRef {
  const space = text.indexOf(' ')
  const kind = LOCAL[text.slice(0, space)]
  return kind === undefined ? { kind: 'Link', name: text } : { kind, name: text.slice(space + 1) }
}
