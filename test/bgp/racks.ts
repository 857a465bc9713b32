// One node and several top-of-rack routers, each on a link of its own, in network namespaces; and real packets that say which router
// each flow gets to.
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { type ScratchNetns, scratchNetns } from '../kernel/scratch-netns.ts'
import { programUnderTest } from '../program-file.ts'
import { ANSWER_MS } from '../slowness.ts'
import { birdSocket, frr, frrDaemon } from './daemons.ts'
import { type Link, Program } from './interop.ts'

/** What all routers announce and have, and the node's own addresses that packets come from. */
export const FAR = { ipv4: '203.0.113.1', ipv6: '2001:db8:99::1' } as const
const NEAR = { ipv4: '10.77.0.1', ipv6: 'fd77::1' } as const
const FAMILIES = ['ipv4', 'ipv6'] as const
type Family = (typeof FAMILIES)[number]
const PORT = 7000

export type Router = Link & { number: number; daemon?: Program }
export type RouterKind = { name: string; program: string; begin(racks: Racks, router: Router): Program }

/** Answers each datagram with the name of the router. */
const ANSWERER = `const dgram = require('node:dgram')
const [name, port, ...addresses] = process.argv.slice(1)
for (const address of addresses) {
  const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4')
  socket.on('message', (_, from) => socket.send(name, from.port, from.address))
  socket.bind(Number(port), address)
}`

/** Sends from so many ports until each has its answer, and prints who answered each. */
const ASKER = `const dgram = require('node:dgram')
const [count, from, to, port] = process.argv.slice(1)
const answers = []
let left = Number(count)
for (let i = 0; i < Number(count); i++) {
  const socket = dgram.createSocket(to.includes(':') ? 'udp6' : 'udp4')
  socket.on('error', () => {})
  const ask = () => socket.send('who', Number(port), to)
  socket.bind(20000 + i, from, ask)
  const again = setInterval(ask, 200)
  socket.on('message', name => {
    if (answers[i] !== undefined) return
    answers[i] = String(name)
    clearInterval(again)
    socket.close()
    if (--left === 0) console.log(JSON.stringify(answers))
  })
}`

export class Racks {
  readonly node: ScratchNetns = scratchNetns()
  readonly routers: Router[] = []
  readonly folder = mkdtempSync(join(tmpdir(), 'mgt-tor-'))
  readonly #programs: Program[] = []
  readonly prefixes: Record<Family, readonly string[]>

  /** `count` routers; each announces `more` prefixes of each family beside that of `FAR`. */
  constructor(count: number, more = 0) {
    const numbers = Array.from({ length: more }, (_, i) => i)
    this.prefixes = {
      ipv4: ['203.0.113.0/24', ...numbers.map(i => `10.${200 + (i >> 8)}.${i & 255}.0/24`)],
      ipv6: ['2001:db8:99::/48', ...numbers.map(i => `2001:db8:${(0x1000 + i).toString(16)}::/48`)],
    }
    this.#ip(this.node, 'link', 'set', 'lo', 'up')
    for (const address of [`${NEAR.ipv4}/32`, `${NEAR.ipv6}/128`])
      this.#ip(this.node, 'addr', 'add', address, 'dev', 'lo')
    // each flow of its own, and no message of the kernel for each route of a group
    this.#set(this.node, 'net.ipv4.fib_multipath_hash_policy=1', 'net.ipv6.fib_multipath_hash_policy=1')
    this.#set(this.node, 'net.ipv4.nexthop_compat_mode=0')
    for (let number = 1; number <= count; number++) this.routers.push(this.#makeRouter(number))
  }

  #makeRouter(number: number): Router {
    const theirs = scratchNetns()
    // not inside that of the node, which FRR's user may not enter
    const folder = mkdtempSync(join(tmpdir(), 'mgt-tor-'))
    const ends = ['link', 'add', `t${number}`, 'type', 'veth', 'peer', 'name', 'e0', 'netns', theirs.name] as const
    this.#ip(this.node, ...ends)
    this.#set(theirs, 'net.ipv6.conf.e0.accept_dad=0', 'net.ipv6.conf.e0.keep_addr_on_down=1')
    this.#set(this.node, `net.ipv6.conf.t${number}.accept_dad=0`, `net.ipv4.conf.t${number}.rp_filter=0`)
    for (const [netns, device, end] of [
      [this.node, `t${number}`, 1],
      [theirs, 'e0', 2],
    ] as const) {
      this.#ip(netns, 'link', 'set', device, 'up')
      this.#ip(netns, 'addr', 'add', `10.0.${number}.${end}/24`, 'dev', device)
      this.#ip(netns, 'addr', 'add', `fd00:${number}::${end}/64`, 'dev', device, 'nodad')
    }
    this.#ip(theirs, 'link', 'set', 'lo', 'up')
    for (const address of [`${FAR.ipv4}/32`, `${FAR.ipv6}/128`])
      this.#ip(theirs, 'addr', 'add', address, 'dev', 'lo', 'nodad')
    const router = { number, ours: this.node, theirs, folder, [Symbol.asyncDispose]: async () => {} }
    this.#leadBack(router)
    const args = ['-e', ANSWERER, `tor${number}`, `${PORT}`, FAR.ipv4, FAR.ipv6]
    this.run(router, { name: 'answerer', command: process.execPath, args })
    return router
  }

