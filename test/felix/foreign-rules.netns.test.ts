// Rules of other programs (`ip rule`) on the real kernel: which of them take packets to pods, and what is told of those.
import test, { type ExecutionContext } from 'ava'
import type { Condition } from '../../api/status.ts'
import { RuleWatch } from '../../felix/rule-watch.ts'
import { ROUTE_PROTOCOL } from '../../kernel/port/routes.ts'
import { namedRoute } from '../../kernel/reconcile/route-writes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { dualStack, type OnNode, onNode } from './foreign-node.ts'
import { isRoot, sweep } from './netns.ts'
import { eventually } from './node-kernel.ts'

/** A busy machine may take long to run a program. */
const PATIENCE_MS = 30_000

/** A watch beside felix's own that looks when it is told to. */
async function watchRules({ kernel }: OnNode) {
  const clock = new ManualClock()
  const told = new Map<string, Condition>()
  const names = new Map((await kernel.links()).map(({ index, name }) => [index, name]))
  const routes = (await kernel.routes({ table: 254 })).flatMap(route =>
    route.protocol === ROUTE_PROTOCOL.kernel ? [] : [namedRoute(route, index => names.get(index))],
  )
  let changes = 0
  const watch = new RuleWatch({
    ...{ kernel, clock, ownsInterface: (name: string) => name.startsWith('cali') },
    wanted: () => ({ routes, pools: ['10.244.0.0/16', '10.246.0.0/16', 'fd02::/48'] }),
    onConditions: changed => {
      changes++
      for (const [key, condition] of changed)
        if (condition === undefined) told.delete(key)
        else told.set(key, condition)
    },
  })
  return {
    told: () => [...told.values()],
    /** Looks, and resolves when something else is told than before. */
    async look(what: string): Promise<void> {
      const before = changes
      watch.changed()
      clock.advance(60_000)
      await eventually(what, () => changes > before, PATIENCE_MS)
    },
  }
}

const lines = (text: string) => text.split('\n').flatMap(line => (line.trim() === '' ? [] : [line.trim()]))
const batch = (commands: string) => `${lines(commands).join('\n')}\n`

/** As the file of `ip -batch`; for IPv6 with `-6`. */
const ELSEWHERE = `
  route add default via 192.168.10.1 table 100
  route add 10.244.2.7/32 via 192.168.10.1 table 101
  route add 10.244.2.0/26 via 192.168.10.12 table 102
  route add throw 10.244.0.0/14 table 103
  route add default via 192.168.10.1 table 103
  route add blackhole 10.244.1.5/32 table 104
  rule add priority 40000 lookup 100
`
const ELSEWHERE_IPV6 = `
  route add default via fd01::13 table 100
  route add fd02::1:0/112 via fd01::13 table 101
`
const TAKES = lines(`
  from 10.244.0.0/16 lookup 100
  from 10.244.1.5 lookup 100
  from 10.244.2.0/24 lookup 100
  from 192.168.10.11 lookup 100
  not from 192.168.0.0/16 lookup 100
  to 10.244.2.0/26 lookup 100
  to 10.244.1.6 lookup 100
  not to 192.168.0.0/16 lookup 100
  iif calia lookup 100
  iif lo lookup 100
  from all lookup 100
  from all lookup 101
  from all lookup 104
  from all ipproto tcp dport 80-90 lookup 100
  from 10.244.1.6 ipproto udp sport 53 lookup 100
  tos 0x10 lookup 100
  fwmark 0/0xff lookup 100
  not fwmark 0xca6c lookup 100
  fwmark 0x10000/0x10000 lookup 100
  from 10.244.1.0/24 blackhole
  to 10.244.2.0/26 unreachable
  from 10.244.1.5 to 10.244.1.6 prohibit
  from 10.244.1.0/24 goto 40000
  -6 from fd02::1:6 lookup 100
  -6 from fd02::/64 to fd02::1:6 lookup 101
  -6 to fd02::/122 blackhole
`)
/** What is the same way, is not about what pods and this host send to pods, or is about what no packet has. */
const SILENT = lines(`
  not fwmark 0xca6c lookup 100
  fwmark 0x200/0xf00 lookup 100
  from 10.99.0.0/16 lookup 100
  from 192.168.99.1 lookup 100
  to 203.0.113.0/24 lookup 100
  iif eth9 lookup 100
  oif eth0 lookup 100
  uidrange 1000-1000 lookup 100
  from all lookup 102
  from all lookup 103
  from all lookup 199
  to 192.0.2.0/24 blackhole
  -6 fwmark 0x200/0xf00 lookup 100
  -6 from fd09::/64 lookup 100
`)

/** Arguments of `ip` for a line of those. */
function ipRule(verb: 'add' | 'del', priority: number, line: string): string[] {
  const isIpv6 = line.startsWith('-6 ')
  const words = line.replace('-6 ', '').split(' ')
  return [...(isIpv6 ? ['-6'] : []), 'rule', verb, 'priority', `${priority}`, ...words]
}
/** Those of the commands in parentheses of a remedy. */
const commandsIn = (remedy: string) =>
  [...remedy.matchAll(/\((ip [^)]+)\)/g)].map(([, command]) => command!.split(' ').slice(1))

/** With tables of others that lead elsewhere. */
const withTables = (t: ExecutionContext, body: (node: OnNode) => Promise<void>) =>
  onNode(t, async node => {
    t.timeout(8 * PATIENCE_MS)
    await dualStack(node)
    await node.run('ip', ['-batch', '-'], batch(ELSEWHERE))
    await node.run('ip', ['-6', '-batch', '-'], batch(ELSEWHERE_IPV6))
    await body(node)
  })

