// The status of a Service of type LoadBalancer as this program reads and writes it: the addresses, a condition that says why it
// has not what it asks for, and an Event for each change of both. Pure.
import { conditionList, type ObjectCondition } from '../api/meta.ts'
import { formatSeconds } from '../lib/clock.ts'
import { parseAddress } from '../lib/ip.ts'
import type { AddressRefusal, Service } from './load-balancer-wish.ts'

/** An entry of `status.loadBalancer.ingress`; other programs may write names there. */
export type Ingress = NonNullable<NonNullable<NonNullable<Service['status']>['loadBalancer']>['ingress']>[number]

/** The type of the condition in the status of a Service. */
const ASSIGNED = 'margay.io/AddressAssigned'

const COMPONENT = 'margay-controllers'

/** Characters of a message: an annotation has up to 256 KiB, and a status and an Event would have them once more. */
const MOST_SAID = 1_000

/** Whether a Service has to do with addresses of load balancers, or did: all others are nobody's business here. */
export function isOfInterest(service: Service): boolean {
  return service.spec.type === 'LoadBalancer' || ingressOf(service).length > 0 || conditionOf(service) !== undefined
}

export function ingressOf({ status }: Service): readonly Ingress[] {
  return status?.loadBalancer?.ingress ?? []
}

/** The addresses in the status of a Service. */
export function shownBy(service: Service): string[] {
  return ingressOf(service).flatMap(({ ip }) => (ip === undefined ? [] : [canonical(ip)]))
}

export function canonical(ip: string): string {
  return parseAddress(ip) ?? ip
}

/** What the status says of an address, with what the server filled in. */
export function entryOf(service: Service, address: string): Ingress {
  return ingressOf(service).find(({ ip }) => ip !== undefined && canonical(ip) === address) ?? { ip: address }
}

export function isShown(service: Service, wanted: readonly Ingress[]): boolean {
  const now = ingressOf(service)
  return now.length === wanted.length && now.every((each, i) => each === wanted[i])
}

export function conditionOf({ status }: Service): ObjectCondition | undefined {
  return conditionList.safeParse(status?.conditions ?? []).data?.find(({ type }) => type === ASSIGNED)
}

export function isSaid(service: Service, refused: AddressRefusal | undefined): boolean {
  const said = conditionOf(service)
  if (refused === undefined) return said === undefined || said.status === 'True'
  return said?.status === 'False' && said.reason === refused.reason && said.message === inWords(refused)
}

/** A refusal with words of people in it, as the API server gives it back: else it would be another one each time, and written for ever. */
export function sayable(refusal: AddressRefusal | undefined): AddressRefusal | undefined {
  if (refusal === undefined) return undefined
  const { message } = refusal
  const short = message.length > MOST_SAID ? `${message.slice(0, MOST_SAID)}…` : message
  return { ...refusal, message: short.toWellFormed() }
}

/** A refusal as the condition and the event have it. */
function inWords({ message, remedy }: AddressRefusal): string {
  return `${message}; ${remedy}`
}

/** What is written into a status; `isOurs`: the Service asks for addresses. */
type Written = { ingress: readonly Ingress[]; refused: AddressRefusal | undefined; isOurs: boolean }

/** The conditions of a Service after a write at `now`; those of others stay. Only one that was refused something once has ours. */
export function conditionsWith(
  service: Service,
  { refused, isOurs }: Omit<Written, 'ingress'>,
  now: string,
): ObjectCondition[] {
  const all = conditionList.safeParse(service.status?.conditions ?? []).data ?? []
  const before = conditionOf(service)
  const others = all.filter(({ type }) => type !== ASSIGNED)
  if (!isOurs || (refused === undefined && before === undefined)) return others
  const status = refused === undefined ? 'True' : 'False'
  const lastTransitionTime = (before?.status === status && before.lastTransitionTime) || now
  const [reason, message] = refused === undefined ? ['Assigned', ''] : [refused.reason, inWords(refused)]
  return [...others, { type: ASSIGNED, status, reason, message, lastTransitionTime }]
}

/** An Event about what was written into the status of a Service. `number`: another one for each Event of this run of the program. */
export function serviceEvent(
  { metadata: { name, namespace, uid } }: Pick<Service, 'metadata'>,
  { ingress, refused, isOurs }: Written,
  { atMs, number }: { atMs: number; number: number },
) {
  const addresses = ingress.flatMap(({ ip }) => ip ?? []).join(', ')
  const told =
    refused !== undefined
      ? { type: 'Warning', reason: refused.reason, message: inWords(refused) }
      : isOurs && addresses !== ''
        ? { type: 'Normal', reason: 'AddressAssigned', message: addresses }
        : { type: 'Normal', reason: 'AddressReleased', message: 'it has no address of an IPPool any more' }
  const at = formatSeconds(atMs)
  return {
    metadata: { name: `${name}.${Math.round(atMs).toString(16)}.${number}`, namespace },
    involvedObject: { apiVersion: 'v1', kind: 'Service', name, namespace, uid },
    ...{ ...told, count: 1, firstTimestamp: at, lastTimestamp: at },
    ...{ source: { component: COMPONENT }, reportingComponent: COMPONENT, reportingInstance: COMPONENT },
  }
}

/** The name of a Service within the cluster. */
export function keyOf({ namespace = '', name }: { namespace?: string; name: string }): string {
  return `${namespace}/${name}`
}
