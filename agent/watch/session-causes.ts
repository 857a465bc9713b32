// Why a session with another node is down, or one way only, from what the kernel, the link and the node itself say: the first of these that is proved is
// named. A firewall is named by nobody, since a password at one end alone looks the same. Pure.
import { broken, type Condition } from '../../api/status.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import type { DownCode } from '../../bgp/down-reasons.ts'

export type SessionFacts = {
  /** As people know it. */
  session: string
  node: string
  address: string
  /** What the speaker says. */
  reason: PeerStatus['reason']
  /** Of a session that is up, by which nothing has come for so long. */
  silence?: { heardMs: number; holdSeconds: number } | undefined
  /** What of the kernel's own route there is known; `unknown` where it was not asked. */
  way:
    | { is: 'unknown' }
    | { is: 'none'; says: string }
    /** `next`: the node, or the router to it. The link was asked who has that address; `wrong`: an entry of another program hides that. */
    | { is: 'found'; next: string; interfaceName: string; neighbour: 'answers' | 'silent' | 'wrong' | 'unknown' }
  /** Whether the node answers ICMP echo; undefined where it could not be asked. */
  answers: boolean | undefined
}

/** Reasons that the protocol or a person gave: the other end is there. */
const TOLD: readonly DownCode[] = [
  'admin-down',
  'wrong-as',
  'bad-open',
  'not-signed',
  'prefix-limit',
  'peer-cease',
  'protocol-error',
  'damped',
]
/** Nothing answered when this node dialled. */
const SILENT: readonly DownCode[] = ['timeout', 'signature-suspected']

export function sessionIll(facts: SessionFacts): Condition {
  return broken('SessionsUp', { object: { kind: 'BGPSession', name: facts.session }, ...causeOf(facts) })
}

type Cause = {
  reason:
    | 'NotAccepted'
    | 'NoRoute'
    | 'NeighbourWrong'
    | 'NeighbourSilent'
    | 'AgentAway'
    | 'NodeSilent'
    | 'PortSilent'
    | 'OneWay'
    | 'NotConnected'
  message: string
  remedy: string
}

function causeOf({ node, address, reason, silence, way, answers }: SessionFacts): Cause {
  const name = `node ${node} (${address})`
  const what =
    silence === undefined
      ? `no session with ${name}`
      : `nothing has come from ${name} by its session for ${seconds(silence.heardMs)}`
  const code = reason?.code ?? 'never-tried'
  const last = reason === undefined || reason.detail === '' ? code : `${code}: ${reason.detail}`
  if (reason !== undefined && TOLD.includes(code))
    return { reason: 'NotAccepted', message: `${what}: ${last}`, remedy: reason.remedy }
  if (way.is === 'none')
    return {
      reason: 'NoRoute',
      message: `${what}: the kernel has no way there (${way.says})`,
      remedy: `look at ip route get ${address}, and at rules and routes of other programs (ForeignRoutesPass, DefaultRouteKept)`,
    }
  const next = way.is === 'found' && way.next !== address ? `the router ${way.next} to ${name}` : name
  if (way.is === 'found' && way.neighbour === 'wrong')
    return {
      reason: 'NeighbourWrong',
      message: `${what}: an entry of another program gives ${next} a wrong MAC on ${way.interfaceName}`,
      remedy: 'follow the remedy of NeighboursRight, which names the entry',
    }
  // somebody there answered for that port
  if (code === 'refused')
    return {
      reason: 'AgentAway',
      message: `${what}: it refuses connections to the BGP port, so its agent is not running, or a firewall there rejects them`,
      remedy: `look at the agent there: kubectl -n kube-system get pods -o wide --field-selector spec.nodeName=${node}`,
    }
  if (way.is === 'found' && way.neighbour === 'silent' && answers !== true)
    return {
      reason: 'NeighbourSilent',
      message: `${what}: nobody on ${way.interfaceName} says that it has ${way.next}: ${next} is down, has another address, or is not on that link`,
      remedy: `see whether ${next} runs and has that address, then look at its link, the switch and VLANs`,
    }
  if (answers === false)
    return {
      reason: 'NodeSilent',
      message: `${what}: it answers neither BGP nor ping: it is down, or packets are lost on the way${silence === undefined ? ` (${last})` : ''}`,
      remedy: `see whether node ${node} runs; if it does, look where packets end: traceroute -n ${address}`,
    }
  if (SILENT.includes(code) && answers === true)
    return {
      reason: 'PortSilent',
      message: `${what}: it answers ping and nothing from the BGP port: its TCP packets are dropped there or on the way, or ${code === 'timeout' ? 'it alone has' : 'only one end has the right'} password or keys`,
      remedy: `let the BGP port (TCP 179) pass between the nodes, both ways: look at firewalls of both (nft list ruleset) and at security groups; compare passwords`,
    }
  if (silence !== undefined)
    return {
      reason: 'OneWay',
      message: `${what}, and it ends after ${silence.holdSeconds} s: its packets are lost on the way here, or its agent hangs${answers === true ? '; it answers ping' : ''}`,
      remedy: `look at margayctl node status on node ${node}: where that does not answer, at its agent; else at firewalls of both nodes and between them (TCP 179, both ways)`,
    }
  const ping = answers === true ? '; it answers ping' : ''
  return {
    reason: 'NotConnected',
    message: `no session with ${name} comes about (${last})${ping}`,
    remedy: `margayctl node status on node ${node} says what is seen from there; of two nodes one dials`,
  }
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`
}
