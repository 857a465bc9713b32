// What only a packet shows: translations, the network between the nodes, who listens; and the table of connections. Pure.
import type { PathFacts } from '../api/explain.ts'
import type { Evidence } from '../api/explanation.ts'
import type { TraceFacts } from '../api/trace.ts'
import type { CauseCode } from './causes.ts'
import {
  absenceOf,
  type Crossing,
  evidence,
  type Finding,
  isToItself,
  isToNodePort,
  known,
  nameOf,
  type Place,
  passes,
  stopped,
  unknown,
} from './crossing.ts'
import { betweenTraces, droppedAt, hookNames, leaves, sawPackets, translatedBy } from './traced-steps.ts'

/** The packet keeps its addresses, but where the model says that the node gives it its own. */
export function sourceNatStep(c: Crossing): Finding | undefined {
  const { near, far, packet } = c
  if (near?.facts === undefined || c.direction === 'back') return undefined
  const { node, facts, trace } = near
  const masqueraded = known(facts.masqueraded)
  if (masqueraded === true) return passes(`${node} gives it its own address, as its pool asks for`)
  const translated = trace?.translated
  if (translated !== undefined) return translatedBy(c, node, translated)
  const seen = far && pathTo(far, near)?.sourceSeen
  if (seen !== undefined)
    return stopped(
      {
        code: 'ForeignTranslates',
        node,
        object: { kind: 'Node', name: node },
        message: `what pods of ${node} send arrives on ${far!.node} from ${seen}: a rule of another program on ${node}, or the network, gives it that address`,
      },
      evidence(far!.facts!.path, `probes of ${node} arrive from ${seen}`),
    )
  const other = known(facts.connections)?.find(
    ({ sent, answered }) =>
      sent.source === packet.source &&
      sent.destination === packet.destination &&
      answered.destination !== packet.source,
  )
  if (other !== undefined)
    return unknown(
      `a connection of both that ${node} knows goes out as ${other.answered.destination}; whether new ones do is not known`,
      evidence(
        facts.connections,
        `${other.sent.source} to ${other.sent.destination} is answered to ${other.answered.destination}`,
      ),
    )
  return passes('nothing gives it another address')
}

/**
 * The network between the nodes. Its fault is only named where nothing else stops the packet in either direction (`isAlone`), since a
 * probe is lost as well by what the other node does.
 */
