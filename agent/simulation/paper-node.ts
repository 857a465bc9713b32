// A node of the cluster on paper: what an agent makes of the objects, of BGP and of the routes it learns, by the agent's own code,
// without an API server and without a kernel. Every kernel here has IP-in-IP and VXLAN, and every password is there.
import type { RouteAnswer } from '../../api/answers.ts'
import type { Resource } from '../../api/kinds.ts'
import type { Condition } from '../../api/status.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import type { Transport } from '../../bgp/port.ts'
import { Calculator } from '../../felix/calc/calculator.ts'
import { IPIP_DEVICE, TUNNEL_DEVICES } from '../../felix/calc/tunnels.ts'
import type { LearnedRoute } from '../../felix/input.ts'
import { ROUTE_PROTOCOL } from '../../kernel/port/routes.ts'
import type { Clock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { maskedAddresses, type NodeFacts, nodeFacts } from '../cluster/nodes.ts'
import type { Password, SecretKey } from '../cluster/passwords.ts'
import { standIn } from '../cluster/preview.ts'
import { Services } from '../cluster/services.ts'
import { ClusterFeed } from '../cluster-feed.ts'
import { Routing } from '../routing.ts'
import { SessionLog } from '../status/session-log.ts'
import type { Machine, SimulatedHop } from './machine.ts'
import type { Topology } from './topology.ts'

type Deps = { topology: Pick<Topology, 'all'>; blocks: readonly string[]; transport: Transport; clock: Clock }

export class PaperNode implements Machine {
  readonly isNode = true
  readonly name: string
  readonly own: readonly string[]
  readonly #facts: NodeFacts
  readonly #node: Resource<'Node'>
  readonly #feed: ClusterFeed
  readonly #routing: Routing
  readonly #calculator = new Calculator({ routeProtocol: ROUTE_PROTOCOL.blocks })
  #conditions: readonly Condition[] = []

  constructor(node: Resource<'Node'>, { topology, blocks, transport, clock }: Deps) {
    this.#node = node
    this.name = node.metadata.name
    this.own = blocks
    this.#facts = nodeFacts(node).facts
    const calculator = this.#calculator
    const services = new Services(this.name)
    let tell: (secret: SecretKey, password: Password) => void = () => undefined
    this.#feed = new ClusterFeed({
      nodeName: this.name,
      view: {
        all: kind => topology.all(kind),
        get: (kind, name) => topology.all(kind).find(({ metadata }) => metadata.name === name),
        onChange: (kind, listen) => {
          for (const after of topology.all(kind)) listen({ key: after.metadata.name, after })
        },
      },
      felix: {
        set: (kind, key, value) => void calculator.set(kind, key, value),
        configure: part => void calculator.configure(part),
      },
      secrets: {
        want: keys => {
          for (const key of keys) tell(key, standIn(key))
        },
        onChange: listen => {
          tell = listen
        },
      },
      services: {
        setRanges: ranges => services.setRanges(ranges),
        setExcluded: excluded => services.setExcluded(excluded),
        take: () => services.prefixes(),
        refused: () => [],
      },
      report: (source, conditions) => {
        if (source === 'peers') this.#conditions = conditions
      },
      changed: () => undefined,
    })
    const sessions = new SessionLog({ clock, log: silentLog })
    this.#routing = new Routing({
      ...{ transport, clock, sessions, nodeName: this.name, log: silentLog, restarting: false },
      capabilities: ON_PAPER,
      // on paper no path is lost without the end of its session
      bfd: {
        ...{ setSession: () => undefined, removeSession: () => undefined },
        ...{ onChange: () => () => undefined, condition: () => undefined },
      },
      learned: (prefix, route) => void calculator.set('learned', prefix, route),
      converged: () => undefined,
      settled: async () => undefined,
    })
    this.#describe()
  }

  #describe(): void {
    const { address, ipv6Address, vxlanTunnelAddress, vxlanTunnelAddressV6, vxlanTunnelMac } = this.#facts
    const calculator = this.#calculator
    const [ipv4, ipv6] = maskedAddresses(this.#node)
    calculator.configure({
      capabilities: ON_PAPER,
      node: {
        ...{ name: this.name, uplink: UPLINK },
        ...(address !== undefined && ipv4 !== undefined && { ipv4 }),
        ...(ipv6Address !== undefined && ipv6 !== undefined && { ipv6 }),
        ...{ vxlanTunnelAddress, vxlanTunnelAddressV6, vxlanTunnelMac },
        ipipTunnelAddress: vxlanTunnelAddress,
      },
    })
    for (const block of this.own) calculator.set('ownBlock', block, 'plain')
    calculator.useLearned()
  }

  /** Two rounds: the first asks for the passwords that the second has. */
  async open(): Promise<void> {
    const { address, ipv6Address } = this.#facts
    if (address === undefined && ipv6Address === undefined) return
    const own = maskedAddresses(this.#node).filter(each => each !== undefined)
    this.#feed.open({ address, ipv6Address, subnets: own })
    for (let round = 0; round < 2; round++) await this.#feed.flush(this.#routing, { blocks: this.own, own })
  }

  get idle(): boolean {
    return this.#routing.idle
  }

  sessions(): PeerStatus[] {
    return this.#routing.peers()
  }

  refused(): readonly Condition[] {
    return [...this.#conditions, ...nodeFacts(this.#node).refused]
  }

  prefixes(): string[] {
    return this.#routing.learned().map(({ prefix }) => prefix)
  }

  hops(prefix: string): readonly SimulatedHop[] {
    const learned = this.#learned().get(prefix)
    const route = this.#worked().route.get(prefix)
    if (learned === undefined || route === undefined) return []
    const ways = new Map<string, SimulatedHop>()
    const taken = route.nextHops ?? [route]
    for (const path of learned.paths ?? [learned]) {
      const near = taken.find(({ gateway }) => gateway === path.nextHop)
      // the gateway of VXLAN is the far end of the tunnel
      const { interfaceName } = near ?? taken.find(each => isTunnel(each.interfaceName ?? '')) ?? {}
      if (interfaceName !== undefined) ways.set(path.nextHop, { nextHop: path.nextHop, way: wayBy(interfaceName) })
    }
    return [...ways.values()]
  }

  /** Why a learned route is no way. */
  noWay(prefix: string): Condition | undefined {
    return [...this.#worked().condition.values()].find(
      ({ type, object }) => type === 'BlocksReachable' && object?.kind === 'Route' && object.name === prefix,
    )
  }

  explain(prefix: string): RouteAnswer {
    return this.#routing.explain(prefix)
  }

  async close(): Promise<void> {
    await this.#routing.close()
  }

  #known: ReadonlyMap<string, LearnedRoute> | undefined
  #learned(): ReadonlyMap<string, LearnedRoute> {
    this.#known ??= new Map(this.#routing.learned().map(route => [route.prefix, route]))
    return this.#known
  }

  #isWorked = false
  /** What the kernel would get; nothing is learned any more once this is asked for. */
  #worked(): ReturnType<Calculator['wanted']> {
    if (!this.#isWorked) this.#calculator.step()
    this.#isWorked = true
    return this.#calculator.wanted()
  }
}

const ON_PAPER = { ipip: true, vxlan: true }
const UPLINK = 'uplink'

function isTunnel(interfaceName: string): boolean {
  return TUNNEL_DEVICES.has(interfaceName)
}

function wayBy(interfaceName: string): SimulatedHop['way'] {
  if (!isTunnel(interfaceName)) return 'direct'
  return interfaceName === IPIP_DEVICE ? 'ipip' : 'vxlan'
}
