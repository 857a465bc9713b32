// Containers of Debian's bridge and ptp on nodes of the lab, with addresses by margay-ipam: who reaches whom, with the first packet.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { echo } from '../../kernel/echo.ts'
import { addNetns, netnsPath, removeNetns } from '../../kernel/netns.ts'
import type { Lab } from '../../lab/lab.ts'
import { runProgram } from '../../lab/program.ts'
import { ANSWER_MS } from '../slowness.ts'

/** Debian's package containernetworking-plugins. */
export const PLUGINS = '/usr/lib/cni'

/** Pairs that were tried, and those of them that did not answer. `lost`: routes of the first node to the bridge's block. */
export type PluginPings = { tried: number; lost: string[]; routes: string[] }

type Conf = { name: string; type: string; ipam?: object; [key: string]: unknown }
export type Container = { name: string; node: string; netns: string; address: string; forget(): Promise<void> }

const ROUTES = [{ dst: '0.0.0.0/0' }]
const BRIDGE = { name: 'br', type: 'bridge', bridge: 'br0', isGateway: true }
const PTP = { name: 'p2p', type: 'ptp' }

/** Undefined where the plugins are not installed. It leaves the bridge, and no container. */
export async function plugins(lab: Lab): Promise<PluginPings | undefined> {
  if (!existsSync(join(PLUGINS, BRIDGE.type))) return undefined
  const containers: Container[] = []
  try {
    for (const [node, conf] of [
      ['n1', BRIDGE],
      ['n1', BRIDGE],
      ['n3', BRIDGE],
      ['n1', PTP],
      ['n2', PTP],
    ] as const)
      containers.push(await container(lab, node, conf, containers.length))
    const pods = lab.pods.map(({ pod, node, address }) => ({
      name: pod.name,
      node: node.name,
      netns: pod.netns,
      address,
    }))
    const lost: string[] = []
    let tried = 0
    for (const theirs of containers)
      for (const other of [...containers, ...pods].filter(each => each !== theirs))
        for (const [from, to] of [
          [other, theirs],
          [theirs, other],
        ] as const) {
          const answer = await echo(netnsPath(from.netns), to.address, ANSWER_MS)
          tried++
          if ('error' in answer)
            lost.push(`${from.name} (${from.node}) to ${to.name} (${to.node}, ${to.address}): ${answer.error}`)
        }
    const { netns } = lab.plan.nodes.find(({ name }) => name === 'n1')!
    const { stdout } = await runProgram(['ip', '-4', 'route'], { netns })
    const routes = stdout.split('\n').map(line => line.trim().replace(/ +/g, ' '))
    return { tried, lost, routes: routes.filter(line => /dev br0|blackhole .* metric/.test(line)) }
  } finally {
    for (const each of containers) await each.forget()
  }
}

/** Throws where the plugin refuses ADD, and leaves nothing then. */
export async function container(lab: Lab, node: string, conf: Conf, n: number): Promise<Container> {
  const plan = lab.plan.nodes.find(({ name }) => name === node)!
  const name = `${plan.netns}-x${n}`
  addNetns(name)
  await runProgram(['ip', 'link', 'set', 'lo', 'up'], { netns: name })
  const stdin = JSON.stringify({
    ...{ cniVersion: '1.0.0', ...conf, agentSocket: lab.agentSocket(node) },
    ipam: { type: 'margay-ipam', routes: ROUTES, ...conf.ipam },
  })
  const run = async (verb: string) => {
    const env = {
      ...{ CNI_COMMAND: verb, CNI_CONTAINERID: `x${n}`, CNI_NETNS: netnsPath(name), CNI_IFNAME: 'eth0' },
      CNI_PATH: `${lab.cniDirs(node).binDir}:${PLUGINS}`,
    }
    const { code, stdout } = await runProgram([join(PLUGINS, conf.type)], { netns: plan.netns, env, stdin })
    if (code !== 0) throw new Error(`${verb} of ${conf.type} on ${node} ended with ${code}: ${stdout}`)
    return stdout
  }
  const forget = async () => {
    await run('DEL')
    removeNetns(name)
  }
  const added = run('ADD').catch((error: Error) => {
    removeNetns(name)
    throw error
  })
  const { ips } = JSON.parse(await added) as { ips: { address: string }[] }
  return { name: `${conf.type} ${n}`, node, netns: name, address: ips[0]!.address.replace(/\/.*/, ''), forget }
}
