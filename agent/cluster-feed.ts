// Passes on the changes of the cluster's objects: nodes to felix by key and at once; pools and settings, each of which is a
// matter of all objects of its kind, when `tell` is called after a burst of changes; to BGP the sessions that changed and the
// blocks to announce when `flush` is called. Hazard: work for all objects at each of them is quadratic at the start of an agent.
import { isDeepStrictEqual } from 'node:util'
import type { Resource } from '../api/kinds.ts'
import { type Condition, conditionKey } from '../api/status.ts'
import { configurationOf, NODE_CONFIGURATION_KINDS, nodeOfConfiguration } from '../api/unsupported.ts'
import type { Peering, Pool } from '../felix/input.ts'
import type { Felix } from '../felix/loop.ts'
import { hostPrefix } from '../lib/ip.ts'
import type { BgpSecrets } from './bgp-secrets.ts'
import { advertised } from './cluster/advertised.ts'
import { meshOf, peersOf, reflectorsOf } from './cluster/bgp-objects.ts'
import { clusterRoutesOfNobody } from './cluster/cluster-routes.ts'
import { fieldsCondition } from './cluster/fields.ts'
import {
  type LocalPod,
  type PeeringAddresses,
  PeeringEndpoints,
  peeringAddresses,
  peeringOf,
} from './cluster/local-pods.ts'
import { askedMultipath } from './cluster/multipath.ts'
import { newcomers, podRanges, rangesOfPods } from './cluster/newcomers.ts'
import { addressesOf, claimsOf, type NodeFacts, nodeFacts, remoteNode, rivalOf, routerIdOf } from './cluster/nodes.ts'
import { PeerWays } from './cluster/peer-ways.ts'
import type { Peers } from './cluster/peers.ts'
import { felixPools } from './cluster/pools.ts'
import { allRanges, isExcluded, serviceRanges } from './cluster/services.ts'
import { type BgpSettings, bgpSettings, felixSettings } from './cluster/settings.ts'
import { trustedPools } from './cluster/trust.ts'
import type { ClusterView, Watched } from './cluster-view.ts'
import { draining } from './drained.ts'
import type { Routing } from './routing.ts'
import type { ServiceFeed } from './service-feed.ts'

export type ClusterFeedDeps = {
  nodeName: string
  view: Pick<ClusterView, 'onChange' | 'all' | 'get'>
  felix: Pick<Felix, 'set' | 'configure'>
  secrets: Pick<BgpSecrets, 'want' | 'onChange'>
  services: Pick<ServiceFeed, 'setRanges' | 'setExcluded' | 'take' | 'refused'>
  report: (source: string, conditions: readonly Condition[]) => void
  /** Something changed that `tell` and `flush` have to pass on. */
  changed: () => void
}

/** This node's addresses: at least one. Another node's are in its facts by the same names. `subnets`: of all its interfaces, as CIDRs. */
type OwnAddresses = Pick<NodeFacts, 'address' | 'ipv6Address'> & { subnets: readonly string[] }

export class ClusterFeed {
  readonly #deps: ClusterFeedDeps
  readonly #nodes = new Map<string, NodeFacts>()
  /** The nodes that have each address and MAC. */
  readonly #claimants = new Map<string, Set<string>>()
  /** Of nodes, or of none any more: what `flush` tells. */
  readonly #movedClaims = new Set<string>()
  readonly #unreadable = new Map<string, readonly Condition[]>()
  readonly #fields = new Map<string, Condition>()
  #pools: ReadonlyMap<string, Pool> = new Map()
  #peers: Peers | undefined
  readonly #ways = new PeerWays()
  readonly #peering = new PeeringEndpoints()
  /** What felix was told last. */
  #peeringTold: Peering | undefined
  /** Interfaces of pods of this node, by the ids of their endpoints. */
  readonly #pods = new Map<string, LocalPod>()
  /** What `tell` passes on. */
  readonly #waiting = new Set<'pools' | 'settings' | 'fields'>()
  #own: OwnAddresses | undefined

