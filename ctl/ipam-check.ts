// `ipam check`: what the objects say of pools and blocks, and what the nodes that are asked say of themselves, as one report.
import { writeFile } from 'node:fs/promises'
import type { Kind, Resource } from '../api/kinds.ts'
import { NotFound } from '../datastore/port.ts'
import { isLoadBalancerBlock } from '../ipam/load-balancer.ts'
import { packageVersion } from '../lib/package-files.ts'
import type { Context, Options } from './command.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { type Allocation, allocationsOf, type Difference, differences, type NodeAnswer } from './ipam-compare.ts'
import { type Fault, ipamFaults } from './ipam-faults.ts'
import { askHere, askNodes } from './ipam-nodes.ts'
import { clusterOf, type Report } from './ipam-report.ts'
import { serviceFaults, servicesByHandle } from './ipam-services.ts'
import { renderChecked } from './ipam-view.ts'
import { FORMATS, type Format, renderValue, show } from './render.ts'
import { visible } from './visible.ts'

/** Exit code 1 when something is wrong, or a node or a pod was not looked at. Rejects with UsageError for a node without an agent. */
export async function ipamCheck(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const here = options['here'] === true
  const output = String(options['output'])
  if (here && (options['all'] === true || words.length > 0)) throw new UsageError('give --here, or nodes, or --all')
  if (!isFormat(output) && !/[./]/.test(output))
    throw new UsageError(`-o ${output}: write one of ${FORMATS.join(', ')}, or a file such as report.json`)
  const found = here ? await checkedHere(options) : await checkedCluster(words, options, context)
  const { faults, unasked, unlooked } = found
  for (const { node, why } of unasked) context.err(`node ${visible(node)} is not asked: ${why}\n`)
  for (const { node, id } of unlooked)
    context.err(`node ${visible(node)} did not look at ${visible(id)}: it is being added or deleted. Ask again.\n`)
  const { unlooked: _, ...report } = found
  const view = { addresses: options['showAllIps'] === true }
  if (isFormat(output)) context.out(show(report, output, () => renderChecked(report, view)))
  else {
    await writeReport(output, renderValue(report, 'json'))
    context.out(renderChecked(report, view))
  }
  return faults.length + unasked.length + unlooked.length === 0 ? EXIT.fine : EXIT.no
}

type Checked = Report & { unlooked: readonly { node: string; id: string }[] }

function isFormat(text: string): text is Format {
  return (FORMATS as readonly string[]).includes(text)
}

/** What the objects say, and the nodes that are asked. */
async function checkedCluster(words: readonly string[], options: Options, context: Context): Promise<Checked> {
  const [pools, blocks, nodes, infos] = await Promise.all([
    all(context, 'IPPool'),
    all(context, 'IPAMBlock'),
    all(context, 'Node'),
    all(context, 'ClusterInformation'),
  ])
  // after the blocks; a user who may not list Services needs that only where Services have addresses
  const services = blocks.some(isLoadBalancerBlock) ? await all(context, 'Service') : []
  const names = nodes.map(({ metadata }) => metadata.name)
  const nobody = { answers: new Map<string, NodeAnswer>(), unasked: [] }
  const { answers, unasked } =
    words.length === 0 && options['all'] !== true ? nobody : await askNodes(words, options, context)
  const silent =
    options['all'] !== true ? [] : names.filter(node => !answers.has(node) && !unasked.some(each => each.node === node))
  const other = await stillThere(differences(blocks, answers), blocks, context)
  return {
    version: packageVersion(),
    ...clusterOf(infos.find(({ metadata }) => metadata.name === 'default')),
    ...{ pools: pools.length, blocks: blocks.length, nodes: nodes.length },
    asked: [...answers.keys()].toSorted(),
    unasked: [...unasked, ...silent.map(node => ({ node, why: 'it has no pod of margay-node' }))],
    ...ofAnswers(answers),
    faults: [
      ...ipamFaults({ pools, blocks, nodes: names, nowMs: Date.now() }),
      ...serviceFaults(blocks, services, pools),
      ...other,
      ...findingsOf(answers),
    ],
    allocations: Object.groupBy(
      allocationsOf(blocks, new Set(names), answers, servicesByHandle(services)),
      ({ ip }) => ip,
    ) as Report['allocations'],
  }
}

/** What this node's agent says alone: nothing is known of the cluster. */
async function checkedHere(options: Options): Promise<Checked> {
  const { node, answer } = await askHere(options)
  const answers = new Map([[node, answer]])
  const allocations = answer.addresses.map(({ address, handle, use, owner }): Allocation => {
    return { ip: address, handle, node, inUse: use !== 'nobody', owners: owner === '' ? [] : [owner] }
  })
  return {
    version: packageVersion(),
    ...clusterOf(undefined),
    ...{ pools: 0, blocks: answer.blocks.size, nodes: 1, asked: [node], unasked: [] },
    ...ofAnswers(answers),
    faults: findingsOf(answers),
    allocations: Object.groupBy(allocations, ({ ip }) => ip) as Report['allocations'],
  }
}

function ofAnswers(answers: ReadonlyMap<string, NodeAnswer>): Pick<Checked, 'looked' | 'unlooked'> {
  return {
    looked: [...answers.values()].reduce((sum, { looked }) => sum + looked, 0),
    unlooked: [...answers].flatMap(([node, { unlooked }]) => unlooked.map(id => ({ node, id }))),
  }
}

/** What nodes found, with the name of each. */
function findingsOf(answers: ReadonlyMap<string, NodeAnswer>): Fault[] {
  return [...answers].flatMap(([node, { findings }]) =>
    findings.map(({ object, fault, remedy }) => ({
      object: object as Fault['object'],
      fault: `node ${node}: ${fault}`,
      remedy,
    })),
  )
}

/** Of blocks that are still what they were when they were read: a node may have given one back before it answered. */
async function stillThere(
  found: readonly Difference[],
  blocks: readonly Resource<'IPAMBlock'>[],
  context: Context,
): Promise<Fault[]> {
  const store = await context.store()
  const changed = new Set<string>()
  for (const name of new Set(found.map(({ block }) => block))) {
    const before = blocks.find(({ metadata }) => metadata.name === name)
    const now = await gone(store.get('IPAMBlock', name))
    if (now?.metadata.resourceVersion !== before?.metadata.resourceVersion) changed.add(name)
  }
  return found.flatMap(({ block, ...fault }) => (changed.has(block) ? [] : [fault]))
}

async function gone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}

/** Rejects with UsageError. */
async function writeReport(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text)
  } catch (error) {
    throw new UsageError(`${path} cannot be written: ${(error as Error).message}`)
  }
}

async function all<K extends Kind>(context: Context, kind: K): Promise<Resource<K>[]> {
  return (await context.store()).list(kind)
}
