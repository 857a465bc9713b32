// Between the cluster, the speaker and felix: which sessions to hold, which blocks to announce, what was learned. Every
// method may be called at any time; what goes out depends on the current state alone.
import type { RouteAnswer } from '../api/answers.ts'
import type { Resource } from '../api/kinds.ts'
import { poolOf } from '../api/pools.ts'
import type { PeerConfig, PeerStatus } from '../bgp/config.ts'
import type { RouteSink, SelectedRoute, Transport } from '../bgp/port.ts'
import { Speaker } from '../bgp/speaker.ts'
import { TUNNEL_TYPE } from '../felix/calc/encapsulation.ts'
import type { LearnedRoute } from '../felix/input.ts'
import type { OwnBlock } from '../ipam/port.ts'
import type { Capabilities } from '../kernel/capabilities.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { type MeshProblem, nodeAsn, wantedPeers } from './cluster/peers.ts'
import { routeAnswer } from './socket/route-answer.ts'
import type { EventRecord } from './status/events.ts'

export type RoutingDeps = {
  transport: Transport
  clock: Clock
  log: Log
  nodeName: string
  /** The node's own address: router id, source of sessions, next hop of its blocks. */
  address: string
  capabilities: Capabilities
  /** An earlier run left routes in the kernel, so peers may be keeping ours: graceful restart (RFC 4724 §4.1). */
  restarting: boolean
  /** The routes learned now, after a burst of changes. */
  learned: (routes: readonly LearnedRoute[]) => void
  /** The speaker has heard all it will hear at first: routes of an earlier run that are not among them can go. */
  converged: () => void
  event: (event: EventRecord) => void
}

export type ClusterPart = {
  nodes: readonly Resource<'Node'>[]
  peers: readonly Resource<'BGPPeer'>[]
  config: Resource<'BGPConfiguration'>['spec']
  pools: readonly Resource<'IPPool'>[]
}

/** How often it is asked whether the restart is over, and how long decisions may take to reach felix after it. */
const CONVERGENCE_POLL_MS = 500
const SETTLE_MS = 2_000
/** How long routes of a speaker with another AS number stay while the new one brings its sessions up. */
const HANDOVER_MS = 10_000

export class Routing {
  readonly #deps: RoutingDeps
  readonly #learned = new Map<string, LearnedRoute>()
  /** Prefixes of the last speaker that this one has not selected yet. */
  readonly #handedOver = new Set<string>()
  readonly #peers = new Map<string, PeerConfig>()
  readonly #announced = new Set<string>()
  #speaker: Speaker | undefined
  #asn: number | undefined
  #listening: Promise<unknown> | undefined
  #cluster: ClusterPart | undefined
  #blocks: readonly OwnBlock[] = []
  #problems: readonly MeshProblem[] = []
  #telling = false
  #restarting: boolean
  #cancel: Cancel = () => undefined
  #cancelHandover: Cancel = () => undefined

  constructor(deps: RoutingDeps) {
    this.#deps = deps
    this.#restarting = deps.restarting
  }

  /** The cluster changed: sessions follow. A change of the AS number starts the speaker anew, since it is in every OPEN. */
  async cluster(part: ClusterPart): Promise<void> {
    this.#cluster = part
    const self = part.nodes.find(node => node.metadata.name === this.#deps.nodeName)
    const asn = self === undefined ? part.config.asNumber : nodeAsn(self, part.config)
    if (asn !== this.#asn) await this.#restart(asn, part.config.listenPort)
    this.#setPeers(part, asn)
    this.#announce()
  }

  /** This node's blocks changed: they are announced before their first pod needs it, and withdrawn when given back. */
  blocks(blocks: readonly OwnBlock[]): void {
    this.#blocks = blocks
    this.#announce()
  }

  peers(): PeerStatus[] {
    return this.#speaker?.peers() ?? []
  }

  problems(): readonly MeshProblem[] {
    return this.#problems
  }

  learned(): readonly LearnedRoute[] {
    return [...this.#learned.values()]
  }

  /** Every candidate for a canonical prefix, with the step that decided. */
  explain(prefix: string): RouteAnswer {
    return routeAnswer(prefix, this.#speaker?.explain(prefix))
  }

  /** Leaves so that peers keep this node's routes until it is back. */
  async close(): Promise<void> {
    this.#cancel()
    this.#cancelHandover()
    await this.#listening
    await this.#speaker?.close({ graceful: true })
  }

  async #restart(asn: number, port: number): Promise<void> {
    const { transport, clock, log, address, nodeName, event } = this.#deps
    if (this.#asn !== undefined) log.warn({ old: this.#asn, asn }, 'AS number changed: all BGP sessions are reset')
    this.#asn = asn
    await this.#speaker?.close({ graceful: false })
    this.#handOver()
    this.#peers.clear()
    this.#announced.clear()
    const restarting = this.#restarting
    this.#restarting = false // another AS number later is no restart: nobody keeps routes for that
    this.#speaker = new Speaker({ asn, routerId: address }, { transport, clock, log, restarting, sink: this.#sink() })
    this.#awaitConvergence(this.#speaker)
    this.#speaker.onChange(({ name, state, reason }) => {
      // on its way up for the first time a peer has no story yet
      if (reason?.code === 'never-tried') return
      const message = reason === undefined ? state : `${state}: ${reason.detail}`
      event({ type: 'SessionChanged', object: { kind: 'BGPSession', name }, reason: reason?.code ?? state, message })
    })
    this.#listening = this.#speaker.listen({ address, port }).catch(error => {
      log.error(
        { err: error, address, port },
        `node ${nodeName} cannot listen for BGP; only sessions it dials will come up`,
      )
    })
    await this.#listening
  }

