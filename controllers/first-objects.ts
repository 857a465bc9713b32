// What a new cluster lacks, made once by whoever leads: the first IPPools, of the configuration or of kubeadm's podSubnet, the
// KubeControllersConfiguration, and last the ClusterInformation. That one says that it was done: pools that people delete
// later do not come back. While nobody has said which pool is the first, it is not done. Hazard: a crash in between; what was
// not made yet is made by the next run.
import { randomUUID } from 'node:crypto'
import { parse } from 'yaml'
import type { Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { Conflict, NotFound, type Store } from '../datastore/port.ts'
import { familyOf, formatCidr, parseCidr } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import type { Chore } from './chores.ts'

export type FirstObjectsDeps = {
  store: Pick<Store, 'get' | 'list' | 'create'>
  log: Log
  /** The ranges of the first pools; empty: none is made; undefined: kubeadm's. */
  pools: readonly string[] | undefined
  /** The text of kubeadm's ClusterConfiguration; undefined where there is none. */
  kubeadm(): string | undefined
}

const NAME = 'default'
const DONE_MS = 3_600_000
/** How soon it is looked whether a pool, or a range for one, is there at last. */
const LOOK_MS = 60_000
/** Calico's names of the first pools, and the sizes of blocks where the range is larger. */
const FIRST = {
  ipv4: { name: 'default-ipv4-ippool', blockSize: 26 },
  ipv6: { name: 'default-ipv6-ippool', blockSize: 122 },
}

export class FirstObjects implements Chore {
  readonly name = 'first objects'
  readonly #deps: FirstObjectsDeps
  /** What was said already: it is found again at every look. */
  readonly #said = new Set<string>()
  #configured = false

  constructor(deps: FirstObjectsDeps) {
    this.#deps = deps
  }

  async run(): Promise<number> {
    const { store, log } = this.#deps
    if ((await orUndefined(store.get('ClusterInformation', NAME))) !== undefined) return DONE_MS
    const ranges = this.#deps.pools ?? podSubnets(this.#deps.kubeadm() ?? '', message => this.#warn(message))
    const wanted = ranges.map(firstPool)
    const names = wanted.map(({ metadata }) => metadata.name)
    const others = (await store.list('IPPool')).filter(({ metadata }) => !names.includes(metadata.name))
    if (others.length === 0)
      for (const pool of wanted)
        if (await made(store.create('IPPool', pool)))
          log.info({ pool: pool.metadata.name, cidr: pool.spec.cidr }, 'the first pool is made')
    // as Calico's; of no effect without a pool for Services
    const spec = { controllers: { loadBalancer: { assignIPs: 'AllServices' } } }
    const controllers = { metadata: { name: NAME }, spec }
    if (!this.#configured)
      await made(store.create('KubeControllersConfiguration', controllers as Resource<'KubeControllersConfiguration'>))
    this.#configured = true
    // a range that is named later must still become a pool
    if (others.length === 0 && wanted.length === 0 && this.#deps.pools === undefined) {
      this.#warn('there is no IPPool, and neither --first-pools nor kubeadm say which: create one')
      return LOOK_MS
    }
    const cluster = { clusterGUID: randomUUID().replaceAll('-', ''), clusterType: 'k8s,margay', datastoreReady: true }
    await made(store.create('ClusterInformation', { metadata: { name: NAME }, spec: cluster }))
    return DONE_MS
  }

  #warn(message: string): void {
    if (!this.#said.has(message)) this.#deps.log.warn(message)
    this.#said.add(message)
  }
}

/** The pool for a range that was checked, with its first blocks as Calico sizes them. */
function firstPool(cidr: string): Resource<'IPPool'> {
  const family = familyOf(cidr)
  const { name, blockSize } = FIRST[family]
  const length = parseCidr(cidr)?.length ?? 0
  const spec = {
    ...{ cidr, blockSize: Math.max(blockSize, length), natOutgoing: true },
    ...(family === 'ipv4' && { ipipMode: 'CrossSubnet' as const }),
  }
  return { metadata: { name }, spec } as Resource<'IPPool'>
}

/** The networking.podSubnet of kubeadm's ClusterConfiguration: one range of each family at the most; none where it says none. */
function podSubnets(text: string, warn: (message: string) => void): string[] {
  let read: unknown
  try {
    read = parse(text)
  } catch (error) {
    // somebody else's text: the parser has an error of its own, and others for too many aliases and too many levels
    warn(`kubeadm's configuration cannot be read as YAML, so no pool is made of it: ${(error as Error).message}`)
  }
  const networking = isObject(read) && isObject(read['networking']) ? read['networking'] : {}
  const { podSubnet } = networking
  if (typeof podSubnet !== 'string') return []
  try {
    return parseRanges(podSubnet)
  } catch (error) {
    warn(`kubeadm's podSubnet makes no pool: ${(error as Error).message}`)
    return []
  }
}

/** `CIDR[,CIDR]`, one of each family at the most, or `none`. Throws Error that says what is wrong. */
export function parseRanges(text: string): string[] {
  const parts = text.split(',').map(part => part.trim())
  const ranges = (text.trim() === 'none' ? [] : parts).map(part => {
    const parsed = parseCidr(part)
    if (parsed === undefined) throw new Error(`${part} is no CIDR`)
    return formatCidr(parsed)
  })
  if (new Set(ranges.map(familyOf)).size < ranges.length)
    throw new Error(`${text}: one CIDR of each family at the most`)
  return ranges
}

/** Whether it was made now; false where somebody else made it. */
async function made(create: Promise<unknown>): Promise<boolean> {
  try {
    await create
    return true
  } catch (error) {
    if (error instanceof Conflict) return false
    throw error
  }
}

async function orUndefined<T>(get: Promise<T>): Promise<T | undefined> {
  try {
    return await get
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}
