// What `bgp simulate` does: reads the topology, works it out by the code of the agents, and prints. No server is asked.

import { carriers, eachLoss, type Loss, linksOf, lossOf, type Report, reportOf } from '../agent/simulation/report.ts'
import { hostsOf, MOST_ENDS, type Simulation, simulate, TooLarge } from '../agent/simulation/simulation.ts'
import type { Gone, Topology } from '../agent/simulation/topology.ts'
import { placeOf } from '../agent/simulation/underlay.ts'
import { parseCidr } from '../lib/ip.ts'
import { renderSimulation, type Simulated } from './bgp-simulate-view.ts'
import { topologyOf } from './bgp-topology.ts'
import type { Context, Options } from './command.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { type Format, show } from './render.ts'
import { namespaceFor, sourcesOf } from './targets.ts'

export async function simulateFiles(options: Options, context: Context): Promise<ExitCode> {
  const sources = await sourcesOf(options, context)
  const { topology, passedOver } = topologyOf(sources, await namespaceFor(options, context))
  if (passedOver.size > 0)
    context.note(
      `passed over, since no route depends on them: ${[...passedOver].map(([kind, count]) => `${count} ${kind}`).join(', ')}`,
    )
  const filter = filterOf(options, topology)
  const without = listOf(options['without'])
  const gone = without.length === 0 ? undefined : goneOf(without, topology)
  const simulated = await onPaper(topology)
  const report = reportOf(simulated)
  let losses: readonly Loss[] = []
  if (gone !== undefined) {
    const after = await onPaper(topology, gone)
    losses = [lossOf(simulated, after, without)]
    await after.close()
  }
  const [each, eachLink] = [options['each'] === true, options['eachLink'] === true]
  const [machines, links] = [each ? carriers(simulated) : [], eachLink ? linksOf(topology) : []]
  const count = machines.length + links.length
  const progress = (done: number) => {
    if (done % PROGRESS === 0 || done === count) context.note(`${done} of ${count} losses`)
  }
  losses = [...losses, ...(await eachLoss(topology, simulated, { machines, links }, progress))]
  await simulated.close()
  const answer: Simulated = { ...filtered(report, filter), losses: losses.map(loss => onlyOf(loss, filter)) }
  context.out(show(answer, options['output'] as Format, () => renderSimulation(answer, { each, eachLink })))
  const isWrong = report.findings.some(({ severity }) => severity === 'fault')
  return isWrong || losses.some(({ cutOff }) => cutOff.length > 0) ? EXIT.no : EXIT.fine
}

/** Losses between two words of how far it is. */
const PROGRESS = 10

/** `TooLarge` as what people can do about it. */
async function onPaper(topology: Topology, gone?: Gone): Promise<Simulation> {
  try {
    return await simulate(topology, gone)
  } catch (error) {
    if (!(error instanceof TooLarge)) throw error
    throw new UsageError(
      `the topology has ${error.message}, and the limit is ${MOST_ENDS / 2}, a mesh of 200 nodes: a mesh has one for each pair; leave nodes out that are like others`,
    )
  }
}

type Filter = { nodes: readonly string[]; prefix: string | undefined }

function filterOf(options: Options, topology: Topology): Filter {
  const nodes = listOf(options['node'])
  const known = topology.all('Node').map(({ metadata }) => metadata.name)
  const unknown = nodes.filter(name => !known.includes(name))
  if (unknown.length > 0) throw new UsageError(`the topology has no Node ${unknown.join(', ')}`)
  const text = options['prefix']
  if (typeof text !== 'string') return { nodes, prefix: undefined }
  const read = parseCidr(text)
  if (read === undefined) throw new UsageError(`--prefix ${text}: is no CIDR, such as 10.244.0.0/26`)
  return { nodes, prefix: `${read.address}/${read.length}` }
}

function listOf(option: Options[string]): readonly string[] {
  return Array.isArray(option) ? option : []
}

function passes({ nodes, prefix }: Filter, each: { node: string; prefix: string }): boolean {
  return (nodes.length === 0 || nodes.includes(each.node)) && (prefix === undefined || prefix === each.prefix)
}

function filtered(report: Report, filter: Filter): Report {
  return { ...report, routes: report.routes.filter(each => passes(filter, each)) }
}

function onlyOf(loss: Loss, filter: Filter): Loss {
  return { ...loss, changes: loss.changes.filter(each => passes(filter, each)) }
}

/** Throws UsageError for what the topology does not have. */
function goneOf(words: readonly string[], topology: Topology): Gone {
  const hosts = new Map(
    hostsOf(topology).map(({ name, addresses }) => [name, addresses.map(each => placeOf(each).link)]),
  )
  const links = new Set([...hosts.values()].flat())
  const gone = {
    machines: new Set<string>(),
    links: new Set<string>(),
    ends: [] as { machine: string; link: string }[],
  }
  for (const word of words) {
    const [machine = '', end] = word.split('@')
    const link = linkOf(end ?? word)
    if (end === undefined && hosts.has(word)) gone.machines.add(word)
    else if (end === undefined && link !== undefined && links.has(link)) gone.links.add(link)
    else if (link !== undefined && hosts.get(machine)?.includes(link)) gone.ends.push({ machine, link })
    else
      throw new UsageError(
        `--without ${word}: the topology has no such machine, link (CIDR) or end of a link (NAME@CIDR)`,
      )
  }
  return gone
}

function linkOf(text: string): string | undefined {
  return parseCidr(text) === undefined ? undefined : placeOf(text).link
}
