// What a silent path means. Pure. What is told is what was seen: VXLAN or IP-in-IP is silent where the node answers
// and the address of its tunnel does not, which outlives its agent; whether the network loses packets or one of the nodes keeps them
// is not seen from here. That pods are not reached although node and tunnel
// answer says nothing before this run of the node's agent has answered, or sent a probe of its own: the interface of
// probes ends with its agent, and an agent of an earlier version has none while its Node object still says so.
import type { PathEncapsulation, PathLoss } from '../../api/paths.ts'
import { broken, type Condition } from '../../api/status.ts'
import type { Family } from '../../lib/ip.ts'

/** Of the session with the node, or of its way through reflectors (`none`). */
export type SessionView = { is: 'up'; forMs: number } | { is: 'down' } | { is: 'none' }

export type Evidence = {
  /** By the kernel's own look-up; undefined: nobody knows. */
  way: PathEncapsulation | 'no route' | undefined
  session: SessionView
  /** Since the first packet that got no answer, and since the first of this look. */
  silentMs: number
  lookMs: number
  /** The node's agent, as it runs now, has answered a probe or sent one. */
  wasAlive: boolean
  /** Objects of other nodes are as they are now. */
  isViewFresh: boolean
  /** Undefined: not known, since there is no such address or nothing could be sent to it. */
  hostAnswers: boolean | undefined
  tunnelAnswers: boolean | undefined
  /** The node was silent too at some time in this silence: it may have been started anew. */
  hostWasSilent: boolean
}

/** An agent that begins needs so long for its interface of probes. */
const SETTLE_MS = 10_000
/** A node without a session here may be started anew, with an image that is fetched before. */
const RESTART_MS = 180_000
/** For a route that comes. */
const ROUTE_MS = 30_000

const SILENT_TUNNEL = { ipip: 'IpipSilent', vxlan: 'VxlanSilent' } as const

/** A loss, or why there is none. */
export function verdict(evidence: Evidence): PathLoss | 'absent' | 'unknown' {
  const { way, session, silentMs, lookMs, wasAlive, isViewFresh, hostAnswers, tunnelAnswers, hostWasSilent } = evidence
  if (session.is === 'down') return 'absent'
  if (session.is === 'none' && hostAnswers !== true) return 'absent'
  if (session.is === 'up' ? session.forMs < lookMs + SETTLE_MS : silentMs < RESTART_MS) return 'unknown'
  if (way === 'no route') return isViewFresh && (wasAlive || silentMs >= ROUTE_MS) ? 'NoRoute' : 'unknown'
  const isTunnel = way === 'ipip' || way === 'vxlan'
  if (isTunnel && hostAnswers === true && tunnelAnswers === false && !hostWasSilent) return SILENT_TUNNEL[way]
  return isViewFresh && wasAlive ? 'PathLost' : 'unknown'
}

export type LostPath = Pick<Evidence, 'way' | 'hostAnswers' | 'tunnelAnswers'> & {
  node: string
  family: Family
  address: string
  loss: PathLoss
}

const PROTOCOL = {
  VxlanSilent: { name: 'VXLAN', passes: 'UDP port 4789 (or vxlanPort of FelixConfiguration)' },
  IpipSilent: { name: 'IP-in-IP', passes: 'IP protocol 4' },
} as const

/** `PathsPass` of the node that a path leads to. */
export function lostCondition(path: LostPath): Condition {
  const { node, loss } = path
  return broken('PathsPass', { ...textOf(path), reason: loss, object: { kind: 'Node', name: node } })
}

function textOf({ node, address, loss, way, hostAnswers, tunnelAnswers }: LostPath): {
  message: string
  remedy: string
} {
  const silent = `no probe from here is answered by ${address}, which is reached as pods of ${node} are`
  switch (loss) {
    case 'VxlanSilent':
    case 'IpipSilent': {
      const { name, passes } = PROTOCOL[loss]
      return {
        message: `nothing that is sent to ${node} in ${name} is answered: ${silent}, nor by the address of its tunnel, while ${node} itself answers`,
        remedy: `look at what ${node} and this node say of themselves (ForeignRoutesPass, SettingsRight, KernelInSync): either may keep packets; if nothing, let ${passes} pass between the addresses of the nodes in both directions: in the network between them, in security groups and in firewalls of both`,
      }
    }
    case 'NoRoute':
      return {
        message: `${silent}: this node has no route there, or a rule or route of another program refuses it`,
        remedy: `look at ForeignRoutesPass, BlocksReachable and KernelInSync here, and at the session with ${node}: margayctl node status`,
      }
    case 'PathLost':
      if (hostAnswers !== true)
        return {
          message: `${silent}, and ${hostAnswers === false ? `${node} itself does not answer` : `nothing could be sent to ${node} itself`}`,
          remedy: `look first at what this node says of its own ways (DefaultRouteKept, NeighboursRight, UplinksUp); then whether ${node} runs, and whether the network between the nodes passes ICMP echo`,
        }
      return {
        message: `${silent}, while ${node} itself answers${tunnelAnswers === true ? ', also through its tunnel' : ''}`,
        remedy:
          way === 'direct'
            ? `look for what drops forwarded packets on this node and on ${node} (chains of other programs, rules of routing), and in the network for checks of source addresses (of clouds, ports of switches): it must carry addresses of pods`
            : `look for what drops forwarded packets on this node and on ${node}: chains of other programs in the hook forward, rules of routing, rp_filter`,
      }
  }
}
