// Prometheus metrics of margay-controllers, made afresh for each scrape. Names are those of Calico's kube-controllers where it
// has one for the same thing. Labels are bounded: nodes that have blocks, and the closed table of conditions.
import { Counter, Gauge, Registry } from 'prom-client'
import { CONTROLLER_CONDITION_TYPES, type ControllerCondition } from '../api/controller-conditions.ts'
import type { Numbers } from './controllers.ts'

/** The text a scraper reads. */
export async function metricsText(numbers: Numbers, conditions: readonly ControllerCondition[]): Promise<string> {
  const { leads, census, freed, waiting, unclear } = numbers
  const registry = new Registry()
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name, help, labelNames, registers: [registry] })
  gauge('margay_controllers_leader', '1 in the program that leads').set(leads ? 1 : 0)
  const condition = gauge('margay_controllers_condition', '1 when the condition is fine', ['type'])
  for (const type of Object.keys(CONTROLLER_CONDITION_TYPES))
    condition.set({ type }, conditions.some(each => each.type === type) ? 0 : 1)

  const blocks = gauge('ipam_blocks_per_node', 'blocks by the node that owns them', ['node'])
  const used = gauge('ipam_allocations_per_node', 'addresses in use by the node that owns their block', ['node'])
  for (const [node, count] of census.perNode) {
    blocks.set({ node }, count.blocks)
    used.set({ node }, count.used)
  }
  gauge('ipam_blocks_gc_candidates', 'blocks of nodes without a Node object').set(waiting)
  gauge('ipam_blocks_unclear', 'blocks of which nobody can tell whose they are').set(unclear)
  const total = (name: string, help: string, value: number): void =>
    new Counter({ name, help, registers: [registry] }).inc(value)
  total('ipam_blocks_gc_reclamations', 'blocks of gone nodes that this program freed', freed.blocks)
  total('ipam_allocations_gc_reclamations', 'addresses in these blocks', freed.addresses)
  return registry.metrics()
}
