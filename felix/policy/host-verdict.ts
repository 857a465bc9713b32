// What the host endpoints of this node say of a connection that is established, as its first packet met them: in the order of the
// chains of hosts.ts, which this must agree with. Pure.
import type { Direction, Slot } from './active.ts'
import type { CutPlace } from './cut-connections.ts'
import type { JudgedPacket } from './verdict.ts'

/** The interfaces by which a packet comes and leaves. The host sends what comes by none, and takes what leaves by none. */
export type Way = { from: string | undefined; to: string | undefined }

/** The packet as its sender sent it, and after its destination was translated. */
export type SeenPacket = { sent: JudgedPacket; translated: JudgedPacket }

export type AskHosts = {
  isOfPod: (interfaceName: string) => boolean
  /** What the list of an interface says; undefined: it has none there, or nothing in it decides. */
  ask: (slot: Slot, interfaceName: string, packet: JudgedPacket) => 'allow' | 'deny' | undefined
  /** Whether it passes whatever lists say. */
  isOpen: (direction: Direction, packet: JudgedPacket) => boolean
}

/** Where the packet is denied; undefined: nowhere. */
export function hostDenial({ from, to }: Way, { sent, translated }: SeenPacket, hosts: AskHosts): CutPlace | undefined {
  const { ask, isOpen } = hosts
  const isForwarded = from !== undefined && to !== undefined
  const denied = (interfaceName: string): CutPlace => ({ of: isForwarded ? 'forwarded' : 'own', interfaceName })
  if (from === LOOPBACK || to === LOOPBACK) return undefined
  const isJudgedHere = (name: string) => isForwarded || !hosts.isOfPod(name)
  if (from !== undefined) {
    const untracked = hosts.isOfPod(from) ? undefined : ask('untrackedIngress', from, sent)
    const early = isOpen('ingress', sent) ? undefined : (untracked ?? ask('preDnatIngress', from, sent))
    if (early === 'deny') return denied(from)
    if (early === undefined && isJudgedHere(from)) {
      const isPassed = !isForwarded && isOpen('ingress', translated)
      const slot = isForwarded ? 'forwardIngress' : 'ingress'
      if (!isPassed && ask(slot, from, translated) === 'deny') return denied(from)
    }
  }
  if (to === undefined || !isJudgedHere(to)) return undefined
  if (isForwarded) return ask('forwardEgress', to, translated) === 'deny' ? denied(to) : undefined
  const early = isOpen('egress', sent) ? undefined : ask('untrackedEgress', to, sent)
  const last = early ?? (isOpen('egress', translated) ? undefined : ask('egress', to, translated))
  return last === 'deny' ? denied(to) : undefined
}

const LOOPBACK = 'lo'
