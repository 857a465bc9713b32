// Nothing that a configuration can say fails later than its reading: any file that is read is applied to a speaker whose
// neighbour comes up and sends routes, and nothing throws. What must not be is refused before.
import test from 'ava'
import fc from 'fast-check'
import type { PeerConfig, Role } from '../../../bgp/config.ts'
import { parseConfigFile } from '../../../bgp/file/config-file.ts'
import { ConfigError } from '../../../bgp/file/faults.ts'
import type { ConfigFile } from '../../../bgp/file/types.ts'
import { relation } from '../../../bgp/fsm/negotiate.ts'
import { MemoryNetwork } from '../../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../../bgp/speaker.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { SaidBfd } from '../said-bfd.ts'
import { settle } from '../settle.ts'

const OURS = '10.0.0.1'
const THEIRS = '10.0.0.2'
const COUNTERPART: Readonly<Record<Role, Role>> = {
  provider: 'customer',
  customer: 'provider',
  rs: 'rs-client',
  'rs-client': 'rs',
  peer: 'peer',
}

/** Values that some field takes and others must not. */
const odd = fc.constantFrom<unknown>(
  ...[-1, 0, 1, 255, 256, 65535, 65536, 4294967295, 4294967296, 1.5, true, false, null, '', 'x', [], {}],
  ...['70000:1', '99999:1', '65001:100', '1:2:3', '1:2:4294967296', 'rt:65001:1', 'rt:70000:70000', 'no-export'],
  ...['0.0.0.0', '10.0.0.2', '10.0.0.9', '127.0.0.1', '224.0.0.1', '255.255.255.255', '::', 'fe80::1', '2001:db8::1'],
  ...['0.0.0.0/0', '10.0.0.0/8', '10.0.0.1/8', '10.0.0.0/33', '::/0', '2001:db8::/32', '2001:db8::/129'],
  ...['accept', 'reject', 'external', 'internal', 'peer', 'keep', 'ipv6-unicast', 'x'.repeat(300)],
)

const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 })
const cidr = fc.constantFrom('10.0.0.0/8', '203.0.113.0/24', '198.51.100.0/25', '2001:db8::/32', '0.0.0.0/0')
const community = fc.oneof(
  fc.tuple(fc.nat(65535), fc.nat(65535)).map(([high, low]) => `${high}:${low}`),
  fc.constantFrom('no-export', 'no-llgr', '4200000000:1:2', 'rt:65001:7', 'ro:192.0.2.1:1', 'encap:8'),
)
const asn = fc.oneof(
  fc.constantFrom(1, 23456, 64512, 65001, 65002, 65535, 65536),
  fc.integer({ min: 1, max: 4294967295 }),
)
const rules = fc.array(
  fc.record(
    {
      action: fc.constantFrom('accept', 'accept', 'reject'),
      family: fc.constantFrom('ipv4', 'ipv6'),
      match: fc.record({ operator: fc.constantFrom('Equal', 'NotEqual', 'In', 'NotIn'), cidr }),
      peerType: fc.constantFrom('eBGP', 'iBGP'),
      communities: fc.array(community, { maxLength: 2 }),
      asPathPrefix: fc.array(asn, { maxLength: 2 }),
      priority: fc.nat(2147483647),
      operations: fc.array(
        fc.oneof(
          fc.record({ do: fc.constant('add-community'), value: community }),
          fc.record({ do: fc.constant('prepend-as-path'), asns: fc.array(asn, { minLength: 1, maxLength: 100 }) }),
          fc.record({ do: fc.constant('set-priority'), value: fc.nat(2147483647) }),
        ),
        { maxLength: 3 },
      ),
    },
    { requiredKeys: ['action'] },
  ),
  { maxLength: 3 },
)
const policy = fc.oneof(fc.constant('accept'), fc.constant('reject'), rules)

