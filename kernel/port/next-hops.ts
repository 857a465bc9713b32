// Next hop objects of one network namespace (linux/nexthop.h, since Linux 5.3): what many routes share, so that one change of it is
// one for all of them. Part of the kernel port. Hazard: when a link goes down, goes away or loses its carrier, the kernel removes
// what leads over it, takes it out of groups, and removes groups that are empty then, with their routes: it tells nobody.
import type { KernelError } from './error.ts'
import type { NextHop, Route } from './routes.ts'

export type GroupMember = { id: number; weight?: number }

/**
 * How a group keeps its flows where they are (`type resilient`, since Linux 5.13): each flow falls into one of `buckets`, and only
 * those of a member that is gone, or idle ones, get another. `idleSeconds`: a bucket without packets for so long may be moved to a
 * member that has too few. Of a number of buckets that changes the kernel wants another id.
 */
export type Resilient = { buckets: number; idleSeconds: number }

/** One way, or a group of ways; neither where it is of a sort that Margay knows nothing of. */
export type NextHopObject = {
  id: number
  /** As of routes: who made it. */
  protocol: number
  hop?: Omit<NextHop, 'weight'> & { gateway: string }
  /** In the order of their ids here; the kernel keeps any. */
  group?: readonly GroupMember[]
  /** Of a group. */
  resilient?: Resilient
}

/** `add` is refused with EEXIST when the id is taken, `replace` with ENOENT when there is none; a deletion of none succeeds. */
export type NextHopChange = { verb: 'add' | 'replace' | 'delete'; object: NextHopObject }

export type NextHopPort = {
  /** All that there are, of everybody; undefined: this kernel has no such objects. */
  nextHopObjects(): Promise<NextHopObject[] | undefined>
  /**
   * One after the other; the result at `i` is the refusal of change `i`, or undefined. A way is refused while its link is down or
   * has no carrier (ENETDOWN). A deletion takes routes and groups of nothing else along.
   */
  changeNextHopObjects(changes: readonly NextHopChange[]): Promise<(KernelError | undefined)[]>
}

/** The ways that an object leads to; none: there is no such object, or it leads to none that Margay knows of. */
export function waysOf(id: number, objects: ReadonlyMap<number, NextHopObject>): NextHop[] {
  const object = objects.get(id)
  if (object?.hop !== undefined) return [{ ...object.hop }]
  return (object?.group ?? []).flatMap(({ id: member, weight }) => {
    const { hop } = objects.get(member) ?? {}
    return hop === undefined ? [] : [weight === undefined ? { ...hop } : { ...hop, weight }]
  })
}

/** A route by an object with the ways of that. */
export function ledBy(route: Route, ways: readonly NextHop[]): Route {
  const { gateway: _, ifindex: __, onlink: ___, nextHops: ____, ...rest } = route
  const [first, second] = ways
  if (second !== undefined) return { ...rest, nextHops: ways }
  if (first === undefined) return rest
  const { weight: _____, ...way } = first
  return { ...rest, ...way }
}
