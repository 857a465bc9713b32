// What needs more than two speakers or a capability that not every daemon has: ADD-PATH (RFC 7911), reflection (RFC 4456),
// long-lived graceful restart (RFC 9494) and roles (RFC 9234), each with the daemons that have it.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { fromOurs } from './attribute-suite.ts'
import { bird, exabgp, frr, gobgp } from './daemons.ts'
import { farSource, SOURCE } from './far-source.ts'
import {
  type DaemonKind,
  Margay,
  type MargayConfig,
  makeLink,
  neighbors,
  runnable,
  type TestLink,
  THEIRS,
  until,
  type Wanted,
} from './interop.ts'
import { seen } from './seen.ts'

const FAMILIES = ['ipv4', 'ipv6'] as const
type Family = (typeof FAMILIES)[number]
const SHARED = { ipv4: '10.9.0.0/24', ipv6: '2001:db8:9::/64' } as const
const base: Wanted = { asn: 65002, peerAsn: 65001, holdSeconds: 90, ipv4: ['10.2.0.0/24'], ipv6: ['2001:db8:b::/64'] }
const PATIENCE_MS = 90_000

/** Sessions of a daemon with a third speaker at `SOURCE`, in its own language. */
type Third = (asn: number, peerAsn: number, client: boolean) => NonNullable<Wanted['lines']>

const both = (text: (family: Family) => string) => FAMILIES.map(text).join('\n')

const birdThird: Third = (asn, peerAsn, client) => ({
  session: () => (client ? 'rr client;' : ''),
  family: () => 'export all; next hop self off;',
  end: both(
    family => `protocol bgp third_${family} {
  local ${THEIRS[family]} as ${asn}; neighbor ${SOURCE[family]} as ${peerAsn}; passive yes; ${client ? 'rr client;' : ''}
  ${family} { import all; export ${client ? 'all' : 'none'}; };
}`,
  ),
})

const frrThird: Third = (_, peerAsn, client) => ({
  family: peer => (client ? `no neighbor ${peer} next-hop-self\n  neighbor ${peer} route-reflector-client` : '!'),
  end: both(
    family => ` neighbor ${SOURCE[family]} remote-as ${peerAsn}
 neighbor ${SOURCE[family]} passive
 address-family ${family} unicast
  neighbor ${SOURCE[family]} activate
  ${client ? `neighbor ${SOURCE[family]} route-reflector-client` : '!'}
 exit-address-family`,
  ),
})

const gobgpThird: Third = (_, peerAsn) => ({
  end: both(
    family => `[[neighbors]]
  [neighbors.config]
    neighbor-address = "${SOURCE[family]}"
    peer-as = ${peerAsn}
  [neighbors.transport.config]
    passive-mode = true
    local-address = "${THEIRS[family]}"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "${family}-unicast"`,
  ),
})

/** A daemon and `margay-bgp` on one link. */
function world(kind: DaemonKind, link: TestLink, theirs: Partial<Wanted>, more: Record<string, unknown>, top = {}) {
  const wanted = { ...base, ...theirs }
  const beside = kind.beside?.(link)
  if (beside !== undefined) link.run('theirs', { name: 'beside', ...beside })
  const launch = () => link.run('theirs', { name: kind.name, ...kind.prepare(link, wanted) })
  const config: MargayConfig = { asn: wanted.peerAsn, neighbors: fromOurs(neighbors(wanted, more)), ...top }
  const margay = new Margay(link, config)
  const daemon = launch()
  const why = () => `${margay.program.output().slice(-3000)}\n${daemon.output().slice(-3000)}`
  return { wanted, config, margay, daemon, launch, why }
}

const whenRunnable = (...kinds: readonly DaemonKind[]) => (kinds.every(runnable) ? test.serial : test.serial.skip)
if (![bird, frr, gobgp, exabgp].every(runnable))
  test('not every daemon is here', t => {
    t.log('needs root and BIRD, FRR, GoBGP, ExaBGP; what lacks one is skipped')
    t.pass()
  })