  #leadBack({ theirs, number }: Router): void {
    this.#ip(theirs, 'route', 'replace', `${NEAR.ipv4}/32`, 'via', `10.0.${number}.1`)
    this.#ip(theirs, '-6', 'route', 'replace', `${NEAR.ipv6}/128`, 'via', `fd00:${number}::1`)
  }

  /** The link of a router loses its carrier at the node, or gets it back. */
  setCarrier(router: Router, up: boolean): void {
    this.#ip(router.theirs, 'link', 'set', 'e0', up ? 'up' : 'down')
    if (up) this.#leadBack(router)
  }

  run(router: Router, what: { name: string; command: string; args: readonly string[] }): Program {
    const program = new Program(router.theirs, router.folder, what)
    this.#programs.push(program)
    return program
  }

  /** `margay-bgp` on the node, with a session to each router in each family. */
  speak(more: { kernel: Record<string, unknown> }): Program {
    const neighbors = this.routers.flatMap(({ number }) =>
      [`10.0.${number}.2`, `fd00:${number}::2`].map(address => ({
        ...{ address, asn: 65002, connectRetry: 1, import: 'accept', export: 'accept' },
        families: [address.includes(':') ? 'ipv6-unicast' : 'ipv4-unicast'],
      })),
    )
    const listen = this.routers.flatMap(({ number }) => [`10.0.${number}.1:179`, `[fd00:${number}::1]:179`])
    const multipath = { paths: 16, of: 'ebgp' }
    const config = { asn: 65001, routerId: NEAR.ipv4, listen, multipath, neighbors, ...more }
    const file = join(this.folder, 'margay.yaml')
    writeFileSync(file, JSON.stringify(config))
    const args = [programUnderTest('agent/margay-bgp'), '--config', file]
    const program = new Program(this.node, this.folder, { name: 'margay', command: process.execPath, args })
    this.#programs.push(program)
    return program
  }

  /** The node's kernel; the caller closes it. */
  kernel(): Kernel {
    using host = openKernel()
    return host.inside(this.node.path)
  }

  /** Which router each of so many flows gets to. */
  async flows(family: Family, count: number): Promise<string[]> {
    const asker = [process.execPath, '-e', ASKER, `${count}`, NEAR[family], FAR[family], `${PORT}`]
    const args = [`--net=${this.node.path}`, ...asker]
    const { stdout } = await promisify(execFile)(systemProgram('nsenter'), args, { timeout: 2 * ANSWER_MS })
    return JSON.parse(stdout)
  }

  #ip(netns: ScratchNetns, ...args: readonly string[]): void {
    execFileSync(systemProgram('ip'), ['-n', netns.name, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  }

  #set(netns: ScratchNetns, ...settings: readonly string[]): void {
    const args = ['netns', 'exec', netns.name, systemProgram('sysctl'), '-qw', ...settings]
    execFileSync(systemProgram('ip'), args, { stdio: ['ignore', 'ignore', 'pipe'] })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#programs.map(program => program.stop('SIGKILL')))
    for (const { theirs, folder } of this.routers) {
      theirs[Symbol.dispose]()
      rmSync(folder, { recursive: true, force: true })
    }
    this.node[Symbol.dispose]()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export const birdRouter: RouterKind = {
  name: 'BIRD',
  program: '/usr/sbin/bird',
  begin(racks, router) {
    const { number, folder } = router
    const parts = FAMILIES.map(family => {
      const end = (last: number) => (family === 'ipv4' ? `10.0.${number}.${last}` : `fd00:${number}::${last}`)
      const routes = racks.prefixes[family].map(prefix => `route ${prefix} blackhole;`).join(' ')
      return `protocol static { ${family}; ${routes} }
protocol bgp { local ${end(2)} as 65002; neighbor ${end(1)} as 65001; connect delay time 1; connect retry time 1; error wait time 1,2;
  ${family} { import none; export where source = RTS_STATIC; next hop self; }; }`
    })
    const config = join(folder, 'bird.conf')
    writeFileSync(config, `log stderr all;\nrouter id 10.0.${number}.2;\nprotocol device {}\n${parts.join('\n')}\n`)
    const args = ['-f', '-c', config, '-s', birdSocket(router), '-P', join(folder, 'bird.pid')]
    return racks.run(router, { name: 'bird', command: birdRouter.program, args })
  },
}

export const frrRouter: RouterKind = {
  name: 'FRR',
  program: frr.program,
  begin(racks, router) {
    const { number } = router
    if (router.daemon === undefined) racks.run(router, { name: 'zebra', ...frr.beside!(router) })
    const family = (name: Family, peer: string) => ` address-family ${name} unicast
${racks.prefixes[name].map(prefix => `  network ${prefix}`).join('\n')}
  neighbor ${peer} activate
 exit-address-family`
    const peers = [`10.0.${number}.1`, `fd00:${number}::1`] as const
    const config = `log stdout
router bgp 65002
 bgp router-id 10.0.${number}.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
${peers.map(peer => ` neighbor ${peer} remote-as 65001\n neighbor ${peer} timers connect 1\n neighbor ${peer} advertisement-interval 0`).join('\n')}
${family('ipv4', peers[0])}
${family('ipv6', peers[1])}
`
    return racks.run(router, { name: 'bgpd', ...frrDaemon(router, 'bgpd', config) })
  },
}
