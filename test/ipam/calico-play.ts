// Plays what Calico's IPAM tests ask of a client against our allocators. A request here has one address per family, so a request for
// many is as many requests; a claim of a range, which nothing here asks for, is an address by name of each of its blocks.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { kinds, type Resource } from '../../api/kinds.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import type { AssignRefusal, AssignRequest } from '../../ipam/port.ts'
import { type Family, overlaps } from '../../lib/ip.ts'
import { aNode, aPod, type aPool, assigned, converge, type TestNode } from './world.ts'

const root = new URL('../..', import.meta.url).pathname

/** The text of a file of the corpora; undefined where they are not. */
export function corpusText(name: string): { text?: string; path: string } {
  const path = join(process.env['MARGAY_CORPORA'] ?? join(root, '../shared/corpora'), name)
  return { path, text: existsSync(path) ? readFileSync(path, 'utf8') : undefined }
}

export type Got = { got: number; refused?: AssignRefusal['refused'] }

/** One store and the nodes that write there. */
export class Cluster {
  readonly store = createFakeStore()
  readonly #nodes = new Map<string, TestNode>()
  #pods = 0

  static async of(
    pools: readonly ReturnType<typeof aPool>[],
    config: Partial<Resource<'IPAMConfiguration'>['spec']> = {},
  ): Promise<Cluster> {
    const cluster = new Cluster()
    for (const pool of pools) await cluster.store.create('IPPool', pool)
    const input = { metadata: { name: 'default' }, spec: config }
    await cluster.store.create('IPAMConfiguration', kinds.IPAMConfiguration.schema.parse(input))
    return cluster
  }

  /** A node, started when it is asked for first. */
  async node(name: string): Promise<TestNode> {
    const known = this.#nodes.get(name)
    if (known !== undefined) return known
    const node = aNode(this.store, name)
    this.#nodes.set(name, node)
    node.start()
    await this.settle()
    return node
  }

  /** All is published. */
  settle(): Promise<void> {
    return converge(this.store, ...this.#nodes.values())
  }

  /** As many addresses of a family as are given, each to a pod of its own. */
  async assign(
    host: string,
    family: Family,
    count: number,
    pools?: readonly string[],
    use: AssignRequest['use'] = 'Workload',
  ): Promise<Got> {
    const node = await this.node(host)
    const others = [...this.#nodes.values()].filter(each => each !== node)
    let got = 0
    for (; got < count; got++) {
      const pod = { ...aPod(`p${this.#pods++}`), families: [family], pools: { [family]: pools }, use }
      const { answer } = await assigned(node, pod, others)
      if ('refused' in answer) return { got, refused: answer.refused }
    }
    return { got }
  }

  /** One address by name. */
  async assignAddress(host: string, address: string): Promise<AssignRefusal['refused'] | undefined> {
    const { allocator } = await this.node(host)
    const family = address.includes(':') ? 'ipv6' : 'ipv4'
    const answer = await allocator.assign({ ...aPod(`p${this.#pods++}`), families: [family], addresses: [address] })
    return 'refused' in answer ? answer.refused : undefined
  }

  /** An address of each of these blocks: how many are the host's then, and how many are not. */
  async claim(host: string, range: string, blocks: readonly string[]): Promise<{ claimed: number; failed: number }> {
    for (const block of blocks) await this.assignAddress(host, block.split('/')[0]!)
    await this.settle()
    const objects = await this.store.list('IPAMBlock')
    const inside = objects.filter(({ spec }) => overlaps(spec.cidr, range))
    const claimed = inside.filter(({ spec }) => spec.affinity === `host:${host}`).length
    return { claimed, failed: inside.length - claimed }
  }
}

/** The /26 blocks of an IPv4 range of a /24, or the one that holds it. */
export function blocksWithin(range: string): string[] {
  const [address, length] = range.split('/') as [string, string]
  const count = 2 ** Math.max(0, 26 - Number(length))
  return Array.from({ length: count }, (_, i) => `${address.replace(/\d+$/, last => `${Number(last) + 64 * i}`)}/26`)
}
