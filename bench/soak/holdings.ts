// What the nodes and the API server hold for pods, and what of it is too much once the pods are gone.
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { PROBE_INTERFACE } from '../../kernel/pod-interface.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { Plan } from '../../lab/plan.ts'
import { runProgram } from '../../lab/program.ts'
import { addressBits, cidr, contains } from '../../lib/ip.ts'
import type { Leak } from './world.ts'

export type ObjectsSeen = { problems: string[]; blocks: { cidr: string; owner: string }[] }

/** What both labs have. `kernel` is closed by the caller. */
type LabPlaces = { plan: Plan; kubeconfig: string; kernel: (netns: string) => Kernel }

type NodeHoldings = { veths: string[]; routes: string[]; rows: string[]; ruleset: string }
export type Holdings = { nodes: ReadonlyMap<string, NodeHoldings>; objects: ObjectsSeen }

const OBJECTS = fileURLToPath(new URL('./objects-main.ts', import.meta.url))
const POD_INTERFACE = /\bcali[0-9a-f]{11}\b/g
/** What may be an address of either family, and is no part of a longer word or of a CIDR. */
const ADDRESS = /(?<![\w.:])[\da-f.:]*[.:][\da-f.:]*[\da-f:](?![\w.:/])/g

/**
 * Reads everything. `podCidrs`: routes of other addresses are none of ours. `database`: the path of the agent's own file on a
 * node, by its name.
 */
export async function holdingsOf(
  lab: LabPlaces,
  podCidrs: readonly string[],
  database: (node: string) => string,
): Promise<Holdings> {
  const each = lab.plan.nodes.map(async node => {
    using kernel = lab.kernel(node.netns)
    const links = await kernel.links()
    // the node's end of path probes stays for ten minutes after the last pod
    const probe = links.find(({ name }) => name === PROBE_INTERFACE)
    const isNoProbe = ({ ifindex }: { ifindex?: number | undefined }) => probe === undefined || ifindex !== probe.index
    const isOfPods = (dst: string) => podCidrs.some(pods => contains(pods, dst) && dst !== pods)
    const held: NodeHoldings = {
      veths: links.map(({ name }) => name).filter(name => name.match(POD_INTERFACE) !== null),
      routes: [...new Set((await kernel.routes()).filter(isNoProbe).map(({ dst }) => dst))].filter(isOfPods),
      rows: rowsOf(database(node.name)),
      ruleset: await said(['nft', 'list', 'ruleset'], node.netns),
    }
    return [node.name, held] as const
  })
  const nodes = new Map(await Promise.all(each))
  const objects = await said([process.execPath, OBJECTS, lab.kubeconfig], lab.plan.api.netns)
  return { nodes, objects: JSON.parse(objects) as ObjectsSeen }
}

async function said(argv: readonly [string, ...string[]], netns: string): Promise<string> {
  const { code, stdout, stderr } = await runProgram(argv, { netns })
  if (code !== 0) throw new Error(`${argv[0]}: ${stderr}`)
  return stdout
}

/** Of each interface the agent's row, of each address in use one, by handle. */
function rowsOf(path: string): string[] {
  if (!existsSync(path)) return []
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    const endpoints = db.prepare('SELECT id FROM cni_endpoints').all()
    const slots = db.prepare('SELECT cidr, ordinal, handle FROM ipam_slots').all()
    return [
      ...endpoints.map(({ id }) => `interface ${id}`),
      ...slots
        .filter(({ handle }) => !String(handle).startsWith('margay-probe-'))
        .map(({ cidr: block, ordinal, handle }) => `address ${ordinal} of ${block} for ${handle}`),
    ]
  } finally {
    db.close()
  }
}

/** What is there now and was not before the first pod, and what nobody needs. `given`: addresses that pods had. */
export function newLeaks(before: Holdings, now: Holdings, given: ReadonlySet<string>): Leak[] {
  const blocks = new Set(now.objects.blocks.map(each => each.cidr))
  const perNode = [...now.nodes].flatMap(([node, held]): Leak[] => {
    const was = before.nodes.get(node)!
    const beyond = (key: 'veths' | 'routes' | 'rows') => held[key].filter(each => !was[key].includes(each))
    const routes = beyond('routes').filter(dst => isWhole(dst) || !blocks.has(dst))
    const rules = new Set([
      ...(held.ruleset.match(POD_INTERFACE) ?? []).filter(name => !held.veths.includes(name)),
      ...(held.ruleset.match(ADDRESS) ?? []).filter(address => given.has(address)),
    ])
    return [
      ...beyond('veths').map(what => ({ kind: 'veths', what: `${node}: ${what}` }) as const),
      ...routes.map(what => ({ kind: 'routes', what: `${node}: ${what}` }) as const),
      ...beyond('rows').map(what => ({ kind: 'rows', what: `${node}: ${what}` }) as const),
      ...[...rules].map(what => ({ kind: 'rules', what: `${node}: ${what}` }) as const),
    ]
  })
  return [...perNode, ...blockLeaks(before.objects, now), ...objectLeaks(now.objects)]
}

/** Whether a CIDR is one address. */
function isWhole(text: string): boolean {
  const { family, length } = cidr(text)
  return length === addressBits(family)
}

/** A node that has as many pods as before needs as many blocks as before. */
function blockLeaks(before: ObjectsSeen, { nodes, objects }: Holdings): Leak[] {
  const count = ({ blocks }: ObjectsSeen, node: string) => blocks.filter(({ owner }) => owner === node).length
  const tooMany = [...nodes.keys()].flatMap((node): Leak[] => {
    const [was, is] = [count(before, node), count(objects, node)]
    return is <= was ? [] : [{ kind: 'blocks', what: `${node}: ${is} where it had ${was}` }]
  })
  const ownerless = objects.blocks.filter(({ owner }) => !nodes.has(owner))
  return [...tooMany, ...ownerless.map(each => ({ kind: 'blocks', what: `${each.cidr} of ${each.owner}` }) as const)]
}

/** An address that is allocated and not in use is one that leaked; anything else is an object that is wrong. */
function objectLeaks({ problems }: ObjectsSeen): Leak[] {
  return problems.map(what => ({ kind: /^allocated and not in use/.test(what) ? 'addresses' : 'objects', what }))
}
