// Other programs and the routes of a node, on the real kernel: `ip route flush` beside very many foreign routes and while routes
// come and go in storms, routes that take packets, and whom an event names.
import { setTimeout } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import test from 'ava'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, type Route, type RouteChange } from '../../kernel/port/routes.ts'
import { dualStack, type OnNode, onNode } from './foreign-node.ts'
import { isRoot, sweep } from './netns.ts'
import { eventually, table } from './node-kernel.ts'

const MANY = 100_000
const FLUSHES = 40
/** The promise is the median. A machine that is busy with others may miss it: then it is what this process took of a processor. */
const PROMISED_MS = 100
/** What is undone more than twenty times a second is repaired more slowly: each flush takes another third. */
const PAUSE_MS = 25
/** Reading 100,000 routes takes 120 ms of a processor at the least; 3 to 7 ms are measured for a heal. */
const MOST_PROCESSOR_MS = 60
const ATTEMPTS = 3
const STATIC = { table: 254, type: 'unicast', protocol: ROUTE_PROTOCOL.static, scope: ROUTE_SCOPE.link } as const

/** What `ip route flush` does, without reading the table first. */
async function flush({ kernel, heals }: OnNode, routes: readonly Route[]): Promise<void> {
  const isHealed = heals(routes.length)
  await kernel.changeRoutes(routes.map(route => ({ verb: 'delete', route })))
  await isHealed
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

const foreign = (ifindex: number, verb: 'add' | 'delete', count: number, from = 0): RouteChange[] =>
  Array.from({ length: count }, (_, i): RouteChange => {
    const n = from + i
    return { verb, route: { ...STATIC, dst: `20.${n >> 16}.${(n >> 8) & 255}.${n & 255}/32`, ifindex } }
  })

if (!isRoot)
  test('other programs and the routes of a node', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()

  test.serial('flushed routes are back in under 100 ms at the median, beside 100,000 of another program', t =>
    onNode(t, async node => {
      const { index } = (await node.kernel.link('eth0'))!
      await node.kernel.changeRoutes(foreign(index, 'add', MANY))
      await node.felix.inSync()
      const ours = await node.kernel.routes({ table: 254, protocol: 80 })
      let isKept = false
      for (let attempt = 0; attempt < ATTEMPTS && !isKept; attempt++) {
        const [times, used]: [number[], number[]] = [[], []]
        for (let i = 0; i < FLUSHES; i++) {
          const [startMs, before] = [performance.now(), process.cpuUsage()]
          await flush(
            node,
            ours.filter((_, n) => n % 3 === i % 3),
          )
          times.push(performance.now() - startMs)
          const { user, system } = process.cpuUsage(before)
          used.push((user + system) / 1000)
          await setTimeout(PAUSE_MS)
        }
        const [medianMs, processorMs] = [median(times), median(used)]
        isKept = medianMs < PROMISED_MS || processorMs < MOST_PROCESSOR_MS
        t.log(`median ${medianMs.toFixed(1)} ms, of a processor ${processorMs.toFixed(1)} ms`)
      }
      t.true(isKept)
    }),
  )

  test.serial('routes are healed while another program makes route events without end, and then all is right', t =>
    onNode(t, async node => {
      const { index } = (await node.kernel.link('eth0'))!
      const right = await table(node.kernel)
      let storms = true
      const storm = (async () => {
        for (let from = 0; storms; from = (from + 500) % 50_000) {
          await node.kernel.changeRoutes([...foreign(index, 'add', 500, from), ...foreign(index, 'delete', 500, from)])
          await setTimeout(50)
        }
      })()
      const ours = await node.kernel.routes({ table: 254, protocol: 80 })
      for (let i = 0; i < 10; i++) await flush(node, ours)
      storms = false
      await storm
      await node.felix.applied()
      t.deepEqual(await table(node.kernel), right)
    }),
  )

  test.serial('an event names the process that took a route, a neighbour and a table of nftables', t =>
    onNode(t, async ({ healed, removed, heals, run }) => {
      const cases = [
        ['ip', ['route', 'del', '10.244.2.0/26'], 'Route 10.244.2.0/26', /^(ip \(process PID\)|process PID)$/],
        ['ip', ['route', 'flush', '10.244.1.5/32'], 'Route 10.244.1.5/32', /^(ip \(process PID\)|process PID)$/],
        [
          'ip',
          ['neigh', 'del', '10.244.1.5', 'dev', 'calia'],
          'Neighbour calia 10.244.1.5',
          /^(ip \(process PID\)|process PID)$/,
        ],
        ['nft', ['delete', 'table', 'inet', 'margay'], 'NftTable inet margay', /^nft \(process \d+\)$/],
        ['nft', ['flush', 'chain', 'inet', 'margay', 'from_pod'], 'NftTable inet margay', /^nft \(process \d+\)$/],
      ] as const
      for (const [program, args, name, by] of cases) {
        let found: (typeof healed)[number] | undefined
        // a pass of the heal before may see it before the event that says who did it
        for (let attempt = 0; attempt < 10 && found?.by === undefined; attempt++) {
          healed.length = 0
          const pid = await run(program, args)
          found = undefined
          while (found === undefined) {
            const next = heals(1)
            found = healed.find(each => each.name === name)
            if (found === undefined) await next
          }
          if (found?.by !== undefined)
            t.regex(found.by, new RegExp(by.source.replaceAll('PID', `${pid}`)), args.join(' '))
        }
        t.not(found?.by, undefined, `${program} ${args.join(' ')}`)
        t.regex(found!.message, / was (deleted|changed) by .*; put back/)
      }
      const strays = [
        ['ip', ['route', 'add', '10.244.2.7/32', 'dev', 'calia'], 'Route 10.244.2.7/32', /dev calia proto 3/],
        [
          'ip',
          ['neigh', 'add', '10.244.2.7', 'lladdr', '02:00:00:00:00:77', 'dev', 'calia'],
          'Neighbour calia 10.244.2.7',
          /lladdr 02:00:00:00:00:77 permanent/,
        ],
      ] as const
      for (const [program, args, name, was] of strays) {
        removed.length = 0
        const pid = await run(program, args)
        // long before the time that what nobody made is given
        await eventually(`${name} is removed`, () => removed.length > 0, 8000)
        t.is(removed[0]!.name, name)
        t.regex(removed[0]!.by ?? '', new RegExp(`process ${pid}\\b`))
        t.regex(removed[0]!.message, was)
      }
    }),
  )

  test.serial('whatever route of another program takes packets is told, and the command that is told removes it', t =>
    onNode(t, async ({ conditions, run }) => {
      const routes = [
        '10.244.2.7/32 via 192.168.10.1',
        'throw 10.244.2.8/32',
        'unreachable 10.244.2.9/32 metric 7',
        '10.244.2.16/28 nexthop via 192.168.10.1 nexthop via 192.168.10.2',
        '10.244.2.10/32 nhid 7',
        '10.244.2.11/32 nhid 9 metric 7',
      ]
      for (const object of ['7 via 192.168.10.1 dev eth0', '8 via 192.168.10.2 dev eth0', '9 group 7/8'])
        await run('ip', ['nexthop', 'add', 'id', ...object.split(' ')])
      for (const route of routes) await run('ip', ['route', 'add', ...route.split(' ')])
      const told = () => [...conditions.values()].filter(({ type }) => type === 'ForeignRoutesPass')
      await eventually('all are told', () => told().length === routes.length, 30_000)
      for (const { remedy } of told()) {
        const [, command = ''] = /\((ip [^)]+)\)/.exec(remedy) ?? []
        await run('ip', command.split(' ').slice(1))
      }
      await eventually('none is left', () => told().length === 0, 30_000)
    }),
  )

  test.serial(
    'routes of another program before and behind ours, whatever their next hop, take no packets: ours leads again, and was never away',
    t =>
      onNode(t, async node => {
        const { kernel, felix, run } = node
        await dualStack(node)
        const right = await table(kernel)
        const ways = async () =>
          Promise.all(['10.244.2.1', '10.244.1.5', 'fd02::1'].map(dst => kernel.lookupRoute(dst)))
        const before = await ways()
        const gone: Route[] = []
        using stack = new DisposableStack()
        const monitor = kernel.monitor(event => {
          if (event.type === 'route-gone' && before.some(way => isDeepStrictEqual(way, event.route)))
            gone.push(event.route)
        })
        stack.defer(() => monitor.close())
        for (const [id, via] of [
          ['7', '192.168.10.1'],
          ['8', 'fd01::13'],
        ] as const)
          await run('ip', ['nexthop', 'add', 'id', id, 'via', via, 'dev', 'eth0'])
        const times: number[] = []
        const healed = (what: string) =>
          eventually(what, async () => isDeepStrictEqual(await table(kernel), right), 30_000)
        for (const route of [
          // a deletion that names no protocol would be of ours
          '10.244.2.0/26 via 192.168.10.12 proto static',
          '10.244.2.0/26 via 192.168.10.1',
          '10.244.2.0/26 via 192.168.10.1 proto 80',
          '10.244.2.0/26 nhid 7',
          '10.244.2.0/26 nexthop via 192.168.10.1 nexthop via 192.168.10.2',
          'unreachable 10.244.2.0/26',
          '10.244.1.5/32 via 192.168.10.1',
          '10.244.1.5/32 dev calib',
          'fd02::/122 via fd01::13',
          'fd02::/122 dev p-eth0',
        ])
          for (const verb of ['prepend', 'append']) {
            const isIpv6 = route.includes('::')
            // of several routes over IPv6 the first leads whatever the command, and those over gateways share the packets
            const takes = isIpv6 ? route.includes('via') : verb === 'prepend'
            const args = [...(isIpv6 ? ['-6'] : []), 'route', verb, ...route.split(' ')]
            await run('ip', args)
            if (takes) times.push(await healed(args.join(' ')))
            else {
              t.deepEqual(await ways(), before, args.join(' '))
              await run('ip', args.with(args.indexOf(verb), 'del'))
            }
            await felix.applied()
            t.deepEqual(await ways(), before, args.join(' '))
          }
        await run(
          'ip',
          ['-batch', '-'],
          [1, 2, 3].map(n => `route prepend 10.244.2.0/26 via 192.168.10.${n}\n`).join(''),
        )
        await healed('three at once')
        t.deepEqual(gone, [])
        t.log(`median ${median(times).toFixed(1)} ms`)
      }),
  )

  test.serial('a route for one type of service, or for some senders, is not taken for ours beside it', t =>
    onNode(t, async ({ kernel, run }) => {
      const { index: ifindex } = (await kernel.link('eth0'))!
      for (const [dst, of] of [
        ['10.244.2.0/26', ['tos', '0x10']],
        ['fd00:9::/64', ['from', 'fd00:8::/64']],
      ] as const) {
        const family = dst.includes(':') ? ['-6'] : []
        if (family.length > 0)
          await kernel.changeRoutes([{ verb: 'add', route: { ...STATIC, dst, scope: ROUTE_SCOPE.universe, ifindex } }])
        const before = await kernel.routes({ table: 254, dst })
        t.is(before.length, 1)
        await run('ip', [...family, 'route', 'add', dst, ...of, 'dev', 'eth0'])
        t.deepEqual(await kernel.routes({ table: 254, dst }), before)
      }
    }),
  )

  test.serial('of what the kernel took by itself no process is named', t =>
    onNode(t, async ({ kernel, healed, heals }) => {
      const isHealed = heals(1)
      await kernel.setLink('p-eth0', { up: false })
      await kernel.setLink('eth0', { up: false })
      await kernel.setLink('p-eth0', { up: true })
      await kernel.setLink('eth0', { up: true })
      await isHealed
      for (const { name, by } of healed) t.is(by, undefined, name)
    }),
  )
}
