// What only a packet shows: rules of other programs, translations, the network between the nodes, who listens. Whether a rule of others
// drops is never read from its text: a traced packet tells, or nobody knows. Pure.
import type { HookFacts, PathFacts } from '../api/explain.ts'
import type { CauseCode } from './causes.ts'
import {
  absenceOf,
  type Crossing,
  evidence,
  type Finding,
  known,
  nameOf,
  type Place,
  passes,
  stopped,
  unknown,
} from './crossing.ts'

/** How the kernel's rules of policies are named: `NetworkPolicy default/web ingress 2 deny`, `tier x egress deny`. */
const POLICY_RULE = / (?:ingress|egress)(?: \d{1,4})? deny$/

/** Chains of others on one node, and ours, by what became of a traced packet. */
export function foreignStep(c: Crossing, place: Place | undefined): Finding | undefined {
  if (place?.facts === undefined) return undefined
  const { node, facts, trace } = place
  const dropped = trace?.dropped
  if (dropped !== undefined) {
    const where = `table ${dropped.family} ${dropped.table}, chain ${dropped.chain}`
    const rule = dropped.rule === undefined ? 'by the policy of the chain' : `by the rule: ${dropped.rule}`
    const isBehind = facts.policies.some(({ enforced }) => enforced !== 'kernel')
    const ofPolicy = isBehind ? 'PolicyLags' : 'PolicyDenies'
    const isPolicy = POLICY_RULE.test(dropped.rule ?? '')
    const code: CauseCode = dropped.ours ? (isPolicy ? ofPolicy : 'FilterDrops') : 'ForeignDrops'
    return stopped(
      {
        code,
        node,
        object: { kind: 'NftChain', name: `${dropped.family} ${dropped.table} ${dropped.chain}` },
        message: `${node} drops the packets in ${where}, ${rule}`,
        values: { source: nameOf(c.source), policy: dropped.rule },
      },
      { of: 'trace', text: `${dropped.count} of ${trace!.sent} packets were dropped in ${where}` },
    )
  }
  if (trace !== undefined && trace.left > 0)
    return passes('a traced packet passed', { of: 'trace', text: `${trace.left} left ${node}` })
  const hooks = known(facts.hooks)
  if (hooks === undefined) return unknown(`chains of others on ${node} are not known: ${absenceOf(facts.hooks)}`)
  if (hooks.length === 0) return passes(`${node} has no chains of others`)
  return unknown(
    `${node} has chains of others (${hookNames(hooks)}), and no packet was sent through them`,
    evidence(facts.hooks, hookNames(hooks)),
  )
}

