// Random walks: announcements, withdrawals, sessions that come and go, policies that change, own networks, refreshes and
// readers of all speeds. Wherever a walk ends, every peer holds what the naive RIB says, and the sink and
// monitors too; and when all
// is taken back nothing is left.
import test from 'ava'
import fc from 'fast-check'
import type { Multipath, TrackedPaths } from '../../../bgp/config.ts'
import { FAMILIES } from '../../../bgp/family.ts'
import type { PolicyRule } from '../../../bgp/policy.ts'
import type { RouteAttributes } from '../../../bgp/rib/store/attribute-set.ts'
import type { RibPeer } from '../../../bgp/rib/types.ts'
import type { Attributes } from '../../../bgp/wire/attribute-values.ts'
import { COMMUNITY } from '../../../bgp/wire/iana.ts'
import { addressBytes, ipv4Number } from '../../../lib/ip.ts'
import { AcceptedMonitor, byPrefix, LocRibMonitor, OfferedMonitor, SentMonitor, same } from './monitors.ts'
import { describe, NaiveRib, nextHopOf } from './naive.ts'
import { aPeer, OUR_AS, someAttributes, ToldHops, World } from './sessions.ts'

const PREFIXES = ['10.1.0.0/16', '10.2.3.0/24', '0.0.0.0/0', '203.0.113.7/32', '2001:db8:a::/48', '::/0']

const PEERS: readonly RibPeer[] = [
  aPeer(1),
  aPeer(2, { config: { asn: OUR_AS + 1, group: 'rack' }, remoteAs: OUR_AS + 1 }),
  aPeer(3),
  aPeer(4, { session: { as4: false } }),
  aPeer(5, { peerType: 'ibgp' }),
  aPeer(6, { peerType: 'ibgp', config: { reflectorClient: true, group: 'rack' } }),
  aPeer(7, { peerType: 'ibgp', config: { reflectorClient: true }, addPath: { send: true, receive: true } }),
  aPeer(8, { addPath: { send: true }, config: { removePrivateAs: true } }),
  aPeer(9, { config: { role: 'customer' } }),
  aPeer(10, { peerType: 'ibgp', config: { nextHop: 'self' } }),
]

const ADD_TAG: PolicyRule = { action: 'accept', operations: [{ do: 'add-community', value: '65000:77' }] }
const POLICIES: readonly (readonly PolicyRule[] | 'accept' | 'reject' | undefined)[] = [
  'accept',
  'reject',
  undefined,
  [ADD_TAG],
  [{ action: 'reject', match: { operator: 'In', cidr: '10.0.0.0/8', lengths: { min: 20 } } }, { action: 'accept' }],
  [{ ...ADD_TAG, match: { operator: 'Equal', cidr: '2001:db8:a::/48' } }, { action: 'accept' }],
  [{ action: 'accept', operations: [{ do: 'prepend-as-path', asns: [OUR_AS, OUR_AS] }] }],
  [
    { action: 'reject', communities: ['65000:1'] },
    { action: 'accept', operations: [{ do: 'set-priority', value: 9 }] },
  ],
]

const path = fc.subarray([64512, 7018, 3356, 4200000001, OUR_AS], { minLength: 0 })
const community = fc.constantFrom(
  0xfde80001,
  COMMUNITY.noExport,
  COMMUNITY.noAdvertise,
  COMMUNITY.noExportSubconfed,
  COMMUNITY.gracefulShutdown,
)

type Shape = { asns: number[]; med?: number; localPref: number; origin: number; tags: number[]; foreign: number }
const shape: fc.Arbitrary<Shape> = fc.record({
  asns: path,
  med: fc.option(fc.nat(2), { nil: undefined }),
  localPref: fc.constantFrom(100, 100, 200),
  origin: fc.constantFrom(0, 0, 2),
  tags: fc.uniqueArray(community, { maxLength: 1 }),
  foreign: fc.nat(5),
})