export function fabricStep(c: Crossing, isAlone: boolean): Finding | undefined {
  const { near, far, way, isOneNode, target, source } = c
  if (isOneNode || (near === undefined && far === undefined)) return undefined
  if (near === undefined || far === undefined) {
    const outside = near === undefined ? source : target
    if (c.near?.trace?.outcome === 'answered') return passes(`${nameOf(outside)} answers`)
    return unknown(`what is between the cluster and ${nameOf(outside)} is not seen from here`)
  }
  if (near.facts === undefined || far.facts === undefined) return undefined
  const path = pathTo(near, far)
  const encapsulation = way?.outer?.encapsulation ?? 'direct'
  const lostCode: CauseCode =
    encapsulation === 'vxlan' ? 'VxlanLost' : encapsulation === 'ipip' ? 'IpipLost' : 'PathLost'
  const what =
    encapsulation === 'vxlan'
      ? 'VXLAN packets (UDP 4789)'
      : encapsulation === 'ipip'
        ? 'IP-in-IP packets (protocol 4)'
        : 'packets of pods'
  const others = [near, far].flatMap(place => {
    const hooks = known(place.facts?.hooks) ?? []
    return hooks.length === 0 ? [] : [`chains of others on ${place.node} (${hookNames(hooks)})`]
  })
  const lost = (code: CauseCode, message: string, ...says: Evidence[]): Finding =>
    stopped(
      {
        code,
        node: near.node,
        object: { kind: 'Node', name: far.node },
        message,
        // where no packet was followed, a chain of others on one of the nodes may be it as well
        setBy:
          near.trace === undefined && others.length > 0
            ? { who: 'unknown', text: `the network between the nodes, or ${others.join(', or ')}: --probe tells` }
            : {
                who: 'fabric',
                text: 'the network between the nodes, or a program below netfilter (XDP, tc) on one of them',
              },
        values: { other: far.node },
      },
      ...says,
    )
  const crossed =
    near.trace !== undefined && far.trace !== undefined ? betweenTraces(c, near.trace, far.trace) : undefined
  if (crossed !== undefined) {
    const { count, isSeen } = crossed
    if (isSeen) return passes('a traced packet came in on the other node', sawPackets(far.node, far.trace!))
    const says = { of: 'trace' as const, text: `${count} left ${near.node}, 0 came in on ${far.node}` }
    return isAlone
      ? lost(
          lostCode,
          `${what} from ${near.node} to ${far.node} leave ${near.node} and do not come in on ${far.node}, where they were counted before all chains`,
          says,
        )
      : unknown(`packets left ${near.node} and did not come in on ${far.node}`, says)
  }
  if (near.trace !== undefined && near.trace.sent > 0)
    return unknown(
      `whether packets came from ${near.node} to ${far.node} was not seen`,
      sawPackets(near.node, near.trace),
    )
  if (path === undefined)
    return unknown(
      `${near.node} does not probe the way to ${far.node}: ${absenceOf(near.facts.path) ?? 'no probe of it'}`,
    )
  const says = evidence(near.facts.path, pathText(path))
  if (path.state === 'passes') return passes(`probes of pods from ${near.node} to ${far.node} are answered`, says)
  if (path.state !== 'lost' || !isAlone || isStale(near, far))
    return unknown(`probes from ${near.node} to ${far.node}: ${path.state}`, says)
  if (path.hostAnswers === false)
    return lost('PathLost', `neither pods of ${far.node} nor ${far.node} itself answer probes of ${near.node}`, says)
  if (path.hostAnswers !== true || path.encapsulation !== encapsulation)
    return unknown(`probes of pods from ${near.node} to ${far.node} are lost`, says)
  // a chain of others that drops what is forwarded loses the probes too, but not those of the node itself to the end of the tunnel
  const isTunnelAlone = encapsulation !== 'direct' && path.tunnelAnswers === false
  if (!isTunnelAlone && (hasHooks(near) || hasHooks(far)))
    return unknown(
      `probes of pods from ${near.node} to ${far.node} are lost, in the network or in chains of others`,
      says,
    )
  return lost(
    lostCode,
    `${what} between ${near.node} and ${far.node} are lost, while ${far.node} itself answers ${near.node}`,
    says,
  )
}

/** Whether somebody takes what was delivered. That a packet was sent and not answered is never less than unknown. */
export function listenerStep(c: Crossing): Finding | undefined {
  const { near, far, packet, target } = c
  const trace = near?.trace
  if (trace?.outcome === undefined) return undefined
  const { outcome, said = outcome, sent, saidBy } = trace
  const says = { of: 'trace' as const, text: said }
  if (outcome === 'answered') return passes(`${nameOf(target)} answers`, says)
  if (isToNodePort(c))
    return unknown(
      `${sent} packets were sent and not answered by ${nameOf(target)} or the pod that it sends them to (${said}): explain the way from ${nameOf(target)} to the Service`,
      says,
    )
  // what a pod sends to itself stays in it
  const isDelivered = isToItself(c) || ((far?.trace?.left ?? 0) > 0 && far?.trace?.dropped === undefined)
  // a node before the pod may say so too
  if (!isDelivered || outcome === 'silent' || (outcome === 'unreachable' && saidBy !== packet.destination))
    return unknown(`${sent} packets were sent and not answered: ${said}`, says)
  const port = packet.destinationPort ?? '?'
  const object = target.pod === undefined ? { kind: 'Node', name: target.node! } : { kind: 'Pod', ...target.pod }
  if (outcome === 'refused')
    return stopped(
      {
        code: 'NoListener',
        node: far!.node,
        object,
        message: `nothing listens on ${packet.protocol} port ${port} of ${nameOf(target)}`,
        values: { port },
      },
      says,
    )
  return stopped(
    {
      code: 'PortRefused',
      node: far!.node,
      object,
      message: `${nameOf(target)} gets the packet and says that it cannot be reached`,
      values: {},
    },
    says,
  )
}