/** The packet keeps its addresses, but where the model says that the node gives it its own. */
export function sourceNatStep(c: Crossing): Finding | undefined {
  const { near, far, packet } = c
  if (near?.facts === undefined || c.direction === 'back') return undefined
  const { node, facts, trace } = near
  const masqueraded = known(facts.masqueraded)
  if (masqueraded === true) return passes(`${node} gives it its own address, as its pool asks for`)
  const translated = trace?.translated
  if (translated !== undefined)
    return stopped(
      {
        code: 'ForeignTranslates',
        node,
        object: { kind: 'NftChain', name: `${translated.table} ${translated.chain}` },
        message: `${node} gives the packets ${translated.source === undefined ? `the destination ${translated.destination ?? '?'}` : `the source ${translated.source}`} in table ${translated.table}, chain ${translated.chain}${translated.rule === undefined ? '' : `, by the rule: ${translated.rule}`}`,
      },
      { of: 'trace', text: `translated in ${translated.table} ${translated.chain}` },
    )
  const path = pathTo(near, far)
  if (path?.sourceSeen !== undefined)
    return stopped(
      {
        code: 'ForeignTranslates',
        node,
        object: { kind: 'Node', name: node },
        message: `what pods of ${node} send arrives on ${far!.node} from ${path.sourceSeen}: a rule of another program on ${node}, or the network, gives it that address`,
      },
      evidence(facts.path, `the receiver of a probe saw ${path.sourceSeen}`),
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
  if (isOneNode) return undefined
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
  const lost = (code: CauseCode, message: string, ...says: Parameters<typeof stopped>[1][]): Finding =>
    stopped(
      {
        code,
        node: near.node,
        object: { kind: 'Node', name: far.node },
        message,
        setBy: { who: 'fabric', text: 'the network between the nodes' },
        values: { other: far.node },
      },
      ...says,
    )
  if (near.trace !== undefined && far.trace !== undefined && near.trace.left > 0) {
    if (far.trace.cameIn > 0) return passes('a traced packet came in on the other node')
    const says = { of: 'trace' as const, text: `${near.trace.left} left ${near.node}, 0 came in on ${far.node}` }
    return isAlone && !isStale(near, far)
      ? lost(
          lostCode,
          `${what} from ${near.node} to ${far.node} leave ${near.node} and do not come in on ${far.node}`,
          says,
        )
      : unknown(`packets left ${near.node} and did not come in on ${far.node}`, says)
  }
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

/** Whether somebody takes what was delivered. */
export function listenerStep({ near, far, packet, target }: Crossing): Finding | undefined {
  if (near?.trace?.outcome === undefined || far?.trace === undefined) return undefined
  const isDelivered = far.trace.left > 0 && far.trace.dropped === undefined
  const { outcome } = near.trace
  if (outcome === 'answered')
    return passes(`${nameOf(target)} answers`, { of: 'trace', text: near.trace.said ?? 'answered' })
  if (!isDelivered || outcome === 'silent') return undefined
  const port = packet.destinationPort ?? '?'
  const says = { of: 'trace' as const, text: near.trace.said ?? outcome }
  if (outcome === 'refused')
    return stopped(
      {
        code: 'NoListener',
        node: far.node,
        message: `nothing listens on ${packet.protocol} port ${port} of ${nameOf(target)}`,
        values: { port },
      },
      says,
    )
  return stopped(
    {
      code: 'PortRefused',
      node: far.node,
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
export function serviceStep({ question: { service }, direction, near, packet }: Crossing): Finding | undefined {
  if (service === undefined || direction === 'back') return undefined
  const name = `Service ${service.namespace}/${service.name}`
  const object = { kind: 'Service', namespace: service.namespace, name: service.name }
  if (service.backends.length === 0)
    return stopped(
      {
        code: 'ServiceNoEndpoints',
        node: near?.node ?? '',
        object,
        message: `${name} has no pod that is ready for port ${service.port}`,
        values: { namespace: service.namespace },
      },
      { of: 'model', text: 'its EndpointSlices have no ready endpoint' },
    )
  const trace = near?.trace
  if (trace !== undefined && packet.destination === service.address && trace.left > 0 && trace.translated === undefined)
    return stopped(
      {
        code: 'ServiceNotProgrammed',
        node: near!.node,
        object,
        message: `a packet to ${name} left ${near!.node} with the address of the Service: nobody translates it`,
      },
      { of: 'trace', text: `${trace.left} left with the destination ${service.address}` },
    )
  return passes(`${name} has ${service.backends.length} ready endpoints; ${packet.destination} is one`)
}

function pathTo(near: Place, far: Place | undefined): PathFacts | undefined {
  const path = known(near.facts?.path)
  return path !== undefined && path.node === far?.node ? path : undefined
}

function pathText({ state, encapsulation, hostAnswers, tunnelAnswers }: PathFacts): string {
  const word = (is: boolean | undefined) => (is === undefined ? 'not asked' : is ? 'answers' : 'silent')
  return `probes by ${encapsulation}: ${state}; the node ${word(hostAnswers)}, its tunnel ${word(tunnelAnswers)}`
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

function hookNames(hooks: readonly HookFacts[]): string {
  const names = [...new Set(hooks.map(({ family, table, chain }) => `${family} ${table} ${chain}`))]
  return names.length > 5 ? `${names.slice(0, 5).join(', ')} and ${names.length - 5} more` : names.join(', ')
}