/** Attributes that `peer` could send. */
function attributesFrom(peer: RibPeer, { asns, med, localPref, origin, tags, foreign }: Shape): Attributes {
  const internal = peer.peerType === 'ibgp'
  const a = someAttributes(internal ? asns : [peer.remoteAs, ...asns], { origin, med })
  a.nextHop = ipv4Number(peer.remoteAddress)
  if (tags.length > 0) a.communities = tags
  if (internal) a.localPref = localPref
  if (internal && foreign === 1) Object.assign(a, { originatorId: ipv4Number('10.9.9.9'), clusterList: [1, 2] })
  if (foreign === 2) a.largeCommunities = [{ global: 1, local1: 2, local2: 3 }]
  if (foreign === 3) a.unknown = [{ code: 99, flags: 0xc0, value: Uint8Array.of(1) }]
  if (foreign === 4) a.extendedCommunities = [0x030c000000000008n, 0x4300000000000001n]
  if (foreign === 5 && peer.config.role === undefined) a.otc = 7018
  return a
}

type Step =
  | { do: 'announce'; peer: number; prefixes: string[]; shape: Shape; pathId: number }
  | { do: 'withdraw'; peer: number; prefixes: string[]; pathId: number }
  | { do: 'flap' | 'refresh' | 'read' | 'soft'; peer: number }
  | { do: 'policy'; peer: number; imports: number; exports: number; client: boolean }
  | { do: 'network'; prefix: string; on: boolean; med: number }
  | { do: 'drain'; on: boolean }
  | { do: 'work'; limit: number }
  /** A monitor connects anew, or reads. */
  | { do: 'watch' }
  | { do: 'follow' }
  | { do: 'track'; rule: TrackedPaths | undefined }
  | { do: 'multipath'; rule: Multipath | undefined }
  | { do: 'hop'; hop: string; cost: number | undefined }

const peer = fc.nat(PEERS.length - 1)
const prefixes = fc.subarray(PREFIXES, { minLength: 1 })
const pathId = fc.nat(2)
const policy = fc.nat(POLICIES.length - 1)
const multipath = fc.oneof(
  fc.constant(undefined),
  fc.record({
    paths: fc.integer({ min: 1, max: 3 }),
    of: fc.constantFrom<Multipath['of'][]>('ebgp', 'ibgp', 'either', 'merge'),
    asPath: fc.constantFrom<Multipath['asPath'][]>('length', 'same'),
  }),
)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('announce' as const), peer, prefixes, shape, pathId }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('withdraw' as const), peer, prefixes, pathId }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('flap', 'refresh', 'read', 'soft'), peer }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('policy' as const),
      peer,
      imports: policy,
      exports: policy,
      client: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('network' as const),
      prefix: fc.constantFrom(...PREFIXES),
      on: fc.boolean(),
      med: fc.nat(2),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drain' as const), on: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('work' as const), limit: fc.nat(4) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('watch', 'follow') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('multipath' as const), rule: multipath }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('track' as const),
      rule: fc.option(
        fc.record({
          group: fc.option(fc.constant('rack'), { nil: undefined }),
          spared: fc.subarray(['10.0.0.0/8', PREFIXES[0]!, '2001:db8::/32']),
        }),
        { nil: undefined },
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('hop' as const),
      hop: fc.constantFrom(...PEERS.map(({ remoteAddress }) => remoteAddress), '2001:db8::1'),
      cost: fc.constantFrom(undefined, 0, 0, 5, 7),
    }),
  },
)

const aWalk = fc.array(step, { maxLength: 60, size: 'max' })

/** Both RIBs, walked in step. */
class Pair {
  readonly world: World
  readonly naive = new NaiveRib({ asn: OUR_AS, routerId: '10.0.0.254' })
  readonly up = new Set<RibPeer>()
  monitor: LocRibMonitor
  sent: SentMonitor
  offered: OfferedMonitor
  accepted: AcceptedMonitor
  readonly #hops: ToldHops | undefined
  readonly #costs = new Map<string, number>()