  /** A closed speaker withdraws nothing: what it had selected stays until the next one had time to select it again. */
  #handOver(): void {
    for (const prefix of this.#learned.keys()) this.#handedOver.add(prefix)
    this.#cancelHandover()
    this.#cancelHandover = this.#deps.clock.after(HANDOVER_MS, () => {
      for (const prefix of this.#handedOver) this.#learned.delete(prefix)
      this.#handedOver.clear()
      this.#tell()
    })
  }

  #setPeers(part: ClusterPart, asn: number): void {
    const speaker = this.#speaker
    if (speaker === undefined) return
    const { nodeName, address, log } = this.#deps
    const { peers, problems } = wantedPeers({ nodeName, address, asn, ...part })
    this.#problems = problems
    const wanted = new Map(peers.map(peer => [peer.name ?? '', peer]))
    for (const name of this.#peers.keys()) {
      if (wanted.has(name)) continue
      speaker.removePeer(name)
      this.#peers.delete(name)
    }
    for (const [name, peer] of wanted) {
      if (JSON.stringify(this.#peers.get(name)) === JSON.stringify(peer)) continue
      const resets = speaker.setPeer(peer)
      if (resets.length > 0) log.warn({ peer: name, resets }, 'a changed peer is reset')
      this.#peers.set(name, peer)
    }
  }

  #announce(): void {
    const speaker = this.#speaker
    if (speaker === undefined || this.#cluster === undefined) return
    const { ipip, vxlan } = this.#deps.capabilities
    const { pools } = this.#cluster
    const isHidden = ({ cidr }: OwnBlock) => poolOf(pools, cidr)?.spec.disableBGPExport === true
    const encapsulations = [...(ipip ? [TUNNEL_TYPE.ipip] : []), ...(vxlan ? [TUNNEL_TYPE.vxlan] : [])]
    const wanted = new Set(this.#blocks.filter(block => !isHidden(block)).map(({ cidr }) => cidr))
    for (const prefix of this.#announced) {
      if (wanted.has(prefix)) continue
      speaker.withdraw(prefix)
      this.#announced.delete(prefix)
    }
    for (const prefix of wanted) {
      if (this.#announced.has(prefix)) continue
      speaker.announce({ prefix, encapsulations })
      this.#announced.add(prefix)
    }
  }

  #sink(): RouteSink {
    return {
      selected: ({ prefix, nextHop, interface: name, encapsulations }: SelectedRoute) => {
        this.#handedOver.delete(prefix)
        this.#learned.set(prefix, { prefix, nextHop, interface: name, encapsulations })
        this.#tell()
      },
      withdrawn: prefix => {
        if (this.#learned.delete(prefix)) this.#tell()
      },
    }
  }

  #tell(): void {
    if (this.#telling) return
    this.#telling = true
    setImmediate(() => {
      this.#telling = false
      this.#deps.learned([...this.#learned.values()])
    })
  }

  /** The speaker says when peers have sent what they had, or have been given up on. */
  #awaitConvergence(speaker: Speaker): void {
    const { clock, converged } = this.#deps
    this.#cancel()
    this.#cancel = speaker.restarting
      ? clock.after(CONVERGENCE_POLL_MS, () => this.#awaitConvergence(speaker))
      : clock.after(SETTLE_MS, converged)
  }
}
