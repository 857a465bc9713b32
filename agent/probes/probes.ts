// Path probes of a node, put together: its end of them, the other nodes', the book of paths, and the condition that is made of it. A few
// wake-ups in five seconds, whatever comes in: answers wait in their sockets until the next one.
import { FELIX_ANNOTATION, NODE_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import type { PathAnswer, PathState } from '../../api/paths.ts'
import { broken, type Condition } from '../../api/status.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { Cancel } from '../../lib/clock.ts'
import { type Family, familyOf, parseCidr } from '../../lib/ip.ts'
import { type NodeFacts, nodeFacts } from '../cluster/nodes.ts'
import type { ClusterView } from '../cluster-view.ts'
import { ProbeEndpoint, type ProbeEndpointDeps } from './endpoint.ts'
import { PathMtus } from './mtu.ts'
import { Paths, type Target } from './paths.ts'
import { lostCondition, type SessionView } from './verdict.ts'
import { wayTo } from './way.ts'

export type ProbesDeps = Omit<ProbeEndpointDeps, 'kernel'> & {
  kernel: ProbeEndpointDeps['kernel'] & Pick<Kernel, 'lookupRoute'>
  view: Pick<ClusterView, 'all' | 'get' | 'onChange' | 'connected'>
  /** `published` changed. */
  changed: () => void
  peers: () => readonly Pick<PeerStatus, 'address' | 'state' | 'sinceMs'>[]
  report: (conditions: readonly Condition[]) => void
}

/** How often this node's end is looked at, and more often than not what all nodes are looked at by. */
const KEEP_MS = 5000
/** More nodes than these are told of together. */
const MOST_CONDITIONS = 20
const FAMILIES = ['ipv4', 'ipv6'] as const satisfies readonly Family[]

export class Probes {
  readonly #deps: ProbesDeps
  readonly #endpoint: ProbeEndpoint
  readonly #paths: Paths
  readonly #mtus: PathMtus
  readonly #nodes = new Map<string, NodeFacts>()
  /** The node by its address of probes. */
  readonly #probed = new Map<string, string>()
  /** By address, of this step. */
  #sessions: Map<string, Pick<PeerStatus, 'state' | 'sinceMs'>> | undefined
  #wants: boolean
  /** Of links, by their index, of this step. */
  #kinds = new Map<number, Promise<string | undefined>>()
  #isNews = false
  #isLookedAt = false
  #closed = false
  #cancelKeep: Cancel = () => undefined
  #cancelStep: Cancel = () => undefined

  constructor(deps: ProbesDeps) {
    this.#deps = deps
    this.#wants = this.#isWanted
    this.#endpoint = new ProbeEndpoint(deps)
    this.#endpoint.want(this.#wants)
    this.#paths = new Paths({
      nodeName: deps.nodeName,
      random: Math.random,
      sessionOf: node => this.#sessionOf(node),
      isViewFresh: () => deps.view.connected,
    })
    this.#paths.onChange(() => {
      this.#isNews = true
    })
    this.#mtus = new PathMtus({
      random: Math.random,
      found: (path, octets) => this.#paths.measured(path, octets, deps.clock.monotonicMs()),
    })
    deps.view.onChange('Node', ({ key, after }) => this.#setNode(key, after))
    for (const node of deps.view.all('Node')) this.#setNode(node.metadata.name, node)
  }

  /** What is known of the ways to other nodes, with times of the wall clock. */
  answers(): PathAnswer[] {
    return [...this.#paths.all()].map(state => this.#told(state))
  }

  /** The same of one; undefined where it is not probed. */
  answerFor(node: string, family: Family): PathAnswer | undefined {
    const state = this.#paths.of(node, family)
    return state && this.#told(state)
  }

  /** What the Node object says of this node's end. */
  get published(): ProbeEndpoint['published'] {
    return this.#endpoint.published
  }

  start(): void {
    void this.#keep()
    this.#step()
  }

  close(): void {
    this.#closed = true
    this.#cancelKeep()
    this.#cancelStep()
    this.#endpoint.close()
  }

  #told(state: PathState): PathAnswer {
    const { clock } = this.#deps
    const epochMs = clock.wallMs() - clock.monotonicMs()
    const { sinceMs, lastAnswerMs, lossPermille, ...rest } = state
    return {
      ...rest,
      sinceMs: Math.round(epochMs + sinceMs),
      ...(lastAnswerMs !== undefined && { lastAnswerMs: Math.round(epochMs + lastAnswerMs) }),
      lossPermille: Math.round(lossPermille),
    }
  }

  get #isWanted(): boolean {
    const { view, nodeName } = this.#deps
    const objects = [view.get('FelixConfiguration', 'default'), view.get('FelixConfiguration', `node.${nodeName}`)]
    const said = objects.map(object => object?.metadata.annotations?.[FELIX_ANNOTATION.probes])
    return said.findLast(text => text !== undefined) !== 'Disabled'
  }

  async #keep(): Promise<void> {
    const { changed, clock, view } = this.#deps
    const before = JSON.stringify(this.published)
    const wasWanted = this.#wants
    this.#wants = this.#isWanted
    this.#endpoint.want(this.#wants)
    if (this.#wants !== wasWanted) for (const node of view.all('Node')) this.#setNode(node.metadata.name, node)
    await this.#endpoint.keep()
    if (this.#closed) return
    if (JSON.stringify(this.published) !== before) changed()
    this.#cancelKeep = clock.after(KEEP_MS, () => void this.#keep())
  }

  #setNode(name: string, node: Resource<'Node'> | undefined): void {
    const { nodeName, clock } = this.#deps
    for (const address of probeAddresses(this.#nodes.get(name))) this.#probed.delete(address)
    if (name === nodeName) return
    if (node === undefined) this.#nodes.delete(name)
    else {
      const { facts } = nodeFacts(node, this.#nodes.get(name))
      this.#nodes.set(name, facts)
      for (const address of probeAddresses(facts)) this.#probed.set(address, name)
    }
    const targets = node === undefined || !this.#wants ? [] : targetsOf(this.#nodes.get(name)!, node)
    this.#paths.set(name, targets, clock.monotonicMs())
  }

  #step(): void {
    const { clock, mtu } = this.#deps
    const nowMs = clock.monotonicMs()
    const { wire } = this.#endpoint
    this.#sessions = undefined
    this.#kinds = new Map()
    let waitMs = KEEP_MS
    if (wire === undefined) {
      this.#paths.discard(nowMs)
      this.#mtus.discard(nowMs)
    } else {
      wire.drain({
        answered: (look, kind) =>
          kind === 'size' ? this.#mtus.answered(look) : this.#paths.answered(look, kind, nowMs),
        asked: (family, claimed, source) => this.#asked(family, claimed, source, nowMs),
      })
      const step = this.#paths.step(nowMs)
      for (const packet of step.packets) if (!wire.send(packet)) this.#paths.unsent(packet)
      for (const target of step.unclear) void this.#lookUp(target)
      if (step.unclear.length > 0) void this.#lookAtOwn()
      const sized = this.#mtus.step(nowMs, this.#paths.all(), mtu())
      if (!sized.packets.every(packet => wire.send(packet))) this.#mtus.discard(nowMs)
      waitMs = Math.min(step.waitMs, sized.waitMs)
    }
    if (this.#isNews) this.#deps.report([...this.#conditions(), ...this.#mtus.conditions().slice(0, MOST_CONDITIONS)])
    this.#isNews = false
    this.#cancelStep = clock.after(waitMs, () => this.#step())
  }

  /** A probe of another node came in. Who says that it is of a node, and has an address of anybody else, is nobody. */
  #asked(family: Family, claimed: string, source: string, nowMs: number): void {
    const name = this.#probed.get(claimed)
    const node = name === undefined ? undefined : this.#nodes.get(name)
    if (node === undefined) return
    if (source === claimed) this.#paths.heard(node.name, family, undefined, nowMs)
    else if (ownAddresses(node).includes(source)) this.#paths.heard(node.name, family, source, nowMs)
  }

  async #lookUp(target: Target): Promise<void> {
    const { kernel, clock } = this.#deps
    const kinds = this.#kinds
    const kindOf = (index: number) => {
      const kind = kinds.get(index) ?? kernel.link(index).then(link => link?.kind)
      kinds.set(index, kind)
      return kind
    }
    this.#paths.sends(target, await wayTo(target.address, kernel, kindOf), clock.monotonicMs())
  }

  /** What somebody took away of this node's own end is no loss on the way. */
  async #lookAtOwn(): Promise<void> {
    if (this.#isLookedAt) return
    this.#isLookedAt = true
    const isThere = await this.#endpoint.isThere().catch(() => false)
    this.#isLookedAt = false
    if (!isThere) this.#paths.discard(this.#deps.clock.monotonicMs())
  }

  #sessionOf(name: string): SessionView {
    const { peers, clock } = this.#deps
    this.#sessions ??= new Map(peers().map(peer => [peer.address, peer]))
    const { address, ipv6Address } = this.#nodes.get(name) ?? {}
    const all = [address, ipv6Address].flatMap(of => (of === undefined ? [] : (this.#sessions?.get(of) ?? [])))
    if (all.length === 0) return { is: 'none' }
    const up = all.filter(({ state }) => state === 'Established').map(({ sinceMs }) => sinceMs)
    if (up.length === 0) return { is: 'down' }
    return { is: 'up', forMs: Math.max(0, clock.wallMs() - up.reduce((a, b) => Math.min(a, b))) }
  }

  /** One for each node. */
  #conditions(): Condition[] {
    const lost = [...Map.groupBy(this.#paths.lost(), ({ node }) => node).values()]
    const translated = [...this.#paths.all()].filter(({ sourceSeen }) => sourceSeen !== undefined)
    const conditions = [
      ...translated.map(({ node, sourceSeen }) => translatedCondition(node, sourceSeen!)),
      // of two families the first is told: what stops both is mostly one thing
      ...lost.map(([path]) => lostCondition(path!)),
    ]
    const first = [...Map.groupBy(conditions, ({ object }) => object?.name).values()].map(([each]) => each!)
    const told = first.slice(0, MOST_CONDITIONS)
    if (told.length === first.length) return told
    const more = first.length - told.length
    return told.map((each, i) => (i > 0 ? each : { ...each, message: `${each.message}; and so of ${more} more nodes` }))
  }
}

/** What a node answers probes at. */
function probeAddresses(node: NodeFacts | undefined): string[] {
  return [node?.probeAddress, node?.probeAddressV6].filter(each => each !== undefined)
}

/** What a node may give packets of its pods as their source. */
function ownAddresses(node: NodeFacts): (string | undefined)[] {
  const { address, ipv6Address, ipipTunnelAddress, vxlanTunnelAddress, vxlanTunnelAddressV6 } = node
  return [address, ipv6Address, ipipTunnelAddress, vxlanTunnelAddress, vxlanTunnelAddressV6]
}

function targetsOf(node: NodeFacts, { metadata: { annotations = {} } }: Resource<'Node'>): Target[] {
  const { name, address: ipv4, ipv6Address: ipv6, ipipTunnelAddress: ipip } = node
  const vxlan = { ipv4: node.vxlanTunnelAddress, ipv6: node.vxlanTunnelAddressV6 }
  const hosts = { ipv4: ipv4 ?? ipv6, ipv6: ipv6 ?? ipv4 }
  const subnet = annotations[NODE_ANNOTATION.ipv4Address] ?? annotations[NODE_ANNOTATION.ipv6Address] ?? ''
  const { address: network = '', length = 0 } = parseCidr(subnet) ?? {}
  const lan = `${network}/${length}`
  const addresses = { ipv4: node.probeAddress, ipv6: node.probeAddressV6 }
  return FAMILIES.flatMap(family => {
    const address = addresses[family]
    if (address === undefined) return []
    const tunnels = {
      ...(family === 'ipv4' && ipip !== undefined && { ipip }),
      ...(vxlan[family] !== undefined && { vxlan: vxlan[family] }),
    }
    const host = hosts[family]
    return [{ node: name, family, address, ...(host !== undefined && { host }), tunnels, lan }]
  })
}

function translatedCondition(node: string, source: string): Condition {
  const family = familyOf(source) === 'ipv4' ? '' : ' (IPv6)'
  return broken('PathsPass', {
    reason: 'SourceTranslated',
    object: { kind: 'Node', name: node },
    message: `what pods of ${node} send to pods here arrives under ${source}, an address of ${node}, and not under their own${family}: policies here take it for that node`,
    remedy: `look on ${node}, and on what is between the nodes, for a rule of another program that masquerades packets from pods to pods (nft list ruleset, iptables -t nat -S): it must leave out the addresses of the IPPools`,
  })
}
