// Puts faults into a lab and takes them out again. What takes a fault out is written down before it is put in, so that a later
// process can do it, whatever became of this one or of the lab meanwhile.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SYSTEM_PATH } from '../../lib/system-program.ts'
import { askAgent } from '../ask.ts'
import { clusterObjects } from '../cluster.ts'
import type { Lab } from '../lab.ts'
import { LabFailure } from '../lab-programs.ts'
import { isMissing, runProgram } from '../program.ts'
import { type Deed, type Facts, type Fault, NODE_NAMES, POD_NAMES } from './fault.ts'

/** A fault that is in a lab, and what takes it out. */
type InLab = { name: string; heal: readonly Deed[] }

const POOL = 'default-ipv4-ippool'
const VXLAN = 'vxlan.calico'
const SCRIPT_MS = 20_000

const fileIn = (dir: string) => join(dir, 'faults.json')

/** The faults that are in the lab, in the order in which they were put in. */
export function faultsIn({ dir }: Pick<Lab, 'dir'>): readonly InLab[] {
  try {
    return JSON.parse(readFileSync(fileIn(dir), 'utf8')) as InLab[]
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}

function write({ dir }: Pick<Lab, 'dir'>, faults: readonly InLab[]): void {
  const file = fileIn(dir)
  writeFileSync(`${file}.new`, JSON.stringify(faults), { mode: 0o600 })
  renameSync(`${file}.new`, file)
}

/** Puts the fault in and says what was done for it. Throws LabFailure with what was said when that fails; then it is out again. */
export async function putIn(lab: Lab, fault: Fault, facts: Facts): Promise<readonly Deed[]> {
  const [deeds, heal] = [fault.inject(facts), fault.heal(facts)]
  write(lab, [...faultsIn(lab), { name: fault.name, heal }])
  try {
    for (const deed of deeds) await perform(lab, deed)
  } catch (error) {
    await takeOut(lab, fault.name)
    throw error
  }
  return deeds
}

/** Takes the fault of this name out, or all of them, last in first out. Says which were in. */
export async function takeOut(lab: Lab, name?: string): Promise<string[]> {
  const out = faultsIn(lab).filter(each => name === undefined || each.name === name)
  for (const { heal } of out.toReversed())
    for (const deed of heal)
      await perform(lab, deed).catch((error: unknown) => {
        // the product has healed it, or the lab has lost what it was about
        if (!(error instanceof LabFailure)) throw error
      })
  const names = out.map(each => each.name)
  write(
    lab,
    faultsIn(lab).filter(each => !names.includes(each.name)),
  )
  return names
}

/** As a person would type it. */
export function deedText(deed: Deed): string {
  if ('at' in deed) return `${deed.at}: ${deed.sh}`
  if ('agent' in deed) return `the agent of ${deed.agent} is ${deed.is}`
  if ('pool' in deed) return `IPPool ${POOL}: disabled ${deed.pool.disabled}`
  return `Node ${deed.node} is ${deed.is}`
}

async function perform(lab: Lab, deed: Deed): Promise<void> {
  if ('at' in deed) return script(lab, deed.at, deed.sh)
  if ('pool' in deed) return lab.patchObjects([{ kind: 'IPPool', name: POOL, patch: { spec: deed.pool } }])
  if ('node' in deed) {
    const objects = clusterObjects(lab.plan).filter(
      ({ kind, object }) => kind === 'Node' && (object as { metadata: { name: string } }).metadata.name === deed.node,
    )
    return deed.is === 'deleted' ? lab.removeObjects(objects) : lab.putObjects(objects)
  }
  if (deed.is === 'killed') return lab.killAgent(deed.agent)
  return deed.is === 'restarted' ? lab.restartAgent(deed.agent) : lab.runAgent(deed.agent)
}

async function script(lab: Lab, at: string, sh: string): Promise<void> {
  const run = await runProgram(['sh', '-c', sh], {
    ...{ netns: lab.plan.prefix + at, env: { PATH: SYSTEM_PATH }, limitMs: SCRIPT_MS },
  })
  if (run.code !== 0) throw new LabFailure(`${at}: ${sh}\nended with ${run.code}: ${run.stderr.trim()}`)
}

type AgentStatus = {
  address: string
  blocks: { cidr: string }[]
  endpoints: { pod?: { name: string }; interface: string; addresses: string[] }[]
}

/** Throws LabFailure when the lab is not as faults need it, or is not well. */
export async function factsOf(lab: Lab): Promise<Facts> {
  const [a, b] = ['A', 'B'].map(lan => lab.plan.nodes.filter(node => node.lan.name === lan).length)
  if (a !== 2 || b !== 1)
    throw new LabFailure('faults need the lab as it is without --nodes: two nodes on LAN A, one on B')
  const nodes = await Promise.all(
    NODE_NAMES.map(async name => {
      const status = (await askAgent(lab.agentSocket(name), '/status')) as AgentStatus | undefined
      if (status === undefined) throw new LabFailure(`the agent of ${name} does not answer: heal the lab first`)
      using kernel = lab.kernel(lab.node(name).netns)
      const [block, mac] = [status.blocks[0]?.cidr, (await kernel.link(VXLAN))?.mac]
      if (block === undefined || mac === undefined)
        throw new LabFailure(`${name} has no ${block === undefined ? 'block of addresses' : VXLAN}: heal the lab first`)
      return { name, address: status.address, block, mac, endpoints: status.endpoints }
    }),
  )
  const endpoints = new Map(nodes.flatMap(node => node.endpoints).map(each => [each.pod?.name, each]))
  const pods = POD_NAMES.map(name => {
    const [{ interface: cali, addresses } = { interface: '', addresses: [] as string[] }] = [endpoints.get(name)]
    if (addresses[0] === undefined) throw new LabFailure(`${name} has no address: heal the lab first`)
    return { name, ip: addresses[0], cali }
  })
  return {
    address: byName(nodes, 'address'),
    block: byName(nodes, 'block'),
    mac: byName(nodes, 'mac'),
    ip: byName(pods, 'ip'),
    cali: byName(pods, 'cali'),
  }
}

function byName<N extends string, K extends string>(
  rows: readonly ({ name: N } & Record<K, string>)[],
  key: K,
): Record<N, string> {
  return Object.fromEntries(rows.map(row => [row.name, row[key] as string])) as Record<N, string>
}
