// Next hops as the kernel knows them, under `margay-bgp` with a kernel table: what goes with them, what comes back, loopbacks over two
// links, a loop, and the interior cost beside what BIRD chooses.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, type ScratchNetns } from '../kernel/scratch-netns.ts'
import { programUnderTest } from '../program-file.ts'
import { bird } from './daemons.ts'
import { Margay, makeLink, runnable, type TestLink, until } from './interop.ts'

const when = isRoot ? test.serial : test.serial.skip
if (!isRoot)
  test('next hops in the kernel are not tested here', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const ip = ({ name }: ScratchNetns, ...args: readonly string[]) =>
  execFileSync(systemProgram('ip'), ['-n', name, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
/** The routes that our speaker wrote. */
const written = (link: TestLink) => ip(link.ours, 'route', 'show', 'proto', '179').trim().split('\n').filter(Boolean)

/** Another speaker at their end, in our AS. */
function another(link: TestLink, address: string, config: Record<string, unknown>) {
  const path = join(link.folder, `${address}.yaml`)
  writeFileSync(path, JSON.stringify({ asn: 65001, routerId: address, listen: [`${address}:179`], ...config }))
  const program = programUnderTest('agent/margay-bgp')
  return link.run('theirs', { name: address, command: process.execPath, args: [program, '--config', path] })
}

const near = (address: string, more: Record<string, unknown> = {}) => ({
  address,
  asn: 65001,
  connectRetry: 1,
  ...more,
})
const inKernel = { kernel: { table: 254 } }

when('a next hop that goes takes its paths out at once, and one that comes back brings them', async t => {
  await using link = makeLink()
  const way = ['10.9.0.0/24', 'via', '192.0.2.2', 'proto', 'static'] as const
  ip(link.ours, 'route', 'add', ...way)
  const margay = new Margay(link, { ...inKernel, neighbors: [near('192.0.2.2', { passive: true })] })
  const networks = Array.from({ length: 1000 }, (_, i) => `10.${100 + (i >> 8)}.${i & 255}.0/24`)
  const other = another(link, '192.0.2.2', {
    neighbors: [near('192.0.2.1')],
    networks: networks.map(prefix => ({ prefix, nextHop: '10.9.0.7' })),
  })
  const why = () => `${margay.program.output().slice(-3000)}\n${other.output().slice(-3000)}`
  const all = (count: number) => until(`${count} routes`, () => written(link).length === count, why)
  await all(networks.length)
  const changed = async (verb: 'add' | 'del', count: number) => {
    const fromMs = performance.now()
    ip(link.ours, 'route', verb, ...way)
    await all(count)
    return Math.round(performance.now() - fromMs)
  }
  // nothing is deleted before the first tables are in
  await changed('del', 0)
  await changed('add', networks.length)
  const goneMs = await changed('del', 0)
  const { candidates } = await margay.route(networks[0]!)
  t.deepEqual(
    candidates.map(({ best, step, reached }) => ({ best, step, reached })),
    [{ best: false, step: 'reachable', reached: { reachable: false, why: 'no route leads there' } }],
  )
  const backMs = await changed('add', networks.length)
  t.log(`${networks.length} routes were out of the kernel after ${goneMs} ms and in again after ${backMs} ms`)
})

when('loopback peering works over two links, and packets take the one that is left', async t => {
  await using link = makeLink()
  const { ours, theirs } = link
  execFileSync(systemProgram('ip'), [
    'link',
    'add',
    'e1',
    'netns',
    ours.name,
    'type',
    'veth',
    'peer',
    'name',
    'e1',
    'netns',
    theirs.name,
  ])
  for (const [netns, n, far] of [
    [ours, 1, 2],
    [theirs, 2, 1],
  ] as const) {
    ip(netns, 'link', 'set', 'e1', 'up')
    ip(netns, 'addr', 'add', `198.51.100.${n}/24`, 'dev', 'e1')
    ip(netns, 'addr', 'add', `10.255.0.${n}/32`, 'dev', 'lo')
    ip(
      netns,
      'route',
      'add',
      `10.255.0.${far}`,
      'nexthop',
      'via',
      `192.0.2.${far}`,
      'nexthop',
      'via',
      `198.51.100.${far}`,
    )
    execFileSync(systemProgram('ip'), [
      ...['netns', 'exec', netns.name, systemProgram('sysctl'), '-qw'],
      ...['net.ipv4.conf.all.ignore_routes_with_linkdown=1', 'net.ipv4.conf.e1.ignore_routes_with_linkdown=1'],
    ])
  }
  const margay = new Margay(link, {
    ...{ ...inKernel, listen: ['10.255.0.1:179'] },
    neighbors: [near('10.255.0.2', { source: '10.255.0.1' })],
  })
  const other = another(link, '10.255.0.2', {
    neighbors: [near('10.255.0.1', { source: '10.255.0.2' })],
    networks: ['203.0.113.0/24'],
  })
  const why = () => `${margay.program.output().slice(-3000)}\n${other.output().slice(-3000)}\n${written(link)}`
  const over = (...ways: string[]) =>
    until(
      `a route over ${ways}`,
      () => {
        const found = [
          ...written(link)
            .join(' ')
            .matchAll(/via (\S+) dev (\S+)/g),
        ].map(([, via, dev]) => `${via} ${dev}`)
        return `${found.sort()}` === `${ways}`
      },
      why,
    )
  await over('192.0.2.2 e0', '198.51.100.2 e1')
  ip(theirs, 'link', 'set', 'e1', 'down')
  await over('192.0.2.2 e0')
  ip(theirs, 'link', 'set', 'e1', 'up')
  // what the kernel took out with the link, somebody who runs such a network puts back
  ip(theirs, 'route', 'replace', '10.255.0.1', 'nexthop', 'via', '192.0.2.1', 'nexthop', 'via', '198.51.100.1')
  await over('192.0.2.2 e0', '198.51.100.2 e1')
  t.deepEqual(
    (await margay.peers()).map(({ state, flaps }) => ({ state, flaps })),
    [{ state: 'Established', flaps: 0 }],
  )
})

when(
  'a loop of next hops is refused and named, and neither comes nor goes again and again; one over another route of BGP is none',
  async t => {
    await using link = makeLink()
    ip(link.ours, 'route', 'add', '10.0.0.0/8', 'via', '192.0.2.2', 'proto', 'static')
    const margay = new Margay(link, { ...inKernel, neighbors: [near('192.0.2.2', { passive: true })] })
    const other = another(link, '192.0.2.2', {
      neighbors: [near('192.0.2.1')],
      networks: [
        { prefix: '10.1.0.0/16', nextHop: '10.1.0.1' },
        '172.16.0.7/32',
        { prefix: '203.0.113.0/24', nextHop: '172.16.0.7' },
      ],
    })
    const why = () => `${margay.program.output().slice(-3000)}\n${other.output().slice(-3000)}`
    const refusal = async () => (await margay.route('10.1.0.0/16')).candidates[0]?.reached
    await until('the loop is named', async () => /next-hop-loop/.test(JSON.stringify(await refusal())), why)
    t.deepEqual(await refusal(), {
      ...{ reachable: false, why: 'next-hop-loop: it is reached over 10.1.0.0/16, which needs it' },
    })
    const wanted = '172.16.0.7 via 192.0.2.2 dev e0,203.0.113.0/24 via 192.0.2.2 dev e0'
    const routes = () => `${written(link).map(line => line.trim())}`
    await until('the route is out', () => routes() === wanted, why)
    // as long as it takes to look again
    for (let i = 0; i < 15; i++) {
      t.is(routes(), wanted)
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  },
)

const besideBird = runnable(bird) ? test.serial : test.serial.skip
besideBird('the interior cost decides between iBGP paths, as it does in BIRD', async t => {
  await using link = makeLink()
  ip(link.ours, 'addr', 'add', '192.0.2.11/24', 'dev', 'e0')
  ip(link.theirs, 'addr', 'add', '192.0.2.3/24', 'dev', 'e0')
  const config = join(link.folder, 'bird.conf')
  const socket = join(link.folder, 'bird.ctl')
  const costs = (first: number, second: number) => {
    const session = (name: string, address: string) =>
      `protocol bgp ${name} { local 192.0.2.11 as 65001; neighbor ${address} as 65001; strict bind yes; passive yes;
        ipv4 { import all; export none; }; }`
    const way = (prefix: string, via: string, cost: number) => `route ${prefix} via ${via} { igp_metric = ${cost}; };`
    writeFileSync(
      config,
      `log stderr all; router id 192.0.2.11; protocol device {} protocol direct { ipv4; }
       protocol static { ipv4; ${way('10.9.1.0/24', '192.0.2.2', first)} ${way('10.9.2.0/24', '192.0.2.3', second)} }
       ${session('p1', '192.0.2.2')} ${session('p2', '192.0.2.3')}`,
    )
    ip(link.ours, 'route', 'flush', 'proto', 'static')
    ip(link.ours, 'route', 'add', '10.9.1.0/24', 'via', '192.0.2.2', 'metric', `${first}`, 'proto', 'static')
    ip(link.ours, 'route', 'add', '10.9.2.0/24', 'via', '192.0.2.3', 'metric', `${second}`, 'proto', 'static')
  }
  costs(20, 10)
  const args = ['-f', '-c', config, '-s', socket, '-P', join(link.folder, 'bird.pid')]
  const daemon = link.run('ours', { name: 'bird', command: bird.program, args })
  const margay = new Margay(link, {
    ...{ ...inKernel, listen: ['192.0.2.1:179'] },
    neighbors: ['192.0.2.2', '192.0.2.3'].map(address => near(address, { passive: true })),
  })
  const neighbors = ['192.0.2.1', '192.0.2.11'].map(address => near(address))
  for (const [address, nextHop] of [
    ['192.0.2.2', '10.9.1.1'],
    ['192.0.2.3', '10.9.2.1'],
  ] as const)
    another(link, address, {
      neighbors: neighbors.map(each => ({ ...each, source: address })),
      networks: [{ prefix: '203.0.113.0/24', nextHop }],
    })
  const ask = (...words: readonly string[]) =>
    execFileSync(systemProgram('birdc'), ['-s', socket, ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  const why = () => `${margay.program.output().slice(-3000)}\n${daemon.output().slice(-3000)}`
  const chosen = async () => {
    const all = (await margay.route('203.0.113.0/24')).candidates
    const [first] = ask('show', 'route', 'primary', 'all', 'for', '203.0.113.0/24').match(/BGP\.next_hop: \S+/) ?? []
    return { of: all.length, margay: all.find(({ best }) => best), bird: first?.replace('BGP.next_hop: ', '') }
  }
  const both = (nextHop: string) =>
    until(
      `both choose ${nextHop}`,
      async () => {
        const { of, margay: best, bird: theirs } = await chosen()
        return of === 2 && best?.attributes.nextHop === nextHop && theirs === nextHop
      },
      why,
    )
  await both('10.9.2.1')
  t.is((await chosen()).margay?.step, 'interior-cost')
  costs(5, 10)
  ask('configure')
  await both('10.9.1.1')
  t.pass()
})
