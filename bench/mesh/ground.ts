// Where the bench of whole agents runs: network, mount and process namespaces of its own, in which each node has a network namespace
// by its name, plugged into one bridge; /run is in memory. All of it, every program and file included, ends with the first process
// in it, and that one with the bench, however the bench ends: nothing is left to be swept.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { addNetns, netnsPath } from '../../kernel/netns.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { nodeAddress, nodeName } from '../scale/objects.ts'

/** On the bridge, where margay-api listens. The nodes' addresses lie in the same /16. */
export const API = { address: '10.99.255.254', port: 6443 } as const
/** In memory. */
export const FOLDER = '/run/mesh'
const LENGTH = 16
const BRIDGE = 'mesh0'
const BRIDGE_MAC = '02:00:00:00:ff:ff'
const UPLINK = 'eth0'
const INSIDE = 'MARGAY_BENCH_INSIDE'

/** Runs this program again in namespaces of its own, and ends with its exit code; returns when it is already there. */
export async function enterGround(): Promise<void> {
  if (process.env[INSIDE] !== undefined) {
    // whatever ended the bench, SIGKILL too, has closed the channel
    process.once('disconnect', () => process.exit(1))
    process.channel?.unref()
    execFileSync(systemProgram('mount'), ['-t', 'tmpfs', 'none', '/run'])
    return
  }
  const own = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']
  const child = spawn(systemProgram('unshare'), [...own, process.execPath, ...process.argv.slice(1)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [INSIDE]: '1' },
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  process.exit(code ?? 1)
}

/**
 * Makes the bridge and the namespaces of nodes, by number. Everyone knows everyone's MAC address beforehand: the kernel has one table
 * of learned neighbours for all namespaces, with 1,024 entries unless set (net.ipv4.neigh.default.gc_thresh3), while 100 nodes
 * learn 10,000; entries that are permanent do not count.
 */
export async function buildGround(host: Kernel, nodes: readonly number[]): Promise<void> {
  await host.setLink('lo', { up: true })
  await host.createLink({ kind: 'bridge', name: BRIDGE })
  await host.setLink(BRIDGE, { mac: BRIDGE_MAC })
  const bridge = await plugIn(host, BRIDGE, API.address)
  for (const n of nodes) {
    const name = nodeName(n)
    addNetns(name)
    const uplink = { name: UPLINK, netns: netnsPath(name), mac: macOf(n) }
    const port = await host.createLink({ kind: 'veth', name, peer: uplink })
    await host.setLink(port.index, { master: bridge, up: true })
    using kernel = host.inside(netnsPath(name))
    await kernel.setLink('lo', { up: true })
    const ifindex = await plugIn(kernel, UPLINK, nodeAddress(n))
    const others = nodes.filter(each => each !== n).map(each => ({ address: nodeAddress(each), mac: macOf(each) }))
    for (const other of [{ address: API.address, mac: BRIDGE_MAC }, ...others])
      await kernel.setNeighbour({ ifindex, ...other, permanent: true })
    await host.setNeighbour({ ifindex: bridge, address: nodeAddress(n), mac: macOf(n), permanent: true })
  }
}

/** Cuts a node off, or plugs it in again: the node sees its uplink's carrier go, the others see nothing. */
export async function setPort(host: Kernel, n: number, { up }: { up: boolean }): Promise<void> {
  await host.setLink(nodeName(n), { up })
}

async function plugIn(kernel: Kernel, name: string, address: string): Promise<number> {
  const { index } = (await kernel.link(name))!
  await kernel.addAddress({ ifindex: index, address, length: LENGTH, scope: ROUTE_SCOPE.universe })
  await kernel.setLink(index, { up: true })
  return index
}

function macOf(n: number): string {
  return `02:00:00:00:${[n >> 8, n & 255].map(octet => octet.toString(16).padStart(2, '0')).join(':')}`
}
