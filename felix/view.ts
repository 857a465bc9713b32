// What felix tells of itself to whoever explains the way of a packet: what it wants of the kernel, what policies say, and whether the
// kernel has it. Of the moment in which it is asked for; its maps go on changing.
import type { RoutingRule } from '../kernel/port/rules.ts'
import type { Shadow } from '../kernel/reconcile/foreign-routes.ts'
import type { DesiredState } from './desired.ts'
import type { PolicyEnforcer } from './enforcer.ts'
import type { ThisNode } from './input.ts'
import type { HostSettings } from './policy/model.ts'

export type FelixView = {
  /** Undefined while it is not known: then nothing is wanted either. */
  node: ThisNode | undefined
  wanted: DesiredState
  /** Whether all that was told is in the kernel; else something waits, or was refused. */
  isApplied: boolean
  /** Undefined where this host has no table for policies. */
  policy: Pick<PolicyEnforcer, 'verdicts' | 'failing' | 'hostEndpointAt'> | undefined
  hosts: HostSettings | undefined
  /** The protocols (rtm_protocol) of routes that are ours. */
  protocols: ReadonlySet<number>
  /** Whether an interface is that of a pod. */
  ownsInterface(name: string): boolean
  /** Whether packets of a pod to an address leave under an address of the node; undefined while pools are not known. */
  masquerades(source: string, destination: string): boolean | undefined
  /** Routes of other programs that packets take in place of wanted ones. */
  shadows(): Iterable<Shadow>
  /** Who made a rule, where the kernel told. */
  ruleAuthor(rule: RoutingRule): string | undefined
}
