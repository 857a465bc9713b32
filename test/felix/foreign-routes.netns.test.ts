// Other programs and the routes of a node, on the real kernel: `ip route flush` beside very many foreign routes and while routes
// come and go in storms, and whom an event names.
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { netnsPath, spawnInNetns } from '../../kernel/netns.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, type Route, type RouteChange } from '../../kernel/port/routes.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { isRoot, openNetns, sweep } from './netns.ts'
import { addLink, setUpNode, table } from './node-kernel.ts'
import { tell, WITHOUT_IPIP } from './worlds.ts'

const MANY = 100_000
const FLUSHES = 100
/** The promise is the median; a machine that is busy with others may miss it twice. */
const PROMISED_MS = 100
/** What is undone more than twenty times a second is repaired more slowly: each flush takes another third. */
const PAUSE_MS = 25
const ATTEMPTS = 3
const STATIC = { table: 254, type: 'unicast', protocol: ROUTE_PROTOCOL.static, scope: ROUTE_SCOPE.link } as const

type Healed = { name: string; by: string | undefined }
type OnNode = {
  kernel: Kernel
  felix: Felix
  healed: Healed[]
  /** Resolves when so many more objects are healed. */
  heals(count: number): Promise<void>
  /** Runs a program to its end; returns its process id. */
  run(program: string, args: readonly string[], input?: string): Promise<number>
}

async function onNode(t: ExecutionContext, body: (node: OnNode) => Promise<void>): Promise<void> {
  const { name, kernel, otherProgram, close } = await openNetns()
  const healed: Healed[] = []
  let wake = () => {}
  await setUpNode(otherProgram)
  for (const { interfaceName } of WITHOUT_IPIP.endpoints) await addLink(otherProgram, interfaceName)
  const felix = new Felix(kernel, {
    ...{ clock: systemClock, log: silentLog, marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }) },
    onConditions: () => {},
    onHealed: (object, by) => {
      healed.push({ name: `${object.kind} ${object.name}`, by })
      wake()
    },
  })
  try {
    felix.start()
    tell(felix, WITHOUT_IPIP)
    for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
    await felix.inSync()
    await body({
      ...{ kernel: otherProgram, felix, healed },
      async heals(count) {
        const until = healed.length + count
        while (healed.length < until)
          await new Promise<void>(resolve => {
            wake = resolve
          })
      },
      async run(program, args, input) {
        const child = spawnInNetns(netnsPath(name), program, args, { stdio: ['pipe', 'ignore', 'inherit'] })
        child.stdin?.end(input)
        const [code] = await once(child, 'exit')
        t.is(code, 0, `${program} ${args.join(' ')}`)
        return child.pid!
      },
    })
  } finally {
    await felix.close()
    await close()
  }
}

/** What `ip route flush` does, without reading the table first. */
async function flush({ kernel, heals }: OnNode, routes: readonly Route[]): Promise<void> {
  const isHealed = heals(routes.length)
  await kernel.changeRoutes(routes.map(route => ({ verb: 'delete', route })))
  await isHealed
}

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
      let medianMs = Number.POSITIVE_INFINITY
      for (let attempt = 0; attempt < ATTEMPTS && medianMs >= PROMISED_MS; attempt++) {
        const times: number[] = []
        for (let i = 0; i < FLUSHES; i++) {
          const startMs = performance.now()
          await flush(
            node,
            ours.filter((_, n) => n % 3 === i % 3),
          )
          times.push(performance.now() - startMs)
          await setTimeout(PAUSE_MS)
        }
        times.sort((a, b) => a - b)
        medianMs = times[FLUSHES / 2]!
        t.log(`median ${medianMs.toFixed(1)} ms, longest ${times.at(-1)!.toFixed(1)} ms`)
      }
      t.true(medianMs < PROMISED_MS)
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
    onNode(t, async ({ healed, heals, run }) => {
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
        healed.length = 0
        const isHealed = heals(1)
        const pid = await run(program, args)
        await isHealed
        const found = healed.find(each => each.name === name)
        t.regex(found?.by ?? '', new RegExp(by.source.replaceAll('PID', `${pid}`)), `${program} ${args.join(' ')}`)
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
