// Containers of Debian's macvlan and ipvlan on the first two nodes of the lab, with addresses of their LAN by margay-ipam: who reaches
// whom, with the first packet, and what the nodes' kernels know of their blocks.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { echo } from '../../kernel/echo.ts'
import { netnsPath } from '../../kernel/netns.ts'
import type { Lab } from '../../lab/lab.ts'
import { runProgram, until } from '../../lab/program.ts'
import { contains } from '../../lib/ip.ts'
import { ANSWER_MS } from '../slowness.ts'
import { type Container, container, PLUGINS } from './plugins.ts'

/** Of one plugin: pairs that were tried, those that did not answer, and routes of both nodes to parts of the LAN. */
export type LanPings = { type: string; tried: number; lost: string[]; routes: string[] }

const POOL = '192.168.10.128/26'
const PODS = '10.244.0.0/16'

/** A row for each of the plugins that is installed, and whose interfaces this kernel has. It leaves the pool, and no container. */
export async function onLan(
  lab: Lab,
  { patience, onLan: types }: { patience: number; onLan: readonly string[] },
): Promise<LanPings[]> {
  const spec = { disableBGPExport: true, assignmentMode: 'Manual', allowedUses: ['Workload'] }
  await lab.putObjects([
    { kind: 'IPPool', object: { metadata: { name: 'lan' }, spec: { cidr: POOL, blockSize: 29, ...spec } } },
  ])
  const rows: LanPings[] = []
  for (const type of types)
    if (existsSync(join(PLUGINS, type)) && (await hasKind(lab, type))) rows.push(await pingsOf(lab, type, patience))
  return rows
}

async function hasKind(lab: Lab, kind: string): Promise<boolean> {
  const { netns, uplink } = lab.node('n1')
  const add = ['ip', 'link', 'add', 'link', uplink, 'name', 'probe', 'type', kind]
  if ((await runProgram(add, { netns })).code !== 0) return false
  await runProgram(['ip', 'link', 'delete', 'probe'], { netns })
  return true
}

async function pingsOf(lab: Lab, type: string, patience: number): Promise<LanPings> {
  const nodes = [lab.node('n1'), lab.node('n2')] as const
  const containers: Container[] = []
  try {
    for (const [name, n] of [
      ['n1', 0],
      ['n1', 1],
      ['n2', 2],
    ] as const) {
      const made = await added(lab, name, type, n, patience)
      containers.push(made)
    }
    const lost: string[] = []
    let tried = 0
    const ping = async (from: { name: string; netns: string }, to: { name: string; address: string }) => {
      const answer = await echo(netnsPath(from.netns), to.address, ANSWER_MS)
      tried++
      if ('error' in answer) lost.push(`${from.name} to ${to.name} (${to.address}): ${answer.error}`)
    }
    for (const one of containers) {
      for (const other of containers) if (other !== one) await ping(one, other)
      await ping(one, { name: 'the router', address: lab.node(one.node).lan.gateway })
      await ping(one, { name: 'the API server behind it', address: lab.plan.api.address })
      const node = nodes.find(({ name }) => name !== one.node)!
      const { pod, address } = lab.pods.find(each => each.node.name === node.name)!
      for (const other of [node, { ...pod, address }]) {
        await ping(other, one)
        await ping(one, other)
      }
    }
    return { type, tried, lost, routes: await partsOfLan(lab) }
  } finally {
    for (const each of containers) await each.forget()
  }
}

/** The pool may be new to the node, which refuses ADD until it has seen it. The pods of the other node are reached over that node. */
async function added(lab: Lab, node: string, type: string, n: number, patience: number): Promise<Container> {
  const { lan, uplink } = lab.node(node)
  const gw = lab.node(node === 'n1' ? 'n2' : 'n1').address
  const ipam = {
    ...{ subnet: `${lan.gateway}/${lan.length}`, gateway: lan.gateway, ipv4_pools: ['lan'] },
    routes: [{ dst: '0.0.0.0/0' }, { dst: PODS, gw }],
  }
  let made: Container | undefined
  let refusal: unknown
  const isMade = await until(
    async () => {
      made = await container(lab, node, { name: type, type, master: uplink, ipam }, n).catch((error: Error) => {
        refusal = error
        return undefined
      })
      return made !== undefined
    },
    10_000 * patience,
    100 * patience,
  )
  if (isMade && made !== undefined) return made
  throw refusal
}

async function partsOfLan(lab: Lab): Promise<string[]> {
  const found: string[] = []
  for (const name of ['n1', 'n2']) {
    const { stdout } = await runProgram(['ip', '-4', 'route'], { netns: lab.node(name).netns })
    for (const line of stdout.split('\n')) {
      const dst = /\d+\.\d+\.\d+\.\d+(\/\d+)?/.exec(line)?.[0]
      if (dst !== undefined && !/^default/.test(line) && contains(POOL, dst)) found.push(`${name}: ${line.trim()}`)
    }
  }
  return found
}