  constructor(backlogOctets: number, tracks: boolean) {
    this.#hops = tracks ? new ToldHops() : undefined
    this.world = new World({}, { backlogOctets, nextHops: this.#hops })
    if (tracks) this.naive.costs = this.#costs
    this.monitor = new LocRibMonitor(this.world.rib)
    this.sent = new SentMonitor(this.world.rib, [])
    this.offered = new OfferedMonitor(this.world.rib, [])
    this.accepted = new AcceptedMonitor(this.world.rib, [])
    this.world.watch = (key, blocks) => this.sent.apply(key, blocks)
  }

  take(s: Step): void {
    const { world, naive } = this
    if (s.do === 'work') world.rib.work(s.limit)
    else if (s.do === 'follow' || s.do === 'watch') this.#follow(s.do === 'watch')
    else if (s.do === 'multipath') {
      world.rib.setMultipath(s.rule)
      naive.multipath = s.rule
    } else if (s.do === 'drain') {
      world.rib.setDraining(s.on)
      naive.draining = s.on
    } else if (s.do === 'track') {
      world.rib.setTracked(s.rule)
      naive.tracked = s.rule ?? {}
    } else if (s.do === 'hop') {
      this.#hops?.tell(s.hop, s.cost)
      if (s.cost === undefined) this.#costs.delete(s.hop)
      else this.#costs.set(s.hop, s.cost)
    } else if (s.do === 'network') {
      if (s.on) world.rib.announce({ prefix: s.prefix, med: s.med })
      else world.rib.withdraw(s.prefix)
      if (s.on) naive.originate({ prefix: s.prefix, med: s.med })
      else naive.unoriginate(s.prefix)
    } else this.#withPeer(PEERS[s.peer]!, s)
  }

  #follow(anew: boolean): void {
    if (anew) {
      this.monitor.feed.close()
      this.monitor = new LocRibMonitor(this.world.rib)
      this.sent = new SentMonitor(this.world.rib, this.up)
      this.offered.feed.close()
      this.offered = new OfferedMonitor(this.world.rib, this.up)
      this.accepted.feed.close()
      this.accepted = new AcceptedMonitor(this.world.rib, this.up)
    } else {
      this.monitor.read()
      this.sent.read()
      this.offered.read()
      this.accepted.read()
    }
  }

  #withPeer(
    peer: RibPeer,
    s: Exclude<Step, { do: 'work' | 'network' | 'multipath' | 'drain' | 'track' | 'hop' | 'watch' | 'follow' }>,
  ): void {
    const { world, naive } = this
    if (s.do === 'flap' && this.up.has(peer)) {
      this.up.delete(peer)
      world.lost(peer)
      this.sent.lost(peer)
      this.offered.lost(peer)
      this.accepted.lost(peer)
      naive.down(peer.key)
      return
    }
    if (!this.up.has(peer)) {
      this.up.add(peer)
      world.up(peer)
      this.sent.up(peer)
      this.offered.up(peer)
      this.accepted.up(peer)
      naive.up(peer)
    }
    const id = (prefix: string, pathId: number) => {
      const { ipv4, ipv6 } = peer.receive.addPath
      return (prefix.includes(':') ? ipv6 : ipv4) ? pathId : 0
    }
    const wireId = (pathId: number) => (peer.receive.addPath.ipv4 ? pathId : undefined)
    switch (s.do) {
      case 'announce': {
        const attributes = attributesFrom(peer, s.shape)
        const error = world.send(peer, { announce: s.prefixes, attributes, pathId: wireId(s.pathId) })
        if (error !== undefined) throw error
        const { nextHop, ...others } = attributes
        for (const prefix of s.prefixes) {
          const mp: RouteAttributes = { attributes: others, mpNextHop: addressBytes('2001:db8::1') }
          const set = prefix.includes(':') ? mp : { attributes }
          naive.announce(peer.key, prefix, id(prefix, s.pathId), set)
        }
        break
      }
      case 'withdraw':
        world.send(peer, { withdraw: s.prefixes, pathId: wireId(s.pathId) })
        for (const prefix of s.prefixes) naive.withdraw(peer.key, prefix, id(prefix, s.pathId))
        break
      case 'refresh':
        for (const family of peer.families) world.rib.refresh(peer.key, family, 'request')
        break
      case 'soft':
        world.rib.soft(peer.key, 'in')
        break
      case 'read': {
        const blocks = world.rib.pull(peer.key, 1)
        if (blocks !== undefined) world.took(peer.key, blocks)
        break
      }
      case 'policy': {
        const config = { ...peer.config, import: POLICIES[s.imports], export: POLICIES[s.exports] }
        if (peer.peerType === 'ibgp') config.reflectorClient = s.client
        world.rib.setPolicies(peer.key, config)
        naive.configure(peer.key, config)
      }
    }
  }