if (!isRoot)
  test('rules of other programs', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()

  test.serial('whatever rule takes packets to pods is told, and what is told of it removes it or spares pods', t =>
    withTables(t, async node => {
      const { told, look } = await watchRules(node)
      for (const line of TAKES) {
        const add = ipRule('add', 1000, line)
        await node.run('ip', add)
        await look(line)
        t.is(told().length, 1, line)
        const { message, remedy, object } = told()[0]!
        t.is(object?.kind, 'Rule')
        t.regex(message, /takes packets to pods: those from \S+ .*to \S+ (take|are dropped)/)
        const [remove = [], ...spare] = commandsIn(remedy)
        await node.run('ip', remove)
        await look(remedy)
        t.deepEqual(told(), [], line)
        await node.run('ip', add)
        await look(line)
        for (const args of spare) await node.run('ip', args)
        await look(remedy)
        t.deepEqual(told(), [], line)
        for (const args of [add, ...spare]) await node.run('ip', args.with(args.indexOf('add'), 'del'))
      }
    }),
  )

  test.serial('rules that leave packets to pods their way are silent, and so are those that are asked after ours', t =>
    withTables(t, async node => {
      // as wg-quick has it: all that our table has no better way for than the default route
      await node.run('ip', ['rule', 'add', 'priority', '900', 'lookup', 'main', 'suppress_prefixlength', '0'])
      for (const [i, line] of SILENT.entries()) await node.run('ip', ipRule('add', 1000 + i, line))
      const { told, look } = await watchRules(node)
      await node.run('ip', ['rule', 'add', 'priority', '800', 'from', '10.244.1.5', 'blackhole'])
      await look('the one that takes')
      t.deepEqual(
        told().map(({ object }) => object?.name),
        ['ipv4 800: from 10.244.1.5/32 blackhole'],
      )
    }),
  )

  test.serial('the recorder is told what other programs change, with the process, and of the own writes no echo', t =>
    onNode(t, async ({ changes, run }) => {
      const isOwn = (each: string) => /\((kernel|foreign)\)/.test(each) && /[ /]cali[ab]| proto 80| margay/.test(each)
      const cases: readonly [args: readonly string[], told: RegExp][] = [
        [
          ['rule', 'add', 'from', '198.51.100.0/24', 'lookup', '201'],
          /^Came Rule \d+ \(foreign\): from 198\.51\.100\.0\/24 lookup 201; by .*process PID\b/,
        ],
        [
          ['route', 'add', '203.0.113.99/32', 'dev', 'eth0'],
          /^Came Route 203\.0\.113\.99\/32 \(foreign\): dev eth0 proto 3; by .*process PID\b/,
        ],
        [
          ['route', 'del', '203.0.113.99/32'],
          /^Went Route 203\.0\.113\.99\/32 \(foreign\): dev eth0 proto 3; by .*process PID\b/,
        ],
        [
          ['neigh', 'add', '192.168.10.77', 'lladdr', '02:00:00:00:00:77', 'nud', 'permanent', 'dev', 'eth0'],
          /^Came Neighbour eth0 192\.168\.10\.77 \(foreign\): 02:00:00:00:00:77; by .*process PID\b/,
        ],
        [
          ['addr', 'add', '198.51.100.7/32', 'dev', 'eth0'],
          /^Came Address eth0 198\.51\.100\.7 \(foreign\): by .*process PID\b/,
        ],
        [['link', 'set', 'eth0', 'mtu', '1400'], /^Changed Link eth0 \((foreign|kernel)\): up, mtu 1400/],
      ]
      t.true(changes.some(each => /^Came Route 10\.244\.2\.0\/26 \(learned\): via/.test(each)))
      for (const [args, told] of cases) {
        const pid = await run('ip', args)
        const pattern = new RegExp(told.source.replace('PID', `${pid}`))
        await eventually(`${args.join(' ')} is told`, () => changes.some(each => pattern.test(each)), PATIENCE_MS)
      }
      t.deepEqual(changes.filter(isOwn), [])
    }),
  )

  test.serial('a rule of the kernel that is not there is told, with the command that puts it back', t =>
    onNode(t, async node => {
      await dualStack(node)
      // over IPv6 the kernel looks at no rule before somebody has made one
      await node.run('ip', ipRule('add', 1000, '-6 from fd09::/64 lookup 199'))
      const { told, look } = await watchRules(node)
      for (const family of ['-4', '-6']) {
        await node.run('ip', [family, 'rule', 'del', 'lookup', 'main'])
        await look(family)
        const { remedy } = told()[0]!
        await node.run('ip', commandsIn(remedy)[0]!)
        await look(remedy)
        t.deepEqual(told(), [])
      }
    }),
  )

  test.serial(
    'felix tells a rule with the process that made it when its table begins to take packets, and no more when it is gone',
    t =>
      onNode(t, async ({ conditions, run }) => {
        const told = () => [...conditions.values()].find(({ object }) => object?.kind === 'Rule')
        const pid = await run('ip', ipRule('add', 1000, 'from 10.244.0.0/16 lookup 100'))
        await run('ip', ['route', 'add', 'default', 'via', '192.168.10.1', 'table', '100'])
        await eventually('the rule is told', () => told() !== undefined, PATIENCE_MS)
        t.regex(told()!.message, new RegExp(`which (ip \\(process ${pid}\\)|process ${pid}) made`))
        await run('ip', ['rule', 'del', 'priority', '1000'])
        await eventually('the rule is gone', () => told() === undefined, PATIENCE_MS)
      }),
  )
}
