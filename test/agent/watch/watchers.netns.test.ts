// What machines of a real link answer, and what a watcher makes of it.
import { execFileSync } from 'node:child_process'
import test from 'ava'
import { systemProgram } from '../../../lib/system-program.ts'
import { isRoot, scratchNetns } from '../../kernel/scratch-netns.ts'
import { ANSWER_MS } from '../../slowness.ts'

const asRoot = isRoot ? test : test.skip
const source = (file: string) => new URL(`../../../${file}`, import.meta.url).href
const [OWN, N2, WRONG] = ['02:00:00:00:00:11', '02:00:00:00:00:12', '02:00:00:00:00:99']

asRoot(
  'machines of a link say who has an address and answer pings, proxies do not, and a wrong entry of another program is told with its author',
  t => {
    using one = scratchNetns()
    using other = scratchNetns()
    const at = (netns: { path: string }, ...words: string[]) =>
      execFileSync(systemProgram('nsenter'), [`--net=${netns.path}`, systemProgram(words[0]!), ...words.slice(1)])
    at(
      one,
      'ip',
      'link',
      'add',
      'eth0',
      'address',
      OWN,
      'type',
      'veth',
      'peer',
      'eth0',
      'address',
      N2,
      'netns',
      other.name,
    )
    for (const [netns, number] of [
      [one, 11],
      [other, 12],
    ] as const) {
      at(netns, 'sysctl', '-qw', 'net.ipv6.conf.eth0.accept_dad=0')
      at(netns, 'ip', 'link', 'set', 'eth0', 'up')
      at(netns, 'ip', 'address', 'add', `192.0.2.${number}/24`, 'dev', 'eth0')
      at(netns, 'ip', 'address', 'add', `2001:db8::${number}/64`, 'dev', 'eth0', 'nodad')
    }
    for (const number of [14, 15]) at(other, 'ip', 'address', 'add', `192.0.2.${number}/24`, 'dev', 'eth0')
    // n2 would answer for all that it has a way to elsewhere
    at(other, 'ip', 'link', 'set', 'lo', 'up')
    at(other, 'ip', 'route', 'add', '192.0.2.50/32', 'dev', 'lo')
    at(other, 'sysctl', '-qw', 'net.ipv4.conf.eth0.proxy_arp=1', 'net.ipv4.conf.all.forwarding=1')
    const program = `
    import { execFileSync } from 'node:child_process'
    import { ForeignNeighbours } from '${source('agent/watch/foreign-neighbours.ts')}'
    import { pinger } from '${source('agent/watch/pinger.ts')}'
    import { openEchoSocket } from '${source('kernel/echo-socket.ts')}'
    import { LinkAsker } from '${source('agent/watch/link-asker.ts')}'
    import { askLink } from '${source('kernel/link-question.ts')}'
    import { openKernel } from '${source('kernel/linux/kernel.ts')}'
    import { keepProcess, systemClock as clock } from '${source('lib/clock.ts')}'
    const ip = '${systemProgram('ip')}'
    const kernel = openKernel()
    keepProcess()
    const asker = new LinkAsker({ kernel, clock, ask: askLink })
    const { index } = await kernel.link('eth0')
    const ping = pinger({ open: openEchoSocket, clock })
    const [pings, ipv4, ipv6, toRight, toWrong, nobody, proxied] = await Promise.all([
      Promise.all(['192.0.2.12', '2001:db8::12', '192.0.2.99', '203.0.113.1'].map(ping)),
      asker.who(index, '192.0.2.12'), asker.who(index, '2001:db8::12'),
      asker.who(index, '192.0.2.14', '${N2}'), asker.who(index, '192.0.2.15', '${WRONG}'),
      asker.who(index, '192.0.2.13'), asker.who(index, '192.0.2.50'),
    ])
    const told = await new Promise(resolve => {
      const watch = new ForeignNeighbours({
        kernel, asker, clock, uses: () => address => 'node of ' + address,
        report: conditions => { if (conditions.length === 2) resolve(conditions.map(({ message }) => message)) },
      })
      watch.start()
      for (const address of ['192.0.2.12', '2001:db8::12'])
        execFileSync(ip, ['neigh', 'replace', address, 'lladdr', '${WRONG}', 'nud', 'permanent', 'dev', 'eth0'])
    })
    console.log(JSON.stringify({ ipv4, ipv6, toRight, toWrong, nobody, proxied, pings, told }))
    process.exit()`
    const node = [process.execPath, '--input-type=module', '-e', program]
    const said = execFileSync(systemProgram('nsenter'), [`--net=${one.path}`, ...node], {
      encoding: 'utf8',
      timeout: 3 * ANSWER_MS,
    })
    const { told, ...answers } = JSON.parse(said)
    t.deepEqual(answers, {
      ipv4: [N2],
      ipv6: [N2],
      toRight: [N2],
      toWrong: [],
      nobody: [],
      proxied: [],
      pings: [true, true, false, false],
    })
    for (const message of told) t.regex(message, /process \d+.*02:00:00:00:00:99 on eth0.*02:00:00:00:00:12 does/)
  },
)
