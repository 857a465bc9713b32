import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { programUnderTest } from '../program-file.ts'
import { fromOurs } from './attribute-suite.ts'
import { bird, exabgp, frr, gobgp } from './daemons.ts'
import { addSource, farSource, SOURCE } from './far-source.ts'
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
    t.log('skipped: needs root and BIRD, FRR, GoBGP, ExaBGP; what lacks one is skipped')
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

for (const [kind, role] of [
  [bird, (name: string) => () => `local role ${name};`],
  [frr, (name: string) => (peer: string) => `neighbor ${peer} local-role ${name}`],
] as const)
  whenRunnable(kind)(
    `${kind.name} and we mark routes with OTC by our roles, and refuse roles that do not fit`,
    async t => {
      t.timeout(6 * PATIENCE_MS)
      const ours = Object.values(SHARED)
      await using below = makeLink()
      const customer = world(
        kind,
        below,
        { lines: { session: role('customer') } },
        { role: 'provider' },
        { networks: ours },
      )
      for (const prefix of ours) {
        const paths = () => seen[kind.name]!(below, prefix)
        await until(`it has ${prefix}`, () => paths().length === 1, customer.why, PATIENCE_MS)
        t.is(paths()[0]?.otc, 65001)
      }

      await using above = makeLink()
      const provider = world(kind, above, { lines: { session: role('provider') } }, { role: 'customer' })
      for (const family of FAMILIES) {
        const route = async () => (await provider.margay.route(base[family][0]!)).candidates[0]
        await until(
          `we have its route, ${family}`,
          async () => (await route())?.best === true,
          provider.why,
          PATIENCE_MS,
        )
        t.is((await route())?.attributes.otc, 65002)
      }

      await provider.margay.reload({ ...provider.config, neighbors: fromOurs(neighbors(base, { role: 'provider' })) })
      const refused = async () =>
        (await provider.margay.peers()).every(
          ({ state, reason }) => state !== 'Established' && /role/i.test(reason?.detail ?? ''),
        )
      await until('both sessions are refused for their roles', refused, provider.why, PATIENCE_MS)
    },
  )

for (const [kind, lines] of [
  [bird, { session: () => 'long lived graceful restart yes; long lived stale time 600;' }],
  [frr, { end: ' bgp long-lived-graceful-restart stale-time 600' }],
] as const)
  whenRunnable(kind)(`${kind.name} keeps our routes as long-lived stale ones, and we keep its`, async t => {
    t.timeout(6 * PATIENCE_MS)
    await using link = makeLink()
    const graceful = { gracefulRestart: { restartTime: 1, longLivedStaleTime: 600 } }
    const networks = Object.values(SHARED)
    const { margay, daemon, launch, why } = world(kind, link, { restartSeconds: 1, lines }, graceful, { networks })
    const stale = (prefix: string) => seen[kind.name]!(link, prefix)[0]?.communities?.includes('65535:6') === true
    for (const prefix of networks)
      await until(`it has ${prefix}`, () => seen[kind.name]!(link, prefix).length === 1, why, PATIENCE_MS)
    await margay.program.stop('SIGKILL')
    for (const prefix of networks) await until(`it marks ${prefix}`, () => stale(prefix), why, PATIENCE_MS)
    margay.start()
    for (const prefix of networks) await until(`${prefix} is fresh`, () => !stale(prefix), why, PATIENCE_MS)

    const theirs = FAMILIES.map(family => base[family][0]!)
    const mark = async (prefix: string) => (await margay.route(prefix)).candidates.map(c => c.stale ?? 'fresh').join()
    for (const prefix of theirs)
      await until(`we have ${prefix}`, async () => (await mark(prefix)) === 'fresh', why, PATIENCE_MS)
    await daemon.stop('SIGKILL')
    for (const prefix of theirs)
      await until(`we keep ${prefix}`, async () => (await mark(prefix)) === 'long-lived', why, PATIENCE_MS)
    launch()
    for (const prefix of theirs)
      await until(`${prefix} is fresh again`, async () => (await mark(prefix)) === 'fresh', why, PATIENCE_MS)
    t.pass()
  })

/** Another `margay-bgp` at `SOURCE`, which dials the daemon and announces `networks` to it. */
function secondSpeaker(link: TestLink, networks: readonly string[]) {
  addSource(link)
  const path = join(link.folder, 'second.yaml')
  const sessions = FAMILIES.map(family => ({
    ...{ address: THEIRS[family], source: SOURCE[family], asn: 65001, connectRetry: 1 },
  }))
  writeFileSync(path, JSON.stringify({ asn: 65001, routerId: SOURCE.ipv4, networks, neighbors: sessions }))
  const program = programUnderTest('agent/margay-bgp')
  return link.run('ours', { name: 'second', command: process.execPath, args: [program, '--config', path] })
}