  compare(): void {
    const { world, naive } = this
    world.settle()
    for (const { key } of this.up) {
      const want = [...naive.heldBy(key)].map(([prefix, sets]) => [prefix, sets.map(describe).sort()] as const)
      same(`${key} holds`, byPrefix(world.down.get(key)!.held), new Map(want))
    }
    const selected = new Map<string, string>()
    for (const prefix of naive.prefixes()) {
      const used = naive.used(prefix)
      const texts = used.map(({ from, set }) => `${from?.key} ${nextHopOf(set)}`)
      if (used[0]?.from !== undefined) selected.set(prefix, texts.join())
    }
    const sunk = [...world.sink.routes].map(([prefix, route]) => {
      const paths = route.paths ?? [route]
      if (paths[0]!.peer !== route.peer || paths[0]!.nextHop !== route.nextHop) throw new Error('the first is another')
      return [prefix, paths.map(({ peer, nextHop }) => `${peer} ${nextHop}`).join()] as const
    })
    same('the sink has', new Map(sunk), selected)
    this.monitor.compare(naive)
    this.sent.compare(world.down)
    this.offered.compare(naive)
    this.accepted.compare()
    const counted = FAMILIES.reduce((sum, family) => sum + world.rib.selectedCount(family), 0)
    if (counted !== this.monitor.told.held.size) throw new Error(`${counted} are counted as selected`)
  }

  /** Takes everything back; nothing may be left. */
  clear(): void {
    for (const prefix of PREFIXES) this.world.rib.withdraw(prefix)
    for (const peer of this.up) {
      this.world.lost(peer)
      this.sent.lost(peer)
      this.offered.lost(peer)
      this.accepted.lost(peer)
    }
    this.world.settle()
    while (this.monitor.read());
    while (this.offered.read());
    while (this.accepted.read());
    if (this.monitor.told.held.size > 0) throw new Error(`the monitor has ${[...this.monitor.told.held.keys()]}`)
    const { sets, prefixes, paths } = this.world.rib.sizes()
    if (this.#hops !== undefined && this.#hops.wanted.size > 0) throw new Error(`wanted: ${[...this.#hops.wanted]}`)
    if (sets + prefixes + paths > 0) throw new Error(`left: ${sets} sets, ${prefixes} prefixes, ${paths} paths`)
  }
}

test('after any random walk every peer, the sink and monitors hold what the simple RIB says, and nothing leaks', t => {
  const runs = Number(process.env['MARGAY_RUNS'] ?? 300)
  fc.assert(
    fc.property(aWalk, fc.constantFrom(1, 4 << 20), fc.boolean(), (steps, backlog, tracks) => {
      const pair = new Pair(backlog, tracks)
      for (const [i, s] of steps.entries()) {
        pair.take(s)
        if (i % 16 === 15) pair.compare()
      }
      pair.compare()
      pair.clear()
    }),
    { numRuns: runs, includeErrorInReport: true },
  )
  t.pass()
})
