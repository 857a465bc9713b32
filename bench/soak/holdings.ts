// What the nodes and the API server hold for pods, and what of it is too much once the pods are gone.
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { cidr, contains } from '../../lib/ip.ts'
import type { Leak } from './world.ts'

/** Where one node keeps what pods need. `kernel` is closed by the caller. */
export type NodePlaces = {
  name: string
  kernel: () => Kernel
  /** The agent's own file. */
  database: string
  /** What `nft list ruleset` prints there. */
  ruleset: () => Promise<string>
}

export type ObjectsSeen = { problems: string[]; blocks: { cidr: string; owner: string }[] }

type NodeHoldings = { veths: string[]; routes: string[]; rows: string[]; ruleset: string }
export type Holdings = { nodes: ReadonlyMap<string, NodeHoldings>; objects: ObjectsSeen }

const POD_INTERFACE = /\bcali[0-9a-f]{11}\b/g
const ADDRESS = /(?<![\d.])\d+\.\d+\.\d+\.\d+(?![\d./])/g
const WHOLE = 32

/** Reads everything. `podCidr`: routes of other addresses are none of ours. */
export async function holdingsOf(
  nodes: readonly NodePlaces[],
  podCidr: string,
  objects: () => Promise<ObjectsSeen>,
): Promise<Holdings> {
  const each = nodes.map(async node => [node.name, await nodeHoldings(node, podCidr)] as const)
  return { nodes: new Map(await Promise.all(each)), objects: await objects() }
}

async function nodeHoldings({ kernel: open, database, ruleset }: NodePlaces, podCidr: string): Promise<NodeHoldings> {
  using kernel = open()
  const links = await kernel.links()
  const routes = await kernel.routes()
  return {
    veths: links.map(({ name }) => name).filter(name => name.match(POD_INTERFACE) !== null),
    routes: [...new Set(routes.map(({ dst }) => dst))].filter(dst => contains(podCidr, dst) && dst !== podCidr),
    rows: rowsOf(database),
    ruleset: await ruleset(),
  }
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
      ...slots.map(({ cidr: block, ordinal, handle }) => `address ${ordinal} of ${block} for ${handle}`),
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
    const routes = beyond('routes').filter(dst => cidr(dst).length === WHOLE || !blocks.has(dst))
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