for (const [kind, third] of [
  [bird, birdThird],
  [frr, frrThird],
  [gobgp, gobgpThird],
] as const) {
  whenRunnable(kind, exabgp)(`${kind.name} gets all paths of a prefix from us with ADD-PATH`, async t => {
    t.timeout(4 * PATIENCE_MS)
    await using link = makeLink()
    const sources = FAMILIES.map(family => ({
      ...{ name: family, address: SOURCE[family], asn: 65010, passive: true, import: 'accept', export: 'accept' },
    }))
    const addPath = { send: true, receive: true }
    const { margay, config, why } = world(kind, link, { addPath: true }, { addPath })
    const networks = Object.values(SHARED)
    await until('it answers', async () => (await margay.peers()).length === 2, why, PATIENCE_MS)
    await margay.reload({ ...config, networks, neighbors: [...(config['neighbors'] as []), ...sources] })
    const routes = networks.map(prefix => ({ prefix, asPath: [65010, 64500] }))
    const source = farSource(link, { asn: 65010, peerAsn: 65001, routes })
    const paths = (family: Family) => seen[kind.name]!(link, SHARED[family]).map(({ asPath }) => asPath?.join(' '))
    for (const family of FAMILIES) {
      await until(`two paths, ${family}`, () => paths(family).length === 2, why, PATIENCE_MS)
      t.deepEqual(paths(family).sort(), ['65001', '65001 65010 64500'])
    }
    await source.stop()
    for (const family of FAMILIES)
      await until(`one path, ${family}`, () => paths(family).join() === '65001', why, PATIENCE_MS)
  })

  whenRunnable(kind, exabgp)(`${kind.name} gives us all paths of a prefix with ADD-PATH`, async t => {
    t.timeout(4 * PATIENCE_MS)
    await using link = makeLink()
    const lines = third(65002, 65010, false)
    const addPath = { send: true, receive: true }
    const { wanted, margay, why } = world(kind, link, { addPath: true, lines }, { addPath })
    const prefixes = FAMILIES.map(family => wanted[family][0]!)
    const routes = prefixes.map(prefix => ({ prefix, asPath: [65010, 64500] }))
    const source = farSource(link, { asn: 65010, peerAsn: 65002, routes, to: Object.values(THEIRS) })
    const begun = () => {
      kind.begin?.(link, wanted)
      return true
    }
    await until('it takes commands', begun, why, PATIENCE_MS)
    const paths = async (prefix: string) => (await margay.route(prefix)).candidates
    const texts = async (prefix: string) => (await paths(prefix)).map(({ attributes }) => attributes.asPath).sort()
    for (const prefix of prefixes) {
      await until(`two paths of ${prefix}`, async () => (await paths(prefix)).length === 2, why, PATIENCE_MS)
      t.deepEqual(await texts(prefix), ['65002', '65002 65010 64500'])
      t.is(new Set((await paths(prefix)).map(({ pathId }) => pathId)).size, 2)
    }
    await source.stop()
    for (const prefix of prefixes)
      await until(`one path of ${prefix}`, async () => (await texts(prefix)).join() === '65002', why, PATIENCE_MS)
  })
}

for (const [kind, third] of [
  [bird, birdThird],
  [frr, frrThird],
] as const)
  whenRunnable(kind)(
    `${kind.name} reflects between two of ours, and we refuse a route with our cluster id`,
    async t => {
      t.timeout(4 * PATIENCE_MS)
      await using link = makeLink()
      const wanted = { asn: 65001, lines: third(65001, 65001, true) }
      const { margay, config, why } = world(kind, link, wanted, {})
      const second = secondSpeaker(link, Object.values(SHARED))
      const reasons = () => `${why()}\n${second.output().slice(-2000)}`
      for (const family of FAMILIES) {
        const route = async () => (await margay.route(SHARED[family])).candidates[0]
        await until(`it is reflected, ${family}`, async () => (await route())?.best === true, reasons, PATIENCE_MS)
        const { originatorId, clusterList, nextHop } = (await route())!.attributes
        t.deepEqual([originatorId, clusterList], [SOURCE.ipv4, [THEIRS.ipv4]])
        t.is(nextHop, SOURCE[family])
      }
      await margay.program.stop()
      margay.write({ ...config, clusterId: THEIRS.ipv4 })
      margay.start()
      for (const family of FAMILIES) {
        const route = async () => (await margay.route(SHARED[family])).candidates[0]
        await until(
          `it is refused, ${family}`,
          async () => (await route())?.import.accepted === false,
          reasons,
          PATIENCE_MS,
        )
        t.regex(JSON.stringify((await route())?.import), /cluster/)
      }
    },
  )

/** Another `margay-bgp` at `SOURCE`, which dials the daemon and announces `networks` to it. */
function secondSpeaker(link: TestLink, networks: readonly string[]) {
  for (const [family, length] of [
    ['ipv4', 24],
    ['ipv6', 64],
  ] as const)
    execFileSync('ip', ['-n', link.ours.name, 'addr', 'replace', `${SOURCE[family]}/${length}`, 'dev', 'e0'])
  const path = join(link.folder, 'second.yaml')
  const sessions = FAMILIES.map(family => ({
    ...{ address: THEIRS[family], source: SOURCE[family], asn: 65001, connectRetry: 1 },
  }))
  writeFileSync(path, JSON.stringify({ asn: 65001, routerId: SOURCE.ipv4, networks, neighbors: sessions }))
  const program = new URL('../../agent/margay-bgp.ts', import.meta.url).pathname
  return link.run('ours', { name: 'second', command: process.execPath, args: [program, '--config', path] })
}