  constructor(deps: ClusterFeedDeps) {
    const { view, secrets, changed } = deps
    this.#deps = deps
    view.onChange('Node', ({ key, after }) => this.#node(key, after))
    view.onChange('BGPPeer', ({ key, after }) => {
      this.#peers?.bgpPeer(key, after)
      changed()
    })
    secrets.onChange((secret, password) => {
      this.#peers?.password(secret, password)
      changed()
    })
    view.onChange('BGPFilter', ({ key, after }) => {
      this.#peers?.filter(key, after)
      changed()
    })
    view.onChange('IPPool', () => this.#wait('pools'))
    view.onChange('BGPConfiguration', ({ key, after }) => {
      const node = nodeOfConfiguration(key)
      if (node === undefined) this.#peers?.configure(meshOf(view.get('BGPConfiguration', 'default')))
      else this.#peers?.listenPort(node, after?.spec.listenPort)
      this.#wait('settings')
    })
    view.onChange('ClusterInformation', ({ key, after }) => {
      if (key !== 'default') return
      this.#peers?.configure({ reflectors: reflectorsOf(after) })
      changed()
    })
    view.onChange('FelixConfiguration', () => this.#wait('settings'))
    for (const kind of NODE_CONFIGURATION_KINDS) this.#followFields(kind)
    this.#configure()
  }

  /** Passes on what waits for felix and the status model. */
  tell(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    if (waiting.includes('pools')) this.#tellPools()
    if (waiting.includes('settings')) this.#configure()
    this.#tellPeering()
    if (waiting.includes('fields')) this.#deps.report('fields', [...this.#fields.values()])
  }

  #wait(part: 'pools' | 'settings' | 'fields'): void {
    this.#waiting.add(part)
    this.#deps.changed()
  }

  /** Sets this node's addresses: from now on it has sessions. */
  open(own: OwnAddresses): void {
    const { nodeName, view } = this.#deps
    const { address, ipv6Address } = own
    this.#own = own
    if (this.#peers !== undefined) {
      this.#peers.configure({ address, ipv6Address })
      return
    }
    this.#peers = peersOf({ nodeName, address, ipv6Address }, this.#nodes.values(), view)
    for (const [id, pod] of this.#pods) this.#peers.pod(id, pod)
  }

  /** An interface of a pod of this node changed, appeared, or went. */
  pod(id: string, pod: LocalPod | undefined): void {
    if (pod === undefined) this.#pods.delete(id)
    else this.#pods.set(id, pod)
    if (this.#peers?.pod(id, pod) === true) this.#deps.changed()
  }

  /** Routes that are written although the objects leave them to nobody. */
  #unwritten(): Condition | undefined {
    const { view } = this.#deps
    return clusterRoutesOfNobody(view.get('BGPConfiguration', 'default'), view.get('FelixConfiguration', 'default'))
  }

  /** This node's BGP settings. */
  #settings(): BgpSettings {
    const { view, nodeName } = this.#deps
    return bgpSettings(view.get('BGPConfiguration', 'default'), view.get('BGPConfiguration', configurationOf(nodeName)))
  }

  #peeringAddresses(settings: BgpSettings): PeeringAddresses {
    const pools = this.#deps.view.all('IPPool')
    const { subnets = [] } = this.#own ?? {}
    return peeringAddresses(settings, { pools, subnets, nodeWith: address => this.nodeWith(address) })
  }

  #tellPeering(): void {
    const settings = this.#settings()
    const peering = peeringOf(this.#peeringAddresses(settings), settings.listenPort)
    if (isDeepStrictEqual(peering, this.#peeringTold)) return
    this.#peeringTold = peering
    this.#deps.felix.configure({ peering })
  }

  /**
   * Passes on what waits for the speaker. `blocks` are the CIDRs of this node's own blocks and single addresses; `own` is what else belongs to
   * this node, so that nobody outside the cluster may announce it.
   */
  async flush(
    routing: Pick<
      Routing,
      'trust' | 'admit' | 'identify' | 'share' | 'setPools' | 'drain' | 'change' | 'witness' | 'announce'
    > & {
      nextHops: Pick<Routing['nextHops'], 'recheck' | 'setPeerWay'>
    },
    { blocks, own }: { blocks: readonly string[]; own: readonly string[] },
  ): Promise<void> {
    this.tell()
    const { view, felix, secrets, services, report } = this.#deps
    const peers = this.#peers
    const at = this.#own
    if (peers === undefined || at === undefined) return
    const settings = this.#settings()
    peers.configure({ peering: this.#peeringAddresses(settings) })
    const { asn, clusterId } = peers
    secrets.want(peers.secrets())
    const changes = peers.take()
    const peerings = this.#peering.take(changes)
    const pools = view.all('IPPool')
    const ranges = serviceRanges(settings, pools)
    // first: no peer may be heard under old rules
    routing.trust({
      ...{ own: [...blocks, ...own], pools: trustedPools(pools) },
      services: { ranges: allRanges(ranges), pods: ranges.pods },
      nodes: this.#peering.size === 0 ? [] : [...this.#nodes.values()].flatMap(addressesOf),
    })
    routing.admit(
      newcomers({
        nodeWith: address => this.nodeWith(address),
        asksFor: address => peers.asksFor(address),
        pods: [...podRanges(pools), ...blocks],
      }),
    )
    services.setRanges(ranges)
    const routerId = routerIdOf({ name: this.#deps.nodeName, address: at.address })
    const { multipath, fault } = askedMultipath(view.get('BGPConfiguration', 'default')?.metadata)
    routing.share(multipath)
    routing.setPools(this.#pools.values())
    const { listenPort: port, bindMode } = settings
    await routing.identify({
      asn,
      clusterId,
      routerId,
      port,
      listensEverywhere: bindMode === 'None',
      peering: this.#peeringTold,
      ...{ address: at.address, ipv6Address: at.ipv6Address },
    })
    const drains = this.#nodes.get(this.#deps.nodeName)?.drains ?? false
    routing.drain(drains)
    for (const [id, isPeer] of peerings) felix.set('peer', id, isPeer || undefined)
    for (const [cidr, way] of this.#ways.take(changes)) {
      felix.set('peerWay', cidr, way)
      routing.nextHops.setPeerWay(cidr, way !== undefined)
    }
    routing.change(changes)
    routing.nextHops.recheck(this.#movedClaims)
    this.#movedClaims.clear()
    routing.witness(peers.reflection())
    routing.announce(advertised({ blocks, services: this.#ofServices() }, pools, settings))
    report('peers', [
      ...peers.refused(),
      ...rangesOfPods(peers.ranges(), pools),
      ...(drains ? [draining(this.#deps.nodeName)] : []),
      ...[fault, this.#unwritten()].filter(each => each !== undefined),
      ...services.refused(),
    ])
  }

  /** Whatever a Service says, the address of a node is not announced as its own: sessions and the API server are reached by it. */
  #ofServices(): ReturnType<ServiceFeed['take']> {
    const prefixes = this.#deps.services.take()
    return new Map(
      [...prefixes].filter(([prefix]) => {
        const address = prefix.split('/')[0]!
        return prefix !== hostPrefix(address) || this.nodeWith(address) === undefined
      }),
    )
  }

  /** Another Node that has an address or MAC which this node has, and comes before this node's own object. */
  rival(own: Omit<NodeFacts, 'name' | 'labels' | 'precedence'>): NodeFacts | undefined {
    const published = this.#nodes.get(this.#deps.nodeName)
    if (published === undefined) return undefined
    const facts = { ...published, ...own }
    const others = claimsOf(facts).flatMap(claim => [...(this.#claimants.get(claim) ?? [])])
    return rivalOf(
      facts,
      others.flatMap(name => this.#nodes.get(name) ?? []),
    )
  }

  /** A node that has an address, also for a tunnel. */
  nodeWith(address: string): string | undefined {
    const [name] = this.#claimants.get(address) ?? []
    return name
  }

  #claims(name: string, before: NodeFacts | undefined, facts: NodeFacts | undefined): void {
    const moved = [before, facts].flatMap(each => [each?.address, each?.ipv6Address])
    for (const address of moved) if (address !== undefined) this.#movedClaims.add(address)
    for (const claim of before === undefined ? [] : claimsOf(before)) {
      const names = this.#claimants.get(claim)
      names?.delete(name)
      if (names?.size === 0) this.#claimants.delete(claim)
    }
    for (const claim of facts === undefined ? [] : claimsOf(facts))
      this.#claimants.set(claim, (this.#claimants.get(claim) ?? new Set()).add(name))
  }

  /** Nodes with annotations that cannot be read. */
  unreadable(): Condition[] {
    return [...this.#unreadable.values()].flat()
  }

  #node(name: string, object: Resource<'Node'> | undefined): void {
    const { nodeName, felix, services, changed } = this.#deps
    if (name === nodeName) services.setExcluded(isExcluded(object?.metadata.labels))
    const { facts, refused } =
      object === undefined ? { facts: undefined, refused: [] } : nodeFacts(object, this.#nodes.get(name))
    const same = isDeepStrictEqual(facts, this.#nodes.get(name))
    // of this node every annotation matters: somebody may have overwritten what it published
    if (same && name !== nodeName && refused.length === 0 && !this.#unreadable.has(name)) return
    this.#claims(name, this.#nodes.get(name), facts)
    if (facts === undefined) this.#nodes.delete(name)
    else this.#nodes.set(name, facts)
    if (refused.length === 0) this.#unreadable.delete(name)
    else this.#unreadable.set(name, refused)
    if (name !== nodeName) felix.set('remote', name, facts && remoteNode(facts))
    this.#peers?.node(name, facts)
    changed()
  }

  /** Reports the fields of a kind's objects that are set and have no effect. */
  #followFields<K extends Watched>(kind: K): void {
    this.#deps.view.onChange(kind, ({ before, after }) => {
      const [was, is] = [before && fieldsCondition(kind, before), after && fieldsCondition(kind, after)]
      if (was !== undefined) this.#fields.delete(conditionKey(was))
      if (is !== undefined) this.#fields.set(conditionKey(is), is)
      if (was !== undefined || is !== undefined) this.#wait('fields')
    })
  }

  #tellPools(): void {
    const { view, felix } = this.#deps
    const pools = felixPools(view.all('IPPool'))
    for (const name of this.#pools.keys()) if (!pools.has(name)) felix.set('pool', name, undefined)
    for (const [name, pool] of pools) felix.set('pool', name, pool)
    this.#pools = pools
  }

  #configure(): void {
    const { felix, view, nodeName } = this.#deps
    const own = view.get('FelixConfiguration', configurationOf(nodeName))
    const object = view.get('FelixConfiguration', 'default')
    felix.configure({ config: felixSettings(object, own, view.all('BGPConfiguration')) })
  }
}