const theNeighbor = fc.record(
  {
    asn: fc.oneof(asn, fc.constantFrom('external', 'internal')),
    address: fc.constant(THEIRS),
    localAs: asn,
    passive: fc.boolean(),
    password: fc.string({ minLength: 1, maxLength: 20 }),
    multihop: fc.integer({ min: 1, max: 255 }),
    bfd: fc.record(
      { interval: fc.constantFrom(50, 300, 60_000), multiplier: fc.constantFrom(1, 3, 255), multihop: fc.boolean() },
      { requiredKeys: [] },
    ),
    holdTime: fc.constantFrom(0, 3, 90, 65535),
    delayOpen: fc.nat(3),
    families: fc.uniqueArray(fc.constantFrom('ipv4-unicast', 'ipv6-unicast'), { minLength: 1 }),
    addPath: fc.record({ send: fc.boolean(), receive: fc.boolean() }),
    extendedNextHop: fc.boolean(),
    gracefulRestart: fc.oneof(
      fc.constant(false),
      fc.record({ restartTime: fc.nat(4095), longLivedStaleTime: fc.integer({ min: 1, max: 16777215 }) }),
    ),
    reflectorClient: fc.boolean(),
    nextHop: fc.constantFrom('auto', 'self', 'keep'),
    role: fc.constantFrom('provider', 'rs', 'rs-client', 'customer', 'peer'),
    allowAsIn: fc.nat(10),
    removePrivateAs: fc.boolean(),
    sendCommunities: fc.uniqueArray(fc.constantFrom('standard', 'extended', 'large')),
    import: policy,
    export: policy,
  },
  { requiredKeys: ['asn', 'address'] },
)

const aFile = fc.record(
  {
    asn,
    routerId: fc.constant(OURS),
    clusterId: fc.constantFrom('10.0.0.1', '0.0.0.1'),
    confederation: fc.record({ identifier: asn, members: fc.uniqueArray(asn, { maxLength: 3 }) }),
    alwaysCompareMed: fc.boolean(),
    multipath: fc.record(
      {
        paths: fc.integer({ min: 1, max: 64 }),
        of: fc.constantFrom('ebgp', 'ibgp', 'either', 'merge'),
        asPath: fc.constantFrom('length', 'same'),
        weights: fc.constant('link-bandwidth'),
      },
      { requiredKeys: ['paths', 'of'] },
    ),
    listen: fc.constantFrom([`${OURS}:179`], ['0.0.0.0', '[::]:179']),
    neighbors: fc.tuple(theNeighbor),
    networks: fc.uniqueArray(
      fc.record(
        {
          prefix: cidr,
          nextHop: some(fc.constantFrom('192.0.2.1', '2001:db8::1')),
          communities: fc.array(community, { maxLength: 3 }),
          encapsulations: fc.uniqueArray(fc.integer({ min: 1, max: 65534 }), { maxLength: 2 }),
          med: fc.nat(4294967295),
          localPref: fc.nat(4294967295),
        },
        { requiredKeys: ['prefix'] },
      ),
      { selector: ({ prefix }) => prefix, maxLength: 3 },
    ),
  },
  { requiredKeys: ['asn', 'routerId', 'neighbors'] },
)

/** The file, or undefined when it is refused with faults that can be shown to people. */
function read(file: unknown): ConfigFile | undefined {
  try {
    return parseConfigFile(JSON.stringify(file))
  } catch (error) {
    if (!(error instanceof ConfigError) || error.faults.length === 0) throw error
    return undefined
  }
}

