// A node in a network namespace of its own, with pods that it routes to: each has a TCP server, and programs can be run in it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { familyOf } from '../../lib/ip.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { type ScratchNetns, scratchNetns } from '../kernel/scratch-netns.ts'
import { ANSWER_MS } from '../slowness.ts'

export type Pod = { name: string; address: string; address6: string; interfaceName: string; space: ScratchNetns }

/** Of IPv6, on each interface of the host. */
const GATEWAY = 'fe80::1'

export class PodNode implements AsyncDisposable {
  readonly #host = openKernel()
  readonly space = scratchNetns()
  readonly kernel: Kernel = this.#host.inside(this.space.path)
  readonly pods: Pod[] = []
  readonly #servers: ChildProcess[] = []

  async start(): Promise<void> {
    for (const family of ['ipv4', 'ipv6'] as const) this.kernel.writeSysctl(family, ['conf', 'all', 'forwarding'], '1')
  }

  /** A pod with a TCP server on the port 80 that answers `hello`, or another machine behind an interface of the host. */
  async add(name: string, interfaceName?: string): Promise<Pod> {
    const number = this.pods.length + 1
    const pod: Pod = {
      ...{ name, address: `10.244.0.${number}`, address6: `fd00:244::${number}` },
      ...{ interfaceName: interfaceName ?? `cali${number}`, space: scratchNetns() },
    }
    const inside = this.#host.inside(pod.space.path)
    await this.kernel.createLink({
      ...{ kind: 'veth', name: pod.interfaceName },
      peer: { name: 'eth0', netns: pod.space.path },
    })
    for (const [kernel, link, address, address6] of [
      [this.kernel, pod.interfaceName, '169.254.1.1', GATEWAY],
      [inside, 'eth0', pod.address, pod.address6],
    ] as const) {
      const { index: ifindex } = (await kernel.link(link))!
      await kernel.setLink(ifindex, { up: true })
      await kernel.addAddress({ ifindex, address, length: 32, scope: ROUTE_SCOPE.universe })
      const scope = address6 === GATEWAY ? ROUTE_SCOPE.link : ROUTE_SCOPE.universe
      await kernel.addAddress({ ifindex, address: address6, length: 128, scope, noDad: true })
    }
    const lo = (await inside.link('lo'))!
    await inside.setLink(lo.index, { up: true })
    const { index: ownEnd } = (await this.kernel.link(pod.interfaceName))!
    await route(this.kernel, `${pod.address}/32`, ownEnd)
    await route(this.kernel, `${pod.address6}/128`, ownEnd)
    const eth0 = (await inside.link('eth0'))!.index
    await route(inside, '169.254.1.1/32', eth0)
    await route(inside, '0.0.0.0/0', eth0, '169.254.1.1')
    await route(inside, '::/0', eth0, GATEWAY)
    inside.close()
    const server = `require('net').createServer(s => s.end('hello')).listen(80, '0.0.0.0', () => console.log('on'))`
    const child = this.run(pod, process.execPath, ['-e', server])
    await once(child.stdout!, 'data')
    this.#servers.push(child)
    this.pods.push(pod)
    return pod
  }

  /** Whether a connection to the pod's port 80 is answered within `withinMs`. */
  async reaches(from: { space: ScratchNetns }, to: Pick<Pod, 'address'>, withinMs = ANSWER_MS): Promise<boolean> {
    const client = `const s = require('net').connect({ host: '${to.address}', port: 80 })
      s.on('data', () => process.exit(0)).on('error', () => process.exit(1)); setTimeout(() => process.exit(2), ${withinMs})`
    const [code] = await once(this.run(from, process.execPath, ['-e', client]), 'exit')
    return code === 0
  }

  /** Runs a program in the namespace of a pod or of the node. `talk`: it reads what is written to it. */
  run({ space }: Pick<Pod, 'space'>, program: string, args: readonly string[], input?: 'talk'): ChildProcess {
    return spawn(systemProgram('nsenter'), [`--net=${space.path}`, '--', program, ...args], {
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'inherit'],
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) {
      server.kill('SIGKILL')
      await once(server, 'exit')
    }
    this.kernel.close()
    this.#host.close()
    for (const { space } of this.pods) space[Symbol.dispose]()
    this.space[Symbol.dispose]()
  }
}

async function route(kernel: Kernel, dst: string, ifindex: number, gateway?: string): Promise<void> {
  const common = {
    ...({ dst, table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.boot, ifindex } as const),
    scope: gateway === undefined && familyOf(dst) === 'ipv4' ? ROUTE_SCOPE.link : ROUTE_SCOPE.universe,
  } as const
  const [refused] = await kernel.changeRoutes([
    { verb: 'add', route: gateway === undefined ? common : { ...common, gateway } },
  ])
  if (refused !== undefined) throw refused
}