/** The table of connections of one node. */
export function conntrackStep(place: Place | undefined): Finding | undefined {
  if (place?.facts === undefined) return undefined
  const { node, facts } = place
  const table = known(facts.connectionTable)
  if (table === undefined)
    return unknown(`how full the table of connections of ${node} is, is not known: ${absenceOf(facts.connectionTable)}`)
  const text = `${table.count} of ${table.most} entries`
  // 0 is no limit
  if (table.most === 0 || table.count < table.most) return passes(text, evidence(facts.connectionTable, text))
  return stopped(
    {
      code: 'ConntrackFull',
      node,
      object: { kind: 'Sysctl', name: 'net.netfilter.nf_conntrack_max' },
      message: `the table of connections of ${node} is full (${text}): new connections are dropped`,
    },
    evidence(facts.connectionTable, text),
  )
}

/** A Service in front of the target. */
export function serviceStep(c: Crossing): Finding | undefined {
  const { direction, near, packet } = c
  const { service } = c.question
  if (service === undefined || direction === 'back') return undefined
  const name = `Service ${service.namespace}/${service.name}`
  const object = { kind: 'Service', namespace: service.namespace, name: service.name }
  if (service.backends.length === 0)
    return stopped(
      {
        code: 'ServiceNoEndpoints',
        node: c.question.from.node ?? '',
        object,
        message: `${name} has no pod that is ready for port ${service.port}`,
        values: { namespace: service.namespace },
      },
      { of: 'model', text: 'its EndpointSlices have no ready endpoint' },
    )
  const trace = c.toService
  if (near !== undefined && trace?.dropped !== undefined) return droppedAt(c, near, trace.dropped, trace)
  if (near !== undefined && trace !== undefined && trace.outcome !== 'answered' && leaves(trace) && keepsTarget(trace))
    return stopped(
      {
        code: 'ServiceNotProgrammed',
        node: near.node,
        object,
        message: `a packet to ${name} left ${near.node} with the address of the Service: nobody translates it`,
      },
      { of: 'trace', text: `${trace.left} left with the destination ${service.address}` },
    )
  if (trace?.outcome !== undefined && trace.outcome !== 'answered')
    return unknown(`a packet to ${name} was sent and not answered: ${trace.said ?? trace.outcome}`, {
      of: 'trace',
      text: `${trace.left} of ${trace.sent} left`,
    })
  const which = isToNodePort(c) ? `${packet.destination} leads to them` : `${packet.destination} is one`
  return passes(`${name} has ${service.backends.length} ready endpoints; ${which}`)
}

/**
 * The packet still had the address of the Service when it left: nothing was translated, or its source alone, as Margay does with packets to
 * where no pool is. Who else gives it another source may be the one who gave it another destination.
 */
function keepsTarget({ translated }: TraceFacts): boolean {
  if (translated === undefined) return true
  const { by, destination, destinationPort } = translated
  return by?.ours === true && destination === undefined && destinationPort === undefined
}

function pathTo(near: Place, far: Place | undefined): PathFacts | undefined {
  const path = known(near.facts?.path)
  return path !== undefined && path.node === far?.node ? path : undefined
}

function pathText({ state, encapsulation, hostAnswers, tunnelAnswers }: PathFacts): string {
  const word = (is: boolean | undefined) => (is === undefined ? 'not asked' : is ? 'answers' : 'silent')
  return `probes by ${encapsulation ?? 'no known way'}: ${state}; the node ${word(hostAnswers)}, its tunnel ${word(tunnelAnswers)}`
}

/** Both ends must tell of the same moment. Clocks that differ leave the question open. */
const SAME_MOMENT_MS = 5000

function isStale(near: Place, far: Place): boolean {
  return Math.abs(near.facts!.atMs - far.facts!.atMs) > SAME_MOMENT_MS
}

function hasHooks({ facts }: Place): boolean {
  const hooks = known(facts?.hooks)
  return hooks === undefined || hooks.length > 0
}