/** Applies a file to a speaker at 10.0.0.1 with a fitting neighbour at 10.0.0.2; answers whether both met and exchanged. */
async function apply({
  speaker: config,
  peers,
  networks,
  listen,
}: ConfigFile): Promise<{ up: boolean; received: number }> {
  const network = new MemoryNetwork()
  const clock = new ManualClock()
  const ours = new Speaker(config, { transport: network.host(OURS), clock, random: () => 1, bfd: new SaidBfd() })
  const peer = peers.find(({ address, range }) => address === THEIRS || range !== undefined)
  const remoteAs =
    peer === undefined || peer.asn === 'external'
      ? 65009
      : peer.asn === 'internal'
        ? (peer.localAs ?? config.asn)
        : peer.asn
  const inside = peer !== undefined && relation(config, peer, remoteAs).peerType === 'confed'
  const theirs = new Speaker(
    {
      asn: remoteAs,
      routerId: THEIRS,
      confederation: inside
        ? config.confederation && {
            ...config.confederation,
            members: [...config.confederation.members, peer.localAs ?? config.asn],
          }
        : undefined,
    },
    { transport: network.host(THEIRS), clock, random: () => 1 },
  )
  await theirs.listen({ address: THEIRS, port: peer?.port ?? 179 })
  for (const endpoint of [...listen, { address: OURS, port: 179 }]) await ours.listen(endpoint)
  for (const each of networks) ours.announce(each)
  const extended = [0x0002fde900000007n]
  for (const prefix of ['192.0.2.0/24', '2001:db8:9::/48'])
    theirs.announce({
      prefix,
      nextHop: prefix.includes(':') ? '2001:db8::2' : '192.0.2.2',
      communities: [0xfde90064, { global: 1, local1: 2, local2: 3 }, ...extended],
      med: 5,
    })
  if (peer !== undefined) theirs.setPeer(counterpart(config, peer, remoteAs))
  for (const each of peers) ours.setPeer(each)
  for (let i = 0; i < 6; i++) {
    await settle(30)
    clock.advance(1000)
  }
  await settle(30)
  const status = ours.peers().find(({ state }) => state === 'Established')
  // what an operator may do at any time
  for (const { name } of ours.peers()) for (const kind of ['soft-in', 'soft-out'] as const) ours.clear(name, kind)
  await settle(30)
  for (const { prefix } of networks) ours.explain(prefix)
  ours.explain('192.0.2.0/24')
  for (const each of peers) ours.setPeer({ ...each, import: each.export, export: each.import })
  await settle(30)
  const received = status?.prefixes.received ?? 0
  await Promise.all([ours.close(), theirs.close()])
  await settle(10)
  return { up: status !== undefined, received }
}

/** How the neighbour is configured so that both agree. */
function counterpart(config: ConfigFile['speaker'], peer: PeerConfig, remoteAs: number): PeerConfig {
  const { addPath, role, families, extendedNextHop, passive, gracefulRestart } = peer
  return {
    address: OURS,
    asn: relation(config, peer, remoteAs).localAs,
    passive: passive !== true && peer.range === undefined,
    families: families ?? ['ipv4-unicast', 'ipv6-unicast'],
    addPath: { send: addPath?.receive, receive: addPath?.send },
    extendedNextHop,
    gracefulRestart,
    role: role && COUNTERPART[role],
    import: 'accept',
    export: 'accept',
  }
}

/** Files whose every value is good by itself and that contradict themselves nowhere. */
const goodFile = aFile.filter(file => read(file) !== undefined)

test('any file that is read comes up with a fitting neighbour, exchanges routes and takes every change of policy', async t => {
  await fc.assert(
    fc.asyncProperty(goodFile, async file => {
      const { up, received } = await apply(parseConfigFile(JSON.stringify(file)))
      t.true(up && received > 0, JSON.stringify(file))
    }),
    { numRuns: 150 },
  )
})

test('a file with any one value changed is refused when it is read, or works', async t => {
  let refused = 0
  await fc.assert(
    fc.asyncProperty(goodFile, fc.nat(), odd, fc.constantFrom('set', 'twice', 'gone'), async (file, at, value, how) => {
      const changed = mutated(file, at, value, how)
      const config = read(changed)
      if (config === undefined) {
        refused++
        return
      }
      await apply(config)
    }),
    { numRuns: 300 },
  )
  t.true(refused > 50, `${refused} of 300 were refused`)
})

/** A copy with one of its values, counted in order, replaced, doubled (an entry of a list), or taken out. */
function mutated(file: object, at: number, value: unknown, how: 'set' | 'twice' | 'gone'): unknown {
  const copy = structuredClone(file)
  const places: { holder: Record<string, unknown> | unknown[]; key: string | number }[] = []
  const visit = (holder: Record<string, unknown> | unknown[]): void => {
    for (const [key, inner] of Object.entries(holder)) {
      places.push({ holder, key: Array.isArray(holder) ? Number(key) : key })
      if (typeof inner === 'object' && inner !== null) visit(inner as Record<string, unknown>)
    }
  }
  visit(copy as Record<string, unknown>)
  const { holder, key } = places[at % places.length]!
  if (Array.isArray(holder) && how === 'twice') holder.splice(Number(key), 0, structuredClone(holder[Number(key)]))
  else if (how === 'gone') Reflect.deleteProperty(holder, key)
  else Reflect.set(holder, key, value)
  return copy
}
